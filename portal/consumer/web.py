"""Home, your details, and what they were before: the pages of the record a person keeps."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask import Blueprint, flash, redirect, request, url_for

from portal.consumer import addresses, formats, freshness, queries, services
from portal.consumer.catalogue import CATALOGUE, GROUPS, Attribute
from portal.consumer.forms import EditForm, form_for, slug
from portal.consumer.text import InvalidValueError
from portal.errors import InvalidError
from portal.identity.rules import way_back
from portal.web.access import person_id, person_required
from portal.web.context import keyring, now, session
from portal.web.dates import ZONE
from portal.web.pages import page, wants_fragment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from flask.typing import ResponseReturnValue

    from portal.consumer.formats import JsonValue
    from portal.consumer.queries import CurrentValue

pages = Blueprint("consumer", __name__)
_SEEN = re.compile(r"([a-z_.]+)#([0-9]{1,8})", re.ASCII)
_NOT_SEEN = "Open Your details and say there what is still right."
# The ways to another set of fields, and the field that takes the keyboard then.
_STEPS = {"lines": addresses.LINES, "fields": "line1"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the summary list; `saved` is the sequence of the change just made, if it was this one."""

    attribute: Attribute
    lines: list[str] = field(repr=False, default_factory=list)
    changed_at: datetime | None = None
    confirmed_at: datetime | None = None
    version: int = 0
    confirmable: bool = False
    saved: int | None = None

    @property
    def slug(self) -> str:
        return slug(self.attribute)


@pages.get("/home")
@person_required
def home() -> ResponseReturnValue:
    values = _values()
    known_as = values.get("name.known_as") or values.get("name.full")
    missing = [entry for entry in CATALOGUE.values() if entry.name not in values]
    return page(
        "consumer/home.html",
        known_as=known_as.value if known_as else "",
        filled=len(CATALOGUE) - len(missing),
        total=len(CATALOGUE),
        missing=missing[:3],
        stale=[CATALOGUE[name] for name, held in values.items() if freshness.stale(name, held.confirmed_at, now=now())],
        absent={entry.name for entry in missing},
    )


@pages.get("/details")
@person_required
def details() -> ResponseReturnValue:
    rows = _rows(CATALOGUE.values(), _saved())
    groups = [(group, [row for row in rows if row.attribute.group == group]) for group in GROUPS]
    return page("consumer/details.html", groups=groups, announce="", confirmable=any(row.confirmable for row in rows))


@pages.post("/details/confirm")
@person_required
def confirm() -> ResponseReturnValue:
    """Take the person's word that what they see is still right: of one detail, or of all on the page."""
    seen = dict(map(_seen, request.form.getlist("detail")))
    if not seen:
        raise InvalidError(_NOT_SEEN, pointer="/detail")
    right = services.confirm(session(), person_id=person_id(), versions=seen, now=now())
    said = _confirmed(seen, right)
    only = CATALOGUE[next(iter(seen))] if len(seen) == 1 else None
    if wants_fragment() and only:
        return _fragment(only, None, said)
    flash(said, "ok" if right else "hold")
    return redirect(url_for("consumer.details", _anchor=f"f-{slug(only)}" if only else None), 303)


@pages.get("/details/<attribute>")
@person_required
def detail(attribute: str) -> ResponseReturnValue:
    """Show the row alone to htmx (*Cancel*); who comes by its address sees it among the others."""
    entry = _entry(attribute)
    if not wants_fragment():
        return redirect(url_for("consumer.details", _anchor=f"f-{slug(entry)}"))
    return _fragment(entry, None)


@pages.get("/details/<attribute>/edit")
@person_required
def edit(attribute: str) -> ResponseReturnValue:
    entry = _entry(attribute)
    held = _values().get(entry.name)
    given = formats.fill(entry, held.value if held else None)
    form = form_for(entry, given)
    return _editor(entry, form, held=held is not None, focus=next(iter(form)).name)


@pages.post("/details/<attribute>/edit")
@person_required
def change(attribute: str) -> ResponseReturnValue:
    """Keep the value, or draw the form again: with what to mend, or with the fields of another country."""
    entry = _entry(attribute)
    if step := request.form.get("step"):
        form = form_for(entry, _stepped(request.form, step))
        return _editor(entry, form, held=entry.name in _values(), focus=_STEPS.get(step, ""))
    try:
        value = formats.parse(entry, request.form, today=now().astimezone(ZONE).date())
    except InvalidValueError as error:
        form = form_for(entry, request.form)
        form.refuse(error)
        return _editor(entry, form, held=entry.name in _values(), status=error.status)
    return _keep(entry, value)


@pages.post("/details/<attribute>/remove")
@person_required
def remove(attribute: str) -> ResponseReturnValue:
    return _keep(_entry(attribute), None)


@pages.get("/details/history")
@person_required
def whole_history() -> ResponseReturnValue:
    return page("consumer/history.html", attribute=None, past=_history(None), now=now(), shown=_shown)


@pages.get("/details/<attribute>/history")
@person_required
def history(attribute: str) -> ResponseReturnValue:
    entry = _entry(attribute)
    return page("consumer/history.html", attribute=entry, past=_history(entry.name), now=now(), shown=_shown)


