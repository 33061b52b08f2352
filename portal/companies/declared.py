"""What one version of a purpose says: checked whole, and in the form in which it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from portal.companies import ceilings, rules
from portal.companies.purposes import CONSENT, ONCE, SEE_ONCE, use

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from portal.companies.ceilings import Beyond


class OverAskingError(rules.PurposeError):
    """A purpose asks for more than one of its kind may; `found` is all of it, and the first speaks for the rest."""

    code = "over-asking"

    def __init__(self, found: Sequence[Beyond]) -> None:
        self.found = tuple(found)
        super().__init__(found[0].sentence, pointer=found[0].pointer)


def columns(
    *,
    sentence: str,
    dpv: str,
    mode: str,
    required: Iterable[tuple[str, str]],
    optional: Iterable[tuple[str, str]],
    retention_days: int,
    catalogue: Collection[str],
    longest_days: int = rules.LONGEST_DAYS,
    pulls_a_day: int | None = None,
    lawful_basis: str = CONSENT,
) -> dict[str, Any]:
    """Return the content of a version of a purpose, by column.

    `required` and `optional` are (attribute, reason) pairs, `catalogue` holds the attributes there are; `dpv` is a
    key of `purposes.PURPOSES`, `mode` of `purposes.USES`, `lawful_basis` of `purposes.BASES`.  `pulls_a_day` is how
    often at most the client looks at one person's details.  Raises `rules.PurposeError`, `OverAskingError`.
    """
    words, kept_mode = rules.sentence(sentence), mode_of(mode, retention_days)
    rules.terms(
        dpv=dpv, mode=kept_mode, retention_days=retention_days, longest_days=longest_days, pulls_a_day=pulls_a_day,
        lawful_basis=lawful_basis,
    )  # fmt: skip
    needs, wishes = rules.asked(required, optional, catalogue=catalogue)
    said = {
        "sentence": words, "dpv": dpv, "lawful_basis": lawful_basis, "mode": kept_mode, "required": needs,
        "optional": wishes, "retention_days": retention_days, "longest_days": longest_days,
        "pulls_a_day": pulls_a_day,
    }  # fmt: skip
    check_ceiling(said)
    return said


def mode_of(chosen: str, retention_days: int) -> str:
    """Return the mode that a way of use goes by; raise `rules.PurposeError` where who only looks would keep it."""
    if chosen == SEE_ONCE and retention_days:
        sentence = "Who sees details once keeps nothing: enter 0, or choose to keep a copy."
        raise rules.PurposeError(sentence, pointer="/retention_days")
    return ONCE if chosen == SEE_ONCE else chosen


def check_ceiling(said: dict[str, Any]) -> None:
    """Raise `OverAskingError` when the content of a version goes beyond the ceiling of its kind as it is now."""
    names = [item["attribute"] for item in (*said["required"], *said["optional"])]
    asked = ceilings.Asked(
        names, use(said["mode"], said["retention_days"]), said["retention_days"], said["longest_days"],
        said["pulls_a_day"], said["lawful_basis"],
    )  # fmt: skip
    if found := ceilings.beyond(said["dpv"], asked):
        raise OverAskingError(found)
