"""The mean, the mean of updates with small norms, and the mean of clipped updates.

**Bounds.** |q| <= 2^(b-1) per entry, so |x|^2 <= d 2^(2b-2), which must stay below 2^63 (2^62 where a root is taken).

**Clipping.** w_i = min(1, C / |x_i|): where |x_i|^2 > C^2, an exact comparison of integers, w_i comes from
`inverse_root` with F fraction bits, F = min(24, 61 - (b - 1) - bits(n)), off by less than 3 * 2^-F:
y times a table entry C 2^(k - B/2) <= 1, that was rounded by half a unit, with y <= 2: 1 unit; y's relative error of
2^-25: half a unit; the truncation: 1 unit. sum_i w_i x_i < n 2^(b-1) 2^F < 2^62 is truncated to whole units before it
is opened: a sum with fraction bits would be one equation more per bit about the weights and updates behind it, and
where updates are small a lattice can solve them. Error of the total: below 1 + 3 n 2^(b-1-F) units.

Sources: Sun, Kairouz, Suresh, McMahan, "Can You Really Backdoor Federated Learning?", 2019 (norm clipping).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from privcomp.errors import ParameterError, RoundAborted
from privcomp.mpc.backend import ReplicatedBackend, Value
from privcomp.mpc.circuits import sign
from privcomp.mpc.robust._roots import FRACTION, inverse_root
from privcomp.mpc.robust.masking import add_noise
from privcomp.mpc.robust.release import Outcome, Release, gate
from privcomp.mpc.robust.rule import Rule, below, in_range
from privcomp.mpc.robust.updates import Updates, open_blocks
from privcomp.typing import U64Array

__all__ = ["Mean", "NormClip", "NormFilter"]

_ROOT_BITS: Final = 62
_WEIGHT_BITS: Final = 24
_WEIGHT_BITS_MIN: Final = 12


def norm_bound(entries: int, width: int) -> int:
    """No squared norm is larger: d 2^(2b - 2)."""
    return entries << 2 * width - 2


def check_norm(entries: int, width: int, bits: int = 63) -> None:
    """Refuse updates whose squared norms may reach 2^bits."""
    below(
        f"a squared norm over {entries} entries of {width} bits",
        norm_bound(entries, width),
        bits,
        "encode into fewer bits, or take fewer entries",
    )


def root_bits(entries: int, width: int) -> int:
    """An even number of bits in which every squared norm lies."""
    bits = norm_bound(entries, width).bit_length()
    return bits + bits % 2


def scaled_root(square: int, shift: int) -> int:
    """round(sqrt(square) * 2^shift), exactly rounded, for square >= 0 and any integer shift."""
    # round(r) = floor((floor(2 r) + 1) / 2), and 2 r = sqrt(square 2^(2 shift + 2)).
    exponent = 2 * shift + 2
    doubled = math.isqrt(square << exponent if exponent >= 0 else square >> -exponent)
    return (doubled + 1) // 2


def constant(value: Value, number: int) -> U64Array:
    """A public number in the shape of a value."""
    return np.full(value.shape, number % (1 << 64), np.uint64)


async def too_light(backend: ReplicatedBackend, weights: Value, threshold: int, weight_bound: int) -> Value:
    """How many clients i have threshold * w_i > sum of all w, (1,), modulo 2^32: 0 says the gate is open.

    All 0 <= w_i <= weight_bound. This is [sum w >= threshold * max w], without looking for the maximum.
    """
    n = weights.shape[0]
    total = weights.map(lambda p: p.sum(dtype=np.uint64, keepdims=True))
    spare = backend.sub(total, backend.scale(weights, np.full(n, threshold, np.uint64)))
    bound = max(n, threshold) * weight_bound
    bits = await sign(backend, spare, bound.bit_length() + 1)
    number = await backend.to_number(bits, 32)
    return number.map(lambda p: p.sum(dtype=np.uint64, keepdims=True))


async def weighted_gate(backend: ReplicatedBackend, weights: Value, threshold: int, weight_bound: int) -> None:
    """Open [sum w >= threshold * max w] alone; raises RoundAborted where it is 0."""
    light = await too_light(backend, weights, threshold, weight_bound)
    await gate(backend, light.map(lambda p: np.uint64(0) - p), weights.shape[0])


@dataclass(frozen=True)
class Mean(Rule):
    """The sum of all updates. Stands no poisoning: one client moves it as far as its range goes."""

    name: ClassVar[str] = "mean"

    def check(self, clients: int, entries: int, width: int) -> None:
        below(f"the sum of {clients} entries of {width} bits", clients << width - 1, 63, "encode into fewer bits")

    def accepted(self, clients: int) -> int:
        return clients

    def opens(self, clients: int) -> tuple[str, ...]:
        return (f"the sum of the updates of all {clients} clients",)

    async def run(self, backend: ReplicatedBackend, updates: Updates, release: Release) -> Outcome:
        n = updates.clients
        return Outcome(await open_blocks(backend, await add_noise(backend, updates.sums(), release)), n, self.opens(n))


@dataclass(frozen=True)
class NormFilter(Rule):
    """The mean of the updates with |x|^2 <= limit^2; the others count as absent.

    Args:
        limit: largest norm that passes, in units of the encoding, 1 .. 2^31.
    """

    name: ClassVar[str] = "norm_filter"
    limit: int

    def __post_init__(self) -> None:
        in_range("limit", self.limit, 1, 1 << 31)

    def check(self, clients: int, entries: int, width: int) -> None:
        check_norm(entries, width)

    def accepted(self, clients: int) -> int | None:
        return None

    def opens(self, clients: int) -> tuple[str, ...]:
        return ("the bit [accepted >= threshold]", "the number of accepted clients", "the sum of their updates")

    async def run(self, backend: ReplicatedBackend, updates: Updates, release: Release) -> Outcome:
        n, square = updates.clients, self.limit**2
        norms = await updates.square_norms(backend)
        bound = max(norm_bound(updates.entries, updates.width), square + 1)
        inside = await sign(backend, backend.add_public(norms, constant(norms, -square - 1)), bound.bit_length() + 1)
        chosen = await backend.to_number(inside, 64)
        count = chosen.map(lambda p: p.sum(dtype=np.uint64, keepdims=True))
        if release.gated:
            excess = backend.add_public(count, constant(count, -release.threshold))
            await gate(backend, excess, max(n, release.threshold))
        sums = await add_noise(backend, await updates.weighted_sums(backend, chosen), release)
        opened = await open_blocks(backend, [*sums, count])
        if opened[-1] == 0:
            raise RoundAborted(None, "robust", f"no update has a norm of {self.limit} or less; there is no mean")
        return Outcome(opened[:-1], int(opened[-1]), self.opens(n))


@dataclass(frozen=True)
class NormClip(Rule):
    """The mean of all updates, each scaled down to the norm `limit` where it is longer.

    Args:
        limit: C, largest norm that is kept, in units of the encoding, 1 .. 2^31.
    """

    name: ClassVar[str] = "norm_clip"
    limit: int

    def __post_init__(self) -> None:
        in_range("limit", self.limit, 1, 1 << 31)

    @staticmethod
    def weight_bits(clients: int, width: int) -> int:
        """F, fraction bits of a weight."""
        return min(_WEIGHT_BITS, 61 - (width - 1) - clients.bit_length())

    def error(self, clients: int, width: int) -> float:
        """|total - sum_i min(1, C / |x_i|) x_i| is below this in every entry, in units of the encoding."""
        return 1.0 + math.ldexp(3.0 * clients, width - 1 - self.weight_bits(clients, width))

    def check(self, clients: int, entries: int, width: int) -> None:
        check_norm(entries, width, _ROOT_BITS)
        if self.weight_bits(clients, width) < _WEIGHT_BITS_MIN:
            raise ParameterError(
                f"{clients} clients of {width} bits leave {self.weight_bits(clients, width)} fraction bits to a "
                f"weight; at least {_WEIGHT_BITS_MIN} are wanted: encode into fewer bits"
            )

    def accepted(self, clients: int) -> int | None:
        return None

    def opens(self, clients: int) -> tuple[str, ...]:
        return (
            "the bit [sum of weights >= threshold * largest weight]",
            f"the sum of the clipped updates of all {clients} clients, in whole units",
        )

    async def run(self, backend: ReplicatedBackend, updates: Updates, release: Release) -> Outcome:
        n, d, b = updates.clients, updates.entries, updates.width
        fraction, square = self.weight_bits(n, b), self.limit**2
        norms = await updates.square_norms(backend)
        bits = root_bits(d, b)
        bound = max(norm_bound(d, b), square)
        # [C^2 - N < 0]
        outside = backend.add_public(norms.map(lambda p: np.uint64(0) - p), constant(norms, square))
        over_task = backend.scheduler.spawn(sign(backend, outside, bound.bit_length() + 1))
        root = await inverse_root(backend, norms, bits)
        over = await backend.to_number(await over_task, 64)
        # C 2^(k - B/2) 2^F; where N > C^2 this is below 2^F, and elsewhere it is cut there, and not used.
        half = bits // 2
        table = [min(scaled_root(square, k - half + fraction), 1 << fraction) for k in range(half)]
        scaled = await backend.mul_truncated(root.root, root.table(backend, table), FRACTION)
        less = await backend.mul(over, backend.add_public(scaled, constant(scaled, -(1 << fraction))))
        weights = backend.add_public(less, constant(less, 1 << fraction))
        if release.gated:
            await weighted_gate(backend, weights, release.threshold, 2 << fraction)
        sums = await updates.weighted_sums(backend, weights)
        tasks = [backend.scheduler.spawn(backend.truncate(value, fraction)) for value in sums]
        total = await open_blocks(backend, await add_noise(backend, [await task for task in tasks], release))
        return Outcome(total, n, self.opens(n))
