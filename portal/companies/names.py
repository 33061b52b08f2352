"""Names that read the same: nobody registers under the name of a company that has been checked.

A name is reduced to what the eye keeps of it (after Unicode TS 39): case, spaces, marks, punctuation, letters of
other alphabets that look Latin, and the words for a kind of company all go.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from portal.companies.models import Company
from portal.errors import InvalidError

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session

# Pairs that are one shape in many typefaces.
_LOOKS_LIKE: Final = str.maketrans(
    "01i"  # small i, as a capital, is small l
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455"  # Cyrillic
    "\u04bb\u0501\u051b\u051d\u043a\u043c\u0442\u0432\u043d\u0433"
    "\u03b1\u03bf\u03b9\u03ba\u03bd\u03c1\u03c4\u03c5\u03c7\u03b7\u03b5",  # Greek
    "ollaeopcyxljshdqwkmtbhraolkvptuxne",
)
_KINDS: Final = frozenset(
    {
        "ab",
        "ag",
        "aps",
        "asa",
        "bv",
        "co",
        "company",
        "corp",
        "corporation",
        "cv",
        "dac",
        "ev",
        "gmbh",
        "inc",
        "incorporated",
        "kg",
        "kft",
        "lda",
        "limited",
        "llc",
        "llp",
        "lp",
        "ltd",
        "nv",
        "ohg",
        "oy",
        "oyj",
        "plc",
        "pte",
        "pty",
        "sa",
        "sarl",
        "sas",
        "se",
        "spa",
        "srl",
        "the",
    }
)
_WORD: Final = re.compile(r"[^\W_]+")


class CompanyTakenError(InvalidError):
    code = "company-taken"
    public = (
        "An organisation with this trading name is registered already. Add the place or the kind of business to it."
    )


def shape(name: str) -> str:
    """Return what two names that read the same have in common: "Bright-Well  Ltd." and "BrightweII" are one."""
    plain = unicodedata.normalize("NFKD", name).casefold().replace(".", "").replace("’", "").replace("'", "")
    bare = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = _WORD.findall(bare)
    telling = [word for word in words if word not in _KINDS] or words
    return "".join(telling).translate(_LOOKS_LIKE).replace("rn", "m").replace("vv", "w")


def refuse_taken(session: Session, *, trading_name: str, own: UUID | None = None) -> None:
    """Raise `CompanyTakenError` when another company, which was checked, is known by such a name.

    Its legal name counts as well; that of the one who asks does not, for one firm may trade under several names.
    Being suspended frees no name.  `own` is the company itself.
    """
    wanted = shape(trading_name)
    checked = select(Company.trading_name, Company.legal_name).where(Company.verified_at.is_not(None))
    if own is not None:
        checked = checked.where(Company.company_id != own)
    taken = {shape(name) for known in session.execute(checked) for name in known}
    if wanted and wanted in taken:
        raise CompanyTakenError(pointer="/trading_name")
