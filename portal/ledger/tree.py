"""The Merkle tree over the log: roots, proofs and their verification, after RFC 9162 section 2.1 with SHA-256.

A hash is 32 bytes.  Only complete subtrees are kept, each a `Node` that never changes again; whatever a root or a
proof needs besides is put together of them.  Nothing here reads or writes: a caller asks which nodes it needs, and
brings their hashes.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

EMPTY = sha256(b"").digest()


class Node(NamedTuple):
    """The complete subtree over the 2^level leaves from `number` * 2^level on."""

    level: int
    number: int


class Span(NamedTuple):
    """Leaves `start` to `stop`, without the last; never none, and such as a tree of this kind splits into."""

    start: int
    stop: int

    @property
    def nodes(self) -> list[Node]:
        """Return the complete subtrees that it consists of, from left to right."""
        found, start = [], self.start
        while start < self.stop:
            level = (self.stop - start).bit_length() - 1
            found.append(Node(level, start >> level))
            start += 1 << level
        return found

    def hash(self, kept: Mapping[Node, bytes]) -> bytes:
        """Return its root (MTH, section 2.1.1) of the hashes of its nodes.

        Raises `KeyError` where one is missing.
        """
        *left, last = (kept[node] for node in self.nodes)
        return reduce(lambda right, each: node_hash(each, right), reversed(left), last)


@dataclass(kw_only=True)
class Growth:
    """A tree that leaves are added to; it holds but the roots of the complete subtrees at its right edge."""

    size: int
    edge: list[bytes]

    def add(self, leaf: bytes) -> Iterator[tuple[Node, bytes]]:
        """Add the hash of a leaf; yield each subtree that is complete with it, smallest first, and its hash."""
        node, found = Node(0, self.size), leaf
        yield node, found
        while node.number & 1:
            node, found = Node(node.level + 1, node.number >> 1), node_hash(self.edge.pop(), found)
            yield node, found
        self.edge.append(found)
        self.size += 1

    @property
    def root(self) -> bytes:
        """Return the hash of the whole tree."""
        if not self.edge:
            return EMPTY
        return reduce(lambda right, each: node_hash(each, right), reversed(self.edge[:-1]), self.edge[-1])


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry; the zero before it keeps it from ever being taken for a node."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two subtrees side by side."""
    return sha256(b"\1" + left + right).digest()


def edge(size: int) -> list[Node]:
    """Return the nodes whose hashes a tree of this size is grown from and its root made of, from left to right."""
    return Span(0, size).nodes


def root(size: int, kept: Mapping[Node, bytes]) -> bytes:
    """Return the hash of the whole tree of this size, of the hashes of the nodes at its edge."""
    return Span(0, size).hash(kept) if size else EMPTY


def inclusion(index: int, size: int) -> list[Span]:
    """Return the spans whose hashes prove that leaf `index` is in the tree of `size` (section 2.1.3.1), leaf first.

    Raises `IndexError` where the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise IndexError(index)
    start, stop, path = 0, size, []
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(Span(middle, stop))
            stop = middle
        else:
            path.append(Span(start, middle))
            start = middle
    return path[::-1]


def around(indexes: Sequence[int], size: int) -> list[Span]:
    """Return the spans without any of these leaves whose hashes, with theirs, make the root: one proof of all of them.

    `indexes` ascend, each once.  The spans come in the order in which `root_around` takes them: depth first, from
    left to right.  Raises `IndexError` where the tree has no such leaf, or none is asked for.
    """
    return list(each_around(indexes, size))


def each_around(indexes: Sequence[int], size: int) -> Iterator[Span]:
    """Yield the spans of `around` one by one: of a long log there are many."""
    if not indexes or not 0 <= indexes[0] <= indexes[-1] < size:
        raise IndexError(size)
    waiting = [(Span(0, size), 0, len(indexes))]
    while waiting:
        span, first, last = waiting.pop()
        if first == last:
            yield span
        elif span.stop - span.start > 1:
            middle = span.start + _split(span.stop - span.start)
            cut = bisect_left(indexes, middle, first, last)
            waiting += [(Span(middle, span.stop), cut, last), (Span(span.start, middle), first, cut)]


def root_around(leaves: Mapping[int, bytes], *, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that these leaves' hashes, by index, and the hashes of `around` come to.

    Raises `IndexError` where the hashes are not as many as they must be.
    """
    indexes, hashes = sorted(leaves), iter(path)
    if len(path) != len(around(indexes, size)):
        raise IndexError(len(path))

    def root_of(start: int, stop: int, first: int, last: int) -> bytes:
        if first == last:
            return next(hashes)
        if stop - start == 1:
            return leaves[start]
        middle = start + _split(stop - start)
        cut = bisect_left(indexes, middle, first, last)
        left = root_of(start, middle, first, cut)
        return node_hash(left, root_of(middle, stop, cut, last))

    return root_of(0, size, 0, len(indexes))


def consistency(first: int, second: int) -> list[Span]:
    """Return the spans whose hashes prove that the tree of `first` begins that of `second` (section 2.1.4.1).

    Raises `IndexError` unless 0 < `first` <= `second`.
    """
    if not 0 < first <= second:
        raise IndexError(first)
    start, stop, path = 0, second, []
    while first < stop:
        middle = start + _split(stop - start)
        if first <= middle:
            path.append(Span(middle, stop))
            stop = middle
        else:
            path.append(Span(start, middle))
            start = middle
    # Where the smaller tree is a complete subtree of the larger one, whoever verifies has its root already.
    return [*([Span(start, stop)] if start else []), *path[::-1]]


def included(leaf: bytes, *, index: int, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Return whether `path` proves that the hash `leaf` stands at `index` of the tree (section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    at, last, found = index, size - 1, leaf
    for each in path:
        if not last:
            return False
        if at & 1 or at == last:
            found = node_hash(each, found)
            at, last = _up_from_right(at, last)
        else:
            found = node_hash(found, each)
        at, last = at >> 1, last >> 1
    return not last and found == root


def consistent(*, first: int, first_root: bytes, second: int, second_root: bytes, path: Sequence[bytes]) -> bool:
    """Return whether `path` proves that the tree of `first` leaves begins that of `second` (section 2.1.4.2).

    An empty tree begins none: there is nothing to prove of it.
    """
    if not 0 < first <= second:
        return False
    if first == second:
        return not path and first_root == second_root
    hashes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if not hashes:
        return False
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    small = large = hashes[0]
    for each in hashes[1:]:
        if not last:
            return False
        if at & 1 or at == last:
            small, large = node_hash(each, small), node_hash(each, large)
            at, last = _up_from_right(at, last)
        else:
            large = node_hash(large, each)
        at, last = at >> 1, last >> 1
    return not last and small == first_root and large == second_root


def _split(size: int) -> int:
    # The largest power of two that is smaller than it.
    return 1 << ((size - 1).bit_length() - 1)


def _up_from_right(at: int, last: int) -> tuple[int, int]:
    # A subtree that is alone at the right edge stands for itself on every level until it has a neighbour at its left.
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last
