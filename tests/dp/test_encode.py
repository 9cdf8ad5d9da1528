"""Encoding under a plan: bounds that hold for every input, refusals, and what comes out at the other end."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.dp import DistributedPlan, Encoded
from privcomp.dp import plan as plan_module
from privcomp.errors import EncodingError, ParameterError, RemoteError
from tests.dp.plans import make, stream

ROTATION = bytes(range(32))
RECORD: dict[str, Any] = {"unit": "record", "records_max": 300, "bits": 24, "dim": 50}


def wrapped(total: np.ndarray[Any, np.dtype[np.int64]], bits: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """What secure aggregation returns: the sum modulo 2^bits, centred."""
    half = 1 << (bits - 1)
    return (total + half) % (1 << bits) - half


def squares(vector: np.ndarray[Any, np.dtype[np.int64]]) -> int:
    return sum(int(v) ** 2 for v in vector)


@pytest.mark.parametrize("changes", [{}, {"mechanism": "ddg"}, {"proof_bits": 16, "bits": 24}, {"dim": 1, "bits": 14}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_mean_comes_out(changes: dict[str, Any], dtype: Any) -> None:
    plan = make(**changes)
    rng = np.random.default_rng(5)
    updates = rng.normal(size=(9, plan.entries)).astype(dtype)
    updates *= (rng.uniform(0.2, 3.0, size=(9, 1)) / np.linalg.norm(updates, axis=1, keepdims=True)).astype(dtype)
    total = sum(plan.encode_var(u, ROTATION, stream(f"u{i}")).total() for i, u in enumerate(updates))
    found = plan.decode(wrapped(total, plan.modulus_bits), 9, ROTATION)
    norms = np.maximum(1.0, np.linalg.norm(updates.astype(np.float64), axis=1, keepdims=True) / plan.clip)
    error = found.mean - (updates / norms).mean(axis=0)
    assert found.mean.dtype == np.float64
    assert found.mean.shape == (plan.entries,)
    assert found.divisor == 9.0
    assert np.abs(error).max() < 6.5 * found.error_std
    assert found.noise_std == pytest.approx(plan.sigma_local / 3.0)
    if plan.entries > 100:
        assert np.std(error) == pytest.approx(found.noise_std, rel=0.12)


@given(
    st.integers(0, 3),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-30, 1e-3, 1.0, 1e10, 1e38, 1.7e308]),
    st.sampled_from(["all", "one", "random"]),
    st.booleans(),
)
def test_every_signal_keeps_the_gate(which: int, size: float, shape: str, proofs: bool) -> None:
    """The norm proof's statement holds for whatever finite floats come in."""
    plan = make(dim=37, bits=24, proof_bits=16 if proofs else 0, beta_log=[0.5, 0.0, None, 3.0][which])
    values = np.zeros(37)
    if shape == "all":
        values[:] = size
    elif shape == "one":
        values[11] = -size
    else:
        values[:] = (np.random.default_rng(which).random(37) - 0.5) * size
    got = plan.encode_var(values, ROTATION, stream("gate"))
    assert got.signal.shape == got.noise.shape == (64,)
    assert got.signal.dtype == got.noise.dtype == np.int64
    assert squares(got.signal) <= plan.d2_squared
    assert int(np.abs(got.signal).max()) <= plan.signal_bound
    if proofs:
        assert int(np.abs(got.noise).max()) <= plan.noise_bound


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mechanism": "ddg"},
        {"proof_bits": 16, "bits": 24},
        RECORD,
    ],
)
def test_the_total_in_one_vector_is_signal_plus_noise(changes: dict[str, Any]) -> None:
    plan = make(**changes)
    values = np.random.default_rng(3).normal(size=plan.entries)
    if changes.get("unit") == "record":
        values = np.stack([values] * 100)
    total = plan.encode_total_var(values, ROTATION, stream("total"))
    encoded = plan.encode_var(values, ROTATION, stream("total"))
    assert total.dtype == np.int64
    assert np.array_equal(total, encoded.total())
    assert np.any(encoded.signal)
    assert np.any(encoded.noise)
    with pytest.raises(EncodingError):
        plan.encode_total_var(np.full_like(values, np.nan), ROTATION)
    with pytest.raises(EncodingError):
        plan.encode_total_var(values[..., :-1], ROTATION)


