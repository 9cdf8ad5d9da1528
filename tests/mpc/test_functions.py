"""Division, roots and the sigmoid: their stated errors, over the ends and the body of their whole domains."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.errors import ParameterError
from privcomp.mpc import Mpc, functions, tensors
from tests.mpc.parties import REPLICATED, run


def domain(bits: int, seed: int, many: int = 4000) -> Any:
    """Positive integers below 2^bits: all small ones, powers of two and their neighbours, the top, and many more."""
    rng = np.random.default_rng(seed)
    powers = [(1 << k) + d for k in range(bits + 1) for d in (-1, 0, 1)]
    scattered = (2.0 ** rng.uniform(0, bits, many)).astype(np.int64)
    every = np.concatenate([np.arange(1, 600), powers, scattered, (1 << bits) - np.arange(1, 50)])
    return np.unique(every[(every >= 1) & (every < 1 << bits)])


def apply(function: Any, *operands: tuple[Any, int, int], protocol: str = "rep3") -> Any:
    """The integers of the result, its bound and fraction; operands as (integers, bits of the bound, fraction)."""

    async def program(mpc: Mpc) -> Any:
        several = []
        for integers, bits, fraction in operands:
            values = integers if mpc.me == 1 else None
            raw = mpc.input(values, owner=1, shape=integers.shape, bound=(1 << bits) - 1)
            several.append(mpc.wrap(await raw.value(), bound=raw.bound, fraction=fraction))
        made = function(*several)
        plain = mpc.wrap(await made.value(), bound=made.bound)
        return await mpc.open(plain), made.bound, made.fraction

    return run(protocol, tensors(program)).results[0]


def within(found: Any, top: Any, bottom: Any, slack: Any) -> None:
    """|found - top / bottom| <= slack / bottom, in Python's integers."""
    for r, a, b, s in zip(found.tolist(), top, bottom, slack, strict=True):
        assert abs(r * b - a) <= s, (r, a, b)


@pytest.mark.parametrize(("fraction", "bits"), [(1, 30), (8, 10), (16, 30), (16, 17), (20, 24), (30, 30)])
def test_reciprocal(fraction: int, bits: int) -> None:
    x = domain(bits, fraction)
    x = np.concatenate([x, -x])
    found, bound, f = apply(lambda a: a.reciprocal(), (x, bits, fraction))
    assert f == fraction
    assert np.abs(found).max() <= bound
    sizes = [abs(v) for v in x.tolist()]
    signs = [(v > 0) - (v < 0) for v in x.tolist()]
    one = 1 << (2 * fraction)
    # |R X - 2^2f| <= 2^-27 2^2f + |X|
    within(found, [s * one for s in signs], sizes, [one / 2**27 + v for v in sizes])


@pytest.mark.parametrize("protocol", REPLICATED)
def test_every_protocol(protocol: str) -> None:
    """The functions use nothing but what replicated backends share; a few numbers show it."""
    x = np.array([1, -1, 65536, -98304, 3, (1 << 20) - 1])
    real = x / 2**16
    wanted = [
        (lambda a: a.reciprocal(), 1 / real),
        (lambda a: a / (a + 1.75), real / (real + 1.75)),
        (lambda a: abs(a).sqrt(), np.sqrt(np.abs(real))),
        (lambda a: abs(a).inverse_sqrt(), 1 / np.sqrt(np.abs(real))),
    ]
    for function, exact in wanted:
        found, _, fraction = apply(function, (x, 20, 16), protocol=protocol)
        assert np.abs(found / 2.0**fraction - exact).max() <= 3 * 2**-16 + np.abs(exact).max() / 2**25
    found = apply(lambda a: a.sigmoid(), (x, 20, 16), protocol=protocol)[0]
    assert np.abs(found / 2**16 - 1 / (1 + np.exp(-real))).max() <= 3e-4


def test_reciprocal_of_zero_is_zero() -> None:
    zeros = np.zeros(70, np.int64)
    assert not apply(lambda a: a.reciprocal(), (zeros, 20, 16))[0].any()
    assert not apply(lambda a: a / a, (zeros, 20, 16))[0].any()
    assert not apply(lambda a: a.sqrt(), (zeros, 20, 16))[0].any()
    assert not apply(lambda a: a.inverse_sqrt(), (-np.arange(70), 20, 16))[0].any()


def test_a_promise_tightens_the_bound() -> None:
    x = np.arange(1 << 12, 1 << 13)
    loose, tight = (apply(lambda a, p=p: a.reciprocal(least=p), (x, 13, 16)) for p in (0.0, 2.0**-4))
    assert (np.abs(loose[0] - tight[0]) <= 1).all()
    assert tight[1] < 2**21 < 2**31 < loose[1]
    assert (tight[0] <= tight[1]).all()


