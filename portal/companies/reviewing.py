"""What is new in a version of a purpose, for whoever has to judge it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portal.companies.queries import PurposeFacts

_SAID = ("sentence", "dpv", "lawful_basis", "use", "retention_days", "longest_days", "pulls_a_day")


class Changes(NamedTuple):
    """What differs: `said` names members, `new` and `removed` details.

    `again` are details that were asked for before with another reason, or as needed and are wished for now, or the
    other way round.
    """

    said: frozenset[str]
    new: frozenset[str]
    removed: tuple[str, ...]
    again: frozenset[str]

    @property
    def any(self) -> bool:
        return bool(self.said or self.new or self.removed or self.again)


def changes(before: PurposeFacts, after: PurposeFacts) -> Changes:
    """Return in what `after` differs from `before`."""
    old, new = dict(_details(before)), dict(_details(after))
    return Changes(
        said=frozenset(name for name in _SAID if getattr(before, name) != getattr(after, name)),
        new=frozenset(new.keys() - old.keys()),
        removed=tuple(name for name in before.attributes if name not in new),
        again=frozenset(name for name in new.keys() & old.keys() if new[name] != old[name]),
    )


def _details(purpose: PurposeFacts) -> Iterator[tuple[str, tuple[bool, str]]]:
    for needed, items in ((True, purpose.required), (False, purpose.optional)):
        yield from ((name, (needed, reason)) for name, reason in items)
