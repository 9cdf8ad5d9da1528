"""One update's attestation and the sum of many: what holds is accepted, every lie is refused with a name where one can
be named."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privcomp.algebra import RISTRETTO255, Scalars
from privcomp.attest import (
    Attestation,
    AttestationPart,
    AttestationSpec,
    Submission,
    UpdateContext,
    attest_message,
    attest_var,
    check_attestation,
    check_attestations,
    check_sum,
)
from privcomp.commitments import Hyrax, hyrax
from privcomp.encoding import FixedPoint
from privcomp.errors import EncodingError, ParameterError, RemoteError
from privcomp.keys import Identity
from privcomp.transcript import Transcript
from privcomp.zk import norm
from privcomp.zk.norm.prover import prove

Q = RISTRETTO255.order
ENTRIES, WEIGHT, CLIPPED = 9, 9, 10  # places of the weight and of the clip count
ENCODING = FixedPoint(4, 1.0, "prescaled", max_weight=5, clients=5, entries=ENTRIES, max_error=10.0)
WHOLE = AttestationSpec(columns=4, l2_squared=60)
PARTS = AttestationSpec(columns=4, l2_squared=60, noise=9)
CONTEXT = UpdateContext(session=b"S", round=7, model=b"M", roster=b"R")
KEYS = {name: Identity.from_seed(name.ljust(32, b".")) for name in (b"1", b"2", b"3", b"eve")}
ROSTER = {name: KEYS[name].public for name in (b"1", b"2", b"3")}


def entropy(seed: int) -> Callable[[int], bytes]:
    rng = np.random.default_rng(seed)
    return rng.bytes


@dataclass
class Upload:
    vectors: list[np.ndarray[Any, Any]]
    attestation: Attestation
    blindings: Scalars

    @property
    def total(self) -> np.ndarray[Any, Any]:
        return np.sum(self.vectors, axis=0, dtype=np.int64)


class Round:
    """Three clients and what they sent."""

    def __init__(self, spec: AttestationSpec, seed: int = 1) -> None:
        self.statements = spec.statements(ENCODING)
        rng = np.random.default_rng(seed)
        self.uploads: dict[bytes, Upload] = {}
        for name, weight in ((b"1", 1), (b"2", 5), (b"3", 2)):
            signal = np.append(rng.integers(-2, 3, ENTRIES), [weight, 3]).astype(np.int64)
            noise = np.append(rng.integers(-9, 10, ENTRIES), [0, 0]).astype(np.int64)
            vectors = [signal, noise][: len(self.statements)]
            self.uploads[name] = Upload(vectors, *attest_var(self.statements, CONTEXT, name, KEYS[name], vectors))

    def sign(self, client: bytes, parts: tuple[AttestationPart, ...], by: bytes | None = None) -> Attestation:
        """Parts of whatever origin under a good signature of `by`."""
        message = attest_message(self.statements, CONTEXT, client, parts)
        return Attestation(parts, KEYS[by or client].sign("privcomp/attest", message))

    def check(self, client: bytes, attestation: Attestation, context: UpdateContext = CONTEXT) -> None:
        check_attestation(self.statements, context, client, ROSTER.get(client), attestation.to_bytes())

    def sum(self, **changes: Any) -> None:
        values: dict[str, Any] = {
            "statements": self.statements,
            "survivors": sorted(self.uploads),
            "attestations": {name: upload.attestation for name, upload in self.uploads.items()},
            "total": np.sum([upload.total for upload in self.uploads.values()], axis=0),
            "blindings": b"".join(v.to_bytes(32, "little") for v in self.blindings()),
            **changes,
        }
        check_sum(**values)

    def blindings(self) -> list[int]:
        rows = [upload.blindings.to_ints() for upload in self.uploads.values()]
        return [sum(row) % Q for row in zip(*rows, strict=True)]

    @property
    def total(self) -> np.ndarray[Any, Any]:
        return np.sum([upload.total for upload in self.uploads.values()], axis=0)


@pytest.fixture(scope="module")
def whole() -> Round:
    return Round(WHOLE)


@pytest.fixture(scope="module")
def parts() -> Round:
    return Round(PARTS)


def cheat(
    statement: norm.NormStatement, fields: Mapping[str, bytes], x: Any, shown: Any
) -> tuple[AttestationPart, Any]:
    """Commitments to x, and a proof that is run on `shown`, of which the statement is true."""
    commitment, opening = Hyrax(statement.columns, 4).commit_var(np.asarray(x, np.int64))
    proof = norm.prove_var(statement, fields, np.asarray(shown, np.int64), commitment, opening)
    return AttestationPart(commitment.encode(), proof)


# ---- what is signed, byte for byte


class _Sha:
    """The transcript of the executable specification, over SHA-512."""

    def __init__(self, state: bytes | None = None) -> None:
        self.state = state if state is not None else self.hash(b"privcomp-norm-v1")

    @staticmethod
    def hash(*parts: bytes) -> bytes:
        return hashlib.sha512(b"".join(len(p).to_bytes(8, "little") + p for p in parts)).digest()

    def append(self, label: bytes, message: bytes) -> None:
        self.state = self.hash(b"absorb", self.state, label, message)

    def challenge(self, label: bytes, length: int) -> bytes:
        self.state = self.hash(b"challenge", self.state, label)
        return self.hash(b"out", self.state)[:length]

    def copy(self) -> _Sha:
        return _Sha(self.state)


def test_the_signed_message_is_the_known_answer() -> None:
    statement = norm.NormStatement(
        7,
        -7,
        7,
        (
            norm.L2AtMost(30),
            norm.EntryRange(0, -7, 7),
            norm.EntryRange(6, 1, 5, True),
            norm.InnerProductAtLeast([1, -1, 0, 0, 0, 0, 2], 4),
            norm.DistanceAtMost([1, 0, -1, 2, 0, 0, 0], 25),
            norm.CosineAtLeast([3, 1, 0, 2, -1, 0, 0], 3, 5),
            norm.HistogramAtMost.l0(-7, 7, 6),
        ),
        columns=4,
    )
    drawn = -1

    def draw(low: int) -> int:
        nonlocal drawn
        drawn += 1
        return low + int.from_bytes(_Sha.hash(b"draw", drawn.to_bytes(8, "little")), "little") % (Q - low)

    x = np.array([3, 1, 0, 2, -1, 0, 4])
    blindings = b"".join(draw(1).to_bytes(64, "little") for _ in range(statement.rows))
    commitment, opening = norm.commit_var(statement, x, lambda n: blindings)
    fields = CONTEXT.fields(b"alice", "whole")
    proof = prove(statement, fields, x, commitment.encode(), opening, lambda _: draw, Transcript.over(_Sha()))
    part = AttestationPart(commitment.encode(), proof)
    message = attest_message((statement,), CONTEXT, b"alice", (part,))
    assert hashlib.sha256(message).hexdigest()[:16] == "0a1f0b49c61327e8"


# ---- the statements


@pytest.mark.parametrize("spec", [WHOLE, PARTS, AttestationSpec(columns=4)], ids=["whole", "parts", "interval"])
def test_statements_are_those_of_the_encoding(spec: AttestationSpec) -> None:
    signal, *noise = spec.statements(ENCODING)
    assert (signal.d, signal.lo, signal.hi, signal.columns) == (ENTRIES + 2, -7, 7, 4)
    outside = spec.l2_squared > 0
    assert norm.EntryRange(WEIGHT, 1, 5, outside) in signal.claims
    assert norm.EntryRange(CLIPPED, 0, 7, outside) in signal.claims
    assert [c.squared for c in signal.claims if isinstance(c, norm.L2AtMost)] == ([60] if outside else [])
    assert [(n.lo, n.hi, n.claims) for n in noise] == (
        [(-9, 9, (norm.EntryRange(WEIGHT, 0, 0),))] if spec.noise else []
    )
    assert AttestationSpec.from_bytes(spec.to_bytes(), max_bytes=64) == spec
    assert Attestation.size(spec.statements(ENCODING)) == len(Round(spec).uploads[b"1"].attestation.to_bytes())


@pytest.mark.parametrize(
    ("entries", "columns", "attachment", "lanes"),
    [(10_000, 1024, 7_313, 320), (10_000, 256, 14_353, 1_280), (1_000_000, 1024, 41_745, 31_264)],
)
def test_sizes_are_those_of_the_documentation(entries: int, columns: int, attachment: int, lanes: int) -> None:
    encoding = FixedPoint(16, 1.0, "prescaled", max_weight=100, clients=50, entries=entries, max_error=1e3)
    statements = AttestationSpec(columns=columns, l2_squared=10**10).statements(encoding)
    assert (Attestation.size(statements), 32 * statements[0].rows) == (attachment, lanes)


@pytest.mark.parametrize("options", [{"columns": 3}, {"columns": 1}, {"columns": 1 << 17}, {"noise": 1 << 23}])
@pytest.mark.parametrize("more", [{"noise_weight": -1}, {"noise": 2, "noise_weight": 3}, {"l2_squared": -1}])
def test_parameters_out_of_range_are_refused(options: dict[str, int], more: dict[str, int]) -> None:
    for values in (options, more):
        with pytest.raises(ParameterError):
            AttestationSpec(**values)


@pytest.mark.parametrize(
    "encoding",
    [
        FixedPoint(4, 1.0, "exact", max_weight=2, clients=5, entries=9),
        FixedPoint(4, 1.0, "prescaled", max_weight=8, clients=5, entries=9, max_error=10.0),
        FixedPoint(25, 1.0, "exact", max_weight=1, clients=5, entries=9),
    ],
    ids=["exact", "large weights", "wide"],
)
def test_encodings_whose_bound_would_not_be_proven_are_refused(encoding: FixedPoint) -> None:
    with pytest.raises(ParameterError):
        WHOLE.statements(encoding)


@given(st.lists(st.integers(-7, 7), min_size=9, max_size=9), st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_scaling_keeps_the_norm_and_the_clip_count(entries: list[int], bound: int) -> None:
    x = np.array([*entries, 5, 2])
    out, changed = AttestationSpec(columns=4, l2_squared=bound).fitted(ENCODING, x)
    assert changed == (sum(v * v for v in entries) > bound)
    assert int(np.dot(out[:9], out[:9])) <= bound
    assert out[WEIGHT] == 5
    assert out[CLIPPED] == 2
    assert (np.abs(out[:9]) <= np.abs(x[:9])).all()
    assert (out[:9] * x[:9] >= 0).all()


def test_scaling_of_the_widest_entries_is_exact() -> None:
    encoding = FixedPoint(24, 1.0, "exact", max_weight=1, clients=5, entries=1 << 14)
    limit = encoding.quantised_limit
    x = np.append(np.full(1 << 14, -limit), [1, 0])
    size = limit**2 << 14
    assert AttestationSpec(l2_squared=size).fitted(encoding, x)[1] is False
    out, changed = AttestationSpec(l2_squared=size - 1).fitted(encoding, x)
    assert changed
    assert (out[: 1 << 14] == 1 - limit).all()
    assert not AttestationSpec(columns=4).fitted(encoding, x)[1]


# ---- one attestation


@pytest.mark.parametrize("kind", ["whole", "parts"])
def test_what_holds_is_accepted(kind: str, request: pytest.FixtureRequest) -> None:
    found: Round = request.getfixturevalue(kind)
    for name, upload in found.uploads.items():
        found.check(name, upload.attestation)
    found.sum()


def test_lies_about_parts_and_owners_are_refused(parts: Round) -> None:
    first, second = parts.uploads[b"1"].attestation, parts.uploads[b"2"].attestation
    signal, noise = first.parts
    again = Round(PARTS, seed=1).uploads[b"1"].attestation
    lies = {
        "swapped": (b"1", parts.sign(b"1", (signal, signal)), CONTEXT),
        "noise of another": (b"1", parts.sign(b"1", (signal, second.parts[1])), CONTEXT),
        "proof for another id": (b"2", parts.sign(b"2", first.parts), CONTEXT),
        "signature over another attestation": (b"1", replace(again, signature=first.signature), CONTEXT),
        "no key": (b"1", parts.sign(b"1", first.parts, by=b"eve"), CONTEXT),
        "another client's key": (b"1", parts.sign(b"1", first.parts, by=b"2"), CONTEXT),
        "empty signature": (b"1", replace(first, signature=bytes(64)), CONTEXT),
        "left out": (b"1", Attestation((signal,), first.signature), CONTEXT),
        "noise first": (b"1", Attestation((noise, signal), first.signature), CONTEXT),
        "not in the roster": (b"eve", parts.sign(b"eve", first.parts), CONTEXT),
        **{
            f"other {name}": (b"1", first, replace(CONTEXT, **{name: value}))
            for name, value in (("session", b"T"), ("round", 8), ("model", b"N"), ("roster", b"Q"))
        },
    }
    for what, (client, attestation, context) in lies.items():
        with pytest.raises(RemoteError) as refused:
            parts.check(client, attestation, context)
        assert (refused.value.party, refused.value.stage) == (client, "attest"), what


def test_another_context_under_a_good_signature_is_refused(whole: Round) -> None:
    """Signing again does not carry a proof into another round."""
    other = replace(CONTEXT, round=8)
    old = whole.uploads[b"1"].attestation.parts
    message = attest_message(whole.statements, other, b"1", old)
    signed = Attestation(old, KEYS[b"1"].sign("privcomp/attest", message))
    with pytest.raises(RemoteError, match=r"its proof \(whole\) is refused"):
        whole.check(b"1", signed, other)


def test_equal_statements_are_told_apart_by_their_part() -> None:
    statement = WHOLE.statements(ENCODING)[0]
    both = (statement, statement)
    x = np.array([1, 0, 2, 0, 0, -1, 0, 0, 1, 3, 0])
    attestation, _ = attest_var(both, CONTEXT, b"1", KEYS[b"1"], (x, x))
    check_attestation(both, CONTEXT, b"1", ROSTER[b"1"], attestation.to_bytes())
    swapped = attestation.parts[::-1]
    message = attest_message(both, CONTEXT, b"1", swapped)
    signed = Attestation(swapped, KEYS[b"1"].sign("privcomp/attest", message))
    with pytest.raises(RemoteError, match="proof"):
        check_attestation(both, CONTEXT, b"1", ROSTER[b"1"], signed.to_bytes())


@pytest.mark.parametrize(
    ("part", "place", "value"),
    [(1, 0, 10), (1, 1, -10), (1, WEIGHT, 1), (1, WEIGHT, -5), (0, WEIGHT, 0), (0, WEIGHT, 6), (0, 0, 8), (0, 1, -8000),
     (0, CLIPPED, -1), (0, 2, 7)],
)  # fmt: skip
def test_a_committed_vector_beyond_its_bounds_is_refused(parts: Round, part: int, place: int, value: int) -> None:
    upload = parts.uploads[b"1"]
    x = [v.copy() for v in upload.vectors]
    x[part][place] = value
    if (place, value) == (2, 7):
        x[0][3] = 7  # each within the interval, together above the norm
    with pytest.raises(EncodingError):
        attest_var(parts.statements, CONTEXT, b"1", KEYS[b"1"], x)
    fields = CONTEXT.fields(b"1", ("signal", "noise")[part])
    lie = cheat(parts.statements[part], fields, x[part], upload.vectors[part])
    forged = [*upload.attestation.parts]
    forged[part] = lie
    with pytest.raises(RemoteError, match="proof"):
        parts.check(b"1", parts.sign(b"1", tuple(forged)))


@pytest.mark.parametrize(("place", "value"), [(WEIGHT, 0), (WEIGHT, 6), (CLIPPED, -1), (2, 7)])
def test_a_prover_that_does_not_check_itself_is_refused(
    whole: Round, place: int, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privcomp.zk.norm.api.require", lambda statement, x: None)
    x = whole.uploads[b"1"].vectors[0].copy()
    x[place] = x[3] = value
    attestation, _ = attest_var(whole.statements, CONTEXT, b"1", KEYS[b"1"], (x,))
    with pytest.raises(RemoteError, match="proof"):
        whole.check(b"1", attestation)


def test_without_its_own_bound_noise_would_make_a_weight_negative() -> None:
    """Why the noise on the weight is stated apart: the interval alone lets a weight of 1 - 9 through."""
    signal, noise = PARTS.statements(ENCODING)
    loose = (signal, norm.NormStatement(noise.d, noise.lo, noise.hi, (), noise.columns))
    q, z = np.zeros(11, np.int64), np.zeros(11, np.int64)
    q[WEIGHT], z[WEIGHT] = 1, -9
    attestation, _ = attest_var(loose, CONTEXT, b"1", KEYS[b"1"], (q, z))
    check_attestation(loose, CONTEXT, b"1", ROSTER[b"1"], attestation.to_bytes())


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_mutated_bytes_raise_nothing_but_a_remote_error(data: st.DataObject, whole: Round) -> None:
    original = whole.uploads[b"1"].attestation.to_bytes()
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        what = data.draw(st.sampled_from(["byte", "cut", "insert", "head"]))
        at = data.draw(st.integers(0, max(len(mutated) - 1, 0)))
        if what == "byte" and mutated:
            mutated[at] = data.draw(st.integers(0, 255))
        elif what == "cut":
            del mutated[at : at + data.draw(st.integers(1, 64))]
        elif what == "insert":
            mutated[at:at] = data.draw(st.binary(min_size=1, max_size=40))
        else:
            mutated = mutated[: data.draw(st.integers(0, 200))]
    if bytes(mutated) == original:
        return
    with pytest.raises(RemoteError) as refused:
        check_attestation(whole.statements, CONTEXT, b"1", ROSTER[b"1"], bytes(mutated))
    assert refused.value.party == b"1"


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_mutated_parts_under_a_good_signature_are_refused(data: st.DataObject, whole: Round) -> None:
    part = whole.uploads[b"1"].attestation.parts[0]
    field = data.draw(st.sampled_from(["rows", "proof"]))
    value = bytearray(getattr(part, field))
    at = data.draw(st.integers(0, len(value) - 1))
    value[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteError) as refused:
        whole.check(b"1", whole.sign(b"1", (replace(part, **{field: bytes(value)}),)))
    assert refused.value.party == b"1"


# ---- many at once


@pytest.mark.parametrize("executor", [None, ThreadPoolExecutor(2)], ids=["alone", "threads"])
def test_among_many_the_bad_ones_are_named(parts: Round, executor: Any) -> None:
    sent = {name: Submission(ROSTER[name], u.attestation.to_bytes()) for name, u in parts.uploads.items()}
    good, bad = check_attestations(parts.statements, CONTEXT, sent, executor=executor)
    assert (good, bad) == ({name: u.attestation for name, u in parts.uploads.items()}, {})
    first, second = parts.uploads[b"1"].attestation.parts, parts.uploads[b"2"].attestation.parts
    sent[b"2"] = Submission(ROSTER[b"2"], parts.sign(b"2", (second[0], first[1])).to_bytes())
    sent[b"3"] = Submission(ROSTER[b"3"], b"garbage")
    sent[b"4"] = Submission(None, sent[b"1"].attestation)
    good, bad = check_attestations(parts.statements, CONTEXT, sent, executor=executor)
    assert list(good) == [b"1"]
    assert {name: (error.party, error.stage) for name, error in bad.items()} == {
        name: (name, "attest") for name in (b"2", b"3", b"4")
    }
    assert "(noise)" in bad[b"2"].message


# ---- the sum


def test_lies_about_the_sum_are_refused(whole: Round) -> None:
    total, rows = whole.total, whole.blindings()
    attestations = {name: upload.attestation for name, upload in whole.uploads.items()}

    def packed(values: list[int]) -> bytes:
        return b"".join(v.to_bytes(32, "little") for v in values)

    def moved(place: int, by: int) -> np.ndarray[Any, Any]:
        out = total.copy()
        out[place] += by
        return out

    lies: dict[str, dict[str, Any]] = {
        "one entry changed": {"total": moved(0, 1)},
        "the weight changed": {"total": moved(WEIGHT, 1)},
        "another x in the aggregation": {"total": moved(4, -1)},
        "outside the interval": {"total": moved(0, 3 * 7 + 1 - int(total[0]))},
        "below the interval": {"total": moved(0, -3 * 7 - 1 - int(total[0]))},
        "far away": {"total": moved(0, -(2**62))},
        "wrong blindings": {"blindings": packed([(v + 1) % Q for v in rows])},
        "rows swapped": {"blindings": packed(rows[::-1])},
        "blinding not canonical": {"blindings": packed([rows[0] + Q, *rows[1:]])},
        "a blinding too few": {"blindings": packed(rows[:-1])},
        "one omitted": {"survivors": [b"1", b"2"], "attestations": {k: attestations[k] for k in (b"1", b"2")}},
        "counted twice": {"survivors": [b"1", b"2", b"3", b"3"]},
        "dropped but counted": {"attestations": {k: attestations[k] for k in (b"1", b"2")}},
        "attested but not counted": {"survivors": [b"1", b"2"]},
        "nobody": {"survivors": [], "attestations": {}},
        "another's commitments": {"attestations": {**attestations, b"3": attestations[b"2"]}},
    }
    for what, changes in lies.items():
        with pytest.raises(RemoteError) as refused:
            whole.sum(**changes)
        assert refused.value.stage == "sum", what
    whole.sum(survivors=[b"3", b"1", b"2"])
    with pytest.raises(ParameterError):
        whole.sum(total=total[:-1])
    with pytest.raises(ParameterError):
        whole.sum(total=total.astype(np.int32))


def test_lies_about_a_sum_of_two_parts_are_refused(parts: Round) -> None:
    attestations = {name: upload.attestation for name, upload in parts.uploads.items()}
    top = parts.total
    top[0] = 3 * (7 + 9) + 1
    alone = {name: replace(a, parts=a.parts[:1]) for name, a in attestations.items()}
    for changes in (
        {"total": top},
        {"statements": parts.statements[:1], "attestations": alone},
        {"attestations": {**attestations, b"1": alone[b"1"]}},
    ):
        with pytest.raises(RemoteError, match="sum"):
            parts.sum(**changes)


def test_an_invented_attestation_fits_the_sum_and_fails_by_its_signature(parts: Round) -> None:
    vectors = [np.array([0] * 9 + [1, 0]), np.zeros(11, np.int64)]
    invented, blindings = attest_var(parts.statements, CONTEXT, b"3", KEYS[b"eve"], vectors)
    old = parts.uploads[b"3"]
    attestations = {name: upload.attestation for name, upload in parts.uploads.items()}
    mine, theirs = blindings.to_ints(), old.blindings.to_ints()
    rows = [(r - b + a) % Q for r, a, b in zip(parts.blindings(), mine, theirs, strict=True)]
    parts.sum(
        total=parts.total - old.total + sum(vectors),
        attestations={**attestations, b"3": invented},
        blindings=b"".join(v.to_bytes(32, "little") for v in rows),
    )
    with pytest.raises(RemoteError, match="signature"):
        parts.check(b"3", invented)


def test_weights_that_the_server_foresees_hide_two_errors_in_one_another(
    whole: Round, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why the weights are fresh: rows of which one holds too much and one too little cancel under equal weights."""
    total = whole.total
    total[0] += 1
    total[4] -= 1  # the same column, the next row
    for rng in (os.urandom, bytes):  # without entropy they still depend on what is checked
        with pytest.raises(RemoteError):
            whole.sum(total=total, rng=rng)
    monkeypatch.setattr(hyrax, "verifier_weights", lambda group, n, *_: group.scalars([1] * n))
    whole.sum(total=total)


