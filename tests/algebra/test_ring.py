"""Rings modulo a power of two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.algebra import Ring
from privcomp.errors import BufferTypeError, ParameterError


@given(bits=st.integers(1, 64), data=st.data())
def test_reduce_and_center_agree_with_integers(bits, data):
    ring = Ring(bits)
    word = 8 * ring.dtype.itemsize
    values = data.draw(st.lists(st.integers(0, 2**word - 1), max_size=20))
    array = np.array(values, ring.dtype)
    half = 2 ** (bits - 1)
    assert ring.reduce(array).tolist() == [v % 2**bits for v in values]
    assert ring.center(array).tolist() == [(v + half) % 2**bits - half for v in values]
    assert array.tolist() == values
    assert ring.modulus == 2**bits


@pytest.mark.parametrize(("bits", "dtype"), [(1, np.uint32), (32, np.uint32), (33, np.uint64), (64, np.uint64)])
def test_the_smallest_word(bits, dtype):
    assert Ring(bits).dtype == dtype


@pytest.mark.parametrize("bits", [0, 65, -1])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(ParameterError, match="bits is"):
        Ring(bits)


def test_another_dtype_is_refused():
    for method in (Ring(20).reduce, Ring(20).center):
        with pytest.raises(BufferTypeError, match="uint32"):
            method(np.zeros(3, np.uint64))
