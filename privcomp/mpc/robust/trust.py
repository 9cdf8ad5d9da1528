"""FLTrust: every update weighs what it agrees with an update that the servers computed themselves.

With the servers' reference g_0, public among them, and the clients' g_i::

    TS_i = max(0, cos(g_i, g_0))              trust score
    g    = sum_i TS_i |g_0| / |g_i| g_i / sum_i TS_i

Every update is scaled to the reference's norm first: what it cannot do by length it can only do by direction, and what
points away from the reference counts nothing.

**Bounds.** <g_i, g_0> <= 2^(b-1) |g_0|_1 < 2^62, |g_i|^2 <= d 2^(2b-2) < 2^62, and bits(|g_0|) + B / 2 <= 61, where B
bits hold every |g_i|^2.

**Computed**, with y_i 2^(k_i) / 2^(B/2) = 1 / |g_i| from `inverse_root`, ulp = 2^-28:

    A_i  = max(0, <g_i, g_0>) 2^(k_i)                     an integer, at most |g_0| 2^(B/2)
    Q_i  = A_i / (|g_0| 2^(B/2))                          2 truncations, a constant of 29 bits or more: 2.5 ulps
    TS_i = Q_i y_i                                        2.5 * 2 + 8 (y) + 1 < 15 ulps: off by less than 2^-24
    V_i  = TS_i y_i                                       at most 2; off by 15 * 2 + 8 * 2 + 1 < 48 ulps
    V'_i = V_i z 2^t / 2^..                               V_i / D, D = sum_j TS_j, at most 2 as TS_i <= D
    w_i  = V'_i (|g_0| 2^(k_i) / 2^(B/2))                 F fraction bits, F = min(24, 36 - bits(|g_0|))
    g    = sum_i w_i g_i                                  truncated to whole units, then opened

With e = (128 + 2 n 15) ulps / D for what V'_i is off (48 of V, 16 of z, 64 of the truncations, and the error of D), a
client adds at most e |g_0| |g_ij| / |g_i| <= e |g_0|, and 2^(1-F) |g_ij| by the table and the truncation:
`error` = 1 + n (2^(b-F) + e |g_0|). D is held against LEAST_TRUST = 1/64 by the gate: below that nothing is opened.

Source: Cao, Fang, Liu, Gong, "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping", NDSS 2021,
section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from privcomp.errors import ParameterError
from privcomp.mpc.backend import ReplicatedBackend, Value
from privcomp.mpc.circuits import sign
from privcomp.mpc.robust._roots import FRACTION, inverse, inverse_root
from privcomp.mpc.robust.masking import add_noise
from privcomp.mpc.robust.norms import check_norm, constant, root_bits, scaled_root, too_light
from privcomp.mpc.robust.release import Outcome, Release, gate
from privcomp.mpc.robust.rule import Rule, below
from privcomp.mpc.robust.updates import Updates, open_blocks
from privcomp.typing import I64Array

__all__ = ["LEAST_TRUST", "FLTrust"]

LEAST_TRUST: Final = 1 / 64
"""The sum of the trust scores below which nothing is opened."""

_ULP: Final = math.ldexp(1.0, -FRACTION)
_WEIGHT_BITS: Final = 24
_WEIGHT_BITS_MIN: Final = 8


@dataclass(frozen=True, eq=False)
class FLTrust(Rule):
    """The mean weighted by cosines with a reference update.

    Args:
        reference: int64 (d,), the servers' own update in the clients' encoding, not all zero. Copied.

    Raises:
        ParameterError: dtype, shape, or all zero.
    """

    name: ClassVar[str] = "fltrust"
    reference: I64Array

    def __post_init__(self) -> None:
        if type(self.reference) is not np.ndarray or self.reference.dtype != np.int64 or self.reference.ndim != 1:
            raise ParameterError("the reference must be an int64 array of one dimension: an encoded update")
        if not self.reference.any():
            raise ParameterError("the reference is zero; no update points in its direction")
        kept = self.reference.copy()
        kept.setflags(write=False)
        object.__setattr__(self, "reference", kept)

    @property
    def _square(self) -> int:
        return sum(int(v) ** 2 for v in self.reference[self.reference != 0])

    @property
    def _norm_bits(self) -> int:
        """|g_0| <= 2^bits."""
        return (math.isqrt(self._square) + 1).bit_length()

    @property
    def weight_bits(self) -> int:
        """F, fraction bits of a weight."""
        return min(_WEIGHT_BITS, 36 - self._norm_bits)

    def error(self, clients: int, width: int, trust: float = LEAST_TRUST) -> float:
        """|total - g| is below this in every entry, in units, where the trust scores add up to `trust`."""
        off = (128 + 30 * clients) * _ULP / trust
        return 1.0 + clients * (math.ldexp(1.0, width - self.weight_bits) + off * (math.isqrt(self._square) + 1))

    def check(self, clients: int, entries: int, width: int) -> None:
        if self.reference.shape != (entries,):
            raise ParameterError(f"the reference has {self.reference.size} entries; the updates have {entries}")
        low, high = int(self.reference.min()), int(self.reference.max())
        if low < -(1 << (width - 1)) or high >= 1 << (width - 1):
            raise ParameterError(f"the reference has entries beyond {width} bits; encode it as the clients do")
        check_norm(entries, width, 62)
        ones = sum(abs(int(v)) for v in self.reference[self.reference != 0])
        below("a product with the reference", ones << width - 1, 62, "encode into fewer bits")
        bits = self._norm_bits + root_bits(entries, width) // 2
        if bits > 61 or self.weight_bits < _WEIGHT_BITS_MIN:
            raise ParameterError(
                f"a reference with a norm of {self._norm_bits} bits leaves too few fraction bits; "
                "encode into fewer bits"
            )

    def accepted(self, clients: int) -> int | None:
        return None

    def opens(self, clients: int) -> tuple[str, ...]:
        return (
            "the bit [sum of trust scores >= threshold * largest trust score, and >= 1/64]",
            "the sum of the updates weighted by trust, in whole units",
        )

    async def run(self, backend: ReplicatedBackend, updates: Updates, release: Release) -> Outcome:
        n, b = updates.clients, updates.width
        square, fraction = self._square, self.weight_bits
        bits = root_bits(updates.entries, b)
        half = bits // 2
        dots = updates.dots_public(backend, self.reference)
        dot_bound = int(np.abs(self.reference).sum()) << b - 1
        negative_task = backend.scheduler.spawn(sign(backend, dots, dot_bound.bit_length() + 1))
        root = await inverse_root(backend, await updates.square_norms(backend), bits)
        negative = await backend.to_number(await negative_task, 64)
        positive = backend.add_public(negative.map(lambda p: np.uint64(0) - p), constant(negative, 1))
        kept = await backend.mul(positive, dots)

        # A, and its quotient by |g_0| 2^(B/2) in two steps: first into 31 bits, then times a constant.
        a = await backend.mul(kept, root.table(backend, [1 << k for k in range(half)]))
        largest = scaled_root(square, half)
        shift = max(0, largest.bit_length() - 31)
        if shift:
            a = await backend.truncate(a, shift)
        # 2^(28 + 32) / (|g_0| 2^(B/2) 2^-shift)
        factor = (1 << 60 + shift) // largest
        q = await backend.truncate(backend.scale(a, constant(a, factor)), 32)
        trust = await backend.mul_truncated(q, root.root, FRACTION)

        total = trust.map(lambda p: p.sum(dtype=np.uint64, keepdims=True))
        await self._gate(backend, trust, total, release)

        v = await backend.mul_truncated(trust, root.root, FRACTION)
        # D < n (1 + 2^-24) 2^28 < 2^(28 + bits(n) + 1)
        d_bits = FRACTION + n.bit_length() + 1
        over = await inverse(backend, total, d_bits)
        v = await backend.mul_truncated(v, over.inverse, FRACTION)
        v = await backend.mul_truncated(v, over.power, d_bits - FRACTION)
        table = [scaled_root(square, k - half + fraction) for k in range(half)]
        # V' <= 2^29.1 in 28 bits, of which 24 stay: 25.1 + bits(|g_0|) + F < 62.
        v = await backend.truncate(v, FRACTION - 24)
        weights = await backend.mul_truncated(v, root.table(backend, table), 24)
        sums = await updates.weighted_sums(backend, weights)
        tasks = [backend.scheduler.spawn(backend.truncate(value, fraction)) for value in sums]
        sums = await add_noise(backend, [await task for task in tasks], release)
        return Outcome(await open_blocks(backend, sums), 1, self.opens(n))

    async def _gate(self, backend: ReplicatedBackend, trust: Value, total: Value, release: Release) -> None:
        """Even where a leak is named, the sum of the trust scores has to be one that can be divided by."""
        n = trust.shape[0]
        least = round(LEAST_TRUST * (1 << FRACTION))
        bound = (n + 1) << FRACTION
        bit = await sign(backend, backend.add_public(total, constant(total, -least)), bound.bit_length() + 1)
        refused = await backend.to_number(bit, 32)
        if release.gated:
            light = await too_light(backend, trust, release.threshold, 2 << FRACTION)
            refused = backend.add(refused, light)
        await gate(backend, refused.map(lambda p: np.uint64(0) - p), n + 1)
