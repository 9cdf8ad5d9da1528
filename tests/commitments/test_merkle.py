"""Merkle trees: the roots of RFC 9162's recursion, every path, every forgery of one."""

from __future__ import annotations

import hashlib

import pytest

from privcomp.commitments import MerkleTree, verify_inclusion
from privcomp.errors import ParameterError, RemoteError


def root(records: list[bytes]) -> bytes:
    """RFC 9162, section 2.1.1, as it stands there."""
    if len(records) == 1:
        return hashlib.sha256(b"\0" + records[0]).digest()
    k = 1 << (len(records) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + root(records[:k]) + root(records[k:])).digest()


@pytest.mark.parametrize("n", [*range(1, 18), 31, 32, 33, 100])
def test_roots_and_paths(n: int) -> None:
    records = [b"%d" % k for k in range(n)]
    tree = MerkleTree(records)
    assert tree.root == root(records)
    for k in range(n):
        path = tree.path(k)
        verify_inclusion(tree.root, records[k], k, n, path)
        forgeries = [
            (tree.root, b"other", k, n, path),
            (bytes(32), records[k], k, n, path),
            (tree.root, records[k], k, n, (*path, bytes(32))),
            *((tree.root, records[k], other, n, path) for other in range(n) if other != k),
        ]
        if path:
            forgeries += [
                (tree.root, records[k], k, n, path[:-1]),
                (tree.root, records[k], k, n, path[::-1] if len(path) > 1 else ()),
                (tree.root, records[k], k, n, (path[0][:-1], *path[1:])),
                (tree.root, records[k], k, n, (bytes(32), *path[1:])),
            ]
        for forgery in forgeries:
            with pytest.raises(RemoteError):
                verify_inclusion(*forgery)


def test_a_node_is_no_leaf() -> None:
    tree = MerkleTree([b"a", b"b", b"c", b"d"])
    inner = b"".join(tree._levels[1])
    with pytest.raises(RemoteError):
        verify_inclusion(tree.root, inner, 0, 1, ())
    assert MerkleTree([inner]).root != tree.root


def test_the_number_and_the_order_count() -> None:
    found = {
        MerkleTree(r).root for r in ([b"a"], [b"a", b"b"], [b"b", b"a"], [b"a", b"b", b"b"], [b"ab"], [b""], [b"", b""])
    }
    assert len(found) == 7


def test_the_size_is_to_be_known() -> None:
    """RFC 9162's trees: with a wrong size a record can be shown at another place, so the size is kept with the root."""
    tree = MerkleTree([b"a", b"b", b"c"])
    verify_inclusion(tree.root, b"c", 2, 3, tree.path(2))
    verify_inclusion(tree.root, b"c", 1, 2, tree.path(2))


def test_misuse() -> None:
    tree = MerkleTree([b"a", b"b"])
    for path in ((1,), ("x" * 32,), (None,)):
        with pytest.raises(RemoteError, match="no hash"):
            verify_inclusion(tree.root, b"a", 0, 2, path)
    with pytest.raises(ParameterError, match="at least one"):
        MerkleTree([])
    for index in (-1, 2):
        with pytest.raises(ParameterError, match="of 2"):
            tree.path(index)
        with pytest.raises(ParameterError, match="of 2"):
            verify_inclusion(tree.root, b"a", index, 2, tree.path(0))
