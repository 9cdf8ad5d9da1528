"""The whole key list as one region of bytes: what a client of a sparse graph hashes in one call, however long it is.

    width u8 || record || record || ...        record: id, zeros up to the width || length of the id u8 || hash (32)

`width` is the length of the longest id and the records ascend by id. So there is one region for a list, and as all
records have one size, order and padding are checked by array operations, without an object per client.

Padded ids with their length behind them are in the order of the ids: of two ids that differ only by trailing zeros, the
shorter one comes first.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from privcomp.errors import CodecError

__all__ = ["MAX_ID", "Leaves", "pack_leaves"]

MAX_ID = 64
_HASH = 32


def pack_leaves(leaves: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The region of (id of 1..64 bytes, hash of 32 bytes), ascending by id.

    >>> pack_leaves([(b"a", bytes(32)), (b"bc", bytes(32))])[:10].hex()
    '02610001000000000000'
    """
    listed = list(leaves)
    width = max((len(party) for party, _ in listed), default=0)
    return bytes([width]) + b"".join(party.ljust(width, b"\0") + bytes([len(party)]) + value for party, value in listed)


class Leaves:
    """A packed list that was received, checked: canonical, strictly ascending by id.

    Args:
        data: the region.
        most: clients that are allowed.

    Attributes:
        data: the region.
        n: clients in the list.

    Raises:
        CodecError: not canonical, out of order, an id twice, or too many clients.
    """

    __slots__ = ("_size", "_width", "data", "n")

    def __init__(self, data: bytes, most: int) -> None:
        self.data = data
        self._width = data[0] if data else 0
        self._size = self._width + 1 + _HASH
        self.n, rest = divmod(len(data) - 1, self._size)
        if rest or not 1 <= self._width <= MAX_ID:
            raise CodecError(f"the key list has {len(data)} bytes: that is no packed list")
        records = np.frombuffer(data, dtype=np.uint8, offset=1).reshape(self.n, self._size)
        ids, lengths = records[:, : self._width], records[:, self._width]
        longest, shortest = int(lengths.max(initial=0)), int(lengths.min(initial=1))
        padded = np.arange(self._width) >= lengths[:, None] if shortest < self._width else False
        if longest != self._width or shortest < 1 or np.any(ids * padded):
            raise CodecError("the key list is not packed canonically: lengths of ids, or their padding, are wrong")
        # The last byte of a key is a length, hence not zero: NumPy, which ignores trailing zeros, compares all of it.
        keys: np.ndarray[tuple[int], np.dtype[np.bytes_]] = np.ndarray(
            (self.n,), dtype=f"S{self._width + 1}", buffer=data, offset=1, strides=(self._size,)
        )
        if not np.all(keys[:-1] < keys[1:]):
            raise CodecError("the key list is not strictly ascending by id (an id is listed twice?)")
        if self.n > most:
            raise CodecError(f"{self.n} clients are listed, the encoding is safe for {most}")

    def id(self, place: int) -> bytes:
        """The id at a place of the list."""
        start = 1 + place * self._size
        return self.data[start : start + self.data[start + self._width]]

    def hash(self, place: int) -> bytes:
        """The hash at a place of the list."""
        end = 1 + (place + 1) * self._size
        return self.data[end - _HASH : end]

    def place(self, party: bytes) -> int | None:
        """The place of an id, or None."""
        low, high = 0, self.n
        while low < high:
            middle = (low + high) // 2
            if self.id(middle) < party:
                low = middle + 1
            else:
                high = middle
        return low if low < self.n and self.id(low) == party else None
