"""The encoding: what it refuses, that nothing wraps, and that its stated error holds."""

from __future__ import annotations

import hashlib
import math
import threading
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from privcomp.encoding import (
    ArrayMessage,
    FixedPoint,
    FixedPointMessage,
    Layout,
    ModelMessage,
    model_bytes,
    model_hash,
    parse_model,
)
from privcomp.errors import CodecError, EncodingError, ParameterError, RemoteError


def fixed(**changes: Any) -> FixedPoint:
    values: dict[str, Any] = {
        "bits": 16,
        "granularity": 2.0**-10,
        "way": "exact",
        "max_weight": 10,
        "clients": 8,
        "entries": 4,
        "max_error": 1.0,
    }
    return FixedPoint(**{**values, **changes})


def coins(seed: int) -> Callable[[int], bytes]:
    counter = iter(range(1 << 30))
    return lambda n: hashlib.shake_256(b"%d/%d" % (seed, next(counter))).digest(n)


def all_ones(n: int) -> bytes:
    return b"\xff" * n


# ------------------------------------------------------------------------------------------------------- parameters


def test_attack_13_quantisation_wrap_511_clients_fit_32_bits_and_512_do_not() -> None:
    # One weight unit per step: bits = 2 has L = 1, so bound = max_weight = 2^22.
    accepted = fixed(bits=2, max_weight=1 << 22, clients=511)
    refused = fixed(bits=2, max_weight=1 << 22, clients=512)
    assert accepted.bound == refused.bound == 1 << 22
    assert accepted.fits(32)
    accepted.require_modulus(32)
    assert accepted.modulus_bits == 32
    assert not refused.fits(32)
    assert refused.modulus_bits == 33
    with pytest.raises(ParameterError, match=r"512 clients .* could wrap modulo 2\^32: at least 33 bits"):
        refused.require_modulus(32)


def test_attack_13_weight_sum_that_wraps_though_the_entries_do_not() -> None:
    params = fixed(bits=8, way="prescaled", max_weight=1000, clients=50, granularity=1e-4)
    assert 2 * 50 * 127 + 1 <= 1 << 14
    assert not params.fits(14)  # what the entries alone would need
    assert params.bound == 1000
    assert params.modulus_bits == 17
    with pytest.raises(ParameterError, match="could wrap"):
        params.require_modulus(14)


def test_modulus_of_the_specified_example_is_26_bits_whatever_the_number_of_entries() -> None:
    for entries in (1, 100_000, 10**6, 10**9):
        assert fixed(bits=16, max_weight=1, clients=1000, entries=entries).modulus_bits == 26


def test_more_than_64_bits_are_refused() -> None:
    assert fixed(bits=48, max_weight=1 << 10, clients=64).modulus_bits == 64
    with pytest.raises(ParameterError, match="could wrap at 64"):
        fixed(bits=48, max_weight=1 << 10, clients=65)


def test_small_moduli_are_at_least_8_bits() -> None:
    assert fixed(bits=2, max_weight=1, clients=1, entries=1).modulus_bits == 8


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 1},
        {"bits": 49},
        {"bits": 16.0},
        {"bits": True},
        {"granularity": 0.0},
        {"granularity": -1.0},
        {"granularity": math.nan},
        {"granularity": math.inf},
        {"granularity": 1e-300},
        {"granularity": "1"},
        {"way": "other"},
        {"max_weight": 0},
        {"max_weight": -1},
        {"max_weight": (1 << 53) + 1},
        {"max_weight": 1.5},
        {"clients": 0},
        {"clients": 1 << 33},
        {"entries": 0},
        {"entries": 1 << 41},
        {"max_error": 0.0},
        {"max_error": -1.0},
        {"max_error": math.nan},
    ],
)
def test_parameters_outside_their_ranges_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        fixed(**change)


def test_prescaled_is_refused_where_its_error_exceeds_max_error() -> None:
    exact = fixed(granularity=1e-3, max_error=2e-3)
    assert exact.stated_error < 2e-3
    with pytest.raises(ParameterError, match=r"error of the mean of 0\.01.*or the exact way"):
        fixed(granularity=1e-3, max_error=2e-3, way="prescaled")
    with pytest.raises(ParameterError, match="needs max_error"):
        fixed(granularity=1e-3, max_error=None, way="prescaled")
    with pytest.raises(ParameterError, match="above max_error"):
        fixed(granularity=1e-3, max_error=1e-3)


