"""Prime fields as objects: thin over the core, whose arithmetic tests/core/test_fields.py covers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.algebra import GOLDILOCKS, M61, PrimeField
from privcomp.errors import BufferTypeError, ParameterError

FIELDS = [M61, GOLDILOCKS]


@pytest.mark.parametrize(("field", "p"), [(M61, 2**61 - 1), (GOLDILOCKS, 2**64 - 2**32 + 1)])
def test_modulus(field, p):
    assert field.modulus == p


@given(field=st.sampled_from(FIELDS), data=st.data())
def test_methods_agree_with_integers(field, data):
    p = field.modulus
    integer = st.integers(-(2**70), 2**70)
    pairs = data.draw(st.lists(st.tuples(integer, integer), max_size=20))
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    a, b = field.from_ints(xs), field.from_ints(ys)
    assert field.to_ints(a) == [x % p for x in xs]
    assert field.to_ints(field.add(a, b)) == [(x + y) % p for x, y in pairs]
    assert field.to_ints(field.sub(a, b)) == [(x - y) % p for x, y in pairs]
    assert field.to_ints(field.mul(a, b)) == [x * y % p for x, y in pairs]
    assert field.to_ints(field.neg(a)) == [-x % p for x in xs]
    assert field.to_ints(field.axpy(7, a, b)) == [(7 * x + y) % p for x, y in pairs]
    assert field.dot(a, b) == sum(x * y for x, y in pairs) % p
    units = field.from_ints([x for x in xs if x % p])
    assert field.to_ints(field.mul(units, field.inv(units))) == [1] * units.size


@pytest.mark.parametrize("field", FIELDS)
def test_errors_are_typed(field):
    with pytest.raises(ParameterError):
        field.inv(np.zeros(1, np.uint64))
    with pytest.raises(BufferTypeError):
        field.add(np.zeros(1), np.zeros(1))


def test_a_field_is_a_value():
    assert PrimeField(M61.name, M61.modulus, M61.core_id) == M61 != GOLDILOCKS
    with pytest.raises(AttributeError):
        M61.modulus = 7  # type: ignore[misc]