def test_entropy_that_repeats_shows_nothing_of_another_update(whole: Round) -> None:
    """Blindings depend on entropy, vector, context and key: no row of another update is blinded as this one."""
    x = whole.uploads[b"1"].vectors
    first, _ = attest_var(whole.statements, CONTEXT, b"1", KEYS[b"1"], x, entropy(5))
    second, _ = attest_var(whole.statements, CONTEXT, b"1", KEYS[b"1"], x, entropy(5))
    third, _ = attest_var(whole.statements, CONTEXT, b"1", KEYS[b"1"], x)
    assert first == second
    assert first.parts[0].rows != third.parts[0].rows
    y = [part.copy() for part in x]
    y[0][0] += 1 if y[0][0] < 1 else -1
    other = UpdateContext(CONTEXT.session, CONTEXT.round + 1, CONTEXT.model, CONTEXT.roster)
    for vectors, context, key in ((y, CONTEXT, KEYS[b"1"]), (x, other, KEYS[b"1"]), (x, CONTEXT, KEYS[b"2"])):
        again, _ = attest_var(whole.statements, context, b"1", key, vectors, entropy(5))
        size = 32
        for a, b in zip(first.parts, again.parts, strict=True):
            rows = [(a.rows[k : k + size], b.rows[k : k + size]) for k in range(0, len(a.rows), size)]
            assert all(one != two for one, two in rows)