def test_bytes_round_trip_and_reject_what_is_no_encoding() -> None:
    for params in (fixed(), fixed(way="prescaled"), fixed(max_error=None)):
        assert FixedPoint.from_bytes(params.to_bytes()) == params
    message = FixedPointMessage.from_bytes(fixed().to_bytes(), max_bytes=100)
    values = {name: getattr(message, name) for name, _ in FixedPointMessage.FIELDS}
    for change in ({"way": 2}, {"bits": 0}, {"max_weight": 0}, {"granularity": -1.0}, {"entries": 0}):
        with pytest.raises(CodecError):
            FixedPoint.from_bytes(FixedPointMessage(**{**values, **change}).to_bytes())
    with pytest.raises(CodecError):
        FixedPoint.from_bytes(fixed().to_bytes() + b"\0")


@given(
    st.floats(1e-100, 1e100),
    st.integers(2, 48),
)
def test_for_range_is_the_smallest_power_of_two_that_does_not_clip(limit: float, bits: int) -> None:
    params = FixedPoint.for_range(limit, bits=bits, clients=2, entries=1)
    assert math.frexp(params.granularity)[0] == 0.5
    assert params.clip_limit >= limit
    assert params.clip_limit / 2 < limit
    assert params.encode(np.array([limit]), 1)[2] == 0


def test_describe_says_width_and_error() -> None:
    assert "26 bits per entry" in fixed(max_weight=1, clients=1000).describe()


# ----------------------------------------------------------------------------------------------------------- encode


def test_entries_weight_and_clip_count() -> None:
    params = fixed(granularity=0.5, bits=4)
    vector = params.encode(np.array([1.0, -1.5, 100.0, -100.0]), 3)
    assert vector.dtype == np.int64
    assert vector.tolist() == [6, -9, 21, -21, 3, 2]
    prescaled = fixed(granularity=0.5, bits=4, way="prescaled", max_weight=2, max_error=10.0)
    assert prescaled.encode(np.array([1.0, -2.0, 100.0, 0.0]), 1).tolist() == [1, -2, 7, 0, 1, 1]


def test_clip_count_is_capped_at_the_bound() -> None:
    params = fixed(bits=2, max_weight=1, clients=1, entries=10)
    vector = params.encode(np.full(10, 9.0), 1)
    assert vector[-1] == params.clip_cap == params.bound == 1
    assert not params.decode(vector, 1).clipped_exact
    assert params.decode(params.encode(np.zeros(10), 1), 1).clipped_exact


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 5e-324, -5e-324, 1e-310, -1e-310, 2.0**-60, -(2.0**-60), 1e308, -1e308, 1.7976931348623157e308]
)
@pytest.mark.parametrize("source", [bytes, all_ones])
@pytest.mark.parametrize("granularity", [2.0**-512, 2.0**-10, 0.1, 2.0**512])
def test_extreme_values(value: float, source: Callable[[int], bytes], granularity: float) -> None:
    params = fixed(bits=48, max_weight=1, clients=2, entries=1, granularity=granularity, max_error=None)
    q, _, clipped = params.encode(np.array([value]), 1, rng=source).tolist()
    exact = Fraction(value) / Fraction(granularity)
    if clipped:
        assert abs(exact) > params.quantised_limit
        assert q == math.copysign(params.quantised_limit, value)
    else:
        assert abs(q - exact) < 1 + Fraction(2) ** -6
    if value == 0:
        assert q == 0


@pytest.mark.parametrize("source", [bytes, all_ones])
def test_integers_are_never_rounded(source: Callable[[int], bytes]) -> None:
    limit = (1 << 47) - 1
    params = fixed(bits=48, max_weight=1, clients=2, entries=9, granularity=1.0, max_error=None)
    values = [0, 1, -1, 5, -5, limit, -limit, limit - 1, 1 << 46]
    assert params.encode(np.array(values, dtype=np.float64), 1, rng=source).tolist() == [*values, 1, 0]


