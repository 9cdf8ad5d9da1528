"""Replicated sharing among three or four parties, modulo 2^b or by exclusive or: each number lies with several parties.

Three parties: x = x_0 + x_1 + x_2, party i holds x_i and x_{i+1 mod 3}; one party alone learns nothing, any two open.
Four parties: x = x_0 + x_1 + x_2 + x_3, party i holds all but x_i; one party alone learns nothing, any two open.
Sums are modulo 2^b, or exclusive or of b bits.

Dealing draws seeds of 32 bytes for all components but the last one, which is a vector; AES-128-CTR expands them, so
privacy is computational, at 128 bits. Opening compares what the holders of a component say. With the shares of all
parties but at most one of four, every component has a second holder, so one wrong party is always noticed; with two
shares, what only one of them holds is taken as it is. Who is wrong is told only where one party alone explains
everything that was seen:

    three parties   a wrong component has two holders, so nobody can be named, unless both of a party's are wrong
    four parties    a wrong component has up to three holders: one that two others contradict is named

Source: Araki, Furukawa, Lindell, Nof, Ohara, "High-throughput semi-honest secure three-party computation with an honest
majority", CCS 2016, section 2 (three parties); Dalskov, Escudero, Keller, "Fantastic Four", USENIX Security 2021,
section 2 (four); Ito, Saito, Nishizeki, GLOBECOM 1987.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from privcomp.algebra.ring import Ring
from privcomp.errors import ParameterError, RemoteError
from privcomp.sharing._parts import SEED_BYTES, add_streams, check_belonging, check_ring, draw_seed, expand
from privcomp.typing import RingArray

__all__ = ["ReplicatedShare", "combine_replicated", "held", "share_replicated"]

_STAGE: Final = "combine"
_MAX_LENGTH: Final = 1 << 40


def held(parties: int, party: int) -> tuple[int, ...]:
    """The numbers of the components that a party holds, in the order in which its share lists them.

    Args:
        parties: 3 or 4.
        party: 0 .. parties - 1.

    Raises:
        ParameterError: another number.

    >>> [held(3, i) for i in range(3)]
    [(0, 1), (1, 2), (2, 0)]
    >>> held(4, 2)
    (0, 1, 3)
    """
    if parties not in (3, 4) or not 0 <= party < parties:
        raise ParameterError(f"party {party} of {parties}; replicated sharing is among 3 or 4, numbered from 0")
    return (party, (party + 1) % 3) if parties == 3 else tuple(k for k in range(4) if k != party)


def _is_reduced(values: RingArray, bits: int) -> bool:
    """Whether all values are below 2^bits; constant time in them but for the answer."""
    if bits == 8 * values.itemsize:
        return True
    return not int(np.bitwise_or.reduce(values, initial=0)) >> bits


@dataclass(frozen=True, repr=False, eq=False)
class ReplicatedShare:
    """One party's share of a vector, and what it belongs to.

    Attributes:
        owner: whose secrets these are.
        context: digest of the session in which they were shared.
        parties: 3 or 4.
        party: 0 .. parties - 1.
        bits: b, 1 .. 64.
        boolean: whether components are combined by exclusive or, instead of by sums modulo 2^b.
        length: numbers in the vector.
        components: what `held(parties, party)` numbers, in its order: each a seed of 32 bytes or a vector (length,)
            below 2^b, u32 for b <= 32 and u64 above. Secret: redacted in `repr`.

    Raises:
        BufferTypeError: a vector of another dtype or layout.
        ParameterError: a number out of its range, a component too few or too long, or one that is not below 2^b.
    """

    owner: bytes
    context: bytes
    parties: int
    party: int
    bits: int
    boolean: bool
    length: int
    components: tuple[bytes | RingArray, ...]

    def __post_init__(self) -> None:
        numbers, dtype = held(self.parties, self.party), self.ring.dtype
        if not 0 <= self.length <= _MAX_LENGTH:
            raise ParameterError(f"length is {self.length}; allowed is [0, 2^40]")
        if type(self.components) is not tuple or len(self.components) != len(numbers):
            raise ParameterError(
                f"a share of party {self.party} of {self.parties} is a tuple of {len(numbers)} components"
            )
        for number, component in zip(numbers, self.components, strict=True):
            if isinstance(component, bytes):
                if len(component) != SEED_BYTES:
                    raise ParameterError(f"a seed has {len(component)} bytes; allowed is exactly {SEED_BYTES}")
                continue
            check_ring(f"component {number}", component, (dtype.name,))
            if component.size != self.length:
                raise ParameterError(f"component {number} has {component.size} numbers, the share {self.length}")
            if not _is_reduced(component, self.bits):
                raise ParameterError(f"component {number} holds a number that is not below 2^{self.bits}")

    def __repr__(self) -> str:
        return (
            f"ReplicatedShare(owner={self.owner!r}, party={self.party} of {self.parties}, bits={self.bits}, "
            f"boolean={self.boolean}, length={self.length}, components=<{len(self.components)} hidden>)"
        )

    @property
    def ring(self) -> Ring:
        """The integers modulo 2^b."""
        return Ring(self.bits)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Which components these are: `held(parties, party)`."""
        return held(self.parties, self.party)

    def expand(self, *, threads: int = 1) -> tuple[RingArray, ...]:
        """The components as vectors, in the order of `numbers`; what is a vector already is not copied.

        Args:
            threads: that may work on it.
        """
        return tuple(_vector(c, self.length, self.bits, threads) for c in self.components)

    def seedless(self, *, threads: int = 1) -> ReplicatedShare:
        """The same share with vectors in place of seeds."""
        return ReplicatedShare(
            self.owner, self.context, self.parties, self.party, self.bits, self.boolean, self.length,
            self.expand(threads=threads),
        )  # fmt: skip


