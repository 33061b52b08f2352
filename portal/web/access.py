"""Who may open a route: each route carries exactly one of these, and a test holds it."""

from __future__ import annotations

from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import quote, urlsplit

from flask import g, redirect, request
from flask_login import current_user

from portal.errors import NotFoundError
from portal.web import context

if TYPE_CHECKING:
    from collections.abc import Callable

    from flask.typing import ResponseReturnValue

View = TypeVar("View", bound="Callable[..., Any]")
RECENT = timedelta(minutes=15)
SIGN_IN = "/account/sign-in"
SECOND_PROOF = "/account/confirm-it-is-you"


def marked(view: View, access: str) -> View:
    """Note on `view` which rule guards it, for the test that walks every route."""
    view.access = access  # type: ignore[attr-defined]
    return view


def public(view: View) -> View:
    """Let anyone open it."""
    return marked(view, "public")


def person_required(view: View) -> View:
    """Let signed-in people open it; send everybody else to sign in and back."""

    @wraps(view)
    def guarded(*args: object, **kwargs: object) -> ResponseReturnValue:
        if not current_user.is_authenticated:
            return to_sign_in()
        return cast("ResponseReturnValue", view(*args, **kwargs))

    return marked(cast("View", guarded), "person")


def recent_sign_in(view: View) -> View:
    """Let people open it who signed in within the last 15 minutes: for acts that cannot be undone."""

    @wraps(view)
    def guarded(*args: object, **kwargs: object) -> ResponseReturnValue:
        if not current_user.is_authenticated:
            return to_sign_in()
        if not signed_in_recently():
            return to_sign_in(again=True)
        return cast("ResponseReturnValue", view(*args, **kwargs))

    return marked(cast("View", guarded), "recent")


def operator_required(view: View) -> View:
    """Let operators open it who have given both proofs in this session; for everybody else signed in nothing is there.

    Strangers are sent to sign in, an operator with one proof to give the other one and come back.
    """

    @wraps(view)
    def guarded(*args: object, **kwargs: object) -> ResponseReturnValue:
        if not current_user.is_authenticated:
            return to_sign_in()
        if not current_user.is_operator:
            raise NotFoundError(private="not an operator")
        if not has_two_proofs():
            return to_second_proof(_here())
        return cast("ResponseReturnValue", view(*args, **kwargs))

    return marked(cast("View", guarded), "operator")


def signed_in_recently() -> bool:
    """Say whether the person at the keyboard has shown within the last 15 minutes who they are."""
    return bool(context.now() - current_user.authenticated_at <= RECENT)


def has_two_proofs() -> bool:
    """Say whether the person at the keyboard has given both proofs, password and code, in this session."""
    return bool(current_user.is_authenticated and current_user.has_two_proofs)


def to_second_proof(next_address: str) -> ResponseReturnValue:
    """Redirect a signed-in person to the page that asks for their other proof and then leads to `next_address`.

    `next_address` is a path of this site with its query, such as `/sharing/…/change`.
    """
    return _away(f"{SECOND_PROOF}?next={quote(next_address, safe='/')}")


def to_sign_in(*, again: bool = False) -> ResponseReturnValue:
    """Redirect to the sign-in page, which leads back here; an htmx request leaves the whole page."""
    return _away(f"{SIGN_IN}?next={quote(_here(), safe='/')}" + ("&again=1" if again else ""))


def _here() -> str:
    return request.full_path.rstrip("?") if request.method == "GET" else _came_from()


def _away(target: str) -> ResponseReturnValue:
    if request.headers.get("HX-Request") == "true":
        return "", 401, {"HX-Redirect": target}
    response = redirect(target, 303)
    response.headers["Cache-Control"] = "no-store"
    return response


def _came_from() -> str:
    # A form was sent without being signed in: lead back to the page it stood on, if that page is ours.
    try:
        parts = urlsplit(request.referrer or "")
    except ValueError:
        return "/home"
    if parts.netloc != request.host:
        return "/home"
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def person_id() -> Any:  # noqa: ANN401 - a UUID; flask-login does not say so
    """Return the id of whoever is signed in."""
    return current_user.person_id


def is_api() -> bool:
    """Say whether a machine asks: it is answered with problem+json."""
    return request.path.startswith(("/api/", "/oauth/", "/log/", "/.well-known/")) and not g.get("page", False)
