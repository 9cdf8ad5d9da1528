"""Rotation, clip, rounding and sums of records against plain numbers, at every level."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privcomp import _core
from privcomp._core import _noise
from privcomp.errors import BufferTypeError, EncodingError, ParameterError
from tests.core.streams import reference_stream
from tests.reference import hadamard as twin

pytestmark = pytest.mark.usefixtures("at_level")
CIPHERS = [_core.AES128_CTR, _core.CHACHA20]
PER_LEVEL = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=25
)
SEED, OTHER = bytes(range(32)), bytes(range(1, 33))


def extreme_floats(draw: np.random.Generator, n: int, dtype: type = np.float64) -> np.ndarray:
    """Of all sizes: normal, subnormal, near overflow, zeros of both signs."""
    top = np.finfo(dtype).max
    scale = draw.choice(np.array([1, 1, 1e-3, top / 4, np.finfo(dtype).tiny, 0, -0.0]), n)
    return (draw.standard_normal(n).clip(-3, 3) * scale).astype(dtype)


def squares(q: np.ndarray) -> int:
    return sum(int(v) ** 2 for v in q)


# ---- transforms ----


def test_the_reference_is_the_definition() -> None:
    draw = np.random.default_rng(1)
    for k in range(7):
        x = [int(v) for v in draw.integers(-(10**6), 10**6, 1 << k)]
        assert twin.hadamard(x) == twin.hadamard_by_definition(x)


# Below 32 entries, one block, several.
@pytest.mark.parametrize("k", range(13))
def test_transforms(k: int) -> None:
    draw = np.random.default_rng(k)
    x = draw.standard_normal(1 << k) * np.exp(draw.uniform(-30, 30, 1 << k))
    want = np.array(twin.hadamard([float(v) for v in x]))
    _core.hadamard_f64(x)
    assert x.tobytes() == want.tobytes()
    v = draw.integers(-(2**61) >> k, 2**61 >> k, 1 << k)
    integers = np.array(twin.hadamard([int(a) for a in v]), np.int64)
    _core.hadamard_i64(v)
    np.testing.assert_array_equal(v, integers)


def level_by_level(x: np.ndarray) -> np.ndarray:
    """The reference with NumPy, for sizes at which Python takes long; additions in the same order."""
    h = x.size // 2
    while h:
        pairs = x.reshape(-1, 2, h)
        x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        h //= 2
    return x


# Blocks of two caches, 2, 4 and 8 rows above, strips of 16, 32 and 64 rows, and with 2^23 rows above strips.
@pytest.mark.parametrize("k", [*range(12, 21), pytest.param(23, marks=pytest.mark.assurance)])
def test_large_transforms(k: int) -> None:
    draw = np.random.default_rng(k)
    x = draw.standard_normal(1 << k)
    want = level_by_level(x)
    _core.hadamard_f64(x)
    assert x.tobytes() == want.tobytes()
    v = draw.integers(-(2**20), 2**20, 1 << k)
    integers = level_by_level(v)
    _core.hadamard_i64(v)
    np.testing.assert_array_equal(v, integers)


def test_zeros_keep_their_sign_bits_alike() -> None:
    draw = np.random.default_rng(5)
    x = draw.choice(np.array([0.0, -0.0, 1.0, -1.0, 5e-324]), 64)
    want = np.array(twin.hadamard([float(v) for v in x]))
    _core.hadamard_f64(x)
    assert x.tobytes() == want.tobytes()


def test_an_integer_transform_that_could_overflow_is_refused_unchanged() -> None:
    for size in (4, 64):
        x = np.zeros(size, np.int64)
        x[:2] = 2**61 - 1, -(2**61)
        _core.hadamard_i64(x)
        assert x[0] == -1
        assert x[1] == 2**62 - 1
        for bad in ([2**61, -(2**61)], [2**62, 0], [-(2**63), 0], [2**63 - 1, -(2**63)]):
            x = np.zeros(size, np.int64)
            x[-2:] = bad
            before = x.copy()
            with pytest.raises(EncodingError, match="overflow"):
                _core.hadamard_i64(x)
            np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("d", [0, 3, 6, 48, 1000])
def test_sizes_that_are_no_power_of_two(d: int) -> None:
    for call in (
        lambda: _core.hadamard_f64(np.zeros(d)),
        lambda: _core.hadamard_i64(np.zeros(d, np.int64)),
        lambda: _core.unrotate(np.zeros(d, np.int64), 1.0, SEED),
        lambda: encode(np.zeros(1), d),
    ):
        with pytest.raises(ParameterError):
            call()


# ---- signs ----


@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 63, 64, 65, 1000, 32768, 32769, 70001])
def test_signs_are_the_bits_of_the_stream(cipher: int, n: int) -> None:
    draw = np.random.default_rng(n)
    seed = draw.bytes(_core.SEED_BYTES[cipher])
    minus = np.array(twin.sign_bits(reference_stream(seed, (n + 7) // 8, cipher), n), bool)
    v = draw.integers(-(2**63), 2**63 - 1, n)
    want = np.where(minus, -v, v)
    _core.flip_signs(v, seed, cipher=cipher)
    np.testing.assert_array_equal(v, want)
    x = extreme_floats(draw, n)
    floats = np.where(minus, -x, x)
    _core.flip_signs(x, seed, cipher=cipher)
    assert x.tobytes() == floats.tobytes()


@pytest.mark.parametrize("k", [0, 1, 4, 5, 11, 16])
def test_unrotate_is_the_inverse(k: int) -> None:
    draw = np.random.default_rng(k)
    d = 1 << k
    q = draw.integers(-1000, 1000, d)
    y = q.copy()
    _core.flip_signs(y, SEED)
    _core.hadamard_i64(y)
    np.testing.assert_array_equal(_core.unrotate(y, 1 / d, SEED), q)
    back = _core.unrotate(q, 1 / d, SEED)  # H S q, scaled, in exact numbers
    minus = twin.sign_bits(reference_stream(SEED, (d + 7) // 8, _core.AES128_CTR), d)
    want = [(-v if m else v) / d for v, m in zip(level_by_level(q).tolist(), minus, strict=True)]
    np.testing.assert_array_equal(back, want)


def test_unrotate_refuses() -> None:
    for scale in (math.nan, math.inf):
        with pytest.raises(ParameterError, match="finite"):
            _core.unrotate(np.zeros(4, np.int64), scale, SEED)
    with pytest.raises(ParameterError, match="axis 0"):
        _core.unrotate(np.zeros(4, np.int64), 1.0, SEED[:31])
    with pytest.raises(ParameterError, match="cipher"):
        _core.unrotate(np.zeros(4, np.int64), 1.0, SEED, cipher=3)


# ---- clip ----


def is_clipped(out: np.ndarray, x: np.ndarray, clip: float) -> None:
    exact, bound = twin.norm_squared(out), Fraction(clip) ** 2
    assert exact <= bound
    before = twin.norm_squared(x)
    slack = Fraction(1, 1 << (29 if x.dtype == np.float64 else 19))
    if before <= bound * (1 - slack):
        assert out.tobytes() == x.tobytes()
    else:
        assert exact >= bound * (1 - slack) ** 2
        # the direction: x times one factor, up to roundings
        top = np.argmax(np.abs(x))
        factor = Fraction(float(out[top])) / Fraction(float(x[top]))
        for a, b in zip(out.tolist()[:100], x.tolist()[:100], strict=True):
            near = Fraction(b) * factor
            assert abs(Fraction(a) - near) <= abs(near) * slack + Fraction(1, 2**140)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@PER_LEVEL
@given(n=st.integers(0, 70), clip=st.floats(2.0**-100, 2.0**100), kind=st.integers(0, 3), salt=st.integers(0, 2**32))
def test_the_clipped_norm_is_exact(dtype: type, n: int, clip: float, kind: int, salt: int) -> None:
    draw = np.random.default_rng(salt)
    if kind == 0:
        x = extreme_floats(draw, n, dtype)
    else:  # around the clip
        x = draw.standard_normal(n)
        size = math.sqrt(float(x @ x)) or 1.0
        clip = float(np.clip(clip, 1e-25, 1e25))
        x = (x * (clip * [1, 1 + 1e-7, 3][kind - 1] / size)).astype(dtype)
    out = np.empty_like(x)
    _core.clip_l2(out, x, clip)
    is_clipped(out, x, clip)
    _core.clip_l2(x, x, clip)
    assert x.tobytes() == out.tobytes()


def usual_clip(x: np.ndarray, clip: float) -> np.ndarray:
    with np.errstate(over="ignore"):
        return x * np.minimum(x.dtype.type(1), x.dtype.type(clip) / np.linalg.norm(x).astype(x.dtype))


def test_the_usual_clip_exceeds_the_norm_and_this_one_does_not() -> None:
    draw = np.random.default_rng(2)
    above = 0
    for _ in range(50):
        x = draw.standard_normal(100).astype(np.float32)
        above += twin.norm_squared(usual_clip(x, 1.0)) > 1
        out = np.empty_like(x)
        _core.clip_l2(out, x, 1.0)
        is_clipped(out, x, 1.0)
    assert above > 10  # what the attack finds


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("n", [3, 5000])
def test_what_is_not_finite_is_refused_and_nothing_written(dtype: type, bad: float, n: int) -> None:
    x = np.ones(n, dtype)
    x[0] = 1e30
    x[-1] = bad
    out = np.full(n, 7, dtype)
    with pytest.raises(EncodingError, match="not a number"):
        _core.clip_l2(out, x, 1.0)
    assert (out == 7).all()
    with pytest.raises(EncodingError, match="not a number"):
        encode(x, 8192)
    acc = np.full(n, 5)
    rows = np.stack([np.ones(n, dtype), x])
    with pytest.raises(EncodingError, match="not a number"):
        _core.sum_records_var(acc, rows, clip=1.0, unit=2.0**-20, bound=2**40)
    assert (acc == 5).all()
    with pytest.raises(EncodingError, match="not a number"):
        _core.round_l2_var(x.astype(np.float64), gamma=1.0, beta=1, bound=1, trials=1, seed=SEED)


def test_the_usual_clip_passes_nan() -> None:
    with np.errstate(invalid="ignore"):
        assert usual_clip(np.array([1e30, 1, np.nan]), 1.0)[0] != 0  # NaN or 1e30, and not a short vector


@pytest.mark.parametrize("d", [4, 32, 4096])
def test_values_whose_squares_or_sums_overflow(d: int) -> None:
    x = np.full(d, 1.7e308)
    x[1::2] *= -1
    for vector in (x, np.full(d, 1e300), np.full(d, np.finfo(np.float64).max)):
        out = np.empty(d)
        _core.clip_l2(out, vector, 3.0)
        is_clipped(out, vector, 3.0)
        q = encode(vector, d, clip=3.0, gamma=2.0**-20)
        back = _core.unrotate(q, 2.0**-20 / math.sqrt(d), SEED)
        np.testing.assert_allclose(back, vector / 1e300 * (3.0 / math.sqrt(d) / (abs(vector[0]) / 1e300)), atol=1e-5)


@pytest.mark.parametrize("value", [5e-324, 1e-310, 1e-200, 1e-160])
def test_tiny_values_round_to_zero(value: float) -> None:
    for d in (4, 4096):
        assert not encode(np.full(d, value), d).any()
        out = np.empty(d)
        _core.clip_l2(out, np.full(d, value), 1e-30)
        assert (out == value).all()
    tiny = np.full(4, np.finfo(np.float32).smallest_subnormal, np.float32)
    assert not encode(tiny, 4).any()


@pytest.mark.parametrize("clip", [0.0, -1.0, math.nan, math.inf, 2.0**-101, 2.0**101])
def test_clips_out_of_range(clip: float) -> None:
    with pytest.raises(ParameterError, match="clip"):
        _core.clip_l2(np.ones(3), np.ones(3), clip)
    with pytest.raises(ParameterError, match="clip"):
        encode(np.ones(3), 4, clip=clip)
    with pytest.raises(ParameterError, match="clip"):
        _core.sum_records_var(np.zeros(3, np.int64), np.ones((1, 3)), clip=clip, unit=1.0, bound=1)
    with pytest.raises(ParameterError, match="gamma"):
        encode(np.ones(3), 4, gamma=clip)
    with pytest.raises(ParameterError, match="unit"):
        _core.sum_records_var(np.zeros(3, np.int64), np.ones((1, 3)), clip=1.0, unit=clip, bound=1)


# ---- rounding ----


@pytest.mark.parametrize("cipher", CIPHERS)
@PER_LEVEL
@given(
    n=st.integers(0, 70),
    log_gamma=st.integers(-20, 20),
    trials=st.integers(0, 4),
    slack=st.floats(0, 1),
    beta=st.sampled_from([0, 1, 7, 1000, 2**26 + 1, 2**48]),
    salt=st.integers(0, 2**32),
)
def test_rounding_is_the_reference(
    cipher: int, n: int, log_gamma: int, trials: int, slack: float, beta: int, salt: int
) -> None:
    """A granularity that is a power of two divides exactly, so the reference gives every bit, and which attempt won."""
    draw = np.random.default_rng(salt)
    gamma, seed = 2.0**log_gamma, draw.bytes(_core.SEED_BYTES[cipher])
    t = draw.standard_normal(n) * np.exp(draw.uniform(-3, 3 if beta < 2**26 else 33, n))
    if n > 4:
        t[:5] = 0.5, -0.0, float(beta), beta + 0.5, 2.0**-60
    coins = twin.words(reference_stream(seed, 8 * n * trials, cipher)) if n * trials else []
    free, _ = twin.rounding(t.tolist(), beta, 1 << 126, trials, coins)
    shortest, _ = twin.rounding(t.tolist(), beta, 1 << 126, 0, [])
    low, high = sum(v * v for v in shortest), sum(v * v for v in free)
    bound = min(low, high) + int(slack * abs(high - low))
    want, attempt = twin.rounding(t.tolist(), beta, bound, trials, coins)
    got = _noise._round(t * gamma, gamma, beta, bound, trials, seed, cipher)
    np.testing.assert_array_equal(got[0], want)
    assert got[1] == attempt
    assert squares(got[0]) <= bound


def test_the_gate_is_exact_and_a_bound_too_small_leaves_nothing() -> None:
    """2^48 in every entry, whose squares fill 128 bits, and one unit below what they need."""
    for n in (1, 5, 3000):
        x = np.full(n, 2.0**48)
        need = n << 96
        q = _core.round_l2_var(x, gamma=1.0, beta=2**48, bound=need, trials=2, seed=SEED)
        assert (q == 2**48).all()
        with pytest.raises(EncodingError, match="longer than the bound"):
            _core.round_l2_var(x, gamma=1.0, beta=2**48, bound=need - 1, trials=2, seed=SEED)


@PER_LEVEL
@given(
    n=st.integers(1, 40),
    gamma=st.floats(2.0**-40, 2.0**40),
    clip=st.floats(2.0**-20, 2.0**20),
    salt=st.integers(0, 2**32),
)
def test_a_clipped_vector_always_passes(n: int, gamma: float, clip: float, salt: int) -> None:
    """Truncation alone, the least bound, any granularity: the quotient is rounded towards zero."""
    if clip / gamma > 2**47:
        gamma = clip / 2**40
    draw = np.random.default_rng(salt)
    x = draw.standard_normal(n) * (1 if salt % 2 else np.arange(n) < 1)
    _core.clip_l2(x, x * 1e40, clip)
    bound = math.floor((Fraction(clip) / Fraction(gamma)) ** 2)
    q = _core.round_l2_var(x, gamma=gamma, beta=2**48, bound=bound, trials=0, seed=SEED)
    assert squares(q) <= bound
    for a, b in zip(q.tolist(), x.tolist(), strict=True):
        assert abs(a) <= abs(Fraction(b) / Fraction(gamma))  # towards zero, in exact arithmetic


def test_coins_have_the_right_odds() -> None:
    """20,000 coins for each of eight fractions; five standard deviations."""
    for fraction in (2.0**-40, 0.001, 0.25, 0.5, 0.7310585786300049, 0.999, 1 - 2.0**-53, 0.0):
        for base in (0, 1, 1000):
            t = base + fraction
            share = t - base  # what is left of it
            x = np.tile([t, -t], 10_000)
            q = np.abs(_core.round_l2_var(x, gamma=1.0, beta=2**20, bound=1 << 100, trials=1, seed=SEED)) - base
            assert set(q.tolist()) <= {0, 1}
            mean, sigma = float(q.mean()), math.sqrt(share * (1 - share) / q.size)
            assert abs(mean - share) <= 5 * sigma
    # signs take the same way, and attempts have coins of their own
    x = np.full(1000, 0.5)
    first, attempt = _noise._round(x, 1.0, 1, 1000, 1, SEED, _core.AES128_CTR)
    assert attempt == 0
    again, attempt = _noise._round(x, 1.0, 1, int(first.sum()) - 1, 1 << 10, SEED, _core.AES128_CTR)
    assert 0 < attempt < 1 << 10
    assert (first != again).sum() > 300


@pytest.mark.parametrize(
    "change",
    [
        {"beta": -1},
        {"beta": 2**48 + 1},
        {"bound": -1},
        {"bound": 2**127},
        {"trials": -1},
        {"trials": 2**16 + 1},
        {"trials": 1.5},
        {"coins": bytes(31)},
        {"rotation": bytes(48)},
        {"cipher": 0},
        {"cipher": _core.CHACHA20},
    ],
)
def test_parameters_out_of_range(change: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        encode(np.ones(3), 4, **change)
    if "rotation" not in change:
        options = {"gamma": 1.0, "beta": 1, "bound": 9, "trials": 1, "seed": SEED}
        options |= {"seed" if k == "coins" else k: v for k, v in change.items()}
        with pytest.raises(ParameterError):
            _core.round_l2_var(np.ones(3), **options)


# ---- the chain ----


def encode(x: np.ndarray, padded: int, **options: object) -> np.ndarray:
    settings_ = {"clip": 1.0, "gamma": 2.0**-10, "trials": 2, "rotation": SEED, "coins": OTHER, "beta": 2**48} | options
    clip, gamma = settings_["clip"], settings_["gamma"]
    if "bound" not in options:
        settings_["bound"] = 0
        if math.isfinite(clip) and math.isfinite(gamma) and gamma > 0:
            settings_["bound"] = min(math.floor((Fraction(clip) / Fraction(gamma)) ** 2), 2**127 - 1)
    return _core.encode_l2_var(x, padded, **settings_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@PER_LEVEL
@given(
    k=st.integers(0, 9),
    missing=st.integers(0, 40),
    clip=st.floats(2.0**-8, 2.0**8),
    log_gamma=st.floats(-16, -2),
    longer=st.sampled_from([0.0, 0.5, 0.999999, 1.0, 1.000001, 2.0, 1e20]),
    salt=st.integers(0, 2**32),
)
def test_the_chain_rotates_clips_and_rounds(
    dtype: type, k: int, missing: int, clip: float, log_gamma: float, longer: float, salt: int
) -> None:
    """Against the exact rotation in fractions: every integer is next to its entry, and they are short enough."""
    draw = np.random.default_rng(salt)
    d, gamma = 1 << k, 2.0**log_gamma
    n = max(0, d - missing)
    x = draw.standard_normal(n)
    x = (x * (clip * longer / (math.sqrt(float(x @ x)) or 1.0))).astype(dtype)
    bound = math.floor((Fraction(clip) / Fraction(gamma)) ** 2)
    q = encode(x, d, clip=clip, gamma=gamma, bound=bound)
    assert q.shape == (d,)
    assert squares(q) <= bound

    minus = twin.sign_bits(reference_stream(SEED, (d + 7) // 8, _core.AES128_CTR), d)
    padded = [Fraction(float(v)) for v in x] + [Fraction(0)] * (d - n)
    rotated = twin.hadamard([-v if m else v for v, m in zip(padded, minus, strict=True)])
    norm = math.sqrt(float(sum(v * v for v in padded)))
    factor = min(1.0, clip / norm if norm else 1.0) / math.sqrt(d) / gamma
    for got, exact in zip(q.tolist(), rotated, strict=True):
        want = float(exact) * factor
        assert abs(got - want) < 1 + 2.0**-27 * (abs(want) + norm * factor * math.sqrt(d))


def test_the_chain_is_rotation_and_rounding() -> None:
    """Where every step is exact (small integers, an even power of two, no clip) it equals its parts, bit for bit."""
    draw = np.random.default_rng(3)
    for d, n in (
        (1, 1),
        (4, 3),
        (16, 9),
        (64, 64),
        (1024, 1000),
        (1 << 16, 50000),
        (1 << 18, 200001),
        (1 << 20, 1 << 20),
    ):
        for dtype in (np.float32, np.float64):
            x = draw.integers(-100, 100, n).astype(dtype)
            y = np.zeros(d)
            y[:n] = x
            _core.flip_signs(y, SEED)
            _core.hadamard_f64(y)
            y /= math.sqrt(d)
            want, first = _noise._round(y, 0.5, 2**20, 1 << 120, 3, OTHER, _core.AES128_CTR)
            got, attempt = _noise._encode(x, d, 1e9, 0.5, 2**20, 1 << 120, 3, SEED, OTHER, _core.AES128_CTR)
            np.testing.assert_array_equal(got, want)
            assert first == attempt == 0


def test_truncation_wins_when_rounding_up_is_too_long() -> None:
    """0.999 / 0.7 is 1 or 2, and the bound is 1: coins decide when they may, truncation when they did not."""
    x, attempts = np.array([0.999]), []
    for salt in range(40):
        q, attempt = _noise._encode(x, 1, 1.0, 0.7, 9, 2, 2, SEED, bytes([salt] * 32), _core.AES128_CTR)
        assert abs(int(q[0])) == 1
        attempts.append(attempt)
        q, attempt = _noise._encode(x, 1, 1.0, 0.7, 9, 2, 0, SEED, bytes([salt] * 32), _core.AES128_CTR)
        assert abs(int(q[0])) == 1
        assert attempt == 0
    assert set(attempts) == {0, 1, 2}


def test_entries_are_clamped() -> None:
    x = np.zeros(16)
    x[0] = 1.0
    q = encode(x, 16, clip=1.0, gamma=2.0**-10, beta=100)
    assert set(np.abs(q).tolist()) == {100}  # 256 each without


def test_an_empty_vector_and_more_entries_than_fit() -> None:
    assert encode(np.empty(0), 8).tolist() == [0] * 8
    with pytest.raises(ParameterError, match="padded"):
        encode(np.ones(9), 8)


# ---- records ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@PER_LEVEL
@given(
    n=st.integers(0, 6),
    d=st.integers(0, 40),
    clip=st.floats(2.0**-10, 2.0**10),
    log_unit=st.integers(-30, 5),
    salt=st.integers(0, 2**32),
)
def test_records_are_summed_exactly(dtype: type, n: int, d: int, clip: float, log_unit: int, salt: int) -> None:
    draw = np.random.default_rng(salt)
    unit = 2.0**log_unit
    records = (draw.standard_normal((n, d)) * np.exp(draw.uniform(-4, 4, (n, 1))) * clip / math.sqrt(d or 1)).astype(
        dtype
    )
    if salt % 3 == 0 and n:
        records[0] = extreme_floats(draw, d, dtype)
    radius = Fraction(clip) / Fraction(unit)
    bound = math.floor(radius**2)
    start = draw.integers(-(2**50), 2**50, d)
    acc = start.copy()
    _core.sum_records_var(acc, records, clip=clip, unit=unit, bound=bound)
    total = acc - start
    # one at a time gives the same, each next to the exact record and no longer than the radius
    alone = np.zeros(d, np.int64)
    for row in records:
        r = np.zeros(d, np.int64)
        _core.sum_records_var(r, row[None], clip=clip, unit=unit, bound=bound)
        assert squares(r) <= bound
        for got, exact in zip(r.tolist(), twin.truncated_record(row, radius, Fraction(unit)), strict=True):
            assert abs(got) <= abs(exact)
            assert abs(exact) - abs(got) < 1 + abs(exact) / 2**28
            assert got * exact >= 0
        alone += r
    np.testing.assert_array_equal(total, alone)


def test_the_order_of_records_does_not_move_the_sum() -> None:
    """A float32 sum of one record of +1 and then 1e5 of -2^-25 forgets them all, and without the first it does not."""
    n = 100_000
    records = np.full((n + 1, 1), -(2.0**-25), np.float32)
    records[0] = 1
    plain = np.cumsum(records, dtype=np.float32)[-1], np.cumsum(records[1:], dtype=np.float32)[-1]
    assert abs(plain[0] - plain[1]) > 1.0029  # a sensitivity of 1 was claimed
    sums = []
    for rows in (records, records[1:], records[::-1], np.concatenate([records[n // 2 :], records[: n // 2]])):
        acc = np.zeros(1, np.int64)
        _core.sum_records_var(acc, np.ascontiguousarray(rows), clip=1.25, unit=2.0**-30, bound=25 * 2**56)
        sums.append(int(acc[0]))
    assert sums == [2**30 - 32 * n, -32 * n, 2**30 - 32 * n, 2**30 - 32 * n]
    acc = np.zeros(1, np.int64)
    for part in np.split(records, [10, 70_000]):
        _core.sum_records_var(acc, part, clip=1.25, unit=2.0**-30, bound=25 * 2**56)
    assert acc[0] == sums[0]


def test_sums_of_records_that_could_overflow() -> None:
    acc = np.zeros(3, np.int64)
    records = np.ones((4, 3))
    with pytest.raises(ParameterError, match="2\\^48"):
        _core.sum_records_var(acc, records, clip=1.0, unit=2.0**-49, bound=2**98)
    full = 2**62 - 4 * 2**48
    for start, fits in ((full - 1, True), (full, False), (-full + 1, True), (-full, False), (-(2**63), False)):
        acc = np.array([0, start, 0])
        before = acc.copy()
        if fits:
            _core.sum_records_var(acc, records, clip=1.0, unit=2.0**-48, bound=2**96)
            assert (acc > before).all()
        else:
            with pytest.raises(EncodingError, match="overflow"):
                _core.sum_records_var(acc, records, clip=1.0, unit=2.0**-48, bound=2**96)
            np.testing.assert_array_equal(acc, before)
    acc = np.array([5, 6, 7])
    with pytest.raises(EncodingError, match="longer than the bound"):
        _core.sum_records_var(acc, records, clip=1.0, unit=2.0**-10, bound=2**20 // 3 * 2)
    assert not acc.any()


def test_long_records() -> None:
    draw = np.random.default_rng(9)
    records = draw.standard_normal((3, 5001)).astype(np.float32)
    acc = np.zeros(5001, np.int64)
    _core.sum_records_var(acc, records, clip=1e3, unit=2.0**-30, bound=2**80)
    want = np.trunc(records.astype(np.float64) * 2.0**30).astype(np.int64).sum(axis=0)
    np.testing.assert_array_equal(acc, want)


# ---- division ----


@pytest.mark.parametrize("cipher", CIPHERS)
@PER_LEVEL
@given(
    n=st.integers(0, 50),
    divisor=st.sampled_from([1, 2, 3, 7, 2**20, 2**20 + 1, 2**31 - 1, 2**59 + 1, 2**60 - 1, 2**60])
    | st.integers(1, 2**60),
    salt=st.integers(0, 2**32),
)
def test_division_is_the_reference(cipher: int, n: int, divisor: int, salt: int) -> None:
    draw = np.random.default_rng(salt)
    seed = draw.bytes(_core.SEED_BYTES[cipher])
    v = draw.integers(-(2**62), 2**62, n, endpoint=True) >> draw.integers(0, 62, n)
    if n > 6:
        v[:6] = -(2**62), 2**62, 0, -1, divisor, -divisor
    drawn = twin.words(reference_stream(seed, 8 * (n or 1) * 20, cipher))
    want, _ = twin.floor_div_random(v.tolist(), divisor, drawn)
    np.testing.assert_array_equal(_core.floor_div_random(v, divisor, seed, cipher=cipher), want)


def test_division_refuses_words_and_draws_again() -> None:
    divisor = 2**59 + 1  # one word in 33 is refused
    v = np.random.default_rng(6).integers(0, divisor, 4000)  # so that U decides between 0 and 1
    drawn = twin.words(reference_stream(SEED, 8 * 4000 * 6, _core.AES128_CTR))
    want, refused = twin.floor_div_random(v.tolist(), divisor, drawn)
    assert refused > 50
    np.testing.assert_array_equal(_core.floor_div_random(v, divisor, SEED), want)


def test_division_by_one_coin_moves_by_less_than_the_difference_and_one() -> None:
    draw = np.random.default_rng(4)
    v, other = draw.integers(-(2**40), 2**40, (2, 5000))
    divisor = 1_000_003
    q, p = _core.floor_div_random(v, divisor, SEED), _core.floor_div_random(other, divisor, SEED)
    for a, b, x, y in zip(q.tolist(), p.tolist(), v.tolist(), other.tolist(), strict=True):
        assert abs(a - b) * divisor < abs(x - y) + divisor
    # and is right on average: five standard deviations
    v = np.full(20_000, 300_001)
    mean = _core.floor_div_random(v, divisor, OTHER).mean()
    assert abs(mean - 0.3) < 5 * math.sqrt(0.3 * 0.7 / v.size) + 1e-5


@pytest.mark.parametrize(("v", "divisor"), [(2**62 + 1, 3), (-(2**62) - 1, 3), (-(2**63), 3)])
def test_division_of_what_is_too_large(v: int, divisor: int) -> None:
    with pytest.raises(EncodingError, match="overflow"):
        _core.floor_div_random(np.array([0, v]), divisor, SEED)


@pytest.mark.parametrize("divisor", [0, -1, 2**60 + 1, 1.5])
def test_divisors_out_of_range(divisor: int) -> None:
    with pytest.raises(ParameterError, match="divisor"):
        _core.floor_div_random(np.zeros(2, np.int64), divisor, SEED)


# ---- arrays ----


def test_arrays_that_the_core_does_not_take() -> None:
    frozen = np.zeros(4)
    frozen.setflags(write=False)
    for call in (
        lambda: _core.hadamard_f64(frozen),
        lambda: _core.hadamard_f64(np.zeros(4, np.float32)),
        lambda: _core.hadamard_f64(np.zeros(8)[::2]),
        lambda: _core.hadamard_i64(np.zeros(4)),
        lambda: _core.flip_signs(np.zeros(4, np.float32), SEED),
        lambda: _core.flip_signs(np.zeros(4), "seed"),
        lambda: _core.clip_l2(np.zeros(4), np.zeros(4, np.float32), 1.0),
        lambda: _core.clip_l2(np.zeros(4, np.int64), np.zeros(4, np.int64), 1.0),
        lambda: encode(np.zeros((2, 2)), 4),
        lambda: encode([0.0], 4),
        lambda: _core.round_l2_var(np.zeros(4, np.float32), gamma=1.0, beta=1, bound=1, trials=1, seed=SEED),
        lambda: _core.sum_records_var(np.zeros(4, np.int64), np.zeros(4), clip=1.0, unit=1.0, bound=1),
        lambda: _core.floor_div_random(np.zeros(4), 1, SEED),
        lambda: _core.unrotate(np.zeros(4), 1.0, SEED),
    ):
        with pytest.raises(BufferTypeError):
            call()
    shared = np.zeros(8)
    with pytest.raises(BufferTypeError, match="overlap"):
        _core.clip_l2(shared[1:5], shared[:4], 1.0)
    with pytest.raises(BufferTypeError, match="overlap"):
        _core.sum_records_var(shared[:4].view(np.int64), shared.reshape(2, 4), clip=1.0, unit=1.0, bound=1)
    with pytest.raises(ParameterError, match="length 3"):
        _core.clip_l2(np.zeros(3), np.zeros(4), 1.0)