@pytest.mark.parametrize("x", [0.25, -0.25, 0.999, -3.3, 1e-3])
def test_rounding_is_unbiased(x: float) -> None:
    n = 200_000
    params = fixed(entries=n, granularity=1.0, max_weight=1, max_error=None)
    q = params.encode(np.full(n, x), 1, rng=coins(1))[:n]
    assert set(np.unique(q)) <= {math.floor(x), math.floor(x) + 1}
    frac = x - math.floor(x)
    assert abs(q.mean() - x) < 5 * math.sqrt(frac * (1 - frac) / n)


def test_blocks_do_not_show() -> None:
    n = 50_001
    params = fixed(entries=n, max_weight=3)
    x = np.sin(np.arange(n)) * 40  # some are clipped: the limit is 31.999
    vector = params.encode(x, 3)
    limit = params.quantised_limit
    assert vector[-1] == int((abs(x) > params.clip_limit).sum()) > 0
    assert np.abs(vector[:n] / 3 - np.clip(x * 1024, -limit, limit)).max() < 1


def test_accepted_buffers_give_the_same_vector_and_are_not_written() -> None:
    params = fixed()
    base = np.array([1.25, -0.5, 0.0, 3.1], dtype=np.float32)
    expected = params.encode(base, 2, rng=coins(3))
    spread = np.zeros((4, 3))
    spread[:, 1] = base
    frozen = base.astype(np.float64)
    frozen.flags.writeable = False
    for array in (base.astype(np.float64), spread[:, 1], frozen, base[::-1].copy()[::-1]):
        before = array.copy()
        assert params.encode(array, 2, rng=coins(3)).tolist() == expected.tolist()
        assert np.array_equal(array, before)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, 16_383, 16_384, 39_999])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_attack_14_nan_and_infinities_are_refused(bad: float, where: int, dtype: Any) -> None:
    x = np.zeros(40_000, dtype=dtype)
    x[where] = bad
    with pytest.raises(EncodingError, match=f"entry {where} is NaN or infinite"):
        fixed(entries=40_000).encode(x, 1)


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(4, dtype=np.float16),
        np.zeros(4, dtype=np.int64),
        np.zeros(4, dtype=np.uint8),
        np.zeros(4, dtype=bool),
        np.zeros(4, dtype=complex),
        np.zeros(4, dtype=np.longdouble),
        np.zeros(4, dtype=">f8"),
        np.zeros(4, dtype=">f4"),
        np.array([0.0, 1.0, 2.0, 3.0], dtype=object),
        np.ma.masked_array(np.zeros(4), mask=[0, 1, 0, 0]),
        np.zeros(0),
        np.zeros(3),
        np.zeros(5),
        np.zeros((4, 1)),
        np.zeros((2, 2)),
        np.float64(0),
        [0.0, 0.0, 0.0, 0.0],
        None,
        {"a": np.zeros(4)},
    ],
)
def test_attack_14_wrong_dtypes_and_shapes_are_refused(values: Any) -> None:
    with pytest.raises(EncodingError):
        fixed().encode(values, 1)


@pytest.mark.parametrize("weight", [0, -1, 11, 1 << 32, 1 << 70, 1.0, 1.5, math.nan, True, np.bool_(True), "1", None])
def test_attack_14_weights_are_integers_from_1_to_the_limit(weight: Any) -> None:
    with pytest.raises(EncodingError, match="the weight"):
        fixed().encode(np.zeros(4), weight)


def test_numpy_integers_are_weights() -> None:
    assert fixed().encode(np.zeros(4), np.int32(7)).tolist()[4] == 7  # type: ignore[arg-type]


def test_a_source_of_too_few_coins_is_refused() -> None:
    with pytest.raises(EncodingError, match="rng returned"):
        fixed().encode(np.zeros(4), 1, rng=lambda n: bytes(n - 1))


def test_attack_29_array_that_changes_during_the_call_stays_within_the_bound() -> None:
    params = fixed(entries=200_000, bits=8, granularity=1.0, max_error=None)
    x = np.zeros(200_000)
    stop = threading.Event()

    def disturb() -> None:
        while not stop.is_set():
            x[:] = 1e300
            x[:] = -3.0

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(20):
            assert np.abs(params.encode(x, 10)).max() <= params.bound
    finally:
        stop.set()
        thread.join()


