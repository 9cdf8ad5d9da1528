"""Additive sharing among n of n parties, modulo 2^32 or 2^64: all shares give the secret, fewer say nothing.

    x = v + s_0 + s_1 + ... + s_{n-2}   modulo 2^B

n - 1 parties hold a seed of 32 bytes instead of s_i, a vector as long as x; the last one holds v. Seeds are expanded by
AES-128-CTR, so fewer than n shares are computationally independent of the secret: as long as that is a pseudorandom
function, at 128 bits.

Nothing protects against a party that sends a wrong share: the sum is wrong then, by whatever it likes, unnoticed.
`privcomp.sharing.replicated` notices.

Source: Ito, Saito, Nishizeki, "Secret sharing scheme realizing general access structure", GLOBECOM 1987 (the sharing);
Gilboa, Ishai, "Compressing cryptographic resources", CRYPTO 1999 (seeds in place of vectors).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from privcomp.errors import BufferTypeError, ParameterError
from privcomp.sharing._parts import SEED_BYTES, add_streams, check_belonging, check_ring, draw_seed, expand
from privcomp.typing import RingArray

__all__ = ["MAX_PARTIES", "SEED_BYTES", "AdditiveShare", "combine_additive", "share_additive"]

MAX_PARTIES: Final = 1 << 14
_MAX_LENGTH: Final = 1 << 40


@dataclass(frozen=True, repr=False, eq=False)
class AdditiveShare:
    """One party's share of a vector modulo 2^32 or 2^64, and what it belongs to.

    Attributes:
        owner: whose secrets these are.
        context: digest of the session in which they were shared.
        parties: n, 2 .. 2^14.
        party: 0 .. n - 1.
        bits: 32 or 64.
        length: numbers in the vector.
        body: a seed of 32 bytes, or the vector itself, u32 or u64 (length,). Secret: redacted in `repr`.

    Raises:
        BufferTypeError: a vector of another dtype or layout.
        ParameterError: a number out of its range, a body of another length.
    """

    owner: bytes
    context: bytes
    parties: int
    party: int
    bits: int
    length: int
    body: bytes | RingArray

    def __post_init__(self) -> None:
        if self.bits not in (32, 64):
            raise ParameterError(f"bits is {self.bits}; additive shares have 32 or 64")
        if not 2 <= self.parties <= MAX_PARTIES or not 0 <= self.party < self.parties:
            raise ParameterError(
                f"party {self.party} of {self.parties}; allowed are 2 to {MAX_PARTIES} parties, numbered from 0"
            )
        if not 0 <= self.length <= _MAX_LENGTH:
            raise ParameterError(f"length is {self.length}; allowed is [0, 2^40]")
        if isinstance(self.body, bytes):
            if len(self.body) != SEED_BYTES:
                raise ParameterError(f"a seed has {len(self.body)} bytes; allowed is exactly {SEED_BYTES}")
            return
        check_ring("the body of a share", self.body, (f"uint{self.bits}",))
        if self.body.size != self.length:
            raise ParameterError(f"the body of a share has {self.body.size} numbers, the share {self.length}")

    def __repr__(self) -> str:
        kind = "seed" if isinstance(self.body, bytes) else "vector"
        return (
            f"AdditiveShare(owner={self.owner!r}, party={self.party} of {self.parties}, bits={self.bits}, "
            f"length={self.length}, body=<{kind} hidden>)"
        )

    @property
    def is_seed(self) -> bool:
        """Whether 32 bytes stand for the vector."""
        return isinstance(self.body, bytes)

    def expand(self, *, threads: int = 1) -> RingArray:
        """The share as a vector of its own, u32 or u64 (length,).

        Args:
            threads: that may work on it.
        """
        if isinstance(self.body, bytes):
            return expand(self.body, self.length, np.dtype(f"uint{self.bits}"), threads=threads)
        return self.body.copy()


def share_additive(
    secrets: RingArray,
    parties: int,
    *,
    owner: bytes,
    context: bytes,
    rng: Callable[[int], bytes] = os.urandom,
    out: RingArray | None = None,
    threads: int = 1,
) -> list[AdditiveShare]:
    """Shares a vector modulo 2^32 (u32) or 2^64 (u64) among n parties, all of which are needed to open it.

    Args:
        secrets: u32 or u64 (d,).
        parties: n, 2 .. 2^14.
        owner: whose secrets these are.
        context: digest of the session.
        rng: gives fresh random bytes: 32 for each of the first n - 1 parties.
        out: array like `secrets` that becomes the last party's share, for callers that share block after block; None
            allocates. It may be `secrets` itself.
        threads: that may work on it.

    Returns:
        the shares of parties 0 .. n - 1; the last one is a vector, the others are seeds.

    Raises:
        BufferTypeError: secrets or out have a wrong dtype or layout.
        ParameterError: parties, threads, or rng.

    >>> shares = share_additive(np.array([7, 8], np.uint32), 3, owner=b"a", context=b"session")
    >>> combine_additive(shares, owner=b"a", context=b"session")
    array([7, 8], dtype=uint32)
    """
    check_ring("secrets", secrets)
    if not 2 <= parties <= MAX_PARTIES:
        raise ParameterError(f"parties is {parties}; allowed is [2, {MAX_PARTIES}]")
    if out is None:
        out = np.empty_like(secrets)
    check_ring("out", out, (secrets.dtype.name,))
    if out.size != secrets.size or not out.flags.writeable:
        raise BufferTypeError(f"out has {out.size} numbers or is read-only; pass {secrets.size} writable ones")
    if out is not secrets and np.may_share_memory(out, secrets):
        raise BufferTypeError("out and secrets overlap in memory; pass secrets itself, or an array beside it")
    seeds = [draw_seed(rng) for _ in range(parties - 1)]
    add_streams(out, seeds, negate=True, start=None if out is secrets else secrets, threads=threads)
    bits, bodies = 8 * secrets.itemsize, [*seeds, out]
    return [AdditiveShare(owner, context, parties, i, bits, secrets.size, body) for i, body in enumerate(bodies)]


def combine_additive(shares: Sequence[AdditiveShare], *, owner: bytes, context: bytes, threads: int = 1) -> RingArray:
    """The secrets, from the shares of all parties.

    Args:
        shares: of one owner, session and sharing, one of each party, in any order.
        owner: whose secrets are wanted.
        context: digest of the session in which they were shared.
        threads: that may work on it.

    Returns:
        u32 or u64 (d,).

    Raises:
        ParameterError: shares that do not belong together or to owner and context, a party that is missing or twice.
    """
    if not shares:
        raise ParameterError("no share was given; combine_additive needs those of all parties")
    check_belonging(shares, owner, context)
    first = shares[0]
    for s in shares:
        if (s.parties, s.bits, s.length) != (first.parties, first.bits, first.length):
            raise ParameterError(
                f"shares of {first.length} numbers of {first.bits} bits among {first.parties} and of {s.length} of "
                f"{s.bits} bits among {s.parties}: they come from different sharings"
            )
    present = sorted(s.party for s in shares)
    if present != list(range(first.parties)):
        missing = sorted(set(range(first.parties)) - set(present))
        raise ParameterError(
            f"{len(shares)} shares, missing are those of parties {missing[:10]}: additive sharing needs each party's "
            "share exactly once"
        )
    total: RingArray = np.zeros(first.length, np.dtype(f"uint{first.bits}"))
    for s in shares:
        if not isinstance(s.body, bytes):
            total += s.body
    seeds = [s.body for s in shares if isinstance(s.body, bytes)]
    if seeds:
        add_streams(total, seeds, negate=False, threads=threads)
    return total
