"""Central mechanisms: the accountant against an independent one, and what it refuses to guess."""

from __future__ import annotations

import math
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from privcomp.dp import (
    Accountant,
    ClippedGaussian,
    DiscreteGaussianMechanism,
    DiscreteLaplaceMechanism,
    GaussianMechanism,
    LaplaceMechanism,
    PoissonSampled,
)
from privcomp.errors import EncodingError, LocalError, ParameterError
from tests.dp.plans import stream
from tests.reference import dp as ref

DELTA = 1e-5


def spent(mechanism: Any, count: int = 1, **options: Any) -> float:
    accountant = Accountant(**({"adjacency": "add_or_remove", "sampling": "none"} | options))
    accountant.compose(mechanism, count)
    return accountant.epsilon(DELTA)


@pytest.mark.parametrize(("z", "adjacency"), [(1.0, "add_or_remove"), (3.0, "zero_out")])
def test_gaussian(z: float, adjacency: str) -> None:
    found = spent(GaussianMechanism(z), adjacency=adjacency)
    assert found == pytest.approx(float(ref.gaussian_epsilon(z, DELTA)), abs=1e-6)


def test_composed_gaussians_are_one() -> None:
    """T rounds with z are one with z / sqrt(T)."""
    assert spent(GaussianMechanism(8.0), 16) == pytest.approx(float(ref.gaussian_epsilon(2.0, DELTA)), abs=1e-6)


def test_replacement_is_a_move_twice_as_far() -> None:
    """10.0, where the Rényi accountant of dp-accounting says 4.73."""
    found = spent(GaussianMechanism(1.0), adjacency="replace_one")
    assert found == pytest.approx(float(ref.gaussian_epsilon(0.5, DELTA)), abs=1e-6)
    assert found == pytest.approx(10.0, abs=0.01)


def test_the_central_reference() -> None:
    """z = 1, q = 0.01, T = 1000, delta = 1e-5: 1.8282 by losses, 2.10 by Rényi curves."""
    mechanism = PoissonSampled(GaussianMechanism(1.0), 0.01)
    assert spent(mechanism, 1000, sampling="poisson") == pytest.approx(1.8282, abs=5e-5)
    assert spent(mechanism, 1000, sampling="poisson", method="rdp") == pytest.approx(2.10, abs=5e-3)


@pytest.mark.parametrize(
    ("z", "q", "rounds", "near"),
    [
        (2.0, 0.25, 20, 2.0),
        pytest.param(2.0, 0.1, 100, 2.3, marks=pytest.mark.assurance),
        pytest.param(1.0, 0.01, 1000, 1.8, marks=pytest.mark.assurance),
        pytest.param(0.8, 0.003, 3000, 1.8, marks=pytest.mark.assurance),
    ],
)
def test_sampled_gaussian_agrees_with_the_independent_accountant(z: float, q: float, rounds: int, near: float) -> None:
    found = spent(
        PoissonSampled(GaussianMechanism(z), q), rounds, sampling="poisson", interval=2e-5 if rounds > 99 else 1e-4
    )
    assert found == pytest.approx(ref.sampled_gaussian_epsilon(z, q, rounds, DELTA, near=near), abs=1e-6)


@pytest.mark.parametrize(("scale", "moved"), [(0.5, 1), (2.0, 1), (2.0, 2)])
def test_laplace(scale: float, moved: int) -> None:
    """delta(eps) = 1 - e^((eps - m/b) / 2) for a move by m, hence eps = m/b + 2 ln(1 - delta)."""
    found = spent(LaplaceMechanism(scale), adjacency="replace_one" if moved == 2 else "add_or_remove")
    assert found == pytest.approx(moved / scale + 2 * math.log1p(-DELTA), abs=1e-6)


