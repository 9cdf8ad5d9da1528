"""Packing against a plain NumPy twin, and what the parser refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp import _core
from privcomp.errors import BufferTypeError, CodecError, ParameterError


def pack_twin(values: np.ndarray, width: int) -> bytes:
    """The definition, bit by bit."""
    bits = (values.astype(np.uint64)[:, None] >> np.arange(width, dtype=np.uint64)) & np.uint64(1)
    return np.packbits(bits.astype(np.uint8).ravel(), bitorder="little").tobytes()


@st.composite
def packable(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    dtype = draw(st.sampled_from([np.uint32, np.uint64]))
    bits = 8 * np.dtype(dtype).itemsize
    width = draw(st.integers(1, bits))
    values = draw(st.lists(st.integers(0, 2**bits - 1), max_size=70))
    return np.array(values, dtype), width


@given(packable())
def test_pack_is_the_twin_and_unpack_its_inverse(case):
    values, width = case
    packed = _core.pack(values, width)
    assert packed == pack_twin(values, width)
    low = values & values.dtype.type(2**width - 1)
    np.testing.assert_array_equal(_core.unpack(packed, len(values), width, values.dtype), low)
    acc = values.copy()
    _core.unpack_add(acc, packed, width)
    np.testing.assert_array_equal(acc, values + low)


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
def test_every_width(dtype):
    bits = 8 * np.dtype(dtype).itemsize
    rng = np.random.default_rng(3)
    for width in range(1, bits + 1):
        values = rng.integers(0, 2**bits, 1003, dtype=dtype)
        packed = _core.pack(values, width)
        assert packed == pack_twin(values, width)
        np.testing.assert_array_equal(_core.unpack(packed, 1003, width, dtype), values & dtype(2**width - 1))


@given(data=st.binary(max_size=40), n=st.integers(0, 60), width=st.integers(1, 64))
def test_accepted_bytes_pack_to_themselves(data, n, width):
    acc = np.zeros(n, np.uint64)
    try:
        values = _core.unpack(data, n, width, np.uint64)
    except CodecError:
        with pytest.raises(CodecError):
            _core.unpack_add(acc, data, width)
        assert not acc.any()
    else:
        assert _core.pack(values, width) == data
        _core.unpack_add(acc, data, width)
        np.testing.assert_array_equal(acc, values)


def test_wrong_length_and_padding_are_refused():
    packed = _core.pack(np.arange(5, dtype=np.uint32), 3)
    assert len(packed) == 2
    for bad in (b"", packed[:-1], packed + b"\0"):
        with pytest.raises(CodecError, match="take exactly 2"):
            _core.unpack(bad, 5, 3)
    with pytest.raises(CodecError, match="last 1 bits"):
        _core.unpack(bytes([packed[0], packed[1] | 0x80]), 5, 3)
    # a count that a hostile header could name: refused before anything is allocated
    with pytest.raises(CodecError):
        _core.unpack(packed, 2**40, 3)


def test_data_may_be_any_buffer():
    values = np.arange(9, dtype=np.uint32)
    packed = _core.pack(values, 11)
    for data in (packed, bytearray(packed), memoryview(packed), np.frombuffer(packed, np.uint8)):
        np.testing.assert_array_equal(_core.unpack(data, 9, 11), values)
    with pytest.raises(BufferTypeError, match="gaps"):
        _core.unpack(memoryview(packed + packed)[::2], 9, 11)
    with pytest.raises(BufferTypeError, match="a str"):
        _core.unpack("abc", 1, 24)


@pytest.mark.parametrize("width", [0, 33, -1, 2**70, 1.5, None])
def test_widths_out_of_range(width):
    values = np.zeros(4, np.uint32)
    with pytest.raises(ParameterError):
        _core.pack(values, width)
    with pytest.raises(ParameterError):
        _core.unpack(b"", 0, width)
    with pytest.raises(ParameterError):
        _core.unpack_add(values, b"", width)
    with pytest.raises(ParameterError):
        _core.center(values, width)


def test_n_and_dtype():
    for n in (-1, 2**48 + 1, 1.0):
        with pytest.raises(ParameterError):
            _core.unpack(b"", n, 1)
    with pytest.raises(BufferTypeError, match="allowed is uint32 or uint64"):
        _core.unpack(b"", 0, 1, np.int32)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(1, 64))
def test_center(values, bits):
    want = [(v + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1) for v in values]
    got = _core.center(np.array(values, np.uint64), bits)
    assert got.dtype == np.int64
    assert got.tolist() == want
    if bits <= 32:
        assert _core.center(np.array([v % 2**32 for v in values], np.uint32), bits).tolist() == want


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(-(2**64), 2**64))
def test_ring_axpy(values, scale):
    for dtype, q in ((np.uint32, 2**32), (np.uint64, 2**64)):
        x = np.array([v % q for v in values], dtype)
        acc = x[::-1].copy()
        want = [(int(a) + scale * int(b)) % q for a, b in zip(acc, x, strict=True)]
        _core.ring_axpy(acc, x, scale)
        assert acc.tolist() == want