# ---------------------------------------------------------------------------------------------- properties of sums


@st.composite
def rounds(draw: st.DrawFn) -> tuple[FixedPoint, list[NDArray[np.float64]], list[int]]:
    n = draw(st.integers(1, 6))
    way = draw(st.sampled_from(["exact", "prescaled"]))
    bits = draw(st.integers(2, 48))
    max_weight = draw(st.sampled_from([1, 2, 3, 7, 100, 1000]))
    granularity = draw(st.one_of(st.floats(1e-6, 1e3), st.integers(-20, 10).map(lambda e: 2.0**e)))
    params = FixedPoint(bits, granularity, way, max_weight, n, 5, 1e300)  # type: ignore[arg-type]
    limit = params.clip_limit
    entry = st.one_of(
        st.floats(-limit, limit), st.sampled_from([0.0, limit, -limit, granularity, -granularity / 2, 5e-324])
    )
    vectors = [np.array(draw(st.lists(entry, min_size=5, max_size=5))) for _ in range(n)]
    weights = [draw(st.integers(1, max_weight)) for _ in range(n)]
    return params, vectors, weights


@settings(deadline=None, max_examples=400)
@given(rounds(), st.integers(0, 1 << 30), st.sampled_from(["drawn", "zeros", "ones"]))
def test_mean_is_within_the_stated_bound(
    case: tuple[FixedPoint, list[NDArray[np.float64]], list[int]], seed: int, source: str
) -> None:
    params, vectors, weights = case
    rng: Callable[[int], bytes] = {"drawn": coins(seed), "zeros": bytes, "ones": all_ones}[source]
    encoded = [params.encode(x, w, rng=rng) for x, w in zip(vectors, weights, strict=True)]
    assert max(int(np.abs(v).max()) for v in encoded) <= params.bound
    total = sum(encoded[1:], encoded[0])
    decoded = params.decode(total, len(vectors))
    assert decoded.total_weight == sum(weights)
    assert decoded.quantisation_bound <= params.stated_error
    if decoded.clipped:  # granularity * L may round up, so that the limit itself is clipped
        return
    for j in range(5):
        exact = sum(w * Fraction(float(x[j])) for x, w in zip(vectors, weights, strict=True)) / sum(weights)
        assert abs(Fraction(float(decoded.mean[j])) - exact) <= Fraction(decoded.quantisation_bound)


