"""Groups and their scalars: public vectors, the plain-integer twin, the algebra, and every misuse."""

from __future__ import annotations

import copy
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privcomp import _core
from privcomp.algebra import (
    BN254,
    RISTRETTO255,
    FixedBases,
    Group,
    Point,
    Points,
    Scalar,
    Scalars,
    expand_message_xmd,
)
from privcomp.errors import BufferTypeError, CodecError, ParameterError
from tests.reference import groups as twin


class Case(NamedTuple):
    group: Group
    base: Any
    decode: Callable[[bytes], Any]
    from_uniform: Callable[[bytes], Any]


CASES = [
    Case(RISTRETTO255, twin.EDWARDS_BASE, twin.ristretto_decode, twin.ristretto_from_uniform),
    Case(BN254, twin.BN_BASE, twin.bn_decode, twin.bn_from_uniform),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.group.name)
each_group = pytest.mark.parametrize("group", [RISTRETTO255, BN254], ids=str)


def points(case: Case, found: list[Any]) -> Points:
    return case.group.decode_many(b"".join(point.encode() for point in found), len(found))


def edges(case: Case, draw: np.random.Generator, more: int) -> list[Any]:
    """The identity, the generator and its inverse and double, and further points."""
    further = [int.from_bytes(draw.bytes(31), "little") * case.base for _ in range(more)]
    return [0 * case.base, case.base, -case.base, case.base + case.base, *further]