@pages.post("/details/<attribute>/undo")
@person_required
def undo(attribute: str) -> ResponseReturnValue:
    entry = _entry(attribute)
    version = request.form.get("version", "")
    if not version.isdecimal() or len(version) > len("99999999"):
        raise services.UnknownVersionError(private="not a version")
    sequence = services.undo(
        session(),
        keyring=keyring(),
        person_id=person_id(),
        attribute=entry.name,
        version=int(version),
        now=now(),
    )
    return _back_to_details(entry, sequence)


def _keep(entry: Attribute, value: JsonValue | None) -> ResponseReturnValue:
    before = queries.sequence(session(), person_id=person_id())
    after = services.save(session(), keyring=keyring(), person_id=person_id(), changes={entry.name: value}, now=now())
    saved = after if after != before else None
    # Whoever came here from a question that needs this detail goes back to it.
    if place := way_back(request.args.get("next"), default=""):
        return ("", 204, {"HX-Redirect": place}) if wants_fragment() else redirect(place, 303)
    if not wants_fragment():
        return _back_to_details(entry, saved)
    done = "Removed" if value is None else "Saved"
    return _fragment(entry, saved, f"{done}: {entry.noun}." if saved else "Nothing was different.")


def _back_to_details(entry: Attribute, saved: int | None) -> ResponseReturnValue:
    return redirect(url_for("consumer.details", saved=saved, _anchor=f"f-{slug(entry)}"), 303)


def _seen(detail: str) -> tuple[str, int]:
    """Return the attribute and version that a form says its person saw, as `name.full#3`."""
    found = _SEEN.fullmatch(detail)
    if found is None or found[1] not in CATALOGUE:
        raise InvalidError(_NOT_SEEN, pointer="/detail")
    return found[1], int(found[2])


def _confirmed(seen: Collection[str], right: Sequence[str]) -> str:
    if not right:
        return "Nothing to confirm: you said so within the last day, or it has changed. Look at it again."
    if len(seen) == 1:
        return f"Still right: {CATALOGUE[right[0]].noun}. Whoever you share it with is told."
    left = len(seen) - len(right)
    rest = " What you changed or confirmed within the last day stays as it is." if left else ""
    return (
        f"Still right: {len(right)} {'detail' if len(right) == 1 else 'details'}. Whoever you share with is told.{rest}"
    )


def _entry(name: str) -> Attribute:
    if name not in CATALOGUE:
        raise services.UnknownAttributeError(private="no such attribute")
    return CATALOGUE[name]


def _values() -> dict[str, CurrentValue]:
    return queries.current(session(), keyring=keyring(), person_id=person_id())


def _saved() -> int | None:
    # A number from the address is only believed when the record stands there.
    saved = request.args.get("saved", type=int)
    return saved if saved and saved == queries.sequence(session(), person_id=person_id()) else None


def _rows(wanted: Iterable[Attribute], saved: int | None) -> list[Row]:
    values = _values()
    sealed = queries.entries(session(), person_id=person_id())
    just_now = {name for name, entry in sealed.items() if entry["sequence"] == saved}
    return [_row(entry, values.get(entry.name), saved if entry.name in just_now else None) for entry in wanted]


def _row(entry: Attribute, held: CurrentValue | None, saved: int | None) -> Row:
    if held is None:
        return Row(attribute=entry, saved=saved)
    return Row(
        attribute=entry,
        lines=formats.lines(entry, held.value),
        changed_at=held.changed_at,
        confirmed_at=held.confirmed_at,
        version=held.version,
        confirmable=not freshness.fresh(held.confirmed_at, now=now()),
        saved=saved,
    )


def _fragment(entry: Attribute, saved: int | None, announce: str = "") -> ResponseReturnValue:
    return page("consumer/details.html", "row", row=_rows([entry], saved)[0], announce=announce)


def _editor(entry: Attribute, form: EditForm, *, held: bool, status: int = 200, focus: str = "") -> ResponseReturnValue:
    # A whole page starts at its top, so only a fragment takes the keyboard to a field (`focus`).
    return page(
        "consumer/edit.html",
        "editor",
        status,
        attribute=entry,
        slug=slug(entry),
        form=form,
        held=held,
        act=f"Save {entry.noun}",
        focus=focus if wants_fragment() else "",
    )


def _stepped(form: Mapping[str, str], step: str) -> dict[str, str]:
    """Return what was typed, moved to the fields of the next step: nobody types anything twice."""
    given = {name: text for name, text in form.items() if name != "as_lines"}
    if step == "lines":
        parts = (form.get(name, "") for name in ("line1", "line2", "city_area", "city", "country_area", "postal_code"))
        return {**given, "as_lines": "1", addresses.LINES: "\n".join(filter(None, parts))}
    if step == "fields" and form.get("as_lines"):
        first, _, rest = form.get(addresses.LINES, "").strip().partition("\n")
        return {**given, "line1": first.strip(), "line2": ", ".join(filter(None, map(str.strip, rest.splitlines())))}
    return given | ({"as_lines": "1"} if form.get("as_lines") else {})


def _history(attribute: str | None) -> list[queries.PastValue]:
    return queries.history(session(), keyring=keyring(), person_id=person_id(), attribute=attribute)


def _shown(past: queries.PastValue) -> str:
    return formats.display(CATALOGUE[past.attribute], past.value) if past.attribute in CATALOGUE else ""
