"""Commitments in Hyrax layout: against Pedersen row by row, sums, every shape, every lie about a sum."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privcomp.algebra import BN254, RISTRETTO255, Group
from privcomp.commitments import Generators, Hyrax, Opening, Pedersen, RowCommitment, hyrax
from privcomp.errors import BufferTypeError, CodecError, EncodingError, ParameterError, RemoteError

SMALL = Hyrax(columns=8)


def draw_entries(d: int, seed: int = 1, bound: int = 32767) -> np.ndarray:
    return np.random.default_rng(seed).integers(-bound, bound, d, endpoint=True)


@pytest.mark.parametrize("group", [RISTRETTO255, BN254], ids=str)
@pytest.mark.parametrize("d", [1, 7, 8, 9, 64, 77])
def test_each_row_is_a_pedersen_commitment(group: Group, d: int) -> None:
    scheme = Hyrax(8, 2, group)
    x = draw_entries(d)
    commitment, opening = scheme.commit_var(x)
    generators = Generators.derive(group, 8)
    pedersen = Pedersen(generators.columns, generators.blinding)
    rows = -(-d // 8)
    assert len(commitment.rows) == len(opening.blindings) == rows
    padded = np.zeros(8 * rows, np.int64)
    padded[:d] = x
    for a in range(rows):
        values = group.scalars_from_i64(padded[8 * a : 8 * a + 8])
        assert pedersen.commit_with(values, opening.blindings[a]) == commitment.rows[a]
    scheme.check(commitment, x, opening)
    assert scheme.decode(commitment.encode(), d) == commitment
    assert len(commitment.encode()) == group.encoding_bytes * rows


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("entry_bytes", [1, 2, 3, 4])
def test_entries_up_to_their_bound(dtype: type, entry_bytes: int) -> None:
    scheme = Hyrax(4, entry_bytes)
    top = min(scheme.bound, np.iinfo(dtype).max)
    low = max(-scheme.bound, np.iinfo(dtype).min)
    x = np.array([top, low, 0, -1, 1, top, low], dtype)
    commitment, opening = scheme.commit_var(x)
    scheme.check(commitment, x.astype(np.int64), opening)
    if np.iinfo(dtype).max > scheme.bound:
        for bad in (scheme.bound + 1, -scheme.bound - 1):
            with pytest.raises(EncodingError, match="beyond"):
                scheme.commit_var(np.array([0, bad], dtype))


@pytest.mark.parametrize("block", [False, True])
def test_many_rows(block: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than are committed at once: here, with small blocks, and in the core, 1,024."""
    monkeypatch.setattr(hyrax, "_BLOCK_ENTRIES", 1 << (10 if block else 20))
    scheme = Hyrax(2)
    x = draw_entries(2 * 2500 + 1)
    commitment, opening = scheme.commit_var(x)
    scheme.check(commitment, x, opening)
    for k in (0, 63, 64, 1023, 1024, 2047, 2048, 2500):
        one = RowCommitment(scheme, x[2 * k : 2 * k + 2].size, commitment.rows[k : k + 1])
        scheme.check(one, x[2 * k : 2 * k + 2], Opening(opening.blindings[k : k + 1]))


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_sums_open_to_sums(data: st.DataObject) -> None:
    d, n = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 5))
    seed = data.draw(st.integers(0, 1000))
    xs = [draw_entries(d, seed + k, data.draw(st.sampled_from([0, 1, 32767]))) for k in range(n)]
    found = [SMALL.commit_var(x) for x in xs]
    total = np.sum(xs, axis=0)
    commitment = RowCommitment.sum([c for c, _ in found])
    opening = found[0][1]
    for _, more in found[1:]:
        opening += more
    SMALL.check(commitment, total, opening)
    at = data.draw(st.integers(0, d - 1))
    for change in (1, -1, 1 << 40):
        wrong = total.copy()
        wrong[at] += change
        with pytest.raises(RemoteError, match="do not belong"):
            SMALL.check(commitment, wrong, opening)
    if n > 1:  # one left out, one counted twice, blindings of another set
        for bad in (RowCommitment.sum([c for c, _ in found[1:]]), commitment + found[0][0]):
            with pytest.raises(RemoteError, match="do not belong"):
                SMALL.check(bad, total, opening)
        with pytest.raises(RemoteError, match="do not belong"):
            SMALL.check(commitment, total, Opening(found[0][1].blindings))