def test_noise_is_fresh_and_does_not_depend_on_the_update() -> None:
    plan = make()
    zero, one = np.zeros(1000), np.ones(1000)
    first, second = plan.encode_var(zero, ROTATION), plan.encode_var(zero, ROTATION)
    assert (first.noise != second.noise).any()
    same = [plan.encode_var(v, ROTATION, stream("s")).noise for v in (zero, one)]
    assert (same[0] == same[1]).all()
    assert np.abs(first.signal).max() == 0
    assert float(first.noise.astype(np.float64).std()) == pytest.approx(plan.s, rel=0.15)


def test_a_fork_repeats_nothing() -> None:
    """Parent and child, and two calls of each, draw four different noise shares and roundings."""
    plan = make()
    update = np.full(1000, 0.01)

    def two() -> bytes:
        drawn = [plan.encode_var(update, ROTATION) for _ in range(2)]
        return b"".join(hashlib.sha256(part.tobytes()).digest() for e in drawn for part in (e.signal, e.noise))

    two()  # tables are made, streams have been used
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, two())
        os._exit(0)
    ours = two()
    os.waitpid(child, 0)
    theirs = os.read(reader, 128)
    os.close(reader)
    os.close(writer)
    digests = {(ours + theirs)[k : k + 32] for k in range(0, 256, 32)}
    assert len(theirs) == 128
    assert len(digests) == 8


def test_repr_tells_nothing() -> None:
    assert repr(Encoded(np.array([12345]), np.array([67890]))) == "Encoded(1 entries, redacted)"


# ---- records


def test_one_record_moves_the_signal_by_no_more_than_stated() -> None:
    """With the same coins, adding a record keeps the L1 and L2 sensitivity, whatever the other records are."""
    plan = make(**RECORD)
    rng = np.random.default_rng(2)
    base = rng.normal(size=(40, 50)) * 10.0 ** rng.integers(-8, 8, size=(40, 1))
    for k in range(12):
        record = rng.normal(size=(1, 50)) * 10.0 ** float(rng.integers(-3, 6))
        before = plan.encode_records_var([base], ROTATION, stream(f"r{k}")).signal
        after = plan.encode_records_var([np.concatenate([record, base])], ROTATION, stream(f"r{k}")).signal
        move = after - before
        assert math.sqrt(squares(move)) <= plan.d2
        assert int(np.abs(move).sum()) <= plan.d1
        assert math.sqrt(squares(move)) > 0.5 * min(1.0, float(np.linalg.norm(record))) * float(plan.ratio) - 8.0


def test_order_and_batches_of_records_do_not_matter() -> None:
    """The sum is exact: +1 before many tiny ones, and any split into batches, give the same integers."""
    plan = make(**(RECORD | {"records_max": 5000, "dim": 2}))
    rows = np.full((4000, 2), -(2.0**-13), dtype=np.float32)
    rows[0] = (0.9, 0.1)
    ways = [
        [rows],
        [rows[::-1].copy()],
        [rows[:7], rows[7:].astype(np.float64)],
        [rows[k : k + 500] for k in range(0, 4000, 500)],
    ]
    signals = [plan.encode_records_var(way, ROTATION, stream("b")).signal for way in ways]
    assert all((s == signals[0]).all() for s in signals)


