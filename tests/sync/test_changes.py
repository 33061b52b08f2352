"""Whom a client was told about, page by page: everybody once, and nobody missed who came meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from portal.sync import changes

if TYPE_CHECKING:
    from portal.sync.changes import Changes
    from tests.sync.cast import Firm, World


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "AT_ONCE", 2)


def page(world: World, firm: Firm, after: str | None) -> Changes:
    found: Changes = world.transact(lambda session: changes.since(session, client_id=firm.client_id, after=after))
    return found


@pytest.mark.parametrize(("people", "sizes"), [(1, [1]), (2, [2]), (4, [2, 2]), (5, [2, 2, 1])])
def test_everybody_stands_on_one_page(world: World, people: int, sizes: list[int]) -> None:
    firm = world.firm()
    subs = {world.share(world.person(), firm).sub for _ in range(people)}
    pages = [page(world, firm, None)]
    while pages[-1].more:
        pages.append(page(world, firm, pages[-1].after))
    assert [len(one.found) for one in pages] == sizes
    assert {change.sub for one in pages for change in one.found} == subs


def test_who_comes_while_pages_are_read_stands_behind_them(world: World) -> None:
    firm = world.firm()
    for _ in range(3):
        world.share(world.person(), firm)
    first = page(world, firm, None)
    late = world.share(world.person(), firm).sub
    rest = page(world, firm, first.after)
    assert (len(rest.found), rest.found[-1].sub, rest.more) == (2, late, False)
