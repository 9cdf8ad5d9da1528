"""Krum and multi-Krum: the updates that have the closest neighbours.

The score of client i is the sum of its n - f - 2 smallest squared distances to other clients; Krum opens the update
with the smallest score, multi-Krum the mean of the m with the smallest scores (ties go to the lower id). All
distances come from one Gram matrix, |x_i - x_j|^2 = G_ii + G_jj - 2 G_ij: a dot product of any length is one word on
the wire.

Scores and the choice stay shared; the sum of the chosen updates is a product of the shared choice with the updates.

**Bounds.** |x_i - x_j| < 2^b per entry, so a distance is below d 2^(2b), and a score, a sum of n - f - 2 of them,
must stay below 2^63: (n - f - 2) d 2^(2b) < 2^63. Beyond that a score wraps, and a far update would look near.
n <= 1,024: distances are n^2 words, and ranks n^3 / 2 comparisons, of which those of one client are made at once.

**Twice everything.** Twice the Gram matrix can be cheaper than the matrix itself (`ReplicatedBackend.gram_doubled`),
and gives twice the distances and scores: the same order. It is taken where twice a score stays below 2^63, too.

Source: Blanchard, El Mhamdi, Guerraoui, Stainer, "Machine Learning with Adversaries: Byzantine Tolerant Gradient
Descent", NeurIPS 2017, sections 4 and 5 (n >= 2f + 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from privcomp.errors import ParameterError
from privcomp.mpc.backend import ReplicatedBackend, Value
from privcomp.mpc.robust.masking import add_noise
from privcomp.mpc.robust.ranks import smallest, smallest_sums
from privcomp.mpc.robust.release import Outcome, Release
from privcomp.mpc.robust.rule import Rule, below, in_range
from privcomp.mpc.robust.updates import Updates, open_blocks
from privcomp.typing import U64Array

__all__ = ["KRUM_CLIENTS_MAX", "Krum", "MultiKrum", "distances", "krum_scores"]

KRUM_CLIENTS_MAX: Final = 1 << 10


def distance_bound(entries: int, width: int) -> int:
    """No squared distance of two updates is larger: d (2^b - 1)^2."""
    return entries * ((1 << width) - 1) ** 2


async def distances(backend: ReplicatedBackend, updates: Updates, *, doubled: bool = False) -> Value:
    """All squared distances, or twice that, (n, n)."""
    gram = await (updates.gram_doubled(backend) if doubled else updates.gram(backend))

    def combine(part: U64Array) -> U64Array:
        norms = np.diagonal(part)
        total: U64Array = norms[:, None] + norms[None, :] - (part << np.uint64(1))
        return total

    return gram.map(combine)


def score_bound(clients: int, poisoners: int, entries: int, width: int) -> int:
    """No score is larger."""
    return (clients - poisoners - 2) * distance_bound(entries, width)


async def krum_scores(backend: ReplicatedBackend, updates: Updates, poisoners: int, *, doubled: bool = False) -> Value:
    """The sum of each client's n - f - 2 smallest squared distances to others, or twice that, (n,)."""
    n = updates.clients
    every = await distances(backend, updates, doubled=doubled)
    # Row i without column i.
    others = np.array([[j for j in range(n) if j != i] for i in range(n)])
    rows = every.map(lambda p: p[np.arange(n)[:, None], others])
    bound = distance_bound(updates.entries, updates.width) << doubled
    return await smallest_sums(backend, rows, n - poisoners - 2, bound)


def _check(poisoners: int, clients: int, entries: int, width: int) -> None:
    if clients < 2 * poisoners + 3:
        raise ParameterError(
            f"{clients} clients with f = {poisoners} poisoners; Krum needs n >= 2f + 3 = {2 * poisoners + 3}"
        )
    if clients > KRUM_CLIENTS_MAX:
        raise ParameterError(
            f"{clients} clients; Krum compares the distances of all pairs, of {KRUM_CLIENTS_MAX} clients at most: take "
            "norm_filter or norm_clip, or put clients into groups first"
        )
    below(
        f"the score of {clients - poisoners - 2} distances over {entries} entries of {width} bits",
        (clients - poisoners - 2) * entries * (1 << 2 * width),
        63,
        "encode into fewer bits, or take fewer entries",
    )


async def _open_mean(
    backend: ReplicatedBackend, updates: Updates, release: Release, poisoners: int, count: int, opened: tuple[str, ...]
) -> Outcome:
    bound = score_bound(updates.clients, poisoners, updates.entries, updates.width)
    doubled = 2 * bound < 1 << 63
    scores = await krum_scores(backend, updates, poisoners, doubled=doubled)
    bound <<= doubled
    chosen = await smallest(backend, scores.map(lambda p: p[None]), count, bound)
    sums = await add_noise(backend, await updates.weighted_sums(backend, chosen.map(lambda p: p[0])), release)
    return Outcome(await open_blocks(backend, sums), count, opened)


@dataclass(frozen=True)
class Krum(Rule):
    """Opens one client's update: the one with the smallest score. Needs `Release(leaks="one update")`.

    Args:
        poisoners: f >= 0, how many clients may send anything.
    """

    name: ClassVar[str] = "krum"
    poisoners: int

    def __post_init__(self) -> None:
        in_range("poisoners", self.poisoners, 0, 1 << 15)

    def check(self, clients: int, entries: int, width: int) -> None:
        _check(self.poisoners, clients, entries, width)

    def accepted(self, clients: int) -> int:
        return 1

    def opens(self, clients: int) -> tuple[str, ...]:
        return ("the update of one client",)

    async def run(self, backend: ReplicatedBackend, updates: Updates, release: Release) -> Outcome:
        return await _open_mean(backend, updates, release, self.poisoners, 1, self.opens(updates.clients))


@dataclass(frozen=True)
class MultiKrum(Rule):
    """Opens the sum of the m updates with the smallest scores.

    Args:
        poisoners: f >= 0, how many clients may send anything.
        select: m, how many are averaged, 1 <= m <= n - f; None: n - f.
    """

    name: ClassVar[str] = "multi_krum"
    poisoners: int
    select: int | None = None

    def __post_init__(self) -> None:
        in_range("poisoners", self.poisoners, 0, 1 << 15)
        if self.select is not None:
            in_range("select", self.select, 1, 1 << 16)

    def check(self, clients: int, entries: int, width: int) -> None:
        _check(self.poisoners, clients, entries, width)
        if self.accepted(clients) > clients - self.poisoners:
            raise ParameterError(
                f"{self.select} updates of {clients} clients, {self.poisoners} of them poisoners, are averaged; at "
                f"most n - f = {clients - self.poisoners} are honest for sure"
            )

    def accepted(self, clients: int) -> int:
        return clients - self.poisoners if self.select is None else self.select

    def opens(self, clients: int) -> tuple[str, ...]:
        return (f"the sum of the updates of {self.accepted(clients)} clients; not whose",)

    async def run(self, backend: ReplicatedBackend, updates: Updates, release: Release) -> Outcome:
        n = updates.clients
        return await _open_mean(backend, updates, release, self.poisoners, self.accepted(n), self.opens(n))
