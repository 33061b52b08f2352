"""Every proof of every tree to 64 leaves, by two verifiers that share no code, and forged ones refused by both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.ledger import tree
from portal.ledger.tree import Growth, Span
from tests.ledger import second_verifier

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 64
LEAVES = [tree.leaf_hash(f"entry {number}".encode()) for number in range(LARGEST + 1)]
# The entries and roots that the makers of certificate logs test theirs with, for 1 to 8 leaves.
ENTRIES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

KEPT: dict[tree.Node, bytes] = {}
ROOT: list[bytes] = [tree.EMPTY]
_growth = Growth(size=0, edge=[])
for _leaf in LEAVES[:LARGEST]:
    KEPT.update(_growth.add(_leaf))
    ROOT.append(_growth.root)

SIZES = range(1, LARGEST + 1)


def path_to(index: int, size: int) -> list[bytes]:
    return [span.hash(KEPT) for span in tree.inclusion(index, size)]


def path_from(first: int, second: int) -> list[bytes]:
    return [span.hash(KEPT) for span in tree.consistency(first, second)]


def included(leaf: bytes, index: int, size: int, root: bytes, path: list[bytes]) -> bool:
    """Return what both verifiers say, which must be the same."""
    said = tree.included(leaf, index=index, size=size, root=root, path=path)
    assert second_verifier.proves_inclusion(leaf, index, size, root, path) == said
    return said


def consistent(first: int, first_root: bytes, second: int, second_root: bytes, path: list[bytes]) -> bool:
    """Return what both verifiers say, which must be the same."""
    said = tree.consistent(first=first, first_root=first_root, second=second, second_root=second_root, path=path)
    assert second_verifier.proves_consistency(first, first_root, second, second_root, path) == said
    return said


def forged(path: list[bytes]) -> Iterator[list[bytes]]:
    """Yield what is nearly this path: a bit turned, a hash left out, one more, one in another's place."""
    for at, each in enumerate(path):
        turned = bytes([each[0] ^ 1]) + each[1:]
        yield [*path[:at], turned, *path[at + 1 :]]
        yield path[:at] + path[at + 1 :]
        yield [*path[:at], each, *path[at:]]
        yield [*path[:at], each[:-1], *path[at + 1 :]]
    for at in range(len(path) - 1):
        yield [*path[:at], path[at + 1], path[at], *path[at + 2 :]]
    yield [*path, tree.EMPTY]
    yield [tree.EMPTY, *path]


def test_roots_are_those_of_certificate_logs() -> None:
    growth = Growth(size=0, edge=[])
    assert growth.root == tree.EMPTY
    for entry, root in zip(ENTRIES, ROOTS, strict=True):
        list(growth.add(tree.leaf_hash(bytes.fromhex(entry))))
        assert growth.root.hex() == root


@pytest.mark.parametrize("size", SIZES)
def test_a_root_is_that_of_the_definition_however_it_is_made(size: int) -> None:
    expected = second_verifier.root_of(LEAVES[:size])
    again = Growth(size=size, edge=[KEPT[node] for node in tree.edge(size)])
    assert (ROOT[size], tree.root(size, KEPT), again.root) == (expected, expected, expected)


def test_every_complete_subtree_is_kept_once_and_never_changes() -> None:
    growth = Growth(size=0, edge=[])
    made = [each for leaf in LEAVES[:LARGEST] for each in growth.add(leaf)]
    assert len(made) == len(dict(made)) == 2 * LARGEST - 1
    for node, found in made:
        start = node.number << node.level
        assert second_verifier.root_of(LEAVES[start : start + (1 << node.level)]) == found


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_is_proved_and_every_forged_proof_refused(size: int) -> None:
    for index in range(size):
        path = path_to(index, size)
        assert included(LEAVES[index], index, size, ROOT[size], path)
        assert not included(LEAVES[index + 1], index, size, ROOT[size], path)
        assert not included(LEAVES[index], index, size, ROOT[size - 1], path)
        for elsewhere in {-1, index - 1, index + 1, size - 1, size} - {index}:
            assert not included(LEAVES[index], elsewhere, size, ROOT[size], path)
        for wrong in forged(path):
            assert not included(LEAVES[index], index, size, ROOT[size], wrong)


