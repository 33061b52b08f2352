"""Answering with less than was asked: the form, and what its page says.

Every detail that is asked for can be left out here, also what they say they need; nothing is ticked beforehand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wtforms import HiddenField, RadioField, SelectField
from wtforms.validators import InputRequired

from portal.consent import asking, terms
from portal.consent.counters import Less
from portal.consent.forms import Carried, Details

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portal.consent.asking import Ask, Item

COUNTER = "counter"
BACK = "back"
SEND = "Send this offer"
_WAYS = {
    terms.UPDATED: "Kept up to date: they get a new one at once when you change it",
    terms.ASKED: "When they ask: they see what is there at that moment",
    terms.ONCE: "Once: they see it one time",
}


class OfferForm(Carried):
    """What a person offers; `mode` and `duration` have one choice each where one look is all they ask for."""

    parts = ("attributes", "mode", "duration")
    seen = HiddenField()
    attributes = Details("What you would share", choices=())
    mode = RadioField("How they may use it", validators=[InputRequired("Choose how they may use it.")])
    duration = SelectField("For how long", validators=[InputRequired("Choose for how long.")])

    def __init__(self, ask: Ask, **values: Any) -> None:  # noqa: ANN401 - WTForms' own arguments
        super().__init__(data={"seen": ask.mark}, **values)
        self.ask, self.items = ask, items(ask)
        self.attributes.choices = [(item.attribute, item.label) for item in self.items]
        self.attributes.known = frozenset(item.attribute for item in self.items)
        self.ways = [(mode, _WAYS[mode]) for mode in terms.modes(ask.mode)]
        self.mode.choices = self.ways
        self.times = {one.value: one for one in terms.offers(ask.wanted)}
        self.duration.choices = [(one.value, one.label) for one in self.times.values()]

    def validate(self, extra_validators: Mapping[str, Sequence[Any]] | None = None) -> bool:
        """Refuse an offer that answers another question, or offers nothing, and whatever the fields refuse."""
        if self.seen.data != self.ask.mark:
            self.seen.data = self.ask.mark
            self.form_errors.append("Something on this page has changed since you opened it. Read it again.")
            return False
        valid = bool(super().validate(extra_validators))
        if not self.attributes.data:
            self.attributes.errors = ["Choose at least one detail to offer."]
        return valid and bool(self.attributes.data)

    def offered(self, *, level: int) -> Less:
        """Return what is offered by somebody who proved so surely who they are; ask only after `validate_on_submit`."""
        days = self.times[self.duration.data].days
        return Less(attributes=list(self.attributes.data or ()), mode=self.mode.data, days=days, level=level)


def brought_back(ask: Ask) -> OfferForm | None:
    """Return the offer that somebody had filled in before they went to prove who they are, or to unfreeze."""
    form = OfferForm(ask).as_chosen() if ask.can_offer else None
    return form if form is not None and form.returned else None


def items(ask: Ask) -> list[Item]:
    """Return every detail that is asked for, those they say they need first."""
    return [item for item in (*ask.needs, *ask.chooses) if item.attribute in ask.wanted.attributes]


def title(ask: Ask) -> str:
    return f"Offer {ask.organisation.name} less"


def shown(ask: Ask, form: OfferForm) -> dict[str, Any]:
    """Return the exact text of the page, without a value, and what was chosen on it."""
    words = {
        "title": title(ask),
        "replaces": "",
        "ways": [label for _mode, label in form.ways],
        "durations": [one.label for one in form.times.values()],
        "answers": [SEND, "Back to what they ask"],
    }
    chosen = {"duration": form.times[form.duration.data].label, "way": _WAYS[form.mode.data]}
    return asking.shown(ask) | words | {"chosen": chosen}
