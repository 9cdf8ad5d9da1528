"""Trimmed mean and median, coordinate by coordinate, on ordered bit planes.

The n values of a coordinate are ordered on their bits (`privcomp.mpc.sorting`), as far as they are looked at, or where
they are more than 20 divided on their bits (`privcomp.mpc.selection`): half the bytes at n = 50, for twice the rounds.
Of the ranks k .. n - k - 1 only the sum is opened, added up on bits. No extension to 64 bits is needed: what is
ordered are the b bits that clients shared, so no value can leave them. The median is the trimmed mean with
k = floor((n - 1) / 2): of one value, or two.

Source: Yin, Chen, Ramchandran, Bartlett, "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
ICML 2018, definitions 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from privcomp import _core
from privcomp.errors import ParameterError
from privcomp.mpc.backend import Bits, ReplicatedBackend, Value, words
from privcomp.mpc.circuits import add, add_up, bits_of, invert
from privcomp.mpc.robust.masking import noise_planes
from privcomp.mpc.robust.release import Outcome, Release
from privcomp.mpc.robust.rule import Rule, in_range
from privcomp.mpc.robust.updates import ShareSource, Updates, column_blocks
from privcomp.mpc.selection import MAX_ITEMS, middle_sum
from privcomp.mpc.sorting import order_statistics
from privcomp.typing import I64Array, U64Array

__all__ = ["CLIENTS_MAX", "Median", "TrimmedMean"]

CLIENTS_MAX: Final = MAX_ITEMS
_SORTED: Final = 20
"""Up to so many values a network sends less than a search."""
_BLOCK: Final = 1 << 21


async def _sum(backend: ReplicatedBackend, items: Bits, count: int) -> Bits:
    """The sum of `count` rows in two's complement, that lie behind each other in every plane, on as many planes as it
    needs."""
    width = items.parts[0].shape[1] // count
    planes = items.planes + (count - 1).bit_length()
    rows = [Bits(tuple(part[:, i * width : (i + 1) * width] for part in items.parts), 64 * width) for i in range(count)]
    return await add_up(backend, [_signed_planes(row, planes) for row in rows])


async def _middle(backend: ReplicatedBackend, planes: Bits, count: int, trim: int) -> Bits:
    """The sum of the values between, all of them in two's complement."""
    kept = count - 2 * trim
    if trim == 0:
        return await _sum(backend, planes, count)
    if count <= _SORTED:
        ranks = list(range(trim, count - trim))
        return await _sum(backend, await order_statistics(backend, planes, count, ranks, signed=True), kept)
    # With the top bit the other way round, x + 2^(b-1) >= 0 in the same order; what that adds is public.
    top = planes.planes - 1
    raised = Bits.stack([planes[:top], invert(backend, planes[top:])])
    total = await middle_sum(backend, raised, count, trim)
    less = -(kept << top)
    constant = np.array([[-(less >> bit & 1) % (1 << 64)] for bit in range(total.planes)], np.uint64)
    return await add(backend, total, backend.public_bits(np.tile(constant, words(total.n)), total.n))


async def _with_noise(backend: ReplicatedBackend, total: Bits, release: Release) -> Bits:
    """Planes of a sum in two's complement that are about to be opened, with noise if the release wants it."""
    noise = await noise_planes(backend, release, total.n)
    if not noise:
        return total
    rows = [total, *noise]
    # No sum of 2^12 values of 48 bits and noise needs more than 64, whatever the planes that it comes on.
    planes = min(64, max(row.planes for row in rows) + (len(rows) - 1).bit_length())
    return await add_up(backend, [_signed_planes(row, planes) for row in rows])


def _signed_planes(bits: Bits, planes: int) -> Bits:
    """The same numbers in two's complement on more planes."""
    return bits.map(lambda p: np.concatenate([p, np.broadcast_to(p[-1:], (planes - p.shape[0], p.shape[1]))]))