def test_errors_that_cancel_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With equal weights for all rows, +1 in one row and -1 in the next would cancel."""
    x = draw_entries(32)
    commitment, opening = SMALL.commit_var(x)
    for other in (8, 16, 24):
        wrong = x.copy()
        wrong[3] += 1
        wrong[3 + other] -= 1
        with pytest.raises(RemoteError):
            SMALL.check(commitment, wrong, opening)
        with pytest.raises(RemoteError):
            SMALL.check(commitment, wrong, opening, rng=bytes)  # without entropy, too: they depend on what is checked
        with monkeypatch.context() as patched:
            patched.setattr(hyrax, "verifier_weights", lambda group, n, *_: group.scalars([1] * n))
            SMALL.check(commitment, wrong, opening)
    swapped = RowCommitment(
        SMALL,
        32,
        SMALL.decode(commitment.encode()[32:64] + commitment.encode()[:32] + commitment.encode()[64:], 32).rows,
    )
    with pytest.raises(RemoteError):
        SMALL.check(swapped, x, opening)


@pytest.mark.parametrize("group", [RISTRETTO255, BN254], ids=str)
def test_constant_time_gives_the_same_commitment(group: Group) -> None:
    scheme, entropy = Hyrax(8, 2, group), bytes(range(256)) * 20
    for d in (1, 7, 8, 9, 30):
        x = draw_entries(d)
        fast, slow = scheme.commit_var(x, lambda n: entropy[:n]), scheme.commit(x, lambda n: entropy[:n])
        assert fast[0].encode() == slow[0].encode()
        assert fast[1].blindings == slow[1].blindings
    with pytest.raises(EncodingError):
        scheme.commit(np.array([1 << 20]))
    with pytest.raises(BufferTypeError):
        scheme.commit(np.array([0.5]))  # type: ignore[arg-type]


def test_entries_of_different_widths_add_up() -> None:
    """A signal of one byte and noise of two."""
    x, z = draw_entries(20, 1, 100), draw_entries(20, 2)
    (cx, rx), (cz, rz) = Hyrax(8, 1).commit_var(x), SMALL.commit_var(z)
    SMALL.check(cx + cz, x + z, rx + rz)
    Hyrax(8, 1).check(cz + cx, x + z, rx + rz)


def test_parameters_that_travelled() -> None:
    scheme = pickle.loads(pickle.dumps(SMALL))
    x = draw_entries(20)
    commitment, opening = scheme.commit_var(x)
    SMALL.check(commitment, x, opening)
    again, opening = SMALL.commit_var(x)
    scheme.check(again, x, opening)


def test_blindings_are_fresh() -> None:
    x = draw_entries(30)
    (one, a), (two, b) = SMALL.commit_var(x), SMALL.commit_var(x)
    assert not any(one.rows.equal(two.rows))
    assert len(set(a.blindings.to_ints() + b.blindings.to_ints())) == 8
    assert SMALL.commit_var(x, bytes)[0] == SMALL.commit_var(x, bytes)[0]
    assert repr(a) == "Opening(4 rows)"
    assert repr(one) == "RowCommitment(ristretto255, 30 entries in 4 rows)"


def test_the_padding_is_zeros() -> None:
    """What does not belong to the vector cannot carry anything: a longer vector has another commitment."""
    x = draw_entries(6)
    commitment, opening = SMALL.commit_var(np.append(x, [1, 0]))
    with pytest.raises(RemoteError):
        SMALL.check(RowCommitment(SMALL, 6, commitment.rows), x, opening)
    commitment, opening = SMALL.commit_var(np.append(x, [0, 0]))
    SMALL.check(RowCommitment(SMALL, 6, commitment.rows), x, opening)


def test_bad_bytes() -> None:
    commitment, _ = SMALL.commit_var(draw_entries(20))
    data = commitment.encode()
    for bad in (data[:-1], data + b"\0", b"", data[:64], data[:-1] + bytes([data[-1] | 0x80]), b"\1" + data[1:]):
        with pytest.raises(CodecError):
            SMALL.decode(bad, 20)
    assert SMALL.decode(bytes(96), 20).rows[0].is_identity()  # canonical; a proof has to refuse it, an empty sum has it


def test_misuse() -> None:
    for arguments in ((0,), (1,), (3,), (1 << 17,), (8, 0), (8, 5)):
        with pytest.raises(ParameterError):
            Hyrax(*arguments)
    for bad in (np.zeros((2, 2), np.int64), np.zeros(3), np.zeros(3, np.uint16)):
        with pytest.raises(BufferTypeError):
            SMALL.commit_var(bad)
    with pytest.raises(ParameterError, match="0 entries"):
        SMALL.commit_var(np.zeros(0, np.int64))
    x = draw_entries(20)
    commitment, opening = SMALL.commit_var(x)
    for bad in (
        x.astype(np.uint64), x.astype(np.float64), x + 0.5, x + 1j, x.astype(str), x.astype(object), x.tolist(),
        x[None], None,
    ):  # fmt: skip
        with pytest.raises(BufferTypeError, match="signed integers"):  # a sum in a ring is not yet a sum of integers
            SMALL.check(commitment, bad, opening)
        with pytest.raises(BufferTypeError, match="signed integers"):
            SMALL.commit_var(bad)
    SMALL.check(commitment, x.astype(">i4"), opening)
    SMALL.check(commitment, np.repeat(x, 2)[::2], opening)
    for rows, d in (
        (commitment.rows, 16),
        (commitment.rows[:2], 20),
        (commitment.rows, 25),
        (BN254.hash_many([b"a"], b"d"), 8),
    ):
        with pytest.raises(ParameterError, match="rows of"):
            RowCommitment(SMALL, d, rows)
    with pytest.raises(ParameterError, match="0 entries"):
        RowCommitment(SMALL, 0, commitment.rows[:0])
    with pytest.raises(ParameterError, match="asked for"):
        SMALL.check(commitment, x, opening, lambda n: b"")
    with pytest.raises(ParameterError, match="integers"):
        Hyrax(8.0)
    with pytest.raises(ParameterError, match="another scheme or length"):
        SMALL.check(commitment, x, Opening(BN254.scalars([1, 2, 3])))
    with pytest.raises(ParameterError, match="another scheme or length"):
        SMALL.check(commitment, x[:-1], opening)
    with pytest.raises(ParameterError, match="another scheme or length"):
        Hyrax(16).check(commitment, x, opening)
    with pytest.raises(ParameterError, match="another scheme or length"):
        SMALL.check(commitment, x, Opening(opening.blindings[:2]))
    with pytest.raises(ParameterError, match="one layout and length"):
        commitment + Hyrax(16).commit_var(x)[0]
    with pytest.raises(ParameterError, match="one layout and length"):
        commitment + SMALL.commit_var(x[:-1])[0]
    with pytest.raises(ParameterError, match="at least one"):
        RowCommitment.sum([])


def test_the_default_layout() -> None:
    """1024 columns of 16 bits: 1 % of the upload."""
    scheme = Hyrax()
    x = draw_entries(5000)
    commitment, opening = scheme.commit_var(x.astype(np.int16))
    scheme.check(commitment, x, opening)
    assert len(commitment.encode()) == 32 * 5
    assert scheme.row_count(10**6) * 32 == 31264
