"""Everything that a simulation draws, from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from privcomp._core import Drbg
from privcomp.codec import digest

__all__ = ["Coins", "Tap"]

T = TypeVar("T")
_POOL = 1024


class Coins:
    """A deterministic stream of random choices. Streams with other labels are unrelated.

    Args:
        seed: any integer of at most 256 bits.
        labels: what the stream is for.

    Example:
        >>> Coins(1, "loss").below(10) == Coins(1, "loss").below(10)
        True
    """

    def __init__(self, seed: int, *labels: str | int | bytes) -> None:
        self._init(digest("privcomp-simulation", seed.to_bytes(32, "little", signed=True), *map(_label, labels)))

    def _init(self, key: bytes) -> None:
        self._key = key
        self._drbg = Drbg.insecure_deterministic(key)
        self._pool, self._at = b"", 0

    def child(self, *labels: str | int | bytes) -> Coins:
        """An unrelated stream that depends on this stream's seed and labels, not on what was drawn."""
        made = Coins.__new__(Coins)
        made._init(digest("privcomp-simulation-child", self._key, *map(_label, labels)))
        return made

    def bytes(self, n: int) -> bytes:
        """n random bytes."""
        if n > _POOL // 4:
            return self._drbg.random_bytes(n)
        if self._at + n > len(self._pool):
            self._pool, self._at = self._drbg.random_bytes(_POOL), 0
        self._at += n
        return self._pool[self._at - n : self._at]

    def below(self, n: int) -> int:
        """An integer in [0, n) for n < 2^32 (the bias of 2^-32 is of no account here)."""
        return int.from_bytes(self.bytes(8), "little") * n >> 64

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.below(high - low + 1)

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.below(1 << 30) < p * (1 << 30)

    def choice(self, some: Sequence[T]) -> T:
        """One of a non-empty sequence."""
        return some[self.below(len(some))]

    def sample(self, some: Sequence[T], k: int) -> list[T]:
        """k different places of a sequence, in random order."""
        left = list(some)
        for a in range(k):
            b = a + self.below(len(left) - a)
            left[a], left[b] = left[b], left[a]
        return left[:k]

    def shuffled(self, some: Sequence[T]) -> list[T]:
        """A permutation."""
        return self.sample(some, len(some))

    def integers(self, low: int, high: int, size: int) -> NDArray[np.int64]:
        """int64 array of `size` integers in [low, high), high - low < 2^31."""
        words = np.frombuffer(self.bytes(4 * size), dtype="<u4").astype(np.int64)
        return low + words % (high - low)


def _label(label: str | int | bytes) -> bytes:
    if isinstance(label, bytes):
        return label
    return label.encode() if isinstance(label, str) else label.to_bytes(8, "little", signed=True)


class Tap:
    """The entropy of one simulated client: a stream, and a note of everything secret that came out of it.

    Args:
        coins: a stream of its own for every start of the client, so that nothing repeats after a restart.
        drawn: receives the outputs of 16 bytes and more (of long ones the first 64 bytes).
    """

    def __init__(self, coins: Coins, drawn: set[bytes]) -> None:
        self._coins = coins
        self._drawn = drawn

    def __call__(self, n: int) -> bytes:
        data = self._coins.bytes(n)
        if n >= 16:
            if data[:64] in self._drawn:
                raise RuntimeError("the simulated entropy repeated itself")
            self._drawn.add(data[:64])
        return data

    def __repr__(self) -> str:
        return "Tap(<hidden>)"

    def __reduce__(self) -> Any:
        raise TypeError("the entropy of a simulated client is not copied: restore the client and give it fresh entropy")