async def _trimmed(backend: ReplicatedBackend, shares: ShareSource, release: Release, trim: int) -> I64Array:
    n, width = shares.clients, shares.width
    totals = []
    for start, stop in column_blocks(n, shares.entries, _BLOCK):
        block = shares.block(start, stop)
        columns = -(-(stop - start) // 64) * 64

        def whole(part: U64Array, columns: int = columns) -> U64Array:
            padded = np.zeros((n, columns), np.uint64)
            padded[:, : part.shape[1]] = part
            return padded

        planes = await bits_of(backend, block.map(whole), width)
        total = await _with_noise(backend, await _middle(backend, planes, n, trim), release)
        opened = await backend.open_bits(total)
        if opened is not None:
            half = np.uint64(1 << (total.planes - 1))
            values = _core.from_planes(np.ascontiguousarray(opened), columns)[: stop - start]
            totals.append(((values ^ half) - half).view(np.int64))
    return np.concatenate(totals)


class _Block:
    """Extended updates as a `ShareSource`: their low bits are the shares modulo 2^width."""

    def __init__(self, updates: Updates) -> None:
        self.clients, self.entries, self.width = updates.clients, updates.entries, updates.width
        self._blocks = updates.blocks

    def block(self, start: int, stop: int) -> Value:
        parts = []
        for component in range(len(self._blocks[0].parts)):
            at, found = 0, []
            for block in self._blocks:
                low, high = max(start - at, 0), min(stop - at, block.shape[1])
                if low < high:
                    found.append(block.parts[component][:, low:high])
                at += block.shape[1]
            parts.append(np.concatenate(found, axis=1) & np.uint64((1 << self.width) - 1))
        return Value(tuple(parts))


@dataclass(frozen=True)
class TrimmedMean(Rule):
    """Per coordinate the mean without the k smallest and the k largest values.

    Args:
        trim: k >= 0, at least the number of poisoners that are to be stood; n > 2 k.
    """

    name: ClassVar[str] = "trimmed_mean"
    trim: int

    def __post_init__(self) -> None:
        in_range("trim", self.trim, 0, CLIENTS_MAX // 2)

    def check(self, clients: int, entries: int, width: int) -> None:
        _check_order(self.name, clients)
        if clients <= 2 * self.trim:
            raise ParameterError(f"{self.trim} values are cut at both ends of {clients}; none is left")

    def accepted(self, clients: int) -> int:
        return clients - 2 * self.trim

    def opens(self, clients: int) -> tuple[str, ...]:
        return (f"per coordinate the sum of the {self.accepted(clients)} values in the middle; not whose",)

    async def run(self, backend: ReplicatedBackend, updates: Updates, release: Release) -> Outcome:
        return await self.from_shares(backend, _Block(updates), release)

    async def from_shares(self, backend: ReplicatedBackend, shares: ShareSource, release: Release) -> Outcome:
        n = shares.clients
        return Outcome(await _trimmed(backend, shares, release, self.trim), self.accepted(n), self.opens(n))


@dataclass(frozen=True)
class Median(Rule):
    """Per coordinate the middle value, or the mean of the two middle ones.

    It opens raw coordinates of clients: needs `Release(leaks="one update")`.
    """

    name: ClassVar[str] = "median"

    def check(self, clients: int, entries: int, width: int) -> None:
        _check_order(self.name, clients)

    def accepted(self, clients: int) -> int:
        return 2 - clients % 2

    def opens(self, clients: int) -> tuple[str, ...]:
        one = "one client's value" if clients % 2 else "the sum of two clients' values"
        return (f"per coordinate {one}; not whose",)

    async def run(self, backend: ReplicatedBackend, updates: Updates, release: Release) -> Outcome:
        return await self.from_shares(backend, _Block(updates), release)

    async def from_shares(self, backend: ReplicatedBackend, shares: ShareSource, release: Release) -> Outcome:
        n = shares.clients
        return Outcome(await _trimmed(backend, shares, release, (n - 1) // 2), self.accepted(n), self.opens(n))


def _check_order(name: str, clients: int) -> None:
    if clients > CLIENTS_MAX:
        raise ParameterError(
            f"{name} orders {clients} values per coordinate; up to {CLIENTS_MAX} are: take multi_krum or norm_filter"
        )
