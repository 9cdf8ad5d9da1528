"""What the samplers share: fresh seeds for every call, and alias tables."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from privcomp import _core
from privcomp.errors import BufferTypeError, ParameterError

__all__ = ["BINS", "MASS", "alias_table", "check_outcome", "fresh_seeds", "stream_cipher"]

BINS = _core.SAMPLER_BINS
#: What the weights of an alias table sum to, and what one bin holds.
MASS = 1 << 22
_CAPACITY = MASS // BINS


def stream_cipher() -> int:
    """The cipher that is fastest at the dispatch level in use: AES-128-CTR with AES instructions, else ChaCha20."""
    return _core.CHACHA20 if _core.level() == "portable" else _core.AES128_CTR


def check_outcome(k: object) -> int:
    """k as an int, |k| <= 2^63.

    Raises:
        ParameterError: not an integer, or out of range.
    """
    try:
        value = operator.index(k)  # type: ignore[arg-type]
    except TypeError:
        raise ParameterError(f"k is a {type(k).__name__}; the outcomes are integers") from None
    if abs(value) > 1 << 63:
        raise ParameterError("k is beyond 2^63 in absolute value; no sampler reaches that")
    return value


@contextmanager
def fresh_seeds(rng: Callable[[int], bytes], cipher: int) -> Iterator[bytearray]:
    """Two seeds for one call, wiped afterwards (the bytes that rng returned are Python's, and cannot be).

    No state outlives a call, so a forked process, or a virtual machine that is restored from a snapshot, repeats
    nothing unless its rng does.

    Args:
        rng: rng(n) returns n bytes of a CSPRNG, as os.urandom does.
        cipher: `AES128_CTR` or `CHACHA20` of `privcomp._core`.

    Raises:
        ParameterError: rng gave another number of bytes.
        BufferTypeError: rng gave something else than bytes.
    """
    size = 2 * _core.SEED_BYTES[cipher]
    drawn = rng(size)
    if not isinstance(drawn, (bytes, bytearray)):
        raise BufferTypeError(f"rng gave a {type(drawn).__name__} where bytes were asked for; use os.urandom")
    if len(drawn) != size:
        raise ParameterError(f"rng gave {len(drawn)} bytes where {size} were asked for; use os.urandom")
    seeds = bytearray(drawn)
    try:
        yield seeds
    finally:
        _core.wipe(seeds)


def alias_table(weights: Sequence[int]) -> list[int]:
    """The alias table of 64 integer weights that sum to 2^22: entry j is threshold 2^6 + other bin.

    A bin drawn uniformly stays with probability threshold / 2^16, else it becomes the other one; bin j then has
    probability weights[j] / 2^22, exactly.

    Raises:
        ParameterError: another number of weights, another sum, or a negative weight.

    Source: Walker, ACM TOMS 3 (1977); Vose, IEEE Trans. Software Eng. 17 (1991), in integers.
    """
    if len(weights) != BINS or sum(weights) != MASS or min(weights) < 0:
        raise ParameterError(f"{len(weights)} weights of sum {sum(weights)}; needed are {BINS} from 0 up of sum {MASS}")
    left = list(weights)
    entries = list(range(BINS))  # threshold 0 and itself: a full bin
    small = [bin for bin in range(BINS) if left[bin] < _CAPACITY]
    large = [bin for bin in range(BINS) if left[bin] > _CAPACITY]
    while small:
        bin, other = small.pop(), large[-1]
        entries[bin] = left[bin] * BINS + other
        left[other] -= _CAPACITY - left[bin]
        if left[other] <= _CAPACITY:
            large.pop()
            if left[other] < _CAPACITY:
                small.append(other)
    return entries
