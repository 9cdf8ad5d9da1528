"""Noise that servers add to what they open, so that no raw coordinate of a client comes out.

Every server draws Skellam noise of variance V / (servers - corruptions) for each entry, so that what the honest ones
add has variance V together, whatever the others do. It is shared like a client's update: in Z_{2^k}, where k is the
least width that holds every value of the sampler (a tail below 2^-172 is cut), and extended to 64 bits. So a server
that lies about its noise moves an entry by 2^(k-1) at most, as `reach` says.

A sum of fewer than 2^16 entries of at most 48 bits leaves 2^47 of its range free, and all noise is below 2^20.

This is masking: it blurs each entry by V. No epsilon is claimed for it, for the rules here have no proven sensitivity.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from privcomp import _core
from privcomp.mpc.backend import Bits, ReplicatedBackend, Value, words
from privcomp.mpc.robust.release import Release
from privcomp.samplers import Skellam
from privcomp.typing import U64Array

__all__ = ["add_noise", "described", "noise_planes", "server_noise", "width_of"]


def _law(backend: ReplicatedBackend, variance: Fraction) -> Skellam:
    """One server's share."""
    return Skellam(variance / (backend.n - backend.security.corruptions))


def width_of(law: Skellam) -> int:
    """The least k for which [-2^(k-1), 2^(k-1)) holds every sample."""
    return law.support[1].bit_length() + 1


def described(backend: ReplicatedBackend, release: Release) -> tuple[str, ...]:
    """What is said of the noise beside what was opened."""
    if release.masked is None:
        return ()
    law = _law(backend, Fraction(release.masked))
    reach = 1 << width_of(law) - 1
    return (
        f"every entry with noise: each of {backend.n} servers adds Skellam noise of variance {float(law.variance):.6g} "
        f"(a server that lies about it moves an entry by {reach} at most); masking, no epsilon",
    )


async def server_noise(backend: ReplicatedBackend, variance: Fraction, shape: tuple[int, ...]) -> Value:
    """The sum of all servers' noise, modulo 2^64."""
    law = _law(backend, variance)
    width = width_of(law)
    mask = np.uint64((1 << width) - 1)

    async def of(owner: int) -> Value:
        drawn = None
        if owner == backend.me:
            drawn = law.sample_var(int(np.prod(shape)), backend.rng).view(np.uint64).reshape(shape)
        # Whatever the owner passes, its low bits are all that counts.
        low = (await backend.input(owner, drawn, shape)).map(lambda part: part & mask)
        return await backend.extend(low, width)

    tasks = [backend.scheduler.spawn(of(owner)) for owner in range(backend.n)]
    total = await tasks[0]
    for task in tasks[1:]:
        total = backend.add(total, await task)
    return total


async def add_noise(backend: ReplicatedBackend, blocks: list[Value], release: Release) -> list[Value]:
    """One-dimensional sums that are about to be opened, with noise if the release wants it."""
    if release.masked is None:
        return blocks
    variance = Fraction(release.masked)
    tasks = [backend.scheduler.spawn(server_noise(backend, variance, block.shape)) for block in blocks]
    return [backend.add(block, await task) for block, task in zip(blocks, tasks, strict=True)]


async def noise_planes(backend: ReplicatedBackend, release: Release, lanes: int) -> list[Bits]:
    """Every server's noise as planes in two's complement, for sums that are opened from their bits; none without."""
    if release.masked is None:
        return []
    law = _law(backend, Fraction(release.masked))
    width = width_of(law)

    def drawn(owner: int) -> U64Array | None:
        if owner != backend.me:
            return None
        padded = np.zeros(64 * words(lanes), np.uint64)
        padded[:lanes] = law.sample_var(lanes, backend.rng).view(np.uint64)
        return _core.to_planes(padded, width)

    tasks = [
        backend.scheduler.spawn(backend.input_bits(owner, drawn(owner), width, lanes)) for owner in range(backend.n)
    ]
    return [await task for task in tasks]
