"""Random weights of a verifier, under which many equations become one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256, shake_256
from typing import Final

from privcomp.algebra import Group, Scalars
from privcomp.errors import ParameterError

__all__ = ["verifier_weights"]

_ENTROPY_BYTES: Final = 64
_WEIGHT_BYTES: Final = 16  # a wrong equation passes with probability 2^-128


def verifier_weights(group: Group, n: int, rng: Callable[[int], bytes], bound: Iterable[bytes]) -> Scalars:
    """n numbers of 128 bits that depend on the verifier's entropy and on everything that is checked.

    Whoever foresees the weights can make errors cancel. With entropy nobody does; should the entropy fail, they are
    still fixed by what is checked, so that a cheater has to search for errors that cancel under their own hash.

    Args:
        group: whose scalars they are.
        n: how many.
        rng: entropy.
        bound: all that the equations are made of.

    Raises:
        ParameterError: rng gives another number of bytes than asked for.
    """
    entropy = rng(_ENTROPY_BYTES)
    if len(entropy) != _ENTROPY_BYTES:
        raise ParameterError(f"rng gave {len(entropy)} bytes where {_ENTROPY_BYTES} were asked for")
    seed = shake_256(b"privcomp-verifier-weights" + entropy)
    for data in bound:
        seed.update(sha256(data).digest())
    drawn = seed.digest(_WEIGHT_BYTES * n)
    return group.scalars(
        int.from_bytes(drawn[k : k + _WEIGHT_BYTES], "little") for k in range(0, len(drawn), _WEIGHT_BYTES)
    )
