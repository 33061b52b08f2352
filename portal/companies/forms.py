"""What company staff fill in; each answer is judged by the rules the services go by, all of them at once."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from babel import Locale
from flask_wtf import FlaskForm
from wtforms import BooleanField, HiddenField, IntegerField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import InputRequired, NumberRange, Optional, StopValidation

from portal.companies import ceilings, declared, keys, registration, rules
from portal.companies.purposes import BASES, CONSENT, PURPOSES, UPDATED, USES, use
from portal.errors import PortalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from wtforms import Field, Form

    from portal.companies.queries import PurposeFacts

NEEDED, WISHED = "required", "optional"
ANSWERS = {"plain": "JSON", "signed": "Signed (ES256)", "encrypted": "Signed and encrypted to your key in use"}
_LONGEST = {"365": "12 months", "180": "6 months", "90": "3 months", "30": "1 month"}
_NO_COUNTRIES = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}


class Checked:
    """A validator made of a rule: what the rule refuses is said beside the field."""

    def __init__(self, rule: Callable[[str], object]) -> None:
        self.rule = rule

    def __call__(self, _form: Form, field: Field) -> None:
        try:
            self.rule(field.data or "")
        except PortalError as error:
            raise StopValidation(error.public) from error


class RefusableForm(FlaskForm):  # type: ignore[misc] # Flask-WTF ships no annotations
    """A form that can show what a service refused, beside the field the refusal points at."""

    pointers: Mapping[str, str] = {}

    def values(self) -> dict[str, Any]:
        """Return what was filled in, by field, without the form token; a field that was not sent is empty."""
        return {name: "" if value is None else value for name, value in self.data.items() if name != "csrf_token"}

    def refuse(self, error: PortalError) -> None:
        """Put the sentence of `error` beside its field, or above all of them."""
        self.say(error.pointer, error.public)

    def say(self, pointer: str, sentence: str) -> None:
        """Put a sentence beside the field that a pointer leads to, or above all of them."""
        name = self.pointers.get(pointer, pointer.strip("/").partition("/")[0])
        if name in self:
            self[name].errors = [sentence]
        else:
            self.form_errors.append(sentence)

    @property
    def status(self) -> int:
        """The status of a page that shows it."""
        return 422 if self.errors else 200


class CompanyForm(RefusableForm):
    legal_name = StringField("Legal name", [Checked(partial(rules.line, what="the legal name"))])
    trading_name = StringField("Trading name", [Checked(partial(rules.line, what="the trading name"))])
    registration_number = StringField(
        "Registration number", [Checked(partial(rules.line, what="the registration number", longest=60))]
    )
    country = SelectField("Country", [Checked(rules.country)], validate_choice=False)
    contact_email = StringField("Contact email address", [Checked(rules.email)])
    privacy_url = StringField("Address of your privacy page", [Checked(partial(rules.web_address, pointer=""))])
    stop_effect = TextAreaField("What happens for a person who stops sharing?", [Checked(rules.stop_effect)])

    def __init__(self, **values: Any) -> None:  # noqa: ANN401 - WTForms takes any value
        super().__init__(**values)
        self.country.choices = {"": "Choose a country"} | countries()


class PurposeForm(RefusableForm):
    """A purpose; `purpose_form` adds two fields for each attribute of the catalogue."""

    rows: Sequence[tuple[str, str, str]] = ()
    pointers: Mapping[str, str] = {}

    sentence = StringField("What do you need people’s details for?", [Checked(rules.sentence)])
    dpv = SelectField(
        "Kind of purpose",
        [InputRequired("Choose the kind of purpose.")],
        choices={"": "Choose from the list"} | dict(PURPOSES),
    )
    # What is not sent is not answered: without these checks it would be taken for the first choice.
    lawful_basis = RadioField(
        "Why you may use the details (lawful basis)", [InputRequired("Choose the lawful basis.")],
        choices=dict(BASES), default=CONSENT,
    )  # fmt: skip
    mode = RadioField(
        "How you use the details", [InputRequired("Choose how you use the details.")],
        choices=dict(USES), default=UPDATED,
    )  # fmt: skip
    retention_days = IntegerField(
        "Days you keep the details after someone stops",
        [InputRequired("Enter a number of days."),
         NumberRange(0, rules.RETENTION_DAYS, f"Enter a number of days from 0 to {rules.RETENTION_DAYS}.")],
        default=30,
        invalid_value_message="Enter a number of days.",  # type: ignore[call-arg] # newer than its annotations
    )  # fmt: skip
    longest_days = SelectField(
        "Longest time before you ask again", [InputRequired("Choose the longest time.")], coerce=int, default=365,
        choices=_LONGEST,
    )  # fmt: skip

    pulls_a_day = IntegerField(
        "Most times you look at one person’s details in a day",
        [Optional(),
         NumberRange(1, rules.PULLS_A_DAY, f"Enter a number from 1 to {rules.PULLS_A_DAY}, or leave it empty.")],
        invalid_value_message="Enter a number, or leave it empty.",  # type: ignore[call-arg] # newer than its annotations
    )  # fmt: skip

    def asked(self, want: str) -> list[tuple[str, str]]:
        """Return the (attribute, reason) pairs marked as `want`."""
        return [(attribute, self[why].data or "") for attribute, choice, why in self.rows if self[choice].data == want]

    def said(self) -> dict[str, Any]:
        """Return what was declared, as the arguments of `declared.columns` but for the catalogue."""
        names = ("sentence", "dpv", "lawful_basis", "mode", "retention_days", "longest_days")
        return {name: self[name].data for name in names} | {
            "required": self.asked(NEEDED),
            "optional": self.asked(WISHED),
            "pulls_a_day": self.pulls_a_day.data or None,
        }

    def offer_days(self, days: int) -> None:
        """Let the longest time be what a program has declared, which need not be among the choices."""
        if str(days) not in _LONGEST:
            self.longest_days.choices = {str(days): f"{days} days", **_LONGEST}

    def validate(self, extra_validators: Any = None) -> bool:  # noqa: ANN401 - as WTForms declares it
        """Check the fields, that each detail asked for has its reason, and that none of it is over-asking."""
        fine: bool = super().validate(extra_validators)
        self._check_details()
        self._check_use()
        return fine and not self.errors

    def _check_details(self) -> None:
        catalogue = [attribute for attribute, _, _ in self.rows]
        for attribute, choice, why in self.rows:
            if self[choice].data in {NEEDED, WISHED}:
                try:
                    rules.asked([(attribute, self[why].data or "")], [], catalogue=catalogue)
                except PortalError as error:
                    self[why].errors = [error.public]
        if not any(self[choice].data in {NEEDED, WISHED} for _, choice, _ in self.rows):
            self[self.rows[0][1]].errors = ["Ask for at least one detail."]

    def _check_use(self) -> None:
        # Whatever else is wrong is said at the same time: nobody mends a form twice.
        kind, mode, days = self.dpv.data, self.mode.data, self.retention_days.data
        if kind not in PURPOSES or mode not in USES or days is None:
            return
        try:
            way = use(declared.mode_of(mode, days), days)
        except PortalError as error:
            self.refuse(error)
            return
        names = [name for name, _ in (*self.asked(NEEDED), *self.asked(WISHED))]
        asked = ceilings.Asked(
            names, way, days, self.longest_days.data or 0, self.pulls_a_day.data, self.lawful_basis.data or CONSENT
        )
        labels = {f"/attributes/{attribute}": f"{self[choice].label.text}. " for attribute, choice, _ in self.rows}
        for one in ceilings.beyond(kind, asked):
            self.say(one.pointer, labels.get(one.pointer, "") + one.sentence)


class AppForm(PurposeForm):
    name = StringField("Name of the app", [Checked(partial(rules.line, what="a name for the app", longest=80))])
    environment = SelectField("Kind of app", choices={"test": "Test", "live": "Live"}, default="test")
    redirect_uris = TextAreaField("Redirect addresses", [Checked(lambda text: rules.redirect_uris(text.split()))])


class KeysForm(RefusableForm):
    jwks = TextAreaField("Public keys (JWK Set)", [Checked(lambda text: keys.check(keys.read(text)))])
    group = StringField("Department (optional)", [Checked(partial(keys.group_name, pointer=""))])


class ProofForm(RefusableForm):
    """Asks for a challenge (`act` is `challenge`), or answers the one that is shown."""

    act = HiddenField()
    challenge = HiddenField()
    answer = StringField("The text inside", [InputRequired("Enter the text that was in the challenge.")])


class DepartmentForm(RefusableForm):
    """For each attribute of a purpose the department that reads it."""

    rows: Sequence[tuple[str, str]] = ()

    def chosen(self) -> dict[str, str]:
        """Return the department of each attribute that has one."""
        return {attribute: self[name].data for attribute, name in self.rows if self[name].data}


def department_form(purpose: PurposeFacts, groups: Sequence[str]) -> type[DepartmentForm]:
    """Return the form of a purpose: one choice among `groups` for each attribute, as it stands at first."""
    rows = [(attribute, f"group_{position}") for position, attribute in enumerate(purpose.attributes)]
    fields: dict[str, Any] = {
        name: SelectField(
            attribute, default=purpose.key_groups.get(attribute, ""), choices={"": "Everybody’s key"} | {
                group: group for group in dict.fromkeys((*groups, purpose.key_groups.get(attribute, ""))) if group
            },
        )
        for attribute, name in rows
    }  # fmt: skip
    return type("ChosenDepartmentForm", (DepartmentForm,), fields | {"rows": rows})


class KeyAddressForm(RefusableForm):
    jwks_uri = StringField("Address of your key set (jwks_uri)")


class SettingsForm(RefusableForm):
    """What an app is registered with, but for its keys; the rules of registration judge the whole."""

    pointers: Mapping[str, str] = {
        "/client_name": "name",
        "/grant_types": "approvals",
        "/backchannel_client_notification_endpoint": "notification_endpoint",
    }

    name = StringField("Name of the app", [Checked(partial(rules.line, what="a name for the app", longest=80))])
    redirect_uris = TextAreaField("Redirect addresses")
    post_logout_redirect_uris = TextAreaField("Addresses after sign-out")
    approvals = RadioField(
        "Approval away from the browser (CIBA)", [InputRequired("Choose how you ask.")],
        choices={"off": "Off", "poll": "Poll: your server asks until there is an answer",
                 "ping": "Ping: your server is told when there is an answer"},
    )  # fmt: skip
    notification_endpoint = StringField("Address that is told (only for ping)")
    require_signed_request_object = BooleanField("Accept signed requests only (JAR)")
    authorization_signed = BooleanField("Sign every answer in the browser (JARM)")
    id_token_encrypted = BooleanField("Encrypt ID tokens")
    userinfo = RadioField("Userinfo", [InputRequired("Choose a form.")], choices=dict(ANSWERS))
    introspection = RadioField("Introspection", [InputRequired("Choose a form.")], choices=dict(ANSWERS))


class TokenForm(RefusableForm):
    name = StringField("What it is for", [Checked(partial(rules.line, what="a name for the token", longest=80))])
    environment = SelectField("Kind of app", choices={"test": "Test", "live": "Live"}, default="test")
    uses = IntegerField(
        "How many apps it may register",
        [InputRequired("Enter a number."),
         NumberRange(1, registration.MOST_USES, f"Enter a number from 1 to {registration.MOST_USES}.")],
        default=1,
        invalid_value_message="Enter a number.",  # type: ignore[call-arg] # newer than its annotations
    )  # fmt: skip
    days = IntegerField(
        "Days until it stops working",
        [InputRequired("Enter a number of days."),
         NumberRange(1, registration.MOST_DAYS, f"Enter a number of days from 1 to {registration.MOST_DAYS}.")],
        default=1,
        invalid_value_message="Enter a number of days.",  # type: ignore[call-arg] # newer than its annotations
    )  # fmt: skip


def shown(purpose: PurposeFacts) -> dict[str, Any]:
    """Return what a form shows of a version of a purpose, by field."""
    data: dict[str, Any] = {
        "sentence": purpose.sentence, "dpv": purpose.dpv, "lawful_basis": purpose.lawful_basis, "mode": purpose.use,
        "retention_days": purpose.retention_days, "longest_days": purpose.longest_days,
        "pulls_a_day": purpose.pulls_a_day,
    }  # fmt: skip
    for wanted, items in ((NEEDED, purpose.required), (WISHED, purpose.optional)):
        for attribute, reason in items:
            want, why = _names(attribute)
            data |= {want: wanted, why: reason}
    return data


def _names(attribute: str) -> tuple[str, str]:
    end = attribute.replace(".", "-").replace("_", "-")
    return f"want-{end}", f"why-{end}"


@cache
def form_of(base: type[PurposeForm], catalogue: tuple[tuple[str, str], ...]) -> type[PurposeForm]:
    """Return `base` with a choice and a reason for each (attribute, label) of `catalogue`."""
    fields: dict[str, Any] = {"rows": [], "pointers": {}}
    for attribute, label in catalogue:
        want, why = _names(attribute)
        choices = {"": "Not asked for", NEEDED: "Needed", WISHED: "Wished for"}
        fields[want] = SelectField(label, choices=choices, default="")
        fields[why] = StringField(f"Reason – {label}")
        fields["rows"].append((attribute, want, why))
        fields["pointers"][f"/attributes/{attribute}"] = why
    return type(base.__name__, (base,), fields)


@cache
def countries() -> dict[str, str]:
    """Return ISO 3166-1 codes and English names, by name (CLDR)."""
    named = {code: name for code, name in Locale("en", "GB").territories.items() if len(code) == 2 and code.isalpha()}  # noqa: PLR2004 - alpha-2
    return dict(sorted(((c, n) for c, n in named.items() if c not in _NO_COUNTRIES), key=lambda item: item[1]))
