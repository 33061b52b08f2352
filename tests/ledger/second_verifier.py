"""Another verifier of the log's proofs, which shares no code with the portal's: it takes proofs apart from the top.

The portal's walks upwards over bits, as RFC 9162 writes it; this one walks downwards over the definition of the tree
(section 2.1.1), so that a mistake in the one would have to be made in another shape in the other.
"""

from __future__ import annotations

import hashlib


class WrongProofError(Exception):
    """The proof doesn't fit the tree's shape."""


def parent(left: bytes, right: bytes) -> bytes:
    digest = hashlib.new("sha256", b"\x01")
    digest.update(left)
    digest.update(right)
    return digest.digest()


def cut(leaves: int) -> int:
    power = 1
    while power * 2 < leaves:
        power *= 2
    return power


def root_of(leaves: list[bytes]) -> bytes:
    """Return the root of a tree of these hashes of leaves, by the definition."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    at = cut(len(leaves))
    return parent(root_of(leaves[:at]), root_of(leaves[at:]))


def root_by_inclusion(leaf: bytes, index: int, leaves: int, proof: list[bytes]) -> bytes:
    """Return the root that a proof of inclusion comes to."""
    if leaves == 1:
        if proof or index:
            raise WrongProofError
        return leaf
    if not proof:
        raise WrongProofError
    at = cut(leaves)
    if index < at:
        return parent(root_by_inclusion(leaf, index, at, proof[:-1]), proof[-1])
    return parent(proof[-1], root_by_inclusion(leaf, index - at, leaves - at, proof[:-1]))


def roots_by_consistency(
    old: int, new: int, proof: list[bytes], old_root: bytes, *, known: bool = True
) -> tuple[bytes, bytes]:
    """Return the roots of the old and the new tree that a proof of consistency comes to."""
    if old == new:
        if known and not proof:
            return old_root, old_root
        if not known and len(proof) == 1:
            return proof[0], proof[0]
        raise WrongProofError
    if not proof:
        raise WrongProofError
    at = cut(new)
    if old <= at:
        small, large = roots_by_consistency(old, at, proof[:-1], old_root, known=known)
        return small, parent(large, proof[-1])
    small, large = roots_by_consistency(old - at, new - at, proof[:-1], old_root, known=False)
    return parent(proof[-1], small), parent(proof[-1], large)


def proves_inclusion(leaf: bytes, index: int, leaves: int, root: bytes, proof: list[bytes]) -> bool:
    if not 0 <= index < leaves:
        return False
    try:
        return root_by_inclusion(leaf, index, leaves, proof) == root
    except WrongProofError:
        return False


def proves_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    if not 0 < old <= new:
        return False
    try:
        return roots_by_consistency(old, new, proof, old_root) == (old_root, new_root)
    except WrongProofError:
        return False


def root_with_others(own: dict[int, bytes], leaves: int, others: list[bytes]) -> bytes:
    """Return the root of one's own leaves and the hashes of all that is between them, from left to right.

    Level by level from the bottom, where `root_around` goes down from the top: of whatever is known on a level, two
    that are siblings become one of the next.
    """
    taken = list(others)
    # What is not one's own is covered by the largest complete or rightmost subtrees that have none of it.
    known: dict[tuple[int, int], bytes] = {(index, index + 1): found for index, found in own.items()}
    for start, stop in _gaps(0, leaves, sorted(own)):
        if not taken:
            raise WrongProofError
        known[start, stop] = taken.pop(0)
    if taken:
        raise WrongProofError
    while len(known) > 1:
        merged = False
        for (start, middle), left in sorted(known.items(), key=lambda each: each[0][1] - each[0][0]):
            for (begin, stop), right in list(known.items()):
                if begin == middle and cut(stop - start) == middle - start and _is_subtree(start, stop, leaves):
                    del known[start, middle], known[begin, stop]
                    known[start, stop] = parent(left, right)
                    merged = True
                    break
            if merged:
                break
        if not merged:
            raise WrongProofError
    return known[0, leaves]


def _is_subtree(start: int, stop: int, leaves: int) -> bool:
    low, high = 0, leaves
    while (low, high) != (start, stop):
        if high - low <= 1:
            return False
        middle = low + cut(high - low)
        low, high = (low, middle) if stop <= middle else (middle, high)
        if not low <= start < stop <= high:
            return False
    return True


def _gaps(start: int, stop: int, own: list[int]) -> list[tuple[int, int]]:
    if not any(start <= index < stop for index in own):
        return [(start, stop)]
    if stop - start == 1:
        return []
    middle = start + cut(stop - start)
    return _gaps(start, middle, own) + _gaps(middle, stop, own)
