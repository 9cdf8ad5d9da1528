"""Generators of a group whose logarithms to one another nobody knows."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from privcomp.algebra import BN254, Group, Point, Points
from privcomp.errors import ParameterError

__all__ = ["Generators"]

_DST: Final = {
    "ristretto255": b"privcomp-v1-gens-ristretto255_XMD:SHA-512_R255MAP_RO_",
    BN254.name: b"privcomp-v1-gens-BN254G1_XMD:SHA-256_SVDW_RO_",
}
_MOST: Final = 1 << 20


@dataclass(frozen=True)
class Generators:
    """Generators that everybody derives by hashing; they are never accepted from a peer.

    Attributes:
        group: their group.
        columns: (C,), one for each column of a committed matrix; hashes of "Gamma0", "Gamma1", ...
        messages: (m,), for the messages of a proof; hashes of "G0", "G1", ...
        blinding: the hash of "H".
        product: the hash of "U", for inner products.
        tag: SHA-512 over the group's name and all encodings in this order, each after its length in eight
            little-endian bytes: what a transcript absorbs for them.
    """

    group: Group
    columns: Points
    messages: Points
    blinding: Point
    product: Point
    tag: bytes

    @staticmethod
    def derive(group: Group, columns: int, messages: int = 0) -> Generators:
        """The generators of these sizes, computed once in a process.

        Args:
            group: RISTRETTO255 or BN254.
            columns: 1 .. 2^20.
            messages: 0 .. 2^20.

        Raises:
            ParameterError: a size is out of range.
        """
        if not 1 <= columns <= _MOST or not 0 <= messages <= _MOST:
            raise ParameterError(f"{columns} and {messages} generators; allowed is [1, {_MOST}] and [0, {_MOST}]")
        return _derive(group, columns, messages)


@lru_cache(maxsize=8)
def _derive(group: Group, columns: int, messages: int) -> Generators:
    labels = [b"Gamma%d" % k for k in range(columns)] + [b"G%d" % k for k in range(messages)] + [b"H", b"U"]
    found = group.hash_many(labels, _DST[group.name])
    size, encoded = group.encoding_bytes, found.encode()
    tag = hashlib.sha512(_framed(group.name.encode()))
    for k in range(len(found)):
        tag.update(_framed(encoded[size * k : size * (k + 1)]))
    return Generators(
        group, found[:columns], found[columns : columns + messages], found[len(found) - 2], found[len(found) - 1],
        tag.digest(),
    )  # fmt: skip


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(8, "little") + data
