"""Parameters of ring-LWE: what is chosen, what is stated, what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.errors import CodecError, ParameterError
from privcomp.he import RlweParams, Security
from privcomp.he import params as params_module
from privcomp.he.params import PROFILES, Profile
from tests.reference.rlwe import least_root, primes_below

# profile: (Delta, 2 B + 1, bits per value, bytes of 1e5, 1e6 and 1e7 values) at the most clients that it is made for
STATED = {
    "P1": (1024, 769, 22.5, 281_250, 2_812_500, 28_125_000),
    "P2": (2048, 1537, 24.75, 309_375, 3_093_750, 30_937_500),
    "P3": (8796, 6073, 91 / 3, 379_175, 3_791_675, 37_916_675),
    "P4": (29516, 19201, 33.0, 412_500, 4_125_000, 41_250_000),
    "P5": (4096, 1537, 33.0, 412_500, 4_125_000, 41_250_000),
}


def nominal(name: str) -> RlweParams:
    ring = PROFILES[name]
    return RlweParams(name, ring.bits, ring.clients, 1, ring.digits)


@pytest.mark.parametrize("name", PROFILES)
def test_the_stated_figures_of_a_profile(name: str) -> None:
    params = nominal(name)
    delta, room, bits, *sizes = STATED[name]
    assert (params.delta, 2 * params.noise_bound + 1, params.bits_per_value) == (delta, room, bits)
    assert [params.ciphertext_bytes(10**i) for i in (5, 6, 7)] == sizes
    assert params.failure_log2 <= -254.5
    assert RlweParams.for_round(params.bits, params.clients) == params
    assert params.security.bits == min(params.security[:3])
    assert str(params.security.bits) in params.describe()
    assert params.tables.delta == params.delta
    assert params.tables is replace(params).tables  # made once


@given(bits=st.integers(4, 32), clients=st.integers(1, 10_000), weight=st.integers(1, 1 << 12))
def test_whatever_is_chosen_fits_and_nothing_smaller_does(bits: int, clients: int, weight: int) -> None:
    try:
        params = RlweParams.for_round(bits, clients, weight)
    except ParameterError:
        # Not even one value per coefficient, in the largest ring.
        assert not _fits(PROFILES["P4"], bits, clients, weight, 1) or clients * weight << bits > 1 << 48
        return
    assert _fits(params.ring, bits, clients, weight, params.digits)
    for ring in PROFILES.values():
        for digits in range(1, 17):
            if ring.degree == 4096 and _fits(ring, bits, clients, weight, digits):
                assert params.bits_per_value <= ring.modulus_bits / digits
    assert params.value_bound * 2 < params.radix
    assert params.clients * (2 * params.value_bound) < params.radix  # no carry between digits


def _fits(ring: Profile, bits: int, clients: int, weight: int, digits: int) -> bool:
    radix = clients * weight * (2**bits - 1) + 1
    delta = ring.modulus // radix**digits
    return (delta - 1) / 2 >= math.ceil(math.sqrt(9216 * clients)) and delta <= 1 << 62 and radix <= 1 << 48


@pytest.mark.parametrize("name", PROFILES)
def test_the_budget_of_clients_is_exact(name: str) -> None:
    """The largest n with Delta >= 2 B + 1 is accepted, the next one refused."""
    ring = PROFILES[name]
    n = ring.clients
    while _fits(ring, ring.bits, n + 1, 1, ring.digits) and n < 10_000:
        n += 1
    assert RlweParams(name, ring.bits, n, 1, ring.digits).clients == n
    with pytest.raises(ParameterError, match=r"room for|must be an int from 1 to 10000"):
        RlweParams(name, ring.bits, n + 1, 1, ring.digits)


def test_a_weight_counts_as_clients_in_the_radix_only() -> None:
    weighted, crowd = RlweParams("P4", 16, 10, 1000, 4), RlweParams("P4", 16, 10_000, 1, 4)
    assert weighted.radix == crowd.radix
    assert weighted.noise_bound < crowd.noise_bound
    assert weighted.value_bound == 1000 * 32767


@given(count=st.integers(1, 10_000))
def test_bounds_of_sums_are_rounded_up(count: int) -> None:
    bound = nominal("P4").sum_bound(count)
    exact = Fraction(15) * Fraction(64, 10)
    assert (bound - 1) ** 2 < exact**2 * count <= bound**2


def test_the_failure_bound_is_the_formula() -> None:
    params = nominal("P3")
    exponent = -((params.delta / 2) ** 2) / (2 * 1000 * 6.4**2)
    assert params.failure_log2 == pytest.approx(math.log2(2**33 * 2) + exponent / math.log(2))
    # At Delta = 2 B + 1 it would still be below 2^-128.
    tight = -(params.noise_bound**2) / (2 * 1000 * 6.4**2)
    assert 34 + tight / math.log(2) < -128


# ---- what is refused


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"profile": "P1s"}, "unknown"),
        ({"profile": "P5-two"}, "unknown"),
        ({"profile": b"P2"}, "unknown"),
        ({"bits": 3}, "bits is 3"),
        ({"bits": 33}, "bits is 33"),
        ({"bits": 16.0}, "bits is 16.0"),
        ({"bits": True}, "bits is True"),
        ({"clients": 0}, "clients is 0"),
        ({"clients": 10_001}, "10000"),
        ({"clients": 100}, "room for 68 clients"),
        ({"clients": np.int64(3)}, "clients is"),
        ({"weight": 0}, "weight is 0"),
        ({"weight": 2}, "room for 36 clients"),
        ({"weight": 1 << 30}, "need"),
        ({"weight": float("nan")}, "weight is nan"),
        ({"digits": 0}, "digits is 0"),
        ({"digits": 5}, "P2 with 5 values"),
        ({"digits": 1}, "almost empty"),
        ({"digits": 17}, "digits is 17"),
        ({"version": 2}, "version 2"),
    ],
)
def test_refused(change: dict[str, object], text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        replace(nominal("P2"), **change)  # type: ignore[arg-type]


def test_what_does_not_fit_names_what_would() -> None:
    with pytest.raises(ParameterError, match=r"18 bits would fit"):
        RlweParams.for_round(32, 10_000, 100_000)
    with pytest.raises(ParameterError, match=r"smaller weight, or fewer clients"):
        RlweParams.for_round(16, 10_000, (1 << 32) - 1)
    with pytest.raises(ParameterError, match=r"P3 with digits = 3 fits"):
        replace(nominal("P2"), clients=1000)


def _weak(degree: int, bits: int, security: Security) -> Profile:
    (q,) = primes_below(bits, degree, 1)
    return Profile(degree, (q,), (least_root(q, degree),), 16, 3, 1, security)


def test_a_ring_below_the_floor_is_refused_even_if_somebody_ships_it(monkeypatch: pytest.MonkeyPatch) -> None:
    strong = Security(150.0, 150.0, 150.0, 128.0)
    weak = {
        "toy": _weak(64, 40, strong),  # whatever it claims: no cap for such a degree
        "modulus": _weak(2048, 56, strong),
        "claim": _weak(2048, 50, Security(150.0, 127.9, 150.0, 128.0)),
    }
    for name, ring in weak.items():
        monkeypatch.setitem(PROFILES, name, ring)
        with pytest.raises(ParameterError, match="128 need"):
            RlweParams(name, 16, 3, 1, 1)
    monkeypatch.setitem(PROFILES, "good", _weak(2048, 50, strong))
    assert RlweParams("good", 16, 3, 1, 1).degree == 2048


# ---- on the wire


def test_bytes_and_digest_are_pinned() -> None:
    params = nominal("P2")
    assert params.to_bytes().hex() == "50430100080200000050321040000000010000000401"
    assert RlweParams.from_bytes(params.to_bytes(), max_bytes=64) == params


def test_the_digest_binds_every_field_and_the_ring_behind_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    base = RlweParams("P4", 16, 10, 1, 4)
    others = [
        replace(base, profile="P5"),
        replace(base, bits=17),
        replace(base, clients=11),
        replace(base, weight=2),
        replace(base, digits=5),
    ]
    assert len({params.digest for params in [base, *others]}) == 6
    changed = replace(PROFILES["P4"], roots=PROFILES["P4"].roots[::-1])
    monkeypatch.setitem(PROFILES, "P4", changed)
    assert RlweParams("P4", 16, 10, 1, 4).digest != base.digest


@given(st.binary(min_size=22, max_size=22), st.integers(0, 21))
def test_bytes_that_do_not_add_up_are_no_params(noise: bytes, keep: int) -> None:
    data = nominal("P2").to_bytes()
    mutated = data[:keep] + noise[keep:]
    try:
        params = RlweParams.from_bytes(mutated, max_bytes=64)
    except CodecError:
        return
    assert params.to_bytes() == mutated
    assert params.delta >= 2 * params.noise_bound + 1
    assert params_module._most_digits(params.modulus, params.bits, params.clients, params.weight) >= params.digits