@pytest.mark.parametrize("adjacency", ["add_or_remove", "replace_one"])
@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_integer_mechanisms_against_their_exact_laws(kind: str, adjacency: str) -> None:
    move = 2 * (2 if adjacency == "replace_one" else 1)
    reach = 400
    mechanism: Any
    if kind == "gaussian":
        mechanism = DiscreteGaussianMechanism(Fraction(50), l2_squared=4)
        law = ref.discrete_gaussian(50, reach)
    else:
        mechanism = DiscreteLaplaceMechanism(Fraction(5), sensitivity=2)
        weights = [math.exp(-abs(k) / 5) for k in range(-reach, reach + 1)]
        law = [ref.number(w / math.fsum(weights)) for w in weights]
    p, q = law[:-move], law[move:]
    true = float(ref.root(lambda e: float(ref.hockey_stick(p, q, e)) / DELTA - 1, 0.0, 30.0, 1e-10))
    found = spent(mechanism, adjacency=adjacency)
    assert found == pytest.approx(true, abs=1e-6)


def test_renyi_curves_of_discrete_gaussians() -> None:
    """The event, the accountant and the curve say the same."""
    mechanism = DiscreteGaussianMechanism(Fraction(9), l2_squared=4)
    assert mechanism.curve().epsilon(DELTA) >= spent(mechanism, method="rdp") - 1e-9
    assert mechanism.event().rho == pytest.approx(4 / 18)
    vector = ClippedGaussian(clip=2.0, granularity=2.0**-10, noise_multiplier=1.5)
    assert vector.event().rho == pytest.approx(0.5 / 1.5**2)
    assert vector.curve(replace_one=True).values[0] == pytest.approx(4 * vector.curve().values[0], rel=1e-9)


def test_events() -> None:
    assert GaussianMechanism(2.0).event().noise_multiplier == 2.0
    assert LaplaceMechanism(3.0).event().noise_multiplier == 3.0
    laplace = DiscreteLaplaceMechanism(Fraction(5, 2), 3).event()
    assert (laplace.noise_parameter, laplace.sensitivity) == (0.4, 3)
    sampled = PoissonSampled(GaussianMechanism(2.0), 0.5).event()
    assert (sampled.sampling_probability, sampled.event.noise_multiplier) == (0.5, 2.0)


def test_losses_add_up() -> None:
    """Different mechanisms on the same data: epsilon and delta are those of the composition, and inverse."""
    accountant = Accountant(adjacency="add_or_remove", sampling="poisson")
    accountant.compose(GaussianMechanism(2.0))
    one = accountant.epsilon(DELTA)
    accountant.compose(LaplaceMechanism(4.0))
    accountant.compose(PoissonSampled(LaplaceMechanism(2.0), 0.1), 3)
    both = accountant.epsilon(DELTA)
    assert one < both < one + 0.25 + 3 * 0.5
    assert accountant.delta(both) == pytest.approx(DELTA, rel=1e-6)


# ---- releases


def test_releases_are_exact_integers_on_the_grid() -> None:
    mechanism = ClippedGaussian(clip=1.0, granularity=2.0**-12, noise_multiplier=0.5)
    rows = np.random.default_rng(1).normal(size=(50, 400))
    out = mechanism.release_var(rows, stream("grid"))
    steps = out * 2.0**12
    assert (steps == np.round(steps)).all()
    truth = (rows / np.maximum(1.0, np.linalg.norm(rows, axis=1, keepdims=True))).sum(axis=0)
    assert np.abs(out - truth).max() < 0.5 * 6 + 50 * 2.0**-12
    assert np.std(out - truth) == pytest.approx(0.5, rel=0.15)
    local = mechanism.release_var(rows[0].astype(np.float32), stream("local"))
    assert local.shape == (400,)


@pytest.mark.parametrize("mechanism", [DiscreteGaussianMechanism(Fraction(100)), DiscreteLaplaceMechanism(Fraction(7))])
def test_releases_of_integers(mechanism: Any) -> None:
    values = np.arange(3000, dtype=np.int64) * 10**6
    out = mechanism.release_var(values, stream("integers"))
    assert np.std((out - values).astype(np.float64)) == pytest.approx(10.0, rel=0.1)
    edge = np.array([2**63 - 1, -(2**63)], dtype=np.int64)
    assert mechanism.release_var(edge, stream("edge")).shape == (2,)  # wraps, and raises nothing that tells
    for wrong in (np.zeros(3), np.zeros((2, 2), dtype=np.int64), [1, 2]):
        with pytest.raises(EncodingError):
            mechanism.release_var(wrong)