@settings(deadline=None, max_examples=300)
@given(
    st.integers(2, 48),
    st.sampled_from(["exact", "prescaled"]),
    st.integers(1, 1 << 20),
    st.integers(1, 2000),
    st.integers(1, 3),
    st.booleans(),
)
def test_worst_case_sums_do_not_wrap(
    bits: int, way: str, max_weight: int, clients: int, entries: int, negative: bool
) -> None:
    try:
        params = FixedPoint(bits, 1.0, way, max_weight, clients, entries, 1e300)  # type: ignore[arg-type]
    except ParameterError:
        assert 2 * clients * max_weight * ((1 << (bits - 1)) - 1) + 1 > 1 << 64
        return
    modulus = 1 << params.modulus_bits
    worst = params.encode(np.full(entries, -1e300 if negative else 1e300), max_weight)
    exact = [int(v) * clients for v in worst]
    assert max(map(abs, exact)) <= clients * params.bound
    # as the protocol computes it: residues, summed modulo 2^B, then centred
    residues = [int(v) * clients % modulus for v in worst]
    centred = [r - modulus if r >= modulus // 2 else r for r in residues]
    assert centred == exact
    decoded = params.decode(np.array(centred, dtype=np.int64), clients)
    assert decoded.total_weight == clients * max_weight
    if params.modulus_bits > 8:  # one bit fewer would wrap for the worst case of this very encoding
        assert not params.fits(params.modulus_bits - 1)


# ----------------------------------------------------------------------------------------------------------- decode


def test_decode_refuses_sums_that_honest_clients_cannot_produce() -> None:
    params = fixed()
    good = params.encode(np.ones(4), 2) + params.encode(np.ones(4), 3)
    assert params.decode(good, 2).mean.tolist() == [1.0] * 4
    limit = 5 * params.quantised_limit
    cases = [(4, 1), (4, 21), (4, -19), (5, -1), (5, 9), (0, limit + 1), (3, -limit - 1), (1, -(1 << 63))]
    for where, value in cases:
        bad = good.copy()
        bad[where] = value
        with pytest.raises(RemoteError) as caught:
            params.decode(bad, 2)
        assert caught.value.stage == "decode"
        assert caught.value.party is None


@pytest.mark.parametrize(
    ("total", "survivors"),
    [
        (np.ones(6, dtype=np.int32), 1),
        (np.ones(6, dtype=np.uint64), 1),
        (np.ones(6, dtype=">i8"), 1),
        (np.ones(5, dtype=np.int64), 1),
        (np.ones((6, 1), dtype=np.int64), 1),
        ([1] * 6, 1),
        (np.ones(6, dtype=np.int64), 0),
        (np.ones(6, dtype=np.int64), 9),
        (np.ones(6, dtype=np.int64), True),
        (np.ones(6, dtype=np.int64), 1.0),
    ],
)
def test_decode_refuses_wrong_arguments(total: Any, survivors: Any) -> None:
    with pytest.raises(EncodingError):
        fixed().decode(total, survivors)


def test_quantisation_bound_refuses_impossible_weights() -> None:
    assert fixed().quantisation_bound(10, 2) == pytest.approx(2.0**-10)
    prescaled = fixed(way="prescaled")
    assert prescaled.quantisation_bound(10, 2) == pytest.approx(2.0**-10 * 2 * 10 / 10)
    for weight, survivors in ((1, 2), (21, 2), (5, 0), (5, 9)):
        with pytest.raises(EncodingError):
            prescaled.quantisation_bound(weight, survivors)


# ----------------------------------------------------------------------------------------------------------- layout


def arrays() -> dict[str, NDArray[Any]]:
    return {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([0.5, -1.0]), "s": np.array(2.5)}


def test_layout_round_trip_and_encoding_by_name() -> None:
    layout = Layout.of(arrays())
    assert layout.size == 9
    flat = layout.flatten(arrays())
    back = layout.unflatten(flat)
    assert list(back) == ["w", "b", "s"]
    for name, array in arrays().items():
        assert back[name].dtype == array.dtype
        assert np.array_equal(back[name], array)
    params = fixed(entries=9)
    shuffled = dict(reversed(arrays().items()))
    shuffled["w"] = np.asfortranarray(shuffled["w"])
    assert params.encode(shuffled, 2, layout=layout).tolist() == params.encode(flat, 2).tolist()


def test_layout_mismatches_are_refused() -> None:
    layout = Layout.of(arrays())
    good = arrays()
    bad: list[dict[str, NDArray[Any]]] = [
        {},
        {k: v for k, v in good.items() if k != "b"},
        {**good, "x": np.zeros(1)},
        {**good, "b": np.zeros(3)},
        {**good, "b": np.zeros((2, 1))},
        {**good, "b": np.zeros(2, dtype=np.float32)},
        {**good, "b": np.zeros(2, dtype=">f8")},
    ]
    for mapping in bad:
        with pytest.raises(EncodingError):
            fixed(entries=9).encode(mapping, 1, layout=layout)
    with pytest.raises(EncodingError, match="need a layout"):
        fixed(entries=9).encode(good, 1)
    with pytest.raises(EncodingError, match="one array"):
        fixed(entries=9).encode(np.zeros(9), 1, layout=layout)
    with pytest.raises(EncodingError, match="layout has 9 entries"):
        fixed(entries=8).encode(good, 1, layout=layout)
    for vector in (np.zeros(8), np.zeros(9, dtype=np.float32), np.full(9, 1e300)):
        with pytest.raises(EncodingError):
            layout.unflatten(vector)  # type: ignore[arg-type]
    for entries in (
        (),
        (("", "float32", (1,)),),
        (("a", "int64", (1,)),),
        (("a", "float32", (0,)),),
        (("a", "float32", (1,)), ("a", "float32", (1,))),
        (("a" * 257, "float32", (1,)),),
    ):
        with pytest.raises(ParameterError):
            Layout(entries)
    with pytest.raises(EncodingError):
        Layout.of({"a": np.zeros(2, dtype=np.int64)})


# ------------------------------------------------------------------------------------------------------------ model


def test_model_bytes_round_trip_in_order() -> None:
    model = {
        "b": np.array([], dtype=np.float64),
        "a": np.arange(4, dtype=">i4").reshape(2, 2).T,
        "scalar": np.array(3, dtype=np.uint8),
        "names are compared as bytes é": np.ones((1, 2, 1), dtype=np.float32),
    }
    data = model_bytes(model)
    back = parse_model(data)
    assert list(back) == list(model)
    for name, array in model.items():
        assert back[name].shape == array.shape
        assert np.array_equal(back[name], array)
        assert not back[name].flags.writeable
    assert model_bytes(back) == data
    assert model_hash(model) == hashlib.sha256(data).digest()


def test_model_hash_binds_names_order_dtype_shape_and_values() -> None:
    base = {"a": np.zeros((2, 2)), "b": np.ones(2)}
    variants: list[dict[str, NDArray[Any]]] = [
        base,
        {"b": base["b"], "a": base["a"]},
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"].reshape(4), "b": base["b"]},
        {"a": base["a"].view(np.int64), "b": base["b"]},
        {"a": base["a"] + 5e-324, "b": base["b"]},
        {"a": -base["a"], "b": base["b"]},
        {"a": base["a"]},
    ]
    assert len({model_hash(v) for v in variants}) == len(variants)


@pytest.mark.parametrize("dtype", [np.float16, bool, object, complex, np.longdouble, "S3", "M8[s]"])
def test_model_of_another_dtype_is_refused(dtype: Any) -> None:
    with pytest.raises(ParameterError):
        model_bytes({"a": np.zeros(1, dtype=dtype)})


@pytest.mark.parametrize(
    "bad",
    [
        (ArrayMessage("a", b"<f4", (3,), bytes(8)),),
        (ArrayMessage("a", b"<f4", (2, 2), bytes(8)),),
        (ArrayMessage("a", b">f4", (2,), bytes(8)),),
        (ArrayMessage("a", b"|O8", (1,), bytes(8)),),
        (ArrayMessage("a", b"\xff\xfe\xfd", (1,), bytes(8)),),
        (ArrayMessage("", b"<f4", (2,), bytes(8)),),
        (ArrayMessage("a", b"<f4", (0, 1 << 63), b""),),
        (ArrayMessage("a", b"<f4", (0, 1 << 62, 1 << 62), b""),),
        (ArrayMessage("a", b"<f4", (2,), bytes(8)), ArrayMessage("a", b"<f4", (2,), bytes(8))),
    ],
)
def test_malformed_models_are_refused(bad: tuple[ArrayMessage, ...]) -> None:
    with pytest.raises(CodecError):
        parse_model(ModelMessage(bad).to_bytes())


def test_attack_16_a_pickle_is_no_model() -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (pytest.fail, ("the pickle ran",))

    with pytest.raises(CodecError):
        parse_model(pickle.dumps(Bomb()))


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 255))
def test_parse_model_never_raises_anything_else(junk: bytes, where: int, value: int) -> None:
    data = bytearray(model_bytes({"w": np.ones((2, 2)), "b": np.zeros(2, dtype=np.float32)}))
    data[where % len(data)] = value
    for candidate in (junk, b"PC\x01\x1a\x00" + junk, bytes(data)):
        try:
            model = parse_model(candidate)
        except CodecError:
            continue
        assert model_bytes(model) == candidate


@pytest.mark.parametrize("entries", [1 << 37, 1 << 30])
@pytest.mark.parametrize("size", [0, 6])
def test_an_update_of_another_size_is_refused_before_anything_is_allocated(entries: int, size: int) -> None:
    """An announced encoding of 2^37 entries (a terabyte) costs a node with 6 entries nothing."""
    encoding = fixed(entries=entries, clients=5, max_weight=1)
    tracemalloc.start()
    with pytest.raises(EncodingError, match=f"the update has {size} entries; the encoding has {entries}"):
        encoding.encode(np.zeros(size), 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
