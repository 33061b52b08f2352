"""The forms of an account; each message says what to enter."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email
from flask_wtf import FlaskForm
from wtforms import EmailField, PasswordField, StringField, ValidationError
from wtforms.validators import InputRequired, Length

from portal.identity import rules

_NO_EMAIL = "Enter your email address"
_ODD_EMAIL = "Enter an email address in the correct format, like name@example.com"
_NO_CODE = "Enter all digits of the code from the email"


def _stripped(value: str | None) -> str | None:
    return value.strip() if value else value


class EmailForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no annotations
    email = EmailField("Email address", filters=[_stripped], validators=[InputRequired(_NO_EMAIL)])

    def validate_email(self, field: EmailField) -> None:
        """Refuse what cannot be an address; whether it exists is for the code to show."""
        try:
            validate_email(field.data or "", check_deliverability=False)
        except EmailNotValidError:
            raise ValidationError(_ODD_EMAIL) from None


class SignInForm(EmailForm):
    password = PasswordField("Password", validators=[Length(max=4096, message="Enter your password")])


class CodeForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no annotations
    code = StringField("6-digit code", validators=[InputRequired(_NO_CODE), Length(max=64, message=_NO_CODE)])

    def validate_code(self, field: StringField) -> None:
        """Refuse what is no code before it costs a try."""
        if rules.code_of(field.data or "") is None:
            raise ValidationError(_NO_CODE)


class KnownPasswordForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no annotations
    password = PasswordField(
        "Password",
        validators=[InputRequired("Enter your password"), Length(max=4096, message="Enter your password")],
    )


class PasswordForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no annotations
    password = PasswordField("New password", validators=[InputRequired("Enter a password")])


class PlainForm(FlaskForm):  # type: ignore[misc]  # Flask-WTF has no annotations
    """A button and its form token."""