def test_records_come_out() -> None:
    plan = make(**RECORD)
    rng = np.random.default_rng(8)
    rows = [rng.normal(size=(200, 50)) for _ in range(10)]
    total = sum(plan.encode_records_var([r], ROTATION, stream(f"c{i}")).total() for i, r in enumerate(rows))
    found = plan.decode(wrapped(total, plan.modulus_bits), 10, ROTATION, divisor=2000.0)
    clipped = [r / np.maximum(1.0, np.linalg.norm(r, axis=1, keepdims=True)) for r in rows]
    truth = np.concatenate(clipped).sum(axis=0) / 2000.0
    assert np.abs(found.mean - truth).max() < 6 * found.error_std
    default = plan.decode(wrapped(total, plan.modulus_bits), 10, ROTATION)
    assert default.divisor == 3000.0
    assert np.allclose(default.mean * 1.5, found.mean)


def test_no_records_is_a_release_of_noise() -> None:
    plan = make(**RECORD)
    got = plan.encode_records_var([np.zeros((0, 50))], ROTATION, stream("none"))
    assert np.abs(got.signal).max() == 0
    assert got.noise.any()


def test_sampling_of_records() -> None:
    plan = make(**(RECORD | {"record_rate": 0.25}))
    chosen = np.concatenate([plan.sample_records_var(300, stream(f"p{k}")) for k in range(40)])
    assert chosen.dtype == np.bool_
    assert abs(int(chosen.sum()) - 3000) < 6 * math.sqrt(12000 * 0.25 * 0.75)
    assert make(**RECORD).sample_records_var(5).all()
    with pytest.raises(EncodingError, match="records"):
        plan.sample_records_var(301)


# ---- refusals


@pytest.mark.parametrize("values", [None, 5, np.array(1.0), [np.zeros(50)]])
def test_what_is_no_batch_of_records_is_refused_by_name(values: Any) -> None:
    with pytest.raises(EncodingError, match="records"):
        make(**RECORD).encode_var(values, ROTATION)


@pytest.mark.parametrize("weight", [0, 2, 1.0, True, math.nan, None, np.ones(2)])
@pytest.mark.parametrize("options", [{}, RECORD], ids=["user", "record"])
def test_weights_are_1_for_every_unit(options: dict[str, Any], weight: Any) -> None:
    plan = make(**options)
    values = np.zeros((2, plan.entries) if options else plan.entries)
    with pytest.raises(EncodingError, match="weight"):
        plan.encode_var(values, ROTATION, weight=weight)


def bad(value: float) -> np.ndarray[Any, Any]:
    out = np.ones(1000)
    out[500] = value
    return out


