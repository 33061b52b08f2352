"""Fields that several slices' forms have."""

from __future__ import annotations

from typing import Any, Final

from wtforms import DateField
from wtforms.validators import ValidationError

_YEARS: Final = range(2000, 2100)


class DayField(DateField):
    """One day as browsers send it, 2026-03-05."""

    def process_formdata(self, valuelist: list[Any]) -> None:
        try:
            super().process_formdata(valuelist)
        except ValueError:
            raise ValueError("Enter a day such as 2026-03-05.") from None

    def pre_validate(self, form: object) -> None:  # noqa: ARG002 - WTForms' own signature
        if self.data and self.data.year not in _YEARS:
            raise ValidationError("Enter a day such as 2026-03-05.")