@pytest.mark.parametrize(
    ("fa", "wa", "fb", "wb"), [(16, 30, 16, 30), (16, 20, 16, 20), (0, 10, 16, 24), (20, 25, 8, 12), (8, 30, 8, 3)]
)
def test_division(fa: int, wa: int, fb: int, wb: int) -> None:
    rng = np.random.default_rng(wa)
    a, b = domain(wa, 1), domain(wb, 2)
    a = rng.choice(np.concatenate([a, -a, [0]]), 4000)
    b = rng.choice(np.concatenate([b, -b]), 4000)
    a[:4], b[:4] = [(1 << wa) - 1, (1 << wa) - 1, 1, -1], [(1 << wb) - 1, 1, (1 << wb) - 1, -1]
    plan = functions.Division.plan((1 << wa) - 1, fa, (1 << wb) - 1, fb)
    assert plan.guard <= max(0, wa + wb - 30)
    found, bound, f = apply(lambda x, y: x / y, (a, wa, fa), (b, wb, fb))
    assert f == max(fa, fb)
    assert np.abs(found).max() <= bound
    scale = f + fb - fa
    bottoms = [abs(v) for v in b.tolist()]
    tops = [(u if v > 0 else -u) * 2**scale for u, v in zip(a.tolist(), b.tolist(), strict=True)]
    middle = 2.0 ** (plan.guard - 30 + scale) if plan.guard else 0.0
    within(found, tops, bottoms, [abs(t) / 2**27 + middle + v for t, v in zip(tops, bottoms, strict=True)])


@pytest.mark.parametrize(("fraction", "bits"), [(1, 30), (8, 12), (16, 30), (16, 16), (20, 25), (30, 30)])
def test_square_root(fraction: int, bits: int) -> None:
    x = np.concatenate([[0], domain(bits, fraction), -domain(bits, 3)[:50]])
    found, bound, f = apply(lambda a: a.sqrt(), (x, bits, fraction))
    assert f == fraction
    wanted = np.sqrt(np.maximum(x, 0) * 2.0**fraction)
    assert (np.abs(found - wanted) <= wanted / 2**25 + 1.3).all()
    assert found.max() <= bound
    assert not found[x <= 0].any()


@pytest.mark.parametrize(("fraction", "bits"), [(1, 30), (8, 12), (16, 30), (16, 16), (20, 25), (20, 30)])
def test_inverse_square_root(fraction: int, bits: int) -> None:
    x = domain(bits, fraction)
    found, bound, f = apply(lambda a: a.inverse_sqrt(), (x, bits, fraction))
    assert f == fraction
    wanted = 2.0 ** (1.5 * fraction) / np.sqrt(x)
    assert (np.abs(found - wanted) <= wanted / 2**25 + 1.5).all()
    assert found.max() <= bound


@pytest.mark.parametrize(("fraction", "bits"), [(4, 60), (8, 13), (12, 57), (16, 40), (20, 25), (24, 58)])
def test_sigmoid(fraction: int, bits: int) -> None:
    """All of [-10, 10] at few bits, a sweep at many, and numbers far outside."""
    reach = 10 << fraction
    inside = np.linspace(-reach, reach, min(2 * reach + 1, 30001)).astype(np.int64)
    edges = [sign * (edge << fraction) // 16 + d for edge in (19, 67, 134) for sign in (-1, 1) for d in (-1, 0, 1)]
    far = [sign * ((1 << k) - 1) for k in range(fraction, bits) for sign in (-1, 1)]
    x = np.concatenate([inside, edges, far])
    x = x[np.abs(x) < 1 << bits]
    found, bound, f = apply(lambda a: a.sigmoid(), (x, bits, fraction))
    assert f == fraction
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(-x / 2**fraction))
    assert np.abs(found / 2**fraction - wanted).max() <= 2.6e-4 + 2 / 2**fraction
    assert np.abs(found).max() <= bound


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: functions.Reciprocal.plan(1 << 30, 16), "takes"),
        (lambda: functions.Reciprocal.plan(1, 0), "fraction"),
        (lambda: functions.Reciprocal.plan(1, 31), "fraction"),
        (lambda: functions.Reciprocal.plan(1, 8, -1.0), "least"),
        (lambda: functions.Reciprocal.plan(1, 8, float("nan")), "least"),
        (lambda: functions.Division.plan(1 << 30, 16, 1, 16), "dividend"),
        (lambda: functions.Division.plan(1, 16, 1 << 30, 16), "divisor"),
        (lambda: functions.Division.plan(1, 0, 1, 0), "integers"),
        (lambda: functions.Division.plan((1 << 30) - 1, 0, 1, 40), "could reach"),
        (lambda: functions.Root.plan(1 << 30, 16, inverse=False), "takes"),
        (lambda: functions.Root.plan(1, 21, inverse=True), "fraction"),
        (lambda: functions.Sigmoid.plan((1 << 63) - 1, 16), "below 2"),
        (lambda: functions.Sigmoid.plan(1, 25), "fraction"),
        (lambda: functions.Sigmoid.plan(1, 3), "fraction"),
    ],
)
def test_refusals(build: Any, match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        build()


def test_constants() -> None:
    """Every `check:` beside a constant holds."""
    text = Path(functions.__file__).read_text()
    checks = re.findall(r"check: (.+?)\"\"\"", text)
    assert len(checks) == 2
    for check in checks:
        assert eval(check), check