def _vector(component: bytes | RingArray, length: int, bits: int, threads: int) -> RingArray:
    if not isinstance(component, bytes):
        return component
    dtype = Ring(bits).dtype
    out = expand(component, length, dtype, threads=threads)
    if bits < 8 * dtype.itemsize:
        out &= dtype.type((1 << bits) - 1)
    return out


def share_replicated(
    secrets: RingArray,
    parties: int,
    *,
    bits: int,
    boolean: bool = False,
    owner: bytes,
    context: bytes,
    rng: Callable[[int], bytes] = os.urandom,
    threads: int = 1,
) -> list[ReplicatedShare]:
    """Shares a vector among three or four parties, any two of which open it.

    Args:
        secrets: (d,) below 2^bits; u32 for bits <= 32, u64 above.
        parties: 3 or 4.
        bits: b, 1 .. 64.
        boolean: exclusive or of b bits instead of sums modulo 2^b.
        owner: whose secrets these are.
        context: digest of the session.
        rng: gives fresh random bytes: 32 for all components but one.
        threads: that may work on it.

    Returns:
        the shares of parties 0 .. parties - 1; the vector among their components is the same array, and read-only.

    Raises:
        BufferTypeError: secrets have a wrong dtype or layout.
        ParameterError: parties, bits, rng, or a secret that is not below 2^bits.

    >>> shares = share_replicated(np.array([7, 8], np.uint32), 3, bits=4, owner=b"a", context=b"session")
    >>> combine_replicated(shares[:2], owner=b"a", context=b"session")
    array([7, 8], dtype=uint32)
    """
    every = [held(parties, i) for i in range(parties)] if parties in (3, 4) else [held(parties, 0)]
    ring = Ring(bits)
    check_ring("secrets", secrets, (ring.dtype.name,))
    if not _is_reduced(secrets, bits):
        raise ParameterError(f"secrets hold a number that is not below 2^{bits}; reduce them first")
    seeds = [draw_seed(rng) for _ in range(parties - 1)]
    last: RingArray = np.empty_like(secrets)
    if boolean:
        last[:] = secrets
        for seed in seeds:
            last ^= _vector(seed, secrets.size, bits, threads)
    else:
        add_streams(last, seeds, negate=True, start=secrets, threads=threads)
        if bits < 8 * last.itemsize:
            last &= ring.dtype.type(ring.modulus - 1)
    last.flags.writeable = False  # several shares hold it
    components: list[bytes | RingArray] = [*seeds, last]
    return [
        ReplicatedShare(owner, context, parties, i, bits, boolean, secrets.size, tuple(components[k] for k in numbers))
        for i, numbers in enumerate(every)
    ]


def combine_replicated(
    shares: Sequence[ReplicatedShare], *, owner: bytes, context: bytes, threads: int = 1
) -> RingArray:
    """The secrets, from the shares of at least two parties; what several of them hold has to be the same.

    Args:
        shares: of one owner, session and sharing, at most one of each party.
        owner: whose secrets are wanted.
        context: digest of the session in which they were shared.
        threads: that may work on it.

    Returns:
        (d,) below 2^b, u32 or u64.

    Raises:
        ParameterError: shares that do not belong together or to owner and context, fewer than two, a party twice.
        RemoteError: two holders of a component disagree. `party` is a party's number, in decimal, if leaving out that
            one party, and no other, makes the shares agree (if at most one party is wrong, it is that one); else None.
    """
    if not shares:
        raise ParameterError("no share was given; combine_replicated needs those of two parties")
    check_belonging(shares, owner, context)
    first = shares[0]
    for s in shares:
        if (s.parties, s.bits, s.boolean, s.length) != (first.parties, first.bits, first.boolean, first.length):
            raise ParameterError(f"{first!r} and {s!r} come from different sharings; combine the shares of one")
    found: dict[int, dict[int, RingArray]] = {}
    for s in shares:
        if s.party in found:
            raise ParameterError(f"party {s.party} occurs twice; combine one share of each party")
        found[s.party] = dict(zip(s.numbers, s.expand(threads=threads), strict=True))
    if len(found) < 2:
        raise ParameterError("the share of one party opens nothing; combine_replicated needs those of two")
    pairs = _contradictions(found)
    if pairs:
        # Who alone takes part in every contradiction.
        suspects = [i for i in found if all(i in pair for pair in pairs)]
        liar = suspects[0] if len(suspects) == 1 else None
        raise RemoteError(
            None if liar is None else b"%d" % liar,
            _STAGE,
            f"{len(found)} parties disagree on what they hold alike: "
            + ("at least one of them is wrong" if liar is None else "the shares fit together only without it")
            + "; the secret is not returned",
        )
    return _total(found, first)


def _contradictions(found: Mapping[int, Mapping[int, RingArray]]) -> set[tuple[int, int]]:
    """The pairs of parties that hold different values for one component; values are compared in constant time."""
    parties, pairs = sorted(found), set()
    for at, one in enumerate(parties):
        for other in parties[at + 1 :]:
            for number in found[one].keys() & found[other].keys():
                if np.bitwise_or.reduce(found[one][number] ^ found[other][number], initial=0):
                    pairs.add((one, other))
    return pairs


def _total(found: Mapping[int, Mapping[int, RingArray]], like: ReplicatedShare) -> RingArray:
    components = {number: value for held_by in found.values() for number, value in held_by.items()}
    combine: Callable[..., Any] = np.bitwise_xor if like.boolean else np.add
    total: RingArray = np.zeros(like.length, like.ring.dtype)
    for value in components.values():
        combine(total, value, out=total)
    return like.ring.reduce(total)
