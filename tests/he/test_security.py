"""What the profiles claim, against estimates of our own."""

from __future__ import annotations

import math

import pytest

from privcomp.he import params as params_module
from privcomp.he.params import PROFILES, RESIDUAL_SIGMA, SIGMA, RlweParams
from tests.reference.lattice import Lwe, core_svp, dual, primal_bdd, primal_usvp
from tests.reference.rlwe import is_prime, least_root, primes_below

RINGS = {name: ring for name, ring in PROFILES.items() if name != "P5"}  # P5 is P4 for other values


def instance(name: str) -> Lwe:
    ring = PROFILES[name]
    return Lwe(ring.degree, math.log2(ring.modulus), RESIDUAL_SIGMA)


# ---- the estimator, against published figures


def test_the_estimator_agrees_with_published_figures() -> None:
    """Kyber as lattice-estimator's documentation costs it in this model (its README and its page on NIST's round 3)."""
    log_q = math.log2(3329)
    kyber512 = Lwe(512, log_q, math.sqrt(1.5), 512)
    usvp = primal_usvp(kyber512)
    assert usvp.beta == 406
    assert usvp.bits == pytest.approx(143.8, abs=0.1)
    assert core_svp(kyber512).bits == pytest.approx(118.6, abs=0.1)
    assert primal_bdd(kyber512).bits == pytest.approx(140.2, abs=0.1)
    assert primal_bdd(kyber512).beta == 389
    assert dual(kyber512).bits == pytest.approx(139.7, abs=0.5)
    assert primal_bdd(Lwe(768, log_q, 1.0, 768)).bits == pytest.approx(201.0, abs=0.1)
    assert primal_bdd(Lwe(1024, log_q, 1.0, 1024)).bits == pytest.approx(270.7, abs=0.1)


@pytest.mark.parametrize("attack", [primal_usvp, primal_bdd, dual])
def test_the_estimator_knows_what_makes_lwe_harder(attack: object) -> None:
    base = attack(Lwe(1024, 27.0, 3.2)).bits  # type: ignore[operator]
    assert attack(Lwe(1024, 28.0, 3.2)).bits < base  # type: ignore[operator]
    assert attack(Lwe(1024, 27.0, 6.4)).bits > base  # type: ignore[operator]
    assert attack(Lwe(1088, 27.0, 3.2)).bits > base  # type: ignore[operator]


# ---- the profiles


@pytest.mark.parametrize("name", RINGS)
def test_stated_security_agrees_with_the_estimator(name: str) -> None:
    lwe, stated = instance(name), PROFILES[name].security
    assert primal_usvp(lwe).bits == pytest.approx(stated.usvp, abs=0.5)
    assert primal_bdd(lwe).bits == pytest.approx(stated.bdd, abs=0.5)
    assert dual(lwe).bits == pytest.approx(stated.dual, abs=1.5)
    # One block size apart at most: 0.292.
    assert core_svp(lwe).bits == pytest.approx(stated.core_svp, abs=0.3)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_has_128_bits(name: str) -> None:
    lwe = instance(name)
    for bits in (primal_usvp(lwe).bits, primal_bdd(lwe).bits, dual(lwe).bits, PROFILES[name].security.bits):
        assert bits >= 128


def test_the_same_ring_has_the_same_security() -> None:
    four, five = PROFILES["P4"], PROFILES["P5"]
    assert (four.degree, four.primes, four.roots) == (five.degree, five.primes, five.roots)
    assert four.security == five.security


@pytest.mark.parametrize("degree", [2048, 4096, 8192])
def test_caps_on_the_modulus(degree: int) -> None:
    """At the cap all attacks cost 128 bits or more; two bits beyond it one of them does not."""
    cap = params_module._CAPS[degree]
    assert min(attack(Lwe(degree, cap, 3.2)).bits for attack in (primal_usvp, primal_bdd, dual)) >= 128
    assert primal_bdd(Lwe(degree, cap + 2, 3.2)).bits < 128


def test_the_hint_halves_the_width() -> None:
    """1 / residual^2 = 2 (1 / sigma^2 + 1 / sigma^2) for one hint with coefficient 1 (Kim, Lee, Seo, Song 2023)."""
    assert pytest.approx(2 * (1 / SIGMA**2 + 1 / SIGMA**2)) == 1 / RESIDUAL_SIGMA**2


def test_a_ternary_secret_would_show_in_a_sum_of_two() -> None:
    """Why there is no such option: for h = 2, S = +-2 fixes both coefficients, and that is 2 of 9 cases."""
    pairs = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1)]
    known = [p for p in pairs if sum(sum(p) == sum(other) for other in pairs) == 1]
    assert len(known) / len(pairs) == pytest.approx(2 / 9)
    assert not any("sigma" in name or "secret" in name for name, _ in RlweParams.FIELDS)


# ---- the rings


@pytest.mark.parametrize("name", PROFILES)
def test_primes_and_roots_follow_from_the_rule(name: str) -> None:
    ring = PROFILES[name]
    by_bits: dict[int, list[int]] = {}
    for q in ring.primes:
        by_bits.setdefault(q.bit_length(), []).append(q)
    for bits, primes in by_bits.items():
        assert primes == primes_below(bits, ring.degree, len(primes))
    for q, root in zip(ring.primes, ring.roots, strict=True):
        assert is_prime(q)
        assert q % (2 * ring.degree) == 1
        assert root == least_root(q, ring.degree)
    assert ring.modulus.bit_length() <= params_module._CAPS[ring.degree]
    assert ring.modulus.bit_length() == ring.modulus_bits
