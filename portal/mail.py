"""Mail out: one message, plain text, to one address; and never an address in a log line or an exception."""

from __future__ import annotations

import logging
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import make_msgid
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from portal.config import asset_folder
from portal.errors import PortalError

if TYPE_CHECKING:
    from portal.config import Settings

log = logging.getLogger(__name__)

_SECONDS = 20
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_FOR_GOOD = 500


class MailNotSentError(PortalError):
    """The mail server did not take the message; the private detail is the kind of failure alone.

    `for_good` says that it never will (RFC 5321 section 4.2.1).
    """

    code = "mail-not-sent"
    status = 503
    public = "The message could not be sent."
    for_good = False


class MessageRefusedError(MailNotSentError):
    """The mail server is there and did not want this message; another one it may take."""

    def __init__(self, code: int) -> None:
        super().__init__(private=f"it answered {code}")
        self.for_good = code >= _FOR_GOOD


def compose(template: str, **values: object) -> tuple[str, str]:
    """Return (subject, body) from `templates/mail/<template>/`, plain text."""
    folder = _texts()
    subject = folder.get_template(f"{template}/subject.txt").render(**values)
    return " ".join(subject.split()), folder.get_template(f"{template}/body.txt").render(**values)


def send(settings: Settings, *, to: str, subject: str, body: str, reference: str = "") -> bool:
    """Hand one message to the server of `SMTP_URL` (smtp, smtp+starttls or smtps); False when there is none.

    A letter that may be handed over twice has a `reference`, which makes both the same message (RFC 5322 3.6.4).
    `EmailMessage` refuses line breaks in headers, so a value cannot add one (OWASP ASVS 5.0, 1.3.11).
    Raises `MessageRefusedError`, or another `MailNotSentError` when the server cannot be spoken to.
    """
    if not settings.smtp_url:
        log.warning("mail not sent: SMTP_URL is not set")
        return False
    message = _message(settings, to, subject, body, reference)
    try:
        with connect(settings.smtp_url) as server:
            server.send_message(message)
    # The library's errors quote the address: only their kind is passed on.
    except smtplib.SMTPRecipientsRefused as error:
        [(code, _words)] = error.recipients.values()
        raise MessageRefusedError(code) from None
    except smtplib.SMTPDataError as error:
        raise MessageRefusedError(error.smtp_code) from None
    except (OSError, smtplib.SMTPException) as error:
        raise MailNotSentError(private=type(error).__name__) from None
    return True


def connect(smtp_url: str, *, seconds: float = _SECONDS) -> smtplib.SMTP:
    """Return a server that takes messages: reached, by TLS where the address says so, and logged in to.

    Whoever calls closes it.  Raises OSError (of TLS as well) and `smtplib.SMTPException`, which may quote the login.
    """
    url = urlsplit(smtp_url)
    server = _reach(url, seconds)
    try:
        if url.scheme == "smtp+starttls":
            server.starttls(context=ssl.create_default_context())
        if url.username:
            server.login(unquote(url.username), unquote(url.password or ""))
    except BaseException:
        server.close()
        raise
    return server


def _message(settings: Settings, to: str, subject: str, body: str, reference: str) -> EmailMessage:
    message = EmailMessage()
    try:
        message["From"], message["To"], message["Subject"] = settings.mail_from, to, subject
    except ValueError:
        raise MailNotSentError(private="a header would have been broken") from None
    domain = settings.mail_from.rpartition("@")[2]
    message["Message-ID"] = f"<{reference}@{domain}>" if reference else make_msgid(domain=domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: out-of-office programs stay quiet
    message.set_content(body)
    return message


def _reach(url: SplitResult, seconds: float) -> smtplib.SMTP:
    host, port = url.hostname or "localhost", url.port or _PORTS.get(url.scheme, 25)
    if url.scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=seconds, context=ssl.create_default_context())
    return smtplib.SMTP(host, port, timeout=seconds)


@cache
def _texts() -> Environment:
    loader = FileSystemLoader(asset_folder("templates") / "mail")
    return Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701 - plain text