@pytest.mark.parametrize(
    "rows",
    [
        np.array([1e30, 1.0, math.nan], dtype=np.float32),
        np.array([math.inf, 0.0]),
        np.zeros((2, 0)),
        np.zeros((1, 2, 2)),
        np.zeros(3, dtype=np.int64),
        [1.0, 2.0],
    ],
)
def test_rows_that_are_refused(rows: Any) -> None:
    with pytest.raises(EncodingError):
        ClippedGaussian(clip=1.0, granularity=2.0**-12, noise_multiplier=1.0).release_var(rows)


# ---- refusals


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sampling": "none"}, "adjacency"),
        ({"adjacency": "add_or_remove"}, "sampling"),
        ({"adjacency": "nobody", "sampling": "none"}, "adjacency"),
        ({"adjacency": "zero_out", "sampling": "shuffle"}, "fixed size or a shuffled"),
        ({"adjacency": "replace_one", "sampling": "none", "method": "rdp"}, "wrong for adjacency"),
        ({"adjacency": "zero_out", "sampling": "none", "method": "gdp"}, "method"),
        ({"adjacency": "zero_out", "sampling": "none", "interval": 0.0}, "interval"),
    ],
)
def test_accountants_that_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        Accountant(**options)


@pytest.mark.parametrize(
    ("mechanism", "options", "says"),
    [
        (PoissonSampled(GaussianMechanism(1.0), 0.1), {}, "claimed only where"),
        (PoissonSampled(LaplaceMechanism(1.0), 0.1), {"sampling": "poisson", "adjacency": "replace_one"}, "not known"),
        (ClippedGaussian(1.0, 0.5, 1.0), {}, "vectors"),
        (DiscreteGaussianMechanism(Fraction(4), l2_squared=2), {}, "one integer"),
        (PoissonSampled(LaplaceMechanism(1.0), 0.1), {"sampling": "poisson", "method": "rdp"}, "no Rényi curve"),
    ],
)
def test_mechanisms_that_are_refused(mechanism: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        spent(mechanism, **options)


def test_replacement_never_meets_the_renyi_accountant(monkeypatch: pytest.MonkeyPatch) -> None:
    rdp = pytest.importorskip("dp_accounting.rdp")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("the Rényi accountant was asked about replacement")

    monkeypatch.setattr(rdp, "RdpAccountant", refuse)
    assert spent(GaussianMechanism(2.0), adjacency="replace_one") > 0
    with pytest.raises(AssertionError):
        spent(GaussianMechanism(2.0), method="rdp")


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianMechanism(0.0),
        lambda: GaussianMechanism(math.nan),
        lambda: LaplaceMechanism(-1.0),
        lambda: DiscreteGaussianMechanism(0.5),  # type: ignore[arg-type]
        lambda: DiscreteGaussianMechanism(Fraction(0)),
        lambda: DiscreteGaussianMechanism(Fraction(2) ** 81),
        lambda: DiscreteGaussianMechanism(Fraction(1), 0),
        lambda: DiscreteLaplaceMechanism(Fraction(-1)),
        lambda: ClippedGaussian(1.0, 2.0, 1.0),
        lambda: ClippedGaussian(0.0, 1.0, 1.0),
        lambda: ClippedGaussian(1.0, 0.5, math.inf),
        lambda: PoissonSampled(GaussianMechanism(1.0), 0.0),
        lambda: PoissonSampled(GaussianMechanism(1.0), 1.5),
        lambda: PoissonSampled(ClippedGaussian(1.0, 0.5, 1.0), 0.5),  # type: ignore[arg-type]
        lambda: Accountant(adjacency="zero_out", sampling="none").compose(GaussianMechanism(1.0), 0),
        lambda: Accountant(adjacency="zero_out", sampling="none").epsilon(0.0),
        lambda: Accountant(adjacency="zero_out", sampling="none").delta(-1.0),
    ],
)
def test_values_that_are_refused(make: Any) -> None:
    with pytest.raises(ParameterError):
        make()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(LocalError, match="extra `dp`"):
        Accountant(adjacency="zero_out", sampling="none")
    with pytest.raises(LocalError, match="extra `dp`"):
        GaussianMechanism(1.0).event()


def test_the_room_imports_without_the_extra() -> None:
    code = "import sys; sys.modules['dp_accounting'] = None; sys.modules['scipy'] = None; import privcomp.dp"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