@pytest.mark.parametrize("second", SIZES)
def test_every_earlier_tree_is_proved_and_every_forged_proof_refused(second: int) -> None:
    for first in range(1, second + 1):
        path = path_from(first, second)
        assert consistent(first, ROOT[first], second, ROOT[second], path)
        assert not consistent(first, ROOT[first - 1], second, ROOT[second], path)
        assert not consistent(first, ROOT[first], second, ROOT[second - 1], path)
        for wrong in forged(path):
            assert not consistent(first, ROOT[first], second, ROOT[second], wrong)


@pytest.mark.parametrize("second", SIZES)
def test_a_log_that_was_rewritten_is_consistent_with_no_tree_before(second: int) -> None:
    rewritten: dict[tree.Node, bytes] = {}
    growth = Growth(size=0, edge=[])
    for leaf in [LEAVES[-1], *LEAVES[1:second]]:
        rewritten.update(growth.add(leaf))
    for first in range(1, second):
        path = [span.hash(rewritten) for span in tree.consistency(first, second)]
        assert not consistent(first, ROOT[first], second, growth.root, path)


def some(size: int) -> Iterator[list[int]]:
    """Yield every choice of leaves of a small tree."""
    for chosen in range(1, 1 << size):
        yield [index for index in range(size) if chosen >> index & 1]


def around(indexes: list[int], size: int) -> list[bytes]:
    return [span.hash(KEPT) for span in tree.around(indexes, size)]


@pytest.mark.parametrize("size", range(1, 10))
def test_every_choice_of_leaves_is_proved_at_once(size: int) -> None:
    for indexes in some(size):
        own, path = {index: LEAVES[index] for index in indexes}, around(indexes, size)
        assert tree.root_around(own, size=size, path=path) == ROOT[size]
        assert second_verifier.root_with_others(own, size, path) == ROOT[size]


@pytest.mark.parametrize("size", range(1, 8))
def test_no_choice_is_proved_by_a_forged_proof(size: int) -> None:
    for indexes in some(size):
        own = {index: LEAVES[index] for index in indexes}
        for wrong in forged(around(indexes, size)):
            assert not proves_all(own, size, wrong)
        for index in indexes:
            assert not proves_all(own | {index: LEAVES[-1]}, size, around(indexes, size))


def proves_all(own: dict[int, bytes], size: int, path: list[bytes]) -> bool:
    try:
        return tree.root_around(own, size=size, path=path) == ROOT[size]
    except IndexError:
        return False


@given(size=st.integers(1, LARGEST), data=st.data())
def test_one_leaf_alone_is_proved_by_as_many_hashes_as_before(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    assert sorted(tree.around([index], size)) == sorted(tree.inclusion(index, size))


@pytest.mark.parametrize("indexes", [[], [-1], [4], [0, 4]])
def test_leaves_that_are_not_there_are_not_proved(indexes: list[int]) -> None:
    with pytest.raises(IndexError):
        tree.around(indexes, 4)


@pytest.mark.parametrize(("index", "size"), [(-1, 1), (0, 0), (1, 1), (5, 4)])
def test_a_leaf_that_is_not_there_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(IndexError):
        tree.inclusion(index, size)
    assert not included(LEAVES[0], index, size, tree.EMPTY, [])


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 1), (2, 1), (-1, 1)])
def test_what_is_no_earlier_tree_has_no_proof(first: int, second: int) -> None:
    with pytest.raises(IndexError):
        tree.consistency(first, second)
    assert not consistent(first, tree.EMPTY, second, tree.EMPTY, [])


def test_a_node_that_is_missing_is_said() -> None:
    with pytest.raises(KeyError):
        Span(0, 3).hash({tree.Node(1, 0): tree.EMPTY})


@given(size=st.integers(1, 10**9), data=st.data())
def test_a_proof_is_short_however_large_the_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    depth = (size - 1).bit_length()
    assert len(tree.inclusion(index, size)) <= depth
    assert len(tree.consistency(index + 1, size)) <= depth + 1
    assert sum(len(span.nodes) for span in tree.inclusion(index, size)) <= 2 * depth
