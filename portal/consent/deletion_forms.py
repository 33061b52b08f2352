"""What staff fill in about details that they were asked to delete: for each, nothing yet, deleted, or held and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask_wtf import FlaskForm
from wtforms import RadioField, SelectField, StringField
from wtforms.validators import Length, Optional

from portal.consent import deletion_rules as rules
from portal.consent.deletions import Said
from portal.consumer.catalogue import label
from portal.web.fields import DayField

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wtforms import Field

    from portal.consent.models import Deletion
    from portal.errors import PortalError

LATER, DELETED, HELD = "later", "deleted", "held"
_ANSWERS = {LATER: "Nothing to say yet", DELETED: "We deleted it", HELD: "We must keep it for now"}
# What they read is about themselves, so it is turned round for whoever chooses.
REASONS = {
    "": "Choose a reason",
    "accounts": "The law makes us keep our accounts and tax papers",
    "other-law": "Another law makes us keep it",
    "legal-claim": "We need it for a legal claim",
    "not-settled": "Something between us is not paid or settled yet",
    "authority": "An authority has ordered us to keep it",
}
_PARTS = ("answer", "reason", "until", "words")


class DeletionForm(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    """The fields of each detail, numbered as `rows` are; made by `of`."""

    rows: Sequence[Deletion] = ()

    def of_detail(self, place: int) -> dict[str, Field]:
        """Return the fields of one detail, by what they are for."""
        return {part: self[f"{part}_{place}"] for part in _PARTS}

    def said(self) -> list[tuple[int, Said]]:
        """Return what was answered, each with the number of its detail."""
        return [(place, self._said(place)) for place in range(len(self.rows)) if self._answer(place) != LATER]

    def is_of_one_mind(self) -> bool:
        """Say whether all may be said to be deleted; where something is filled in as kept, ask which it is."""
        kept = [place for place in range(len(self.rows)) if self._is_kept(place)]
        for place in kept:
            self[f"answer_{place}"].errors = [
                "You filled in that you must keep this. Save it first, or say here that you deleted it."
            ]
        return not kept

    def refuse(self, error: PortalError, places: Sequence[int]) -> None:
        """Put the sentence of a refusal beside the field it points at; `places` are those of what was said."""
        _empty, _details, *where = error.pointer.split("/")
        if not where:
            self.form_errors.append(error.public)
            return
        part = where[1] if len(where) > 1 and where[1] in _PARTS else "answer"
        self[f"{part}_{places[int(where[0])]}"].errors = [error.public]

    def _is_kept(self, place: int) -> bool:
        why = any(self[f"{part}_{place}"].raw_data not in (None, [], [""]) for part in ("reason", "until", "words"))
        return self._answer(place) == HELD or (why and self._answer(place) == LATER)

    def _answer(self, place: int) -> str:
        return str(self[f"answer_{place}"].data or LATER)

    def _said(self, place: int) -> Said:
        row, deleted = self.rows[place], self._answer(place) == DELETED
        if deleted:
            return Said(attribute=row.attribute, deleted=True)
        return Said(
            attribute=row.attribute,
            deleted=False,
            reason=self[f"reason_{place}"].data or "",
            until=self[f"until_{place}"].data,
            words=(self[f"words_{place}"].data or "").strip(),
        )


def of(rows: Sequence[Deletion]) -> DeletionForm:
    """Return a form with the fields of each of these details."""
    fields: dict[str, Any] = {"rows": rows}
    for place, row in enumerate(rows):
        fields |= _fields(place, row)
    made: DeletionForm = type("DeletionForm", (DeletionForm,), fields)()
    return made


def _fields(place: int, row: Deletion) -> dict[str, Field]:
    name = label(row.attribute).lower()
    words = f"Use at most {rules.LONGEST_WORDS} characters."
    return {
        f"answer_{place}": RadioField(f"What did you do with it ({name})?", choices=_ANSWERS, default=LATER),
        f"reason_{place}": SelectField("Why you must keep it", choices=REASONS, default=""),
        f"until_{place}": DayField("The day on which you will delete it", [Optional()]),
        f"words_{place}": StringField(
            "The law, in a few words", [Optional(), Length(max=rules.LONGEST_WORDS, message=words)]
        ),
    }
