"""Mutations of valid inputs: the usual ones, and those that aim at lengths and counts."""

from __future__ import annotations

import random
from collections.abc import Iterator

_SIZES = (0, 1, 2, 31, 32, 33, 64, 255, 256, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1)


def mutate(rng: random.Random, corpus: tuple[bytes, ...]) -> bytes:
    """One input: a member of the corpus after one to four mutations, now and then random bytes."""
    if rng.random() < 0.02:
        return rng.randbytes(rng.randrange(200))
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        _mutate_once(rng, data, corpus)
    return bytes(data)


def _mutate_once(rng: random.Random, data: bytearray, corpus: tuple[bytes, ...]) -> None:
    at = rng.randrange(len(data) + 1)
    stop = min(len(data), at + rng.choice((1, 2, 4, 8, 32, 100)))
    match rng.randrange(8):
        case 0 if at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        case 1 if at < len(data):
            data[at] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        case 2:
            data[at : at + 4] = rng.choice(_SIZES).to_bytes(4, "little")
        case 3:
            del data[at:]
        case 4:
            del data[at:stop]
        case 5:
            data[at:at] = rng.randbytes(rng.randrange(1, 9))
        case 6:
            data[at:at] = data[at:stop]
        case 7:
            other = rng.choice(corpus)
            start = rng.randrange(len(other) + 1)
            data[at:stop] = other[start : start + rng.randrange(64)]
        case _:
            pass


def inputs(seed: int, corpus: tuple[bytes, ...], runs: int) -> Iterator[bytes]:
    """The corpus itself, then `runs` mutated inputs; the same seed gives the same inputs."""
    yield from corpus
    rng = random.Random(seed)
    for _ in range(runs):
        yield mutate(rng, corpus)
