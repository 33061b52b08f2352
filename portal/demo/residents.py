"""Two hundred further people, the same on every machine, so that asking about many at once is a real question."""

from __future__ import annotations

from portal.demo.cast import BILLS, BRIGHTWELL, DemoPerson, Share, place, text

COUNT = 200

_FIRST = (
    "Ada", "Brendan", "Chiara", "Declan", "Elif", "Fintan", "Gráinne", "Hugo", "Imani", "Jonas",
    "Kasia", "Liam", "Mei", "Nuala", "Oisín", "Priya", "Rónán", "Sadhbh", "Tariq", "Una",
)  # fmt: skip
_LAST = ("Brennan", "Carrigan", "Doherty", "Egan", "Fallon", "Gallagher", "Hoban", "Keane", "Lally", "Moran")
_STREETS = ("Abbey Street", "Bridge Road", "Castle View", "Dock Lane", "Elm Grove", "Friary Hill", "Green Park")
_TOWNS = ("Athlone", "Ballina", "Carlow", "Drogheda", "Ennis", "Fermoy", "Galway", "Kilkenny", "Listowel", "Sligo")


def residents() -> list[DemoPerson]:
    """Return them all; they have no password, and share their name, address and e-mail with Brightwell Energy."""
    return [_resident(number) for number in range(COUNT)]


def _resident(number: int) -> DemoPerson:
    first, last = _FIRST[number % len(_FIRST)], _LAST[number // len(_FIRST) % len(_LAST)]
    street = _STREETS[number % len(_STREETS)]
    return DemoPerson(
        email=f"resident-{number:03}@people.example.org",
        password="",
        story="",
        details={
            "name.full": text(f"{first} {last}"),
            "email.main": text(f"resident-{number:03}@mail.example.org"),
            "phone.mobile": text(f"+353 85 0{number:03} 100"),
            "address.home": place("IE", f"{number % 89 + 1} {street}", city=_TOWNS[number % len(_TOWNS)]),
        },
        shares=(Share(company=BRIGHTWELL, purpose=BILLS, optional=("email.main",)),),
    )