@pytest.mark.parametrize(
    "values",
    [
        bad(math.nan),
        bad(math.inf),
        bad(-math.inf),
        np.array([1e30, 1, math.nan] + [0.0] * 997, dtype=np.float32),
        np.ones(1000, dtype=np.float16),
        np.ones(1000, dtype=np.int64),
        np.ones(1000, dtype=">f8"),
        np.ones(999),
        np.ones((1000, 1)),
        np.ma.masked_array(np.ones(1000)),
        [1.0] * 1000,
        None,
    ],
)
def test_updates_that_are_refused(values: Any) -> None:
    with pytest.raises(EncodingError):
        make().encode_var(values, ROTATION)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda p, v: p.encode_var(v, ROTATION, weight=2), EncodingError),
        (lambda p, v: p.encode_var(v, ROTATION, weight=0), EncodingError),
        (lambda p, v: p.encode_var(v, ROTATION[:31]), ParameterError),
        (lambda p, v: p.encode_var(v, bytearray(32)), ParameterError),
        (lambda p, v: p.encode_var(v, ROTATION, lambda n: bytes(n - 1)), ParameterError),
        (lambda p, v: p.encode_records_var([v[None]], ROTATION), EncodingError),
    ],
)
def test_calls_that_are_refused(call: Callable[[DistributedPlan, Any], Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        call(make(), np.ones(1000))


@pytest.mark.parametrize(
    "batches",
    [
        [np.ones((2, 49))],
        [np.ones(50)],
        [np.ones((301, 50))],
        [np.ones((300, 50)), np.ones((1, 50))],
        [np.ones((2, 50)), np.full((1, 50), math.nan)],
        [np.ones((2, 50), dtype=np.int32)],
        [[[1.0] * 50]],
    ],
)
def test_records_that_are_refused(batches: Any) -> None:
    with pytest.raises(EncodingError):
        make(**RECORD).encode_records_var(batches, ROTATION)


def test_units_do_not_mix() -> None:
    with pytest.raises(EncodingError, match="records"):
        make(**RECORD).encode_var(np.ones(50), ROTATION)


@pytest.mark.parametrize("survivors", [7, 11, 0, -1, 8.0, True])
def test_sums_of_too_few_are_not_decoded(survivors: Any) -> None:
    with pytest.raises(EncodingError, match="survivors"):
        make().decode(np.zeros(1024, dtype=np.int64), survivors, ROTATION)


def test_sums_that_are_refused() -> None:
    plan = make()
    for total in (np.zeros(1000, dtype=np.int64), np.zeros(1024), np.zeros(1024, dtype=">i8"), [0] * 1024):
        with pytest.raises(EncodingError, match="the sum"):
            plan.decode(total, 8, ROTATION)  # type: ignore[arg-type]
    high = np.zeros(1024, dtype=np.int64)
    high[3] = 1 << 17
    with pytest.raises(RemoteError, match="beyond"):
        plan.decode(high, 8, ROTATION)
    plan.decode(-high, 8, ROTATION)
    proven = make(proof_bits=16, bits=24)
    high[3] = 8 * (proven.signal_bound + proven.noise_bound) + 1
    with pytest.raises(RemoteError, match="beyond"):
        proven.decode(high, 8, ROTATION)
    for divisor in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ParameterError, match="divisor"):
            plan.decode(np.zeros(1024, dtype=np.int64), 8, ROTATION, divisor=divisor)


# ---- noise that is cut off


def test_noise_beyond_the_bound_is_drawn_again_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make(proof_bits=16, bits=24)
    wide = np.zeros(1024, dtype=np.int64)
    wide[77] = -plan.noise_bound - 1
    at_most = np.full(1024, plan.noise_bound, dtype=np.int64)
    drawn = [wide, wide, at_most]
    sampler = SimpleNamespace(sample_var=lambda n, rng: drawn.pop(0))
    monkeypatch.setattr(plan_module, "_sampler", lambda mechanism, variance: sampler)
    assert plan.noise_var() is at_most
    assert not drawn
    drawn.extend([wide] * 16)
    with pytest.raises(ParameterError, match="random source"):
        plan.noise_var()
    drawn.append(wide)
    assert make().noise_var() is wide  # without proofs nothing is cut


# ---- accuracy


@pytest.mark.parametrize("mechanism", ["skellam", "ddg"])
def test_mean_estimation_has_the_closed_form_error(mechanism: str) -> None:
    """The mean squared error over 150 repetitions lies within 4 of its standard errors of (s^2 + 1/6) gamma^2 / n."""
    plan = make(dim=30, clients=6, min_survivors=6, colluders=0, bits=20, target=(6.0, 1e-5), mechanism=mechanism)
    rng = np.random.default_rng(11)
    errors = []
    for k in range(150):
        updates = rng.normal(size=(6, 30))
        updates /= np.linalg.norm(updates, axis=1, keepdims=True) * 1.0001
        rotation = stream(f"rotation {k}")(32)
        total = sum(plan.encode_var(u, rotation, stream(f"{k} {i}")).total() for i, u in enumerate(updates))
        found = plan.decode(wrapped(total, plan.modulus_bits), 6, rotation)
        errors.append(float(((found.mean - updates.mean(axis=0)) ** 2).mean()))
    standard_error = float(np.std(errors)) / math.sqrt(len(errors))
    assert abs(float(np.mean(errors)) - plan.expected_mse()) < 4 * standard_error