def scalars(case: Case, draw: np.random.Generator, n: int) -> list[int]:
    order = case.group.order
    fixed = [0, 1, 2, order - 1, order // 2, 7, 8, 0x88, 1 << 252]
    return [*fixed, *(int.from_bytes(draw.bytes(40), "little") % order for _ in range(n))][:n]


# ---- public vectors


def test_rfc_9496(vectors: Path) -> None:
    """Appendix A.1 to A.3: multiples of the generator, bad encodings, elements from uniform bytes."""
    found = json.loads((vectors / "ristretto255" / "rfc9496_ristretto255.json").read_text())
    for k, text in enumerate(found["small_multiples_of_B_0_to_15"]):
        point = RISTRETTO255.decode(bytes.fromhex(text))
        assert point.encode().hex() == text
        assert point == RISTRETTO255.generator * RISTRETTO255.scalar(k)
        assert (RISTRETTO255.generator * RISTRETTO255.scalar(k)).encode().hex() == text
    assert len(found["bad_encodings"]) == 30
    for text in found["bad_encodings"]:
        with pytest.raises(CodecError):
            RISTRETTO255.decode(bytes.fromhex(text))
    for uniform, text in zip(found["uniform64_inputs"], found["uniform64_outputs_libsodium_exp"], strict=True):
        data = np.frombuffer(bytes.fromhex(uniform), np.uint8)[None]
        made = _core.group_from_uniform(_core.RISTRETTO255, data)
        assert _core.group_encode(_core.RISTRETTO255, made).tobytes().hex() == text


@pytest.mark.parametrize("name", ["SHA256_38", "SHA256_256", "SHA512_38"])
def test_rfc_9380_expand_message(vectors: Path, name: str) -> None:
    found = json.loads((vectors / "rfc9380" / f"expand_message_xmd_{name}.json").read_text())
    hash_name, dst = found["hash"].lower(), found["DST"].encode()
    for test in found["tests"]:
        length = int(test["len_in_bytes"], 16)
        assert expand_message_xmd(hash_name, test["msg"].encode(), dst, length).hex() == test["uniform_bytes"]


def test_eip_196(vectors: Path) -> None:
    """The precompiles pad short inputs with zeros, ignore what is too long, and take scalars above the order."""
    folder = vectors / "eth_precompiles"
    for test in json.loads((folder / "bn256Add.json").read_text()):
        data = bytes.fromhex(test["Input"])[:128].ljust(128, b"\0")
        assert (BN254.decode(data[:64]) + BN254.decode(data[64:])).encode().hex() == test["Expected"], test["Name"]
    for test in json.loads((folder / "bn256ScalarMul.json").read_text()):
        data = bytes.fromhex(test["Input"])[:96].ljust(96, b"\0")
        scalar = BN254.scalar(int.from_bytes(data[64:], "big"))
        assert (BN254.decode(data[:64]) * scalar).encode().hex() == test["Expected"], test["Name"]


# ---- against the twin


@each_case
def test_additions(case: Case) -> None:
    draw = np.random.default_rng(1)
    found = edges(case, draw, 4)
    a, b = [x for x in found for _ in found], [y for _ in found for y in found]
    ours, theirs = points(case, a), points(case, b)
    assert (ours + theirs).encode() == b"".join((x + y).encode() for x, y in zip(a, b, strict=True))
    assert (ours - theirs).encode() == b"".join((x + -y).encode() for x, y in zip(a, b, strict=True))
    assert (-ours).encode() == b"".join((-x).encode() for x in a)
    assert ours.equal(theirs) == [x.same(y) for x, y in zip(a, b, strict=True)]
    total = 0 * case.base
    for x in a:
        total = total + x
    assert ours.sum().encode() == total.encode()
    assert Points.sum_of([ours, theirs, ours]) == ours + theirs + ours


@each_case
def test_multiples(case: Case) -> None:
    draw = np.random.default_rng(2)
    bases = edges(case, draw, 8)
    numbers = scalars(case, draw, len(bases))
    ours = points(case, bases) * case.group.scalars(numbers)
    assert ours.encode() == b"".join((s * p).encode() for s, p in zip(numbers, bases, strict=True))


@each_case
@pytest.mark.parametrize("n", [0, 1, 2, 33, 95, 96])
def test_sums_of_multiples(case: Case, n: int) -> None:
    """Every algorithm for them: Straus and buckets, full and short numbers."""
    draw = np.random.default_rng(n)
    base = edges(case, draw, 5)
    found = [base[draw.integers(len(base))] for _ in range(n)]
    numbers = scalars(case, draw, n)
    vector = points(case, found)

    def expected(values: list[int]) -> bytes:
        total = 0 * case.base
        for value, point in zip(values, found, strict=True):
            total = total + (value % case.group.order) * point
        encoded: bytes = total.encode()
        return encoded

    want = expected(numbers)
    assert vector.msm(case.group.scalars(numbers)).encode() == want
    assert vector.msm_var(case.group.scalars(numbers)).encode() == want
    for high in (1, 1 << 15, 1 << 62) if n > 2 else [1 << k for k in range(63)]:
        values = draw.integers(-high, high, n, endpoint=True)
        values[: n // 8] = -(1 << 63) if high == 1 << 62 else -high
        assert vector.msm_var(values).encode() == expected(values.tolist()), high


@each_case
@pytest.mark.parametrize("windows", [1, 2, 3, 4])
def test_rows_over_tables(case: Case, windows: int) -> None:
    draw = np.random.default_rng(windows)
    bases = edges(case, draw, 3)
    limit = (1 << (8 * windows - 1)) - (windows == 4)
    values = draw.integers(-limit, limit, (5, len(bases)), endpoint=True).astype(np.int32)
    values[0] = [limit, -limit, 0, 127, 128 if windows > 1 else 1, -128, -127]
    rows = FixedBases(points(case, bases), windows).rows_var(values)
    for row, found in zip(values.tolist(), rows, strict=True):
        total = 0 * case.base
        for value, base in zip(row, bases, strict=True):
            total = total + (value % case.group.order) * base
        assert found.encode() == total.encode()
    if windows < 4:
        values[3, 2] = limit + 1
        with pytest.raises(ParameterError, match=f"2\\^{8 * windows - 1}"):
            FixedBases(points(case, bases), windows).rows_var(values)


@each_case
def test_fixed_base(case: Case) -> None:
    draw = np.random.default_rng(5)
    base = 12345 * case.base
    numbers = scalars(case, draw, 40)
    tables = FixedBases(points(case, [base]), 32)
    assert tables.mul_var(case.group.scalars(numbers)).encode() == b"".join((s * base).encode() for s in numbers)
    assert tables.nbytes == 32 * 128 * (96 if case.group is RISTRETTO255 else 64)


@each_case
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_digits(case: Case, size: int) -> None:
    order, half = case.group.order, 1 << (8 * size - 1)
    numbers = [
        *scalars(case, np.random.default_rng(size), 40),
        0,
        1,
        half - 1,
        half,
        2 * half - 1,
        order - 1,
        order // 2,
    ]
    numbers += [
        sum((2 * half - 1) << 8 * size * k for k in range(31 // size)),
        sum(half << 8 * size * k for k in range(31 // size)),
    ]
    found = case.group.scalars(numbers).digits(size)
    assert found.dtype == np.int32
    assert found.shape == (len(numbers), -(-32 // size))
    assert found.min() == -half
    assert found.max() == half - 1
    assert np.array_equal(case.group.scalars(numbers).digits(np.int8(size)), found)  # type: ignore[arg-type]
    for number, digits in zip(numbers, found.tolist(), strict=True):
        assert sum(digit << 8 * size * k for k, digit in enumerate(digits)) == number


@pytest.mark.parametrize("size", [0, 5, -1])
def test_digits_of_other_sizes(size: int) -> None:
    with pytest.raises(ParameterError, match="1 to 4"):
        RISTRETTO255.scalars([1]).digits(size)


@each_case
def test_from_uniform(case: Case) -> None:
    draw = np.random.default_rng(6)
    width = _core.UNIFORM_BYTES[case.group.core_id]
    rows = np.frombuffer(draw.bytes(width * 40), np.uint8).reshape(40, width).copy()
    rows[0], rows[1] = 0, 255
    made = _core.group_from_uniform(case.group.core_id, rows)
    assert _core.group_on_curve(case.group.core_id, made)
    wanted = [case.from_uniform(row.tobytes()) for row in rows]
    assert all(point.on_curve() for point in wanted)
    assert _core.group_encode(case.group.core_id, made).tobytes() == b"".join(point.encode() for point in wanted)


@each_case
def test_many(case: Case) -> None:
    """Additions, decodings and multiplications by the thousand; by the hundred thousand in `make assurance`."""
    compare(case, additions=2_000, multiples=40)


@pytest.mark.assurance
@each_case
def test_very_many(case: Case) -> None:
    compare(case, additions=100_000, multiples=1_000)


def compare(case: Case, additions: int, multiples: int) -> None:
    draw = np.random.default_rng(7)
    known = [int.from_bytes(draw.bytes(31), "little") * case.base for _ in range(50)]
    chain = [known[0]]
    for _ in range(additions):
        chain.append(chain[-1] + known[draw.integers(50)])
    encoded = [point.encode() for point in chain]
    vector = case.group.decode_many(b"".join(encoded), len(chain))
    assert vector.encode() == b"".join(encoded)
    assert (vector[:-1] + (vector[1:] - vector[:-1])).encode() == b"".join(encoded[1:])
    assert all(
        found is not None and found.same(point)
        for found, point in zip(map(case.decode, encoded[:500]), chain[:500], strict=True)
    )
    numbers = scalars(case, draw, multiples)
    some = chain[:multiples]
    got = points(case, some) * case.group.scalars(numbers)
    assert got.encode() == b"".join((s * p).encode() for s, p in zip(numbers, some, strict=True))


def py_ecc_agrees(additions: int, multiples: int) -> None:
    bn128 = pytest.importorskip("py_ecc.bn128")
    draw = np.random.default_rng(8)
    known = [bn128.multiply(bn128.G1, int.from_bytes(draw.bytes(31), "little")) for _ in range(20)]

    def encoded(found: list[Any]) -> bytes:
        pairs = [(0, 0) if point is None else (int(point[0]), int(point[1])) for point in found]
        return b"".join(x.to_bytes(32, "big") + y.to_bytes(32, "big") for x, y in pairs)

    chain = [None, bn128.G1]
    for _ in range(additions):
        step = known[draw.integers(20)]
        chain.append(bn128.add(chain[-1], step if draw.integers(8) else bn128.neg(chain[-1])))
    vector = BN254.decode_many(encoded(chain), len(chain))
    assert vector.encode() == encoded(chain)
    sums = [bn128.add(a, b) for a, b in zip(chain, reversed(chain), strict=True)]
    assert (vector + Points.concat(list(vector)[::-1])).encode() == encoded(sums)
    numbers = scalars(CASES[1], draw, multiples)
    found = [bn128.multiply(point, number) for point, number in zip(known * multiples, numbers, strict=False)]
    ours = BN254.decode_many(encoded((known * multiples)[:multiples]), multiples) * BN254.scalars(numbers)
    assert ours.encode() == encoded(found)


def test_py_ecc_agrees() -> None:
    py_ecc_agrees(300, 25)


@pytest.mark.assurance
def test_py_ecc_agrees_a_hundred_thousand_times() -> None:
    py_ecc_agrees(100_000, 1_000)


@given(data=st.binary(min_size=32, max_size=32))
@settings(max_examples=300, deadline=None)
def test_decoding_agrees_on_arbitrary_bytes(data: bytes) -> None:
    theirs = twin.ristretto_decode(data)
    try:
        ours = RISTRETTO255.decode(data).encode()
    except CodecError:
        assert theirs is None
    else:
        assert theirs is not None
        assert ours == data == theirs.encode()


@given(x=st.integers(0, 2**256 - 1), y=st.integers(0, 2**256 - 1), near=st.booleans())
@settings(max_examples=100, deadline=None)
def test_decoding_refuses_what_is_off_the_curve(x: int, y: int, near: bool) -> None:
    if near:  # the right y for x, where there is one, plus 0 or p
        x %= twin.Q
        y = pow(x**3 + 3, (twin.Q + 1) // 4, twin.Q) + (y % 2) * twin.Q
    data = x.to_bytes(32, "big") + (y % 2**256).to_bytes(32, "big")
    theirs = twin.bn_decode(data)
    try:
        ours = BN254.decode(data).encode()
    except CodecError:
        assert theirs is None
    else:
        assert theirs is not None
        assert ours == data


def test_the_points_in_use_are_checked_ones() -> None:
    """`on_curve` finds a changed coordinate, one that is not canonical, and accepts the identity."""
    for group in (RISTRETTO255, BN254):
        good = np.concatenate([_core.group_generator(group.core_id), group.identity._data])
        assert _core.group_on_curve(group.core_id, good)
        for place in (0, 31, 32, 63):
            bad = good.copy()
            bad[0, place] ^= 1
            assert not _core.group_on_curve(group.core_id, bad)
        p = twin.P if group is RISTRETTO255 else twin.Q
        big = good.copy()
        big[1, :32] = np.frombuffer(
            (p + int.from_bytes(good[1, :32].tobytes(), "little")).to_bytes(32, "little"), np.uint8
        )
        assert not _core.group_on_curve(group.core_id, big)


# ---- scalars


@each_group
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_scalars_are_integers_modulo_the_order(group: Group, data: st.DataObject) -> None:
    q = group.order
    number = st.one_of(st.integers(0, q - 1), st.sampled_from([0, 1, q - 1, q // 2, 1 << 64, (1 << 252) - 1]))
    x = data.draw(st.lists(number, min_size=1, max_size=20))
    y = data.draw(st.lists(number, min_size=len(x), max_size=len(x)))
    a, b = group.scalars(x), group.scalars(y)
    pairs = list(zip(x, y, strict=True))
    assert (a + b).to_ints() == [(i + j) % q for i, j in pairs]
    assert (a - b).to_ints() == [(i - j) % q for i, j in pairs]
    assert (a * b).to_ints() == [i * j % q for i, j in pairs]
    assert (-a).to_ints() == [-i % q for i in x]
    assert int(a.dot(b)) == sum(i * j for i, j in pairs) % q
    assert (a * b[0]).to_ints() == [i * y[0] % q for i in x]
    assert a.axpy(b[0], b).to_ints() == [(y[0] * i + j) % q for i, j in pairs]
    if all(y):
        assert b.inverse().to_ints() == [pow(j, -1, q) for j in y]
    else:
        with pytest.raises(ParameterError, match="no inverse"):
            b.inverse()
    assert group.decode_scalars(a.to_bytes(), len(x)) == a
    wide = data.draw(st.binary(min_size=64, max_size=64))
    assert int(group.scalars_from_wide(wide)[0]) == int.from_bytes(wide, "little") % q


@each_group
def test_scalars_from_other_numbers(group: Group) -> None:
    values = np.array([0, 1, -1, 2**63 - 1, -(2**63)], np.int64)
    assert group.scalars_from_i64(values).to_ints() == [int(v) % group.order for v in values]
    assert group.scalars([-1, group.order, 1 << 300]).to_ints() == [group.order - 1, 0, (1 << 300) % group.order]
    assert int(group.scalars_from_wide(b"\xff" * 64)[0]) == (2**512 - 1) % group.order
    assert group.random_scalars(3) != group.random_scalars(3)
    assert len(group.random_scalars(0)) == 0


@each_group
@pytest.mark.parametrize("more", [0, 1, 1 << 200])
def test_scalars_that_are_not_canonical(group: Group, more: int) -> None:
    data = np.frombuffer((group.order + more).to_bytes(32, "little"), np.uint8)[None]
    one = group.scalar(1)._data
    with pytest.raises(CodecError, match="below the order"):
        group.decode_scalars(data.tobytes(), 1)
    for call in (
        lambda: _core.scalar_add(group.core_id, data, one),
        lambda: _core.scalar_sub(group.core_id, one, data),
        lambda: _core.scalar_mul(group.core_id, data, one),
        lambda: _core.scalar_axpy(group.core_id, data, one, one),
        lambda: _core.scalar_dot(group.core_id, one, data),
        lambda: _core.scalar_inv(group.core_id, data),
        lambda: _core.group_mul(group.core_id, group.generator._data, data),
        lambda: _core.group_msm(group.core_id, group.generator._data, data),
        lambda: _core.group_msm_var(group.core_id, group.generator._data, data),
    ):
        with pytest.raises(ParameterError, match="not below the group's order"):
            call()


# ---- the algebra of the objects


@each_group
def test_the_group_law(group: Group) -> None:
    g, zero = group.generator, group.identity
    a, b = group.random_scalars(2)
    assert g * a + g * b == g * (a + b)
    assert g * a * b == g * (a * b)
    assert g * a - g * a == zero
    assert (g * group.scalar(0)).is_identity()
    assert g * group.scalar(-1) == -g
    assert g + zero == g
    assert hash(g * a + g * b) == hash(g * (a + b))
    assert {g: 1}[group.decode(g.encode())] == 1
    vector = group.hash_many([b"a", b"b", b"c"], b"test-dst")
    assert vector + g == group.decode_many(b"".join((p + g).encode() for p in vector), 3)
    assert (vector * group.scalar(5))[1:] == Points.sum_of([vector] * 5)[1:]
    assert isinstance(vector[0], Point)
    assert isinstance(a, Scalar)
    assert isinstance(vector[0] * a, Point)
    assert not isinstance(vector[:1], Point)


@each_group
def test_hashing(group: Group) -> None:
    one = group.hash(b"message", b"dst")
    assert one == group.hash(b"message", b"dst")
    assert len({one, group.hash(b"message", b"dst2"), group.hash(b"messag", b"dst"), group.generator}) == 4
    assert _core.group_on_curve(group.core_id, one._data)
    with pytest.raises(ParameterError, match="empty"):
        group.hash(b"message", b"")
    for arguments in (("md5", b"", b"d", 3), ("sha256", b"", b"d", 0), ("sha256", b"", b"d", 255 * 32 + 1)):
        with pytest.raises(ParameterError):
            expand_message_xmd(*arguments)


def test_misuse() -> None:
    r, b = RISTRETTO255, BN254
    with pytest.raises(ParameterError, match="do not combine"):
        r.generator + b.generator
    with pytest.raises(ParameterError, match="do not combine"):
        r.generator * b.scalar(1)
    with pytest.raises(ParameterError, match="do not combine"):
        r.scalars([1, 2]) + r.scalars([1, 2, 3])
    with pytest.raises(ParameterError, match="do not combine"):
        r.hash_many([b"a", b"b"], b"dst") + r.hash_many([b"a", b"b", b"c"], b"dst")
    with pytest.raises(ParameterError, match="do not combine"):
        FixedBases(b.generator, 32).mul_var(r.scalars([1]))
    for bases, windows in ((r.hash_many([b"%d" % k for k in range(32)], b"d"), 1), (r.generator, 31)):
        with pytest.raises(ParameterError, match="one base and 32 windows"):  # a table of 32 bases has the same size
            FixedBases(bases, windows).mul_var(r.scalars([1]))
    with pytest.raises(ParameterError, match="one scalar of BN254"):
        b.scalars([1]).axpy(r.scalar(5), b.scalars([1]))
    with pytest.raises(ParameterError, match="one scalar of BN254"):
        b.scalars([1]).axpy(b.scalars([5, 6]), b.scalars([1]))
    with pytest.raises(ParameterError, match="do not combine"):
        r.generator * r.scalars([])
    with pytest.raises(ParameterError, match="asked for"):
        r.random_scalars(2, lambda n: bytes(64))
    with pytest.raises(AttributeError, match="immutable"):
        del r.generator.group
    with pytest.raises(TypeError):
        r.hash_many([b"a", b"b"], b"d")[np.array([0, 1])]
    for bad in (32, 64, None, "x" * 32, [0] * 32, np.zeros(4), memoryview(bytes(64))[::2]):
        for call in (r.decode, lambda data: r.decode_scalars(data, 1), lambda data: b.decode_many(data, 1)):
            with pytest.raises(BufferTypeError):
                call(bad)
    with pytest.raises(TypeError):
        r.generator + 1
    with pytest.raises(TypeError):
        r.generator * 3
    with pytest.raises(TypeError):
        r.scalar(1) + 1
    with pytest.raises(AttributeError, match="immutable"):
        r.generator.group = b
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(r.scalar(1))
    with pytest.raises(TypeError, match="unhashable"):
        hash(r.scalar(1))
    with pytest.raises(CodecError, match="should be"):
        r.decode(bytes(31))
    with pytest.raises(CodecError, match="should be"):
        r.decode_many(bytes(64), 3)
    with pytest.raises(CodecError, match="should be"):
        r.decode_scalars(bytes(33), 1)
    with pytest.raises(ParameterError, match="63 bytes"):
        r.scalars_from_wide(bytes(63))
    with pytest.raises(ParameterError):
        Points.sum_of([])
    with pytest.raises(ParameterError, match="windows"):
        FixedBases(r.generator, 33)
    with pytest.raises(IndexError):
        r.scalars([1])[1]
    assert (r.scalar(1) == 1) is False
    assert r.scalar(1) != r.scalar(2)
    assert r.scalar(1) != b.scalar(1)
    assert r.generator != b.generator
    assert r.generator != "generator"
    assert "7" not in repr(r.scalar(7)).replace("255", "")
    assert repr(r.scalars([1, 2])) == "Scalars(ristretto255, 2 elements)"
    assert repr(r.hash_many([b"a", b"b"], b"dst")) == "Points(ristretto255, 2 elements)"
    assert repr(b.generator).startswith("Point(BN254, 0000")


def test_received_buffers_are_copied() -> None:
    data = bytearray(RISTRETTO255.scalar(5).to_bytes())
    found = RISTRETTO255.decode_scalars(data, 1)
    data[0] = 6
    assert found.to_ints() == [5]
    with pytest.raises(ValueError, match="read-only"):
        found._data[0, 0] = 1


@each_group
def test_a_group_that_travelled_is_the_same_group(group: Group) -> None:
    """Executors of other processes pickle parameters; elements are sent as bytes."""
    other = pickle.loads(pickle.dumps(group))
    assert other.generator == group.generator
    assert other.generator + group.generator == group.generator * other.scalar(2)
    assert other.scalars([1, 2]) == group.scalars([1, 2])
    assert copy.deepcopy(group.generator) == group.generator


@each_group
def test_more_points_than_are_summed_at_once(group: Group) -> None:
    """Buckets are filled by 65,536 points, rows by 1,024."""
    some = group.hash_many([b"%d" % k for k in range(50)], b"test")
    many = Points.concat([some] * 1320)
    numbers = np.arange(len(many), dtype=np.int64) - 1000
    assert len(many) == 66_000
    per_base = numbers.reshape(1320, 50).sum(axis=0)
    assert many.msm_var(numbers) == some.msm_var(per_base)
    full = group.scalars_from_wide(np.random.default_rng(1).bytes(64 * 50))
    assert many.msm_var(Scalars.concat([full] * 1320)) == some.msm_var(full * group.scalar(1320))
    values = np.random.default_rng(2).integers(-128, 128, (1030, 2)).astype(np.int32)
    rows = FixedBases(some[:2], 1).rows_var(values)
    for a in (0, 1, 1023, 1024, 1029):
        assert rows[a] == some[:2].msm_var(values[a].astype(np.int64))


@each_group
def test_the_core_refuses_wrong_arrays(group: Group) -> None:
    good, scalar = group.generator._data, group.scalar(1)._data
    for bad in (good.astype(np.int64), good[:, ::-1], good[0], good.tolist(), good[:, :32].copy()):
        for call in (
            lambda bad=bad: _core.group_add(group.core_id, bad, good),
            lambda bad=bad: _core.group_mul(group.core_id, bad, scalar),
            lambda bad=bad: _core.group_msm_var(group.core_id, bad, scalar),
            lambda bad=bad: _core.group_encode(group.core_id, bad),
        ):
            with pytest.raises((BufferTypeError, ParameterError)):
                call()
    for other in (0, 3, -1, "x"):
        with pytest.raises(ParameterError, match="RISTRETTO255"):
            _core.group_add(other, good, good)
        with pytest.raises(ParameterError, match="RISTRETTO255"):
            _core.scalar_order(other)
    table = _core.group_table(group.core_id, good, 2)
    with pytest.raises(ParameterError, match="length"):
        _core.group_rows_var(group.core_id, table[:-1].copy(), np.ones((1, 1), np.int32), 2)
    with pytest.raises(ParameterError, match="windows"):
        _core.group_rows_var(group.core_id, table, np.ones((1, 1), np.int32), 5)


def test_the_square_roots_of_rfc_9496() -> None:
    """Its constants, as the twin and csrc/src/ristretto255.c have them, are roots of what they are named after."""
    assert pow(twin.SQRT_AD_MINUS_ONE, 2, twin.P) == (-twin.D - 1) % twin.P
    assert pow(twin.INVSQRT_A_MINUS_D, 2, twin.P) * (-1 - twin.D) % twin.P == 1
    assert pow(twin.SQRT_M1, 2, twin.P) == twin.P - 1


def test_entropy_is_an_argument() -> None:
    asked = []

    def rng(n: int) -> bytes:
        asked.append(n)
        return bytes(n)

    assert RISTRETTO255.random_scalars(2, rng).to_ints() == [0, 0]
    assert asked == [128]
    assert isinstance(RISTRETTO255.random_scalars(1, os.urandom), Scalars)
