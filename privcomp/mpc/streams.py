"""Randomness that several parties draw alike, each from the same seed and the same place in its stream."""

from __future__ import annotations

from typing import Final

import numpy as np

from privcomp import _core
from privcomp.errors import ParameterError, StateError
from privcomp.keys import hkdf
from privcomp.typing import U8Array, U64Array

__all__ = ["KEY_BYTES", "Stream", "add_at", "add_streams", "xor_at", "xor_streams"]

KEY_BYTES: Final = 32
_CIPHER: Final = _core.AES128_CTR
_LABEL: Final = "privcomp/mpc/stream/v1"
_LIMIT: Final = 1 << 58
_PLUS: Final = np.zeros(1, np.bool_)
_MINUS: Final = np.ones(1, np.bool_)


class Stream:
    """A keystream of 64-bit words, and how many of them have been used.

    Args:
        key: 32 secret bytes, known to those who draw from it.
        context: what the stream is bound to: the session's digest, and who shares it.
    """

    __slots__ = ("_at", "_seed")

    def __init__(self, key: bytes, *context: bytes) -> None:
        seed = hkdf(key, *context, length=_core.SEED_BYTES[_CIPHER], label=_LABEL)
        self._seed: U8Array = np.frombuffer(seed, np.uint8).copy()
        self._at = 0

    @property
    def seed(self) -> U8Array:
        """For the core."""
        return self._seed

    def take(self, count: int) -> int:
        """Reserve `count` words; returns the place of the first."""
        start = self._at
        if start + count > _LIMIT:
            raise StateError("a stream of common randomness is used up; begin a new session")
        self._at = start + count
        return start

    def words(self, shape: tuple[int, ...]) -> U64Array:
        """The next words, as an array."""
        out = np.zeros(shape, np.uint64)
        add_streams(out, self)
        return out

    def wipe(self) -> None:
        """Zero the seed."""
        _core.wipe(self._seed)

    def __repr__(self) -> str:
        return "Stream(<hidden>)"


def _in_place(acc: U64Array) -> U64Array:
    """The same memory, flat. Of a scalar or an array with gaps `reshape` makes a copy, which the mask would go into:
    what was to be masked would be sent as it is.

    Raises:
        ParameterError: there is no such array.
    """
    if type(acc) is not np.ndarray or not acc.flags.c_contiguous:
        raise ParameterError("masks are added in place; pass a contiguous array")
    return acc.reshape(-1)


def add_streams(acc: U64Array, plus: Stream, minus: Stream | None = None) -> None:
    """acc += plus (- minus) modulo 2^64, in place; both move on by acc.size words.

    Raises:
        ParameterError: acc is no contiguous array.
    """
    flat = _in_place(acc)
    add, sub = np.zeros(1, np.bool_), np.ones(1, np.bool_)
    _core.mask_add(flat, plus.seed[None], add, offset=plus.take(flat.size), cipher=_CIPHER)
    if minus is not None:
        _core.mask_add(flat, minus.seed[None], sub, offset=minus.take(flat.size), cipher=_CIPHER)


def xor_streams(acc: U64Array, first: Stream, second: Stream | None = None) -> None:
    """acc ^= first (^ second), in place; both move on by acc.size words.

    Raises:
        ParameterError: acc is no contiguous array.
    """
    flat = _in_place(acc)
    _core.mask_xor(flat, first.seed[None], offset=first.take(flat.size), cipher=_CIPHER)
    if second is not None:
        _core.mask_xor(flat, second.seed[None], offset=second.take(flat.size), cipher=_CIPHER)


def add_at(acc: U64Array, stream: Stream, at: int, *, negate: bool = False) -> None:
    """acc +- the words of a stream from a place that `take` gave, in place; acc is one-dimensional."""
    _core.mask_add(acc, stream.seed[None], _MINUS if negate else _PLUS, offset=at, cipher=_CIPHER)


def xor_at(acc: U64Array, stream: Stream, at: int) -> None:
    """acc ^ the words of a stream from a place that `take` gave, in place; acc is one-dimensional."""
    _core.mask_xor(acc, stream.seed[None], offset=at, cipher=_CIPHER)
