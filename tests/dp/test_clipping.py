"""Adaptive clipping: it finds the quantile, and never leaves the frozen plan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from privcomp.dp import AdaptiveClip
from privcomp.errors import CodecError, EncodingError, ParameterError
from tests.dp.plans import make, stream

ROTATION = bytes(32)


def clip(**changes: Any) -> AdaptiveClip:
    """Nearly noiseless, so that the rule is seen."""
    plan = make(dim=17, clients=20, min_survivors=20, colluders=0, target=(200.0, 1e-2), rounds=1, bits=30)
    return AdaptiveClip(**({"plan": plan} | changes))


def one_round(state: AdaptiveClip, updates: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], AdaptiveClip]:
    parts = [state.encode_var(u, ROTATION, stream(f"{i}")) for i, u in enumerate(updates)]
    decoded, after = state.decode(sum(p.total() for p in parts), len(updates), ROTATION)
    return decoded.mean, after


@pytest.mark.parametrize("quantile", [0.3, 0.7])
def test_the_clip_finds_the_quantile(quantile: float) -> None:
    rng = np.random.default_rng(4)
    norms = np.exp(rng.normal(3.0, 1.0, size=20))
    updates = rng.normal(size=(20, 16))
    updates *= (norms / np.linalg.norm(updates, axis=1))[:, None]
    state = clip(quantile=quantile, rate=0.5)
    for _ in range(60):
        mean, state = one_round(state, updates)
    assert np.quantile(norms, quantile - 0.1) <= state.clip <= np.quantile(norms, quantile + 0.1)
    clipped = updates * np.minimum(1.0, state.clip / norms)[:, None]
    assert np.abs(mean - clipped.mean(axis=0)).max() < 0.1 * state.clip
    assert (state.plan, state.plan.clip) == (clip().plan, 1.0)


def test_every_vector_stays_inside_the_plan() -> None:
    """Signal and bit together keep the plan's gate, for updates of any size."""
    for size in (0.0, 1e-300, 1e-3, 0.9, 1.1, 1e30, 1e308):
        state = clip(scale=0.7)
        got = state.encode_var(np.full(16, size), ROTATION)
        assert sum(int(v) ** 2 for v in got.signal) <= state.plan.d2_squared


def test_the_bit_says_whether_the_norm_was_larger() -> None:
    for size, expected in ((0.2, 1.0), (0.3, -1.0)):  # 16 entries: norms 0.8 and 1.2, the clip is 0.995
        state = clip()
        updates = np.full((20, 16), size)
        mean, after = one_round(state, updates)
        assert math.copysign(1.0, state.scale - after.scale) == expected
        assert np.allclose(mean, min(size, state.clip / 4.0), atol=0.02)
        assert math.log(after.scale / state.scale) == pytest.approx(-expected * 0.2 * 0.5, abs=0.02)


def test_the_scale_stays_in_its_range() -> None:
    state = clip(low=0.9, high=1.1, rate=1.0)
    for _ in range(3):
        _, state = one_round(state, np.full((20, 16), 100.0))
    assert state.scale == 1.1
    for _ in range(3):
        _, state = one_round(state, np.zeros((20, 16)))
    assert state.scale == 0.9


def test_noise_scales_along() -> None:
    small, large = clip(scale=0.5), clip(scale=2.0)
    total = small.encode_var(np.zeros(16), ROTATION).total()
    one, _ = small.decode(total, 20, ROTATION)
    two, _ = large.decode(total, 20, ROTATION)
    assert two.noise_std == 4 * one.noise_std
    assert small.fraction_std == large.fraction_std > 0


def test_bytes() -> None:
    state = clip(scale=0.3)
    assert AdaptiveClip.from_bytes(state.to_bytes(), max_bytes=1000) == state
    with pytest.raises(CodecError):
        AdaptiveClip.from_bytes(state.to_bytes()[:-1] + b"\x7f", max_bytes=1000)


@pytest.mark.parametrize(
    "changes",
    [
        {"quantile": 0.0},
        {"quantile": 1.0},
        {"rate": 0.0},
        {"rate": 2.0},
        {"bit_share": 0.0},
        {"bit_share": 0.6},
        {"scale": 0.0},
        {"scale": 2.0, "high": 1.0},
        {"low": 0.0},
        {"high": math.inf},
    ],
)
def test_values_that_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        clip(**changes)


def test_records_have_no_such_clip() -> None:
    with pytest.raises(ParameterError, match="unit 'user'"):
        AdaptiveClip(make(unit="record", records_max=10, bits=24))


@pytest.mark.parametrize(
    "values", [np.zeros(17), np.zeros(16, dtype=np.int64), np.full(16, math.nan), np.full(16, math.inf), [0.0] * 16]
)
def test_updates_that_are_refused(values: Any) -> None:
    with pytest.raises(EncodingError):
        clip().encode_var(values, ROTATION)
