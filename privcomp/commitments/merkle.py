"""Merkle trees over lists of records."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from privcomp.errors import ParameterError, RemoteError

__all__ = ["MerkleTree", "verify_inclusion"]

_HASH_BYTES: Final = 32


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


def _is_hash(data: object) -> bool:
    return isinstance(data, bytes) and len(data) == _HASH_BYTES


class MerkleTree:
    """A tree of SHA-256 hashes whose root binds a list of records and their order.

    Root and number of records belong together and are to be authenticated together: a path alone does not tell trees of
    different sizes apart. It does not hide: who can guess a record can check the guess. Source: RFC 9162, section 2.1.

    >>> tree = MerkleTree([b"a", b"b", b"c"])
    >>> verify_inclusion(tree.root, b"b", 1, 3, tree.path(1))
    """

    __slots__ = ("_levels", "size")

    def __init__(self, records: Sequence[bytes]) -> None:
        if not records:
            raise ParameterError("a Merkle tree has at least one leaf")
        self.size = len(records)
        self._levels = [[_leaf(record) for record in records]]
        # RFC 9162 splits at the largest power of two below n: the same tree as pairing from the left, where an odd node
        # at the end of a level moves up unchanged.
        while len(below := self._levels[-1]) > 1:
            level = [_node(below[k], below[k + 1]) for k in range(0, len(below) - 1, 2)]
            self._levels.append(level + below[len(below) - len(below) % 2 :])

    @property
    def root(self) -> bytes:
        """32 bytes."""
        return self._levels[-1][0]

    def path(self, index: int) -> tuple[bytes, ...]:
        """The hashes beside the way from leaf `index` to the root, from the bottom."""
        if not 0 <= index < self.size:
            raise ParameterError(f"leaf {index} of {self.size}")
        found = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                found.append(level[sibling])
            index //= 2
        return tuple(found)


def verify_inclusion(root: bytes, record: bytes, index: int, size: int, path: Sequence[bytes]) -> None:
    """Check that a record is leaf `index` of the tree of `size` leaves with this root.

    Args:
        root: 32 bytes.
        record: what the leaf is the hash of.
        index: its place.
        size: the number of leaves, from where the root is from: a wrong one can give another place for the record.
        path: of `MerkleTree.path`, received from anybody.

    Raises:
        ParameterError: not 0 <= index < size.
        RemoteError: it is not.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        raise ParameterError(f"leaf {index} of {size}")
    digest, last, rest = _leaf(record), size - 1, list(path)
    while last > 0:
        if index % 2 or index < last:
            if not rest or not _is_hash(rest[0]):
                raise RemoteError(None, "inclusion", "the path is too short, or holds what is no hash")
            sibling = rest.pop(0)
            digest = _node(sibling, digest) if index % 2 else _node(digest, sibling)
        index, last = index // 2, last // 2
    if rest or not hmac.compare_digest(digest, root):
        raise RemoteError(None, "inclusion", "the record is not in the tree")
