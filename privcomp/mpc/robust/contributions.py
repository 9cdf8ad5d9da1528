"""What each client contributed, as one bit or one noisy score per client: enough for an incentive layer.

With s = sum_j x_j, everything comes from one Gram matrix: <x_i, s> = sum_j G_ij and |s|^2 = sum_ij G_ij.

* **Cosine to the aggregate**, c_i = <x_i, s> / (|x_i| |s|). Both inverses are y 2^k / 2^(B/2), see `_roots`, and
  <x_i, s> 2^(k_i) 2^(k_s) is at most |x_i| 2^(k_i) |s| 2^(k_s) < 2^B <= 2^62, an exact integer. It is cut to 28 bits (1
  ulp, times y y_s <= 4), and multiplied by both y (8 ulps each, and truncations of 1 * 2 + 1): off by less than 23
  ulps. The bit [c_i >= t] is right wherever |c_i - t| >= COSINE_ERROR.
* **Influence**, the distance by which the mean moves when client i is left out,
  | s/n - (s - x_i)/(n - 1) | = |n x_i - s| / (n (n - 1)). |n x_i - s|^2 = n^2 G_ii - 2 n <x_i, s> + |s|^2 is an
  integer, and the bit [influence <= limit] is exact.

Bounds: n^2 d 2^(2b) < 2^62 covers every number here; n <= 4,096, for the Gram matrix is n^2 words.

Exact scores are not opened: a cosine is a linear equation about an update, and n of them with the opened sum are n.
Instead of bits, scores can be opened with noise of the servers (`masking`), of which the honest ones alone add the
standard deviation that is asked for. Before that they are cut to steps of at most 1/64 of it: digits below the noise
would be nothing but more equations.

* **Noisy cosine**: c_i with g bits of fraction, 2^6 <= deviation 2^g < 2^7 and g <= 20.
* **Noisy influence**: |v| of v = n x_i - s, where V = |v|^2 < 2^B is the integer above. With 1 / |v| = y 2^k / 2^(B/2),
  |v| = (V 2^k) y / 2^(B/2), where V 2^k <= V 4^k < 2^B <= 2^62. The first factor is cut to g' = min(9, B/2) bits of
  fraction after the division by 2^(B/2), y to 20 bits: the product is below 2^(B/2 + g') 2^21 <= 2^61. Off by at most
  |v| 2^-18 + 2^(1 - g') + one step.

Sources: Xu et al., "Gradient-Driven Rewards to Guarantee Fairness in Collaborative Machine Learning", NeurIPS 2021
(cosine); Wang, Dang, Zhou, "Measure Contribution of Participants in Federated Learning", IEEE Big Data 2019 (leaving
out).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np

from privcomp.errors import ParameterError, StateError
from privcomp.mpc.backend import Bits, ReplicatedBackend, Value
from privcomp.mpc.circuits import invert, sign
from privcomp.mpc.engine import Task
from privcomp.mpc.robust._roots import FRACTION, inverse_root
from privcomp.mpc.robust.masking import server_noise
from privcomp.mpc.robust.norms import constant
from privcomp.mpc.robust.rule import Scores, below, require_scores, same
from privcomp.mpc.robust.updates import Updates, join
from privcomp.typing import BoolArray, F64Array, U64Array

__all__ = ["COSINE_ERROR", "Contributions", "contributions"]

COSINE_ERROR: Final = 2.0**-23
"""Where a cosine is nearer to its threshold than this, its bit may be either."""
_COSINE_FINEST: Final = 20
_INFLUENCE_FINEST: Final = 9
_INFLUENCE_COARSEST: Final = -24
_ROOT_FRACTION: Final = 20

_CLIENTS_MAX: Final = 1 << 12


@dataclass(frozen=True, eq=False)
class Contributions:
    """What was opened.

    Attributes:
        agrees: bool (n,): cosine to the aggregate >= the threshold; None where it was not asked for.
        moderate: bool (n,): influence <= the limit; None where it was not asked for.
        opened: in words.
        cosines: float64 (n,): cosine to the aggregate plus noise, may leave [-1, 1]; None where it was not asked for.
        influences: float64 (n,): influence plus noise, in units of the encoding, may be negative; None likewise.
    """

    agrees: BoolArray | None
    moderate: BoolArray | None
    opened: tuple[str, ...]
    cosines: F64Array | None = None
    influences: F64Array | None = None


@dataclass(frozen=True)
class _Steps:
    """How finely a score is opened: numbers times 2^bits, with noise of `variance` on top."""

    bits: int
    variance: Fraction

    @classmethod
    def of(cls, name: str, deviation: float, per: int, finest: int, coarsest: int) -> _Steps:
        """Steps of 1/128 to 1/64 of the standard deviation, of a score that is computed `per` times as large.

        Raises:
            ParameterError: the deviation is no number > 0, finer than the score is computed, or far beyond it.
        """
        if not 0 < deviation < math.inf:
            raise ParameterError(f"{name} is {deviation}; a standard deviation is a number > 0")
        bits = 7 - math.frexp(deviation * per)[1]
        if not coarsest <= bits <= finest:
            least, most = (2.0 ** (e - edge) / per for e, edge in ((6, finest), (7, coarsest)))
            raise ParameterError(f"{name} is {deviation:.3g}; allowed is [{least:.3g}, {most:.3g})")
        return cls(bits, Fraction(deviation * per) ** 2 * Fraction(4) ** bits)


def check_contributions(clients: int, entries: int, width: int) -> None:
    """Refuse sizes at which a number could wrap, or that take more memory than a server has.

    Raises:
        ParameterError: n^2 d 2^(2b) >= 2^62, fewer than 3 clients, more than 4,096.
    """
    if clients > _CLIENTS_MAX:
        raise ParameterError(f"{clients} clients; scores come from products of all pairs, of {_CLIENTS_MAX} at most")
    if clients < 3:
        raise ParameterError(f"{clients} clients; of two, each one's contribution says what the other one's is")
    below(
        f"a product of {clients} updates over {entries} entries of {width} bits",
        clients**2 * entries << 2 * width,
        62,
        "encode into fewer bits, or take fewer entries",
    )


async def contributions(
    backend: ReplicatedBackend,
    updates: Updates,
    *,
    cosine: float | None = None,
    influence: float | None = None,
    cosine_noise: float | None = None,
    influence_noise: float | None = None,
) -> Contributions:
    """Open one bit, or one noisy number, per client and score.

    Args:
        backend: of this server.
        updates: extended shares.
        cosine: threshold t in (-1, 1): open [cos(x_i, sum) >= t] of every client.
        influence: limit >= 0 in units of the encoding: open [influence <= limit] of every client.
        cosine_noise: standard deviation, in [2^-14, 2^7): open every client's cosine with noise, of which the honest
            servers alone add that much.
        influence_noise: the same for the influence, in units of the encoding, in [2^-3, 2^31) / (n (n - 1)).

    Raises:
        ParameterError: sizes, thresholds, deviations, nothing asked for, or other scores than the clients signed
            (`terms`); nothing was sent.
        StateError: scores of these updates of clients were opened before.
    """
    n, d, b = updates.clients, updates.entries, updates.width
    asked = Scores(cosine, influence, cosine_noise, influence_noise)
    if asked == Scores():
        raise ParameterError("no score was asked for; pass cosine=, influence=, cosine_noise= or influence_noise=")
    if cosine is not None and not -1 < cosine < 1:
        raise ParameterError(f"the threshold of the cosine is {cosine}; it must lie between -1 and 1")
    if influence is not None and not 0 <= influence < math.inf:
        raise ParameterError(f"the limit of the influence is {influence}; it must be a number >= 0")
    check_contributions(n, d, b)
    cosine_steps = influence_steps = None
    if cosine_noise is not None:
        cosine_steps = _Steps.of("cosine_noise", cosine_noise, 1, _COSINE_FINEST, 0)
    if influence_noise is not None:
        # Of |n x_i - s| = n (n - 1) times the influence.
        per = n * (n - 1)
        influence_steps = _Steps.of("influence_noise", influence_noise, per, _INFLUENCE_FINEST, _INFLUENCE_COARSEST)
    require_scores(updates.terms, asked)
    updates.spend("scores")
    same(backend, f"contributions {asked} {n} {d} {b}")
    gram = await updates.gram(backend)
    dots = gram.map(lambda p: p.sum(axis=1, dtype=np.uint64))
    norms = gram.map(lambda p: np.diagonal(p).copy())
    total = dots.map(lambda p: p.sum(dtype=np.uint64, keepdims=True))
    tasks = []
    opened = []
    size = (n, d, b)
    numbers: dict[str, Task[F64Array]] = {}
    if cosine_steps is not None:
        score = _noisy_cosine(backend, norms, dots, total, cosine_steps, size)
        numbers["cosines"] = backend.scheduler.spawn(score)
        opened.append(f"of each client its cosine to the sum of all, with noise of deviation {cosine_noise}")
    if influence_steps is not None:
        score = _noisy_influence(backend, norms, dots, total, influence_steps, size)
        numbers["influences"] = backend.scheduler.spawn(score)
        opened.append(f"of each client its influence on the mean, with noise of deviation {influence_noise}")
    if cosine is not None:
        tasks.append(backend.scheduler.spawn(_cosine(backend, norms, dots, total, cosine, (n, d, b))))
        opened.append(f"of each client the bit [cosine to the sum of all >= {cosine}]")
    if influence is not None:
        tasks.append(backend.scheduler.spawn(_influence(backend, norms, dots, total, influence, (n, d, b))))
        opened.append(f"of each client the bit [influence on the mean <= {influence}]")
    found = []
    for task in tasks:
        planes = await backend.open_bits(await task)
        bits = np.unpackbits(np.ascontiguousarray(planes, "<u8").view(np.uint8), bitorder="little")
        found.append(bits[:n].astype(np.bool_))
    agrees = found.pop(0) if cosine is not None else None
    moderate = found.pop(0) if influence is not None else None
    scores = {name: await task for name, task in numbers.items()}
    return Contributions(agrees, moderate, tuple(opened), **scores)


async def _opened_with_noise(backend: ReplicatedBackend, score: Value, steps: _Steps) -> F64Array:
    """Of a score times 2^bits."""
    noise = await server_noise(backend, steps.variance, score.shape)
    opened = await backend.open(backend.add(score, noise))
    return np.ldexp(backend.decode(_present(opened)).astype(np.float64), -steps.bits)


def _present(opened: U64Array | None) -> U64Array:
    if opened is None:
        raise StateError("a score that is opened to all came to nobody")
    return opened


async def _rescaled(backend: ReplicatedBackend, a: Value, fraction: int, wanted: int) -> Value:
    """From one number of fraction bits to another."""
    if wanted >= fraction:
        return backend.scale(a, constant(a, 1 << wanted - fraction))
    return await backend.truncate(a, fraction - wanted)


async def _noisy_cosine(
    backend: ReplicatedBackend, norms: Value, dots: Value, total: Value, steps: _Steps, size: tuple[int, int, int]
) -> F64Array:
    score = await _cosine_value(backend, norms, dots, total, size)
    return await _opened_with_noise(backend, await _rescaled(backend, score, FRACTION, steps.bits), steps)


async def _noisy_influence(
    backend: ReplicatedBackend, norms: Value, dots: Value, total: Value, steps: _Steps, size: tuple[int, int, int]
) -> F64Array:
    n, d, b = size
    moved = _moved(backend, norms, dots, total, n)
    bits = _even((n**2 * d << 2 * b).bit_length())
    root = await inverse_root(backend, moved, bits)
    half = bits // 2
    guard = min(_INFLUENCE_FINEST, half)
    scaled = await backend.mul(moved, root.table(backend, [1 << k for k in range(half)]))
    scaled = await _rescaled(backend, scaled, half, guard)
    inverse = await backend.truncate(root.root, FRACTION - _ROOT_FRACTION)
    length = await backend.mul(scaled, inverse)
    length = await _rescaled(backend, length, guard + _ROOT_FRACTION, steps.bits)
    return await _opened_with_noise(backend, length, steps) / (n * (n - 1))


def _even(bits: int) -> int:
    return bits + bits % 2


def _moved(backend: ReplicatedBackend, norms: Value, dots: Value, total: Value, n: int) -> Value:
    """|n x_i - s|^2 = n^2 G_ii - 2 n <x_i, s> + |s|^2, (n,)."""
    moved = backend.sub(backend.scale(norms, constant(norms, n * n)), backend.scale(dots, constant(dots, 2 * n)))
    return backend.add(moved, total)


async def _influence(
    backend: ReplicatedBackend, norms: Value, dots: Value, total: Value, limit: float, size: tuple[int, int, int]
) -> Bits:
    """[|n x_i - s|^2 <= (limit n (n - 1))^2], one plane."""
    n, d, b = size
    moved = _moved(backend, norms, dots, total, n)
    # (n - 1) x_i - sum of the others: below 2 n 2^(b-1) per entry.
    largest = n**2 * d << 2 * b
    numerator, denominator = limit.as_integer_ratio()
    square = min((numerator * n * (n - 1)) ** 2 // denominator**2, largest)
    bit = await sign(backend, backend.add_public(moved, constant(moved, -square - 1)), (largest + 1).bit_length() + 1)
    return bit


async def _cosine(
    backend: ReplicatedBackend, norms: Value, dots: Value, total: Value, threshold: float, size: tuple[int, int, int]
) -> Bits:
    """[c_i >= t], one plane: the sign of c_i - t, inverted."""
    a = await _cosine_value(backend, norms, dots, total, size)
    least = math.ceil(threshold * (1 << FRACTION))
    below_it = await sign(backend, backend.add_public(a, constant(a, -least)), FRACTION + 4)
    return invert(backend, below_it)


async def _cosine_value(
    backend: ReplicatedBackend, norms: Value, dots: Value, total: Value, size: tuple[int, int, int]
) -> Value:
    """c_i with FRACTION bits."""
    n, d, b = size
    bits = _even((n**2 * d << 2 * b - 2).bit_length())
    root = await inverse_root(backend, join([norms, total]), bits)
    powers = root.table(backend, [1 << k for k in range(bits // 2)])

    def split(value: Value) -> tuple[Value, Value]:
        """Of the clients, and of the sum for each of them."""
        return value.map(lambda p: p[:n]), value.map(lambda p: np.broadcast_to(p[n:], (n,)))

    a = dots
    for factor in split(powers):
        a = await backend.mul(a, factor)
    # The cosine is a y y_s / 2^bits.
    if bits > FRACTION:
        a = await backend.truncate(a, bits - FRACTION)
    else:
        a = backend.scale(a, constant(a, 1 << FRACTION - bits))
    for factor in split(root.root):
        a = await backend.mul_truncated(a, factor, FRACTION)
    return a
