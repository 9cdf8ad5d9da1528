"""Packed shares of keys, the low-degree test, Reed-Solomon answers: against slow twins, and against liars."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privcomp.errors import CodecError, ParameterError, RoundAborted
from privcomp.oneshot import keyshares
from privcomp.oneshot.keyshares import MASK_ROWS, PRIME, Dealt, Sharing, challenge, leaf, merkle_path, merkle_root
from privcomp.simulation import Coins
from tests.reference import oneshot as reference

CTX = bytes(range(32))
CLIENT = b"client"


def key_of(rng: np.random.Generator, degree: int) -> np.ndarray[tuple[int], np.dtype[np.int8]]:
    return rng.integers(-96, 97, degree).astype(np.int8)


def committed(sharing: Sharing, dealt: Dealt) -> tuple[list[bytes], list[bytes], bytes, bytes]:
    """(salts, leaves, root, test values) of an honest client."""
    salts = [bytes([j]) * 32 for j in range(sharing.members)]
    leaves = [leaf(CTX, CLIENT, j + 1, salts[j], dealt.values[j]) for j in range(sharing.members)]
    root = merkle_root(leaves)
    return salts, leaves, root, sharing.test_values(dealt.values, CTX, CLIENT, root)


def accepts(sharing: Sharing, dealt: Dealt, test: bytes | None = None) -> list[bool]:
    """Which members accept what a client deals and commits to."""
    salts, leaves, _, honest = committed(sharing, dealt)
    out = []
    for j in range(sharing.members):
        share = sharing.open(j, dealt.plain[j])
        path = merkle_path(leaves, j)
        found = sharing.check(
            j, share, ctx=CTX, client=CLIENT, salt=salts[j], path=path, test=honest if test is None else test
        )
        out.append(found == merkle_root(leaves))
    return out


@pytest.mark.parametrize(("degree", "members", "privacy", "packing"), [(7, 5, 1, 2), (12, 7, 2, 3), (5, 4, 1, 1)])
def test_shares_and_test_are_those_of_the_slow_twin(degree: int, members: int, privacy: int, packing: int) -> None:
    rng, coins = np.random.default_rng(degree), Coins(1, degree)
    sharing = Sharing(degree, members, privacy, packing)
    key, drawn = key_of(rng, degree), []

    def entropy(n: int) -> bytes:
        drawn.append(coins.bytes(n))
        return drawn[-1]

    dealt = sharing.deal(key, entropy)
    masks = reference.words(drawn[0], bytes(16), packing * MASK_ROWS)
    at_secrets = [masks[k * MASK_ROWS : (k + 1) * MASK_ROWS] for k in range(packing)]
    expected = reference.shares(key.tolist(), privacy, packing, members, drawn[1:], at_secrets)
    assert dealt.values.astype(int).tolist() == expected
    assert dealt.plain[:privacy] == tuple(drawn[1:])
    salts, leaves, root, test = committed(sharing, dealt)
    assert leaves == [reference.leaf(CTX, CLIENT, j + 1, salts[j], expected[j]) for j in range(members)]
    assert root == reference.merkle(leaves)
    u = reference.test_polynomial(expected, sharing.rows, privacy + packing, CTX, CLIENT, root)
    assert np.frombuffer(test, "<u2").reshape(privacy + packing, MASK_ROWS).tolist() == u
    for j in range(members):
        share = sharing.open(j, dealt.plain[j])
        assert [*share.rows, *share.masks] == expected[j]
    assert all(accepts(sharing, dealt))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_t_plus_one_answers_give_the_exact_sum_of_keys(data: st.DataObject) -> None:
    privacy, packing = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    members = data.draw(st.integers(privacy + packing + 1, privacy + packing + 8))
    degree, clients = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    sharing = Sharing(degree, members, privacy, packing)
    keys = [key_of(rng, degree) for _ in range(clients)]
    dealt = [sharing.deal(key) for key in keys]
    who = data.draw(st.sets(st.integers(0, members - 1), min_size=privacy + packing + 1))
    answers = {}
    for j in who:
        rows = [sharing.open(j, each.plain[j]).rows.astype(np.uint16) for each in dealt]
        answers[j] = sharing.parse_answer(sharing.add(rows))
    total, wrong = sharing.reconstruct(answers)
    assert total.tolist() == np.sum([key.astype(int) for key in keys], axis=0).tolist()
    assert wrong == ()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_wrong_answers_are_named_up_to_half_the_distance(data: st.DataObject) -> None:
    privacy, packing = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    size = privacy + packing
    members = data.draw(st.integers(size + 2, size + 7))
    sharing = Sharing(9, members, privacy, packing)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    key = key_of(rng, 9)
    dealt = sharing.deal(key)
    honest = {j: dealt.values[j, : sharing.rows].astype(np.int64) for j in range(members)}
    most = (members - size) // 2
    liars = data.draw(st.sets(st.integers(0, members - 1), min_size=1, max_size=most))
    answers = dict(honest)
    for j in liars:
        if data.draw(st.booleans()):
            answers[j] = rng.integers(0, PRIME, sharing.rows)
        else:  # one value off by a little
            answers[j] = answers[j].copy()
            answers[j][data.draw(st.integers(0, sharing.rows - 1))] ^= 1
            answers[j] %= PRIME
    changed = {j for j in liars if (answers[j] != honest[j]).any()}
    total, wrong = sharing.reconstruct(answers)
    assert total.tolist() == key.tolist()
    assert set(wrong) == changed


def test_reconstruction_is_that_of_the_slow_twin() -> None:
    rng = np.random.default_rng(5)
    sharing = Sharing(4, 6, 1, 1)
    key = key_of(rng, 4)
    dealt = sharing.deal(key)
    for _ in range(30):
        answers = {j: dealt.values[j, : sharing.rows].astype(np.int64) for j in range(6)}
        for j in rng.choice(6, rng.integers(0, 5), replace=False):
            answers[int(j)] = rng.integers(0, PRIME, sharing.rows)
        expected = reference.reconstruct({j: a.tolist() for j, a in answers.items()}, 2, 1, 4)
        try:
            got: list[int] | None = sharing.reconstruct(answers)[0].tolist()
        except RoundAborted:
            got = None
        assert got == expected


def test_too_many_wrong_answers_give_nothing() -> None:
    """Two of four answers of T = 3: one error would be detected, none can be named; three of five agree by chance
    never."""
    sharing = Sharing(20, 5, 1, 2)
    dealt = sharing.deal(np.zeros(20, np.int8))
    answers = {j: dealt.values[j, : sharing.rows].astype(np.int64) for j in range(5)}
    lie = {j: (answers[j] + 1 + np.arange(sharing.rows)) % PRIME for j in range(5)}
    with pytest.raises(RoundAborted, match="more than 0 of them are wrong"):
        sharing.reconstruct({j: answers[j] for j in range(3)} | {3: lie[3]})
    with pytest.raises(RoundAborted, match="more than 1 of them are wrong"):
        sharing.reconstruct(answers | {3: lie[3], 4: (lie[4] * 7) % PRIME})
    with pytest.raises(RoundAborted, match="3 answers, 4 are needed"):
        sharing.reconstruct({j: answers[j] for j in range(3)})
    total, wrong = sharing.reconstruct(answers | {3: lie[3]})
    assert (total.any(), wrong) == (False, (3,))


def test_any_t_p_shares_are_uniform_whatever_the_key_is() -> None:
    """Exactly: the values at t_p points are a bijective image of the coins. Two of seven members, both explicit."""
    sharing = Sharing(1, 7, 2, 3, tested=False)
    points = (5, 6)
    # Member values are G [secrets; coins]; the part that belongs to the coins must be invertible.
    part = sharing._generator[[p - 2 for p in points], 3:].astype(int)
    assert (int(part[0, 0]) * int(part[1, 1]) - int(part[0, 1]) * int(part[1, 0])) % PRIME
    # And by a count: the first explicit value over many sharings of one key, in 13 cells.
    rng = Coins(3, "uniform")
    values = [int(Sharing(1, 5, 1, 1).deal(np.array([96], np.int8), rng.bytes).values[3, 0]) for _ in range(1300)]
    cells = Counter(v * 13 // PRIME for v in values)
    assert sum((cells[k] - 100) ** 2 / 100 for k in range(13)) < 40  # chi-square with 12 degrees: below with 1 - 1e-4


def test_the_test_polynomial_is_uniform_whatever_the_key_is() -> None:
    """u = g + R f, with g uniform of full degree: the T x 10 published values shift with the masks' coins one to
    one."""
    sharing = Sharing(6, 5, 1, 2)
    across = keyshares._lagrange((*sharing._secret_points, 1), (1, 2, 3)).astype(int)
    assert _det3(across.tolist()) % PRIME


def _det3(m: list[list[int]]) -> int:
    (a, b, c), (d, e, f), (g, h, i) = m
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def malformed(sharing: Sharing, dealt: Dealt, member: int, row: int, add: int = 1) -> Dealt:
    """A client that commits to a wrong value for one member: share and leaf agree with each other, not with the
    rest."""
    values = dealt.values.copy()
    values[member, row] = (values[member, row] + add) % PRIME
    plain = list(dealt.plain)
    plain[member] = values[member].astype("<u2").tobytes()
    return Dealt(tuple(plain), values)


@pytest.mark.parametrize("member", [1, 3, 4])
@pytest.mark.parametrize("row", [0, 4, 9, 14])
def test_a_malformed_share_is_refused_by_its_member(member: int, row: int) -> None:
    """Wrong rows or masks for a member with explicit rows: its own check fails, unless it is among the T that define
    u."""
    sharing = Sharing(10, 5, 1, 2)
    assert sharing.columns == 15
    bad = malformed(sharing, sharing.deal(np.ones(10, np.int8)), member, row)
    found = accepts(sharing, bad)
    if member < 3:  # u is made of this member's values: then the two beyond the first T see that it does not fit
        assert not all(found[3:])
    else:
        assert [j for j, good in enumerate(found) if not good] == [member]


def test_the_test_cannot_be_passed_by_another_u_share_or_root() -> None:
    sharing = Sharing(10, 6, 1, 2)
    dealt = sharing.deal(np.ones(10, np.int8))
    salts, leaves, root, test = committed(sharing, dealt)
    share = sharing.open(3, dealt.plain[3])

    def check(**changes: object) -> bytes | None:
        arguments = {"ctx": CTX, "client": CLIENT, "salt": salts[3], "path": merkle_path(leaves, 3), "test": test}
        return sharing.check(3, share, **{**arguments, **changes})  # type: ignore[arg-type]

    assert check() == root
    assert check(test=bytes(len(test))) is None
    assert check(test=test[:-1]) is None
    assert check(test=b"\xff" * len(test)) is None
    for change in ({"ctx": bytes(32)}, {"client": b"other"}, {"salt": bytes(32)}, {"path": merkle_path(leaves, 2)}):
        assert check(**change) != root
    assert check(path=()) is None
    assert check(path=(*merkle_path(leaves, 3), bytes(32))) is None


def test_one_root_has_one_challenge_and_every_part_moves_it() -> None:
    base = challenge(CTX, CLIENT, bytes(32), 50)
    assert base.shape == (10, 50)
    assert base.max() < PRIME
    for other in (challenge(bytes(32), CLIENT, bytes(32), 50), challenge(CTX, b"x", bytes(32), 50)):
        assert (other != base).mean() > 0.9
    assert (challenge(CTX, CLIENT, bytes([1]) * 32, 50) != base).mean() > 0.9


def test_merkle_paths_of_every_size() -> None:
    for size in range(1, 20):
        leaves = [bytes([k]) * 32 for k in range(size)]
        root = merkle_root(leaves)
        assert root == reference.merkle(leaves)
        for k in range(size):
            path = merkle_path(leaves, k)
            assert keyshares.root_from_path(leaves[k], k, size, path) == root
            assert keyshares.root_from_path(leaves[k], k, size, (*path, root)) is None
            if path:
                assert keyshares.root_from_path(leaves[k], k, size, path[:-1]) is None
                assert keyshares.root_from_path(leaves[k], (k + 1) % size, size, path) != root


def test_words_that_are_not_below_p_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream goes on where it stopped, however many words are refused."""
    expected = reference.words(bytes(32), bytes(16), 5000)
    assert keyshares._expand(bytes(32), 5000).tolist() == expected
    # A prime that refuses half of the words: several turns.
    monkeypatch.setattr(keyshares, "PRIME", 1 << 15)
    stream = reference.words(bytes(32), bytes(16), 20000)
    assert keyshares._expand(bytes(32), 5000).tolist() == [w for w in stream if w < 1 << 15][:5000]
    whole = challenge(CTX, CLIENT, bytes(32), 200)
    assert whole.max() < 1 << 15


