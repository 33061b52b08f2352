"""What a person, somebody at a company and an operator fill in about a question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask_wtf import FlaskForm
from wtforms import BooleanField, RadioField, SelectField, TextAreaField
from wtforms.validators import InputRequired, Optional, StopValidation

from portal.consumer import text
from portal.disputes import rules

if TYPE_CHECKING:
    from wtforms import Field, Form

_DECISIONS = {
    rules.UNFOUNDED: "There is nothing to mend",
    rules.MEND: "The organisation must mend something",
    rules.SUSPEND: "Suspend the app: it gets no details from now on",
}


class _Words:
    """Keeps what was written as people type it, lines and all; says `missing` where something has to be there."""

    def __init__(self, what: str, missing: str = "") -> None:
        self.what, self.missing = what, missing

    def __call__(self, _form: Form, field: Field) -> None:
        try:
            written = text.clean(field.data or "", what=self.what, longest=rules.LONGEST, lines=True)
        except text.InvalidValueError as error:
            raise StopValidation(f"{error.errors['value']}.") from error
        if self.missing and not written:
            raise StopValidation(self.missing)
        field.data = written


class QuestionForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no annotations
    """The person's question about one row."""

    choice = RadioField("What surprises you?", [Optional()], choices=dict(rules.CHOICES))
    words = TextAreaField("Say it in your own words", [_Words("What you write", "Say what surprises you.")])
    pause = BooleanField("Pause sharing with them")


class ObjectionForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no annotations
    """Why an answer does not settle it; that may go without saying."""

    words = TextAreaField("What is still open?", [_Words("What you write")])


class AnswerForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no annotations
    """The company's explanation."""

    explanation = TextAreaField("Your explanation", [_Words("The explanation", "Explain what happened.")])


class DecisionForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF ships no annotations
    """The operator's decision, and the reason that both sides read."""

    decision = RadioField("Decision", [InputRequired("Choose a decision.")], choices=_DECISIONS)
    days = SelectField(
        "Time to mend it",
        choices={str(days): f"{days} days" for days in rules.DAYS_TO_MEND},
        coerce=int,
        default=rules.DAYS_TO_MEND[1],
    )
    reason = TextAreaField("Reason", [_Words("The reason", "Give the reason, for both sides.")])

    def explain_only(self) -> None:
        """Offer no more than an explanation: no organisation has anything to mend in what an operator did."""
        self.decision.choices = {rules.UNFOUNDED: "Explain it"}
