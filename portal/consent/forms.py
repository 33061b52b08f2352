"""The consent screen's form: what to share, for how long, and the answer."""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

from flask import redirect, request, url_for
from flask_wtf import FlaskForm
from wtforms import HiddenField, SelectField, SelectMultipleField
from wtforms.validators import ValidationError
from wtforms.widgets import CheckboxInput, ListWidget

from portal.consent import freezing
from portal.vault.keyring import SESSION
from portal.web import context
from portal.web.access import has_two_proofs, person_id, to_second_proof

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flask.typing import ResponseReturnValue

    from portal.consent.asking import Ask

SHARE = "share"
KEEP = "keep"
# Beside "share" and "decline" there is: not now, never again, and less than they ask.
LATER = "later"
NEVER = "never"
OFFER = "offer"


def way_there(place: str, *, proof: bool) -> ResponseReturnValue | None:
    """Return where a person must go before they can share anything, and back to `place`; None where they can.

    Whoever has frozen everything unfreezes it first; with `proof` they prove once more that it is them.
    """
    try:
        freezing.check_giving(context.session(), person_id=person_id())
    except freezing.FrozenError:
        return redirect(url_for("freezing.unfreeze", next=place), 303)
    return to_second_proof(place) if proof and not has_two_proofs() else None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the person chose, as `consent.services.give` takes it."""

    attributes: Sequence[str]
    mode: str
    days: int | None


class Details(SelectMultipleField):
    """Checkboxes of details, each of which must be one that is listed."""

    widget = ListWidget(prefix_label=False)
    option_widget = CheckboxInput()
    known: frozenset[str] = frozenset()

    def pre_validate(self, _form: object) -> None:
        if not set(self.data or ()) <= self.known:
            raise ValidationError("Choose only from the details listed here.")


class Carried(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no annotations
    """A form whose answer survives a way elsewhere and back: the address carries it, and it holds no value of anybody.

    `parts` are the fields that carry it.
    """

    parts: tuple[str, ...] = ()
    ask: Ask
    returned = False

    def as_query(self) -> str:
        """Return the answer as a query, for the way to the second proof and back."""
        answer: dict[str, Any] = {}
        for part in self.parts:
            chosen = self[part].data
            answer[part] = list(chosen or ()) if isinstance(self[part], Details) else str(chosen or "")
        return urlencode(answer | {"by": self._by(answer)}, doseq=True)

    def way_back(self, place: str) -> str:
        """Return the address of `place` with the answer."""
        return f"{place}{'&' if '?' in place else '?'}{self.as_query()}"

    def as_chosen(self) -> Self:
        """Fill in the answer that the address carries: whoever went to prove it is them finds it as they left it.

        Only their own answer to this very question: a link that somebody else made ticks nothing.
        """
        args = request.args
        answer = {
            part: args.getlist(part) if isinstance(self[part], Details) else args.get(part, "") for part in self.parts
        }
        said = request.args.get("by", "")
        if request.method == "GET" and said.isascii() and compare_digest(said, self._by(answer)):
            self.returned = True
            for part, chosen in answer.items():
                self[part].data = chosen
        return self

    def _by(self, answer: Mapping[str, Any]) -> str:
        key = context.keyring().derive(SESSION, b"ucm-chosen-answer-v1")
        said = json.dumps([str(person_id()), self.ask.mark, answer])
        return hmac.digest(key, said.encode(), "sha256").hex()


class AskForm(Carried):
    """Nothing is ticked beforehand, except what the person shares already."""

    parts = ("attributes", "duration")
    seen = HiddenField()
    attributes = Details("You choose these", choices=())
    duration = SelectField("How long may they use them?", validate_choice=False)

    def __init__(self, ask: Ask, *, ends: str = "", **values: Any) -> None:  # noqa: ANN401 - WTForms' own arguments
        """Ask what `ask` asks; `ends` is the label of "as it is now" where something is shared already."""
        ends = ends or ask.ends
        held = [item.attribute for item in ask.chooses if item.held]
        first = KEEP if ends else ask.durations[0].value
        super().__init__(data={"seen": ask.mark, "attributes": held, "duration": first}, **values)
        self.ask = ask
        self.attributes.choices = [(item.attribute, item.label) for item in ask.chooses]
        self.attributes.known = frozenset(item.attribute for item in ask.chooses)
        choices = [(KEEP, ends)] * bool(ends) + [(one.value, one.label) for one in ask.durations]
        self.duration.choices = choices
        self.offered = dict(choices)

    def validate(self, extra_validators: Mapping[str, Sequence[Any]] | None = None) -> bool:
        """Refuse an answer to another question, one without a detail they need, and whatever the fields refuse."""
        # What else is wrong with an answer to another question only hides that it was another one.
        if not self._seen_as_it_is():
            return False
        valid = bool(super().validate(extra_validators))
        missing = [item.label[:1].lower() + item.label[1:] for item in self.ask.missing]
        if missing:
            self.form_errors.append(f"Add your {' and your '.join(missing)} before you share.")
        return valid and not missing

    def _seen_as_it_is(self) -> bool:
        # The page may have stood open while the organisation, its purpose or the person's own sharing changed.
        # An answer with neither field comes from a page that asked less.
        same = bool(self.seen.data == self.ask.mark and (self.seen.raw_data or self.duration.raw_data))
        self.seen.data = self.ask.mark
        if not same:
            self.form_errors.append("Something on this page has changed since you opened it. Read it again.")
        return same

    def validate_duration(self, field: SelectField) -> None:
        """Refuse a duration that is not offered."""
        # A duration left out of the form would otherwise be the first one.
        if not field.raw_data or field.data not in self.offered:
            raise ValidationError("Choose how long they may use them.")

    @property
    def declined(self) -> bool:
        """Whether the person pressed "Do not share"; any answer but "share" is no consent."""
        return request.form.get("answer") != SHARE

    @property
    def answer(self) -> str:
        """Which of the answers was given."""
        return request.form.get("answer", "")

    def first(self, place: str, *, proof: bool = False) -> ResponseReturnValue | None:
        """Return where the person must go before they share, and back to `place` with what they chose; else None.

        A second proof is needed where a detail takes one, or with `proof`.
        """
        return way_there(self.way_back(place), proof=proof or self.ask.needs_second_proof(self.choice().attributes))

    @property
    def keeps_end(self) -> bool:
        """Whether the person left mode and end as they are."""
        return bool(self.duration.data == KEEP)

    def choice(self) -> Choice:
        """Return what was chosen; ask only after `validate_on_submit`."""
        needed = [item.attribute for item in (*self.ask.keeps, *self.ask.needs)]
        picked = next((one for one in self.ask.durations if one.value == self.duration.data), None)
        return Choice(
            attributes=[*needed, *(self.attributes.data or ())],
            mode=picked.mode if picked else self.ask.mode,
            days=picked.days if picked else None,
        )