def test_reduction_is_exact() -> None:
    rng = np.random.default_rng(2)
    near = np.array([k * PRIME + e for k in (0, 1, 2, 65520, 65521, 1 << 36) for e in (-1, 0, 1) if k * PRIME + e >= 0])
    values = np.concatenate([rng.integers(0, 1 << 53, 100_000), near, [(1 << 53) - 1]])
    assert (
        keyshares._mod(values.astype(np.float64)).astype(np.int64) == values.astype(np.float64).astype(np.int64) % PRIME
    ).all()


def test_a_single_key_holder_gets_the_coefficients() -> None:
    sharing = Sharing(8, 1, 0, 1, tested=False)
    keys = [np.array([-96, -1, 0, 1, 2, 3, 95, 96], np.int8), np.full(8, -96, np.int8)]
    dealt = [sharing.deal(key) for key in keys]
    assert [len(each.plain[0]) for each in dealt] == [8, 8]
    rows = [sharing.open(0, each.plain[0]).rows.astype(np.uint16) for each in dealt]
    total, _ = sharing.reconstruct({0: sharing.parse_answer(sharing.add(rows))})
    assert total.tolist() == (keys[0].astype(int) - 96).tolist()
    with pytest.raises(CodecError, match="beyond 96"):
        sharing.open(0, np.full(8, 97, np.int8).tobytes())
    with pytest.raises(CodecError, match="a share of 7 bytes"):
        sharing.open(0, bytes(7))
    with pytest.raises(RoundAborted):
        sharing.reconstruct({})


def test_bad_input() -> None:
    sharing = Sharing(8, 5, 1, 2)
    for key in (np.zeros(7, np.int8), np.zeros(8, np.int16), np.zeros((2, 4), np.int8)):
        with pytest.raises(ParameterError, match="a key is int8"):
            sharing.deal(key)
    with pytest.raises(ParameterError, match="exactly 32 bytes"):
        sharing.deal(np.zeros(8, np.int8), lambda n: b"")
    with pytest.raises(CodecError, match="not below 65521"):
        sharing.open(4, b"\xff" * sharing.box_bytes(4))
    with pytest.raises(CodecError, match="a share of 3 bytes"):
        sharing.open(0, b"abc")
    with pytest.raises(CodecError, match="an answer of 1 bytes"):
        sharing.parse_answer(b"a")
    with pytest.raises(CodecError, match="not below 65521"):
        sharing.parse_answer(b"\xff" * 2 * sharing.rows)
    for numbers in ((0, 5, 1, 2), (8, 2, 1, 2), (8, 5, 1, 0)):
        with pytest.raises(ParameterError):
            Sharing(*numbers)
    assert "redacted" in repr(sharing.deal(np.ones(8, np.int8)))
    assert "redacted" in repr(sharing.open(0, bytes(32)))
