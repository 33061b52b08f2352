"""What a company tells of itself for the records of consents (ISO/IEC TS 27560:2023), beside its registration.

What it has not told is absent from a record, which says so; nothing is made up for it.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from babel import Locale

from portal.companies.models import Company
from portal.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from sqlalchemy.orm import Session

# Of the Data Privacy Vocabulary (W3C DPV 2).
KINDS = MappingProxyType(
    {
        "ForProfitOrganisation": "A business",
        "NonProfitOrganisation": "A charity, club or other non-profit organisation",
        "GovernmentalOrganisation": "A public authority",
        "AcademicScientificOrganisation": "A university or research organisation",
    }
)
LONGEST: Final = 300
_MOST = 40
_TERRITORIES: Final = Locale("en").territories
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_PHONE = re.compile(r"\+?[0-9][0-9 ()./-]{4,30}", re.ASCII)


class KindError(InvalidError):
    public = "Choose the kind of your organisation from the list."


class CountriesError(InvalidError):
    public = "Write countries by their two letters, with commas between them, such as IE, DE."


class PhoneError(InvalidError):
    public = "Write the telephone number with its country code, such as +353 1 234 5678."


class TextError(InvalidError):
    public = f"Write at most {LONGEST} characters, in lines of plain text."


class RecipientsError(InvalidError):
    public = f"Name at most {_MOST} recipients, one on each line."


@dataclass(frozen=True, kw_only=True)
class Particulars:
    """What is told; empty where nothing is.

    `kind` is a key of `KINDS`, `storage_locations` are country codes (ISO 3166-1), `recipients` who else gets details,
    one name each; `no_recipients` says that nobody does.
    """

    address: str = ""
    phone: str = ""
    kind: str = ""
    storage_locations: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    no_recipients: bool = False
    authority: str = ""

    @property
    def kept(self) -> dict[str, Any]:
        """Return it as JSON, without what is empty."""
        return {name: list(told) if isinstance(told, tuple) else told for name, told in asdict(self).items() if told}


def of(kept: Mapping[str, Any]) -> Particulars:
    """Return what a company's row keeps of it."""
    told: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in kept.items()}
    return Particulars(**told)


def read(
    *, address: str, phone: str, kind: str, storage_locations: str, recipients: str, no_recipients: bool, authority: str
) -> Particulars:
    """Return what was filled in, checked; raises one of the errors above with the pointer of its field."""
    names = tuple(_line(line, "/recipients") for line in recipients.splitlines() if line.strip())
    if len(names) > _MOST or (names and no_recipients):
        raise RecipientsError(pointer="/recipients")
    if kind and kind not in KINDS:
        raise KindError(pointer="/kind")
    if phone.strip() and not _PHONE.fullmatch(phone.strip()):
        raise PhoneError(pointer="/phone")
    return Particulars(
        address=_text(address, "/address"),
        phone=phone.strip(),
        kind=kind,
        storage_locations=countries(storage_locations),
        recipients=names,
        no_recipients=no_recipients,
        authority=_line(authority, "/authority"),
    )


def countries(text: str) -> tuple[str, ...]:
    """Return the country codes in `text`, each once, in their order; raise CountriesError."""
    codes = tuple(dict.fromkeys(part.strip().upper() for part in text.split(",") if part.strip()))
    if len(codes) > _MOST or not all(_COUNTRY.fullmatch(code) and code in _TERRITORIES for code in codes):
        raise CountriesError(pointer="/storage_locations")
    return codes


def tell(session: Session, *, company_id: UUID, told: Particulars) -> None:
    """Keep what a company tells; records made from now on say it."""
    session.get_one(Company, company_id).particulars = told.kept


def of_company(session: Session, company_id: UUID) -> Particulars:
    """Return what a company has told."""
    return of(session.get_one(Company, company_id).particulars)


def _text(text: str, pointer: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines()]
    tidy = "\n".join(line for line in lines if line)
    if len(tidy) > LONGEST or not all(line.isprintable() for line in lines):
        raise TextError(pointer=pointer)
    return tidy


def _line(text: str, pointer: str) -> str:
    return _text(text, pointer).replace("\n", ", ")
