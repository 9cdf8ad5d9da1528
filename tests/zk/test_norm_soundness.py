"""Norm proofs: what a prover who lies achieves, what a proof shows of the entries, rates in a tiny group."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import pytest

from privcomp.algebra import RISTRETTO255, Group, Points, Scalars
from privcomp.commitments import Opening, RowCommitment
from privcomp.errors import RemoteError
from privcomp.transcript import Transcript
from privcomp.zk import norm
from privcomp.zk.norm import prover, relations, verifier
from privcomp.zk.norm.api import _drawer
from tests.reference.toy_group import toy_group
from tests.zk.norm_cases import CONTEXT, parts

LARGE, MIDDLE, SMALL = (2147483647, 98784247763), (1048573, 10485731), (1021, 10211)  # order, and its modulus


# ---- provers that lie


class Messages(prover._Messages):
    """Sends what `edit` makes of the scalars, and commits to `extra` (generator, factor) beside them."""

    edit: Callable[[str, list[int]], list[int]] = staticmethod(lambda label, values: values)
    extra: tuple[str, int, int] = ("", 0, 0)

    def send(self, label: str, values: Sequence[int]) -> None:
        super().send(label, self.edit(label, list(values)))

    def blinded(self, bases: Points, scalars: Scalars) -> tuple[Any, int]:
        if self.extra[0] == "now":
            _, place, factor = self.extra
            self.extra = ("", 0, 0)
            bases = Points.concat([bases, self.generators.messages[place]])
            scalars = Scalars.concat([scalars, self.group.scalars([factor])])
        return super().blinded(bases, scalars)


class Liar(prover._Prover):
    """Counts what it likes (`count`), says what it likes of slots (`lies`), and makes the bits fit."""

    lies: Mapping[int, int] = {}
    edit: Callable[[str, list[int]], list[int]] | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.out = Messages(self.out.statement, self.out.transcript, self.out.draw)
        if self.edit is not None:
            self.out.edit = self.edit

    def count(self) -> list[int]:
        """Of each allowed value, those beyond the last leaf included."""
        statement, found = self.statement, [0] * self.statement.values
        for v in self.x.tolist():
            value = (v - statement.lo) % self.q
            if value < statement.values:
                found[value] += 1
        found[-statement.lo] += statement.leaves - len(self.x)
        return found

    def _multiplicities(self) -> None:
        counts = np.array(self.count(), np.int64)
        counts[-self.statement.lo] -= self.statement.padding  # which is added to what is counted
        with mock.patch.object(np, "bincount", return_value=counts):
            super()._multiplicities()

    def _claims(self) -> list[int]:
        q, x, values = self.q, [int(v) for v in self.x], list[int]()
        for k, slot in enumerate(self.statement.slots):
            if slot.kind == "S":
                value = sum(v * v for v in x)
            elif slot.kind == "sq":
                value = values[slot.data] ** 2
            elif slot.kind == "bit":
                value = 0
            elif slot.kind == "m":
                value = sum(int(w) * int(m) for w, m in zip(slot.data, self.counts, strict=True))
            elif isinstance(slot.data, np.ndarray):
                value = sum(int(u) * v for u, v in zip(slot.data, x, strict=False))
            else:
                value = slot.data[1] * x[slot.data[0]]
            values.append(self.lies.get(k, value) % q)
        for need in self.statement.ranges:
            size = sum(f * (1 if k < 0 else values[k]) for k, f in need.form.items()) % q
            for b in range(need.bits):
                values[need.first + b] = size >> b & 1
        self.out.send("claims", values or [0])
        self.ch.alpha = self.out.challenge("alpha")
        return values


def committed(statement: norm.NormStatement, x: Sequence[int]) -> tuple[RowCommitment, Opening]:
    """As `commit_var`, to anything: entries of any size, and beyond the last."""
    group, gens = statement.group, statement.generators
    entries = [*x, *[0] * (statement.rows * statement.columns - len(x))]
    opening = Opening(group.random_scalars(statement.rows))
    rows = []
    for k in range(statement.rows):
        values = group.scalars(entries[k * statement.columns : (k + 1) * statement.columns])
        rows.append(gens.columns.msm(values) + gens.blinding * opening.blindings[k])
    return RowCommitment(norm.scheme(statement), statement.d, Points.concat(rows)), opening


def forged(
    kind: type[prover._Prover],
    statement: norm.NormStatement,
    x: Sequence[int],
    made: tuple[RowCommitment, Opening] | None = None,
) -> tuple[RowCommitment, bytes]:
    commitment, opening = made or committed(statement, x)
    draw_for = _drawer(statement, opening, np.random.default_rng(len(x)).bytes)
    with mock.patch.object(prover, "_Prover", kind):
        entries = np.array(x, np.int64)
        proof = prover.prove(statement, CONTEXT, entries, commitment.encode(), opening, draw_for, None)
    return commitment, proof


def accepted(statement: norm.NormStatement, commitment: RowCommitment, proof: bytes) -> bool:
    try:
        norm.check(statement, CONTEXT, commitment, proof)
    except RemoteError:
        return False
    return True


def believed(
    kind: type[prover._Prover],
    statement: norm.NormStatement,
    x: Sequence[int],
    made: tuple[RowCommitment, Opening] | None = None,
) -> bool:
    return accepted(statement, *forged(kind, statement, x, made))


def liar(
    lies: Mapping[int, int] | None = None,
    *,
    count: Callable[[Liar, list[int]], list[int]] | None = None,
    edit: Callable[[str, list[int]], list[int]] | None = None,
) -> type[Liar]:
    body: dict[str, Any] = {"lies": lies or {}, "edit": None if edit is None else staticmethod(edit)}
    if count is not None:
        body["count"] = lambda self: count(self, Liar.count(self))
    return type("Liar", (Liar,), body)


def test_the_liar_who_does_not_lie() -> None:
    """All below is refused because of the lies alone."""
    claims = (
        norm.EntryRange(4, 1, 3, True), norm.L2AtMost(30), norm.InnerProductAtLeast([1, 2, 0, 0, 1], 3),
        norm.DistanceAtMost([1, 2, 0, 0, 0], 9), norm.CosineAtLeast([1, 2, 0, 0, 0], 1, 2),
        norm.HistogramAtMost.l0(-4, 3, 4),
    )  # fmt: skip
    statement = norm.NormStatement(5, -4, 3, claims, columns=2)
    x = [1, 3, 0, -1, 2]
    norm.require(statement, np.array(x))
    assert believed(prover._Prover, statement, x)
    assert believed(Liar, statement, x)


PLAIN = norm.NormStatement(4, -4, 3, columns=2)
BOUNDED = norm.NormStatement(4, -4, 3, (norm.L2AtMost(200),), columns=2)


def sigma_fits(statement: norm.NormStatement) -> type[Liar]:
    """Says that the sum over the table is what the tree's root is."""

    class Fits(Liar):
        def _tree(self) -> int:
            def edit(label: str, values: list[int]) -> list[int]:
                if label == "root":
                    p, _, inverse, _ = values
                    self.said = p * inverse % self.q
                    return [*values[:3], self.said]
                return values

            self.out.edit = edit
            super()._tree()
            return self.said

    return Fits


def clipped(self: Liar, counts: list[int]) -> list[int]:
    """As if what is out of range were at the border."""
    statement = self.statement
    for v in self.x.tolist():
        if (v - statement.lo) % self.q >= statement.values:
            counts[min(max(v, statement.lo), statement.hi) - statement.lo] += 1
    return counts


@pytest.mark.parametrize("statement", [PLAIN, BOUNDED], ids=["entries", "norm"])
@pytest.mark.parametrize("place", [0, 3])
@pytest.mark.parametrize("value", [4, -5, 12])
def test_an_entry_out_of_range(statement: norm.NormStatement, place: int, value: int) -> None:
    x = [1, -4, 3, 0]
    x[place] = value
    for kind in (liar(), liar(count=clipped), sigma_fits(statement)):
        assert not believed(kind, statement, x)


def test_entries_as_large_as_the_group() -> None:
    """-1 and half of the order, where the interval begins at 0: in a group whose order fits into an entry."""
    with toy_group(*LARGE) as group:
        for claims in ((), (norm.L2AtMost(20),)):
            statement = norm.NormStatement(3, 0, 3, claims, 2, group)
            for bad in (group.order - 1, group.order // 2, group.order // 2 + 1, group.order - 4, 4):
                for kind in (liar(), liar(count=clipped), sigma_fits(statement)):
                    assert not believed(kind, statement, [1, bad, 2])
            assert believed(liar(), statement, [1, 3, 2])
            assert believed(liar(), statement, [1, group.order + 3, 2])  # which is 3


MULTIPLICITIES: dict[str, Callable[[Liar, list[int]], list[int]]] = {
    "one more": lambda self, m: [m[0] + 1, *m[1:]],
    "one moved": lambda self, m: [m[0] + 1, m[1] - 1, *m[2:]],
    "shifted": lambda self, m: [*m[1:], m[0]],
    "one less of each": lambda self, m: [v - 1 for v in m],
    "none": lambda self, m: [0 for _ in m],
    "twice": lambda self, m: [2 * v for v in m],
}


@pytest.mark.parametrize("name", MULTIPLICITIES)
def test_wrong_multiplicities(name: str) -> None:
    for statement in (PLAIN, norm.NormStatement(4, -4, 3, (norm.HistogramAtMost.l0(-4, 3, 9),), columns=2)):
        kind = liar(count=MULTIPLICITIES[name])
        assert not believed(kind, statement, [1, -4, 3, 0])
        fits = type("Both", (sigma_fits(statement),), {"count": kind.count})
        assert not believed(fits, statement, [1, -4, 3, 0])


@pytest.mark.parametrize("claims", [(), (norm.L2AtMost(100),)], ids=["entries", "norm"])
def test_padding_that_is_not_zero(claims: tuple[norm.Claim, ...]) -> None:
    """What is beyond the last entry is neither in the norm nor anywhere."""
    for d, columns in ((3, 2), (5, 4), (1, 4), (9, 2)):
        statement = norm.NormStatement(d, -4, 3, claims, columns)
        room = statement.rows * columns
        for place in range(d, room):
            x = [1] * d + [0] * (room - d)
            assert believed(liar(), statement, x)
            x[place] = 2
            assert not believed(liar(), statement, x)


def slots_of(statement: norm.NormStatement, kind: str) -> list[int]:
    return [k for k, slot in enumerate(statement.slots) if slot.kind == kind]


def test_lies_about_the_norm() -> None:
    x, square = [1, -4, 3, 0], 26
    tight = norm.NormStatement(4, -4, 3, (norm.L2AtMost(square - 1),), columns=2)
    order = tight.group.order
    for said in (square, square - 1, 0, square - order, square + order, order - 1):
        assert not believed(liar({0: said}), tight, x)
    true = norm.NormStatement(4, -4, 3, (norm.L2AtMost(square),), columns=2)
    assert believed(liar({0: square + order}), true, x)
    for said in (square - 1, square + 1, 0):
        assert not believed(liar({0: said}), true, x)


def test_lies_about_a_weight() -> None:
    """The last entry is a weight from 1 to 3, and not in the norm of 26."""
    claims = (norm.EntryRange(4, 1, 3, True), norm.L2AtMost(26))
    statement = norm.NormStatement(5, -9, 9, claims, columns=2)
    s, (above, below), (squared,) = 0, slots_of(statement, "x"), slots_of(statement, "sq")
    x = [1, -4, 3, 0]
    for w in (1, 2, 3):
        assert believed(liar(), statement, [*x, w])
        for lies in (
            {above: w + 1}, {below: -w - 1}, {squared: w * w + 1}, {squared: 0}, {s: 25}, {s: 27 + w * w},
            {above: -w}, {above: 1, below: -1} if w > 1 else {above: 2, below: -2},
            {s: 27 + w * w, squared: w * w + 1},
        ):  # fmt: skip
            assert not believed(liar(lies), statement, [*x, w]), lies
    for w in (0, -1, -3, 4, 9):
        for lies in ({}, {above: 1}, {below: -3}, {above: 3, below: -3, squared: 9}):
            assert not believed(liar(lies), statement, [*x, w]), (w, lies)
    for lies in ({}, {s: 26 + 4}, {squared: 5}, {squared: 5, s: 31}):  # a norm of 27 under the weight 2
        assert not believed(liar(lies), statement, [1, -4, 3, 1, 2]), lies


def test_lies_about_directions() -> None:
    u = [1, 2, 0, -1]
    x, product, square = [1, 1, 3, 0], 3, 11
    for claim, exact, truth in (
        (lambda more: norm.InnerProductAtLeast(u, product + more), 0, product),
        (lambda more: norm.DistanceAtMost(u, square - 2 * product + 6 - more), 0, product),
        (lambda more: norm.HistogramAtMost([3, 1, 0, 1, 5, 6, 7, 8], 6 + 6 + 8 + 5 - more), 0, 25),
    ):
        statement = norm.NormStatement(4, -4, 3, (claim(exact),), columns=2)
        assert believed(liar(), statement, x)
        kind = "m" if isinstance(claim(0), norm.HistogramAtMost) else "x"
        (k,) = slots_of(statement, kind)
        for said in (truth - 1, truth + 1, -truth, truth + 50):
            assert not believed(liar({k: said}), statement, x)
        false = norm.NormStatement(4, -4, 3, (claim(1),), columns=2)
        for said in (truth, truth - 1, truth + 1, truth + 2):
            assert not believed(liar({k: said}), false, x)


def test_lies_about_a_cosine() -> None:
    u = [1, 2, 0, -1]
    statement = norm.NormStatement(4, -4, 3, (norm.CosineAtLeast(u, 1, 1),), columns=2)
    (k,), (squared,) = slots_of(statement, "x"), slots_of(statement, "sq")
    assert believed(liar(), statement, [1, 2, 0, -1])
    assert believed(liar(), statement, [0, 0, 0, 0])
    for x, product in (([1, 2, 1, -1], 6), ([-1, -2, 0, 1], -6), ([1, 1, 0, 0], 3)):
        for lies in (
            {}, {k: product + 1}, {k: -product}, {squared: product**2 + 6}, {k: product + 1, squared: product**2},
            {k: 6, squared: 42}, {0: 1}, {0: 6},
        ):  # fmt: skip
            assert not believed(liar(lies), statement, x), (x, lies)


# ---- scalars and generators that no relation seems to need


FULL = norm.NormStatement(
    5,
    -4,
    3,
    (
        norm.EntryRange(4, 1, 3, True),
        norm.L2AtMost(30),
        norm.InnerProductAtLeast([1, 2, 0, 0, 1], 3),
        norm.CosineAtLeast([1, 2, 0, 0, 0], 1, 2),
        norm.HistogramAtMost.l0(-4, 3, 4),
    ),
    columns=2,
)


@pytest.mark.parametrize("statement", [PLAIN, BOUNDED, norm.NormStatement(1, -1, 1, columns=2)], ids=["-", "l2", "d=1"])
def test_every_committed_scalar_counts(statement: norm.NormStatement) -> None:
    """Each of them off by one, everything else as it should be."""
    x = [1, -4, 3, 0][: statement.d]
    for place in range(statement.scalars):
        at = 0

        def edit(label: str, values: list[int], place: int = place) -> list[int]:
            nonlocal at
            if at <= place < at + len(values):
                values[place - at] += 1
            at += len(values)
            return values

        assert not believed(liar(edit=edit), statement, x), place
        assert at == statement.scalars


@pytest.mark.assurance
def test_every_committed_scalar_counts_of_all_claims() -> None:
    for place in range(FULL.scalars):
        at = 0

        def edit(label: str, values: list[int], place: int = place) -> list[int]:
            nonlocal at
            if at <= place < at + len(values):
                values[place - at] += 1
            at += len(values)
            return values

        assert not believed(liar(edit=edit), FULL, [1, 3, 0, -1, 2]), place


@contextmanager
def challenge_is(label: str, value: int) -> Iterator[None]:
    """One challenge is known beforehand, to both sides."""

    def challenge(transcript: Transcript, name: str, q: int, *, nodes: int = 0) -> int:
        found = real(transcript, name, q, nodes=nodes)
        return value if name == label else found

    def challenges(*args: Any) -> dict[str, int]:
        found = all_real(*args)
        assert label in found
        return found | {label: value}

    real, all_real = prover.challenge, verifier.challenges
    with mock.patch.object(prover, "challenge", challenge), mock.patch.object(verifier, "challenges", challenges):
        yield


class Rewriter(Liar):
    """Says a norm that is too small, and rewrites the last round of the open sumcheck in `aux`, so that it fits."""

    def _open(self, slots: Sequence[int], sigma: int) -> Any:
        found: list[Any] = []
        real = prover._Part.start

        def start(part: prover._Part) -> None:
            found.append(part)
            real(part)

        with mock.patch.object(prover._Part, "start", start):
            out = super()._open(slots, sigma)
        q, identity = self.q, self.id
        truth = sum(part.value * prover._values(identity, part.other, [0])[0] for part in found) % q
        said = sum(part.claim for part in found) % q
        half = (q + 1) // 2
        self.place = 0
        for label, count in self.statement.messages:
            if label == "open.round0":
                break
            self.place += count
        self.change = (truth - said) * pow(self.ch.opened[0] - half, -1, q) % q
        return out

    def _products(self, slots: Sequence[int], factors: list[tuple[int, int]]) -> None:
        out = self.out
        assert isinstance(out, Messages)

        def edit(label: str, values: list[int]) -> list[int]:
            if label == "aux":
                out.extra = ("now", self.place, self.change)
            return values

        out.edit = edit
        super()._products(slots, factors)
        out.scalars[self.place] = (out.scalars[self.place] + self.change) % self.q


def test_rewriting_an_old_scalar_in_a_later_message() -> None:
    """Refused, as every message has a factor of its own; accepted by a verifier whose theta is 1."""
    x, square = [1, -4, 3, 0, 2], 30
    for columns in (2, 8):
        statement = norm.NormStatement(5, -4, 3, (norm.L2AtMost(square - 1),), columns)
        kind = type("Rewriter", (Rewriter,), {"lies": {0: square - 1}})
        for _ in range(2):
            assert not believed(kind, statement, x)
        with challenge_is("theta", 1):
            assert believed(kind, statement, x)
            assert not believed(liar({0: square - 1}), statement, x)


@contextmanager
def stray_component(statement: norm.NormStatement, place: int, factor: int) -> Iterator[type[Liar]]:
    """A prover whose first row was committed with `factor` times message generator `place`, and who opens that."""
    said: list[int] = []

    class Stray(Liar):
        def _inner_product(self, entries: Scalars, table: Scalars) -> None:
            far = pow(self.ch.theta, 2 * len(self.statement.messages) + 1, self.q)
            said.append(far * self._row_weights(self.ch.opened[: self.statement.variables])[0] * factor)
            with mock.patch.object(Group, "scalars", scalars):
                super()._inner_product(entries, table)

    real, length = Group.scalars, (1 << statement.halvings) - statement.columns

    def scalars(group: Group, values: Any) -> Scalars:
        values = list(values)
        if len(values) == length and values[-1] == 0:  # the messages, of which no last ones are; not the form
            values[place] += said[-1]
        return real(group, values)

    yield Stray


def test_rows_with_parts_on_generators_of_messages() -> None:
    """In use or not; those that are not in use are forced to 0 by one relation each."""
    x = [1, -4, 3, 0]
    statement = BOUNDED
    room = (1 << statement.halvings) - statement.columns
    assert room > statement.scalars
    for place in (0, 3, statement.scalars - 1, statement.scalars, room - 1):
        commitment, opening = committed(statement, x)
        strange = statement.generators.messages[place] * statement.group.scalar(5)
        first, *others = commitment.rows
        made = RowCommitment(commitment.scheme, statement.d, Points.concat([first + strange, *others])), opening
        with stray_component(statement, place, 5) as kind:
            assert not believed(kind, statement, x, made), place
            if place < statement.scalars:
                continue

            def without(*arguments: Any) -> tuple[Scalars, int]:
                form, value = relations.opening_form(*arguments)
                used = statement.columns + statement.scalars
                return Scalars.concat([form[:used], statement.group.scalars([0] * (len(form) - used))]), value

            with (
                mock.patch.object(prover, "opening_form", without),
                mock.patch.object(verifier, "opening_form", without),
            ):
                assert believed(kind, statement, x, made)
                assert not believed(liar(), statement, x, made)


def test_parts_on_the_generator_of_products() -> None:
    """A row, and a message, that are shifted along U: the factor chi was not known then."""
    x = [1, -4, 3, 0]
    commitment, opening = committed(BOUNDED, x)
    for shift in (BOUNDED.generators.product, BOUNDED.generators.product * BOUNDED.group.scalar(-1)):
        first, *others = commitment.rows
        made = RowCommitment(commitment.scheme, BOUNDED.d, Points.concat([first + shift, *others])), opening
        assert not believed(liar(), BOUNDED, x, made)


# ---- what a proof shows


def simulated(
    statement: norm.NormStatement, commitment: RowCommitment, programmed: int, draw: np.random.Generator
) -> bytes:
    """Random messages, and A as it has to be when the last challenge is `programmed`: no entries are needed."""
    group = statement.group

    def scalar() -> int:
        return int.from_bytes(draw.bytes(64), "little") % group.order

    blinding = statement.generators.blinding
    pieces = [
        scalar().to_bytes(32, "little") if label in ("fc", "gc", "za", "zr")
        else (blinding * group.scalar(scalar() or 1)).encode()
        for label, _, _ in parts(statement)
    ]  # fmt: skip
    with challenge_is("cs", programmed):
        one = verifier.equation(statement, CONTEXT, commitment, b"".join(pieces), None)
    gens = statement.generators
    bases = Points.concat([gens.columns, gens.messages, gens.product, gens.blinding, one.points[:-1]])
    a = bases.msm_var(Scalars.concat([one.generators, one.weights[:-1]]))
    pieces[-3] = a.encode()
    return b"".join(pieces)


def test_a_simulator_needs_no_entries() -> None:
    """Zero knowledge: whoever chooses the last challenge proves anything, so that a proof shows nothing."""
    draw = np.random.default_rng(12)
    for statement in (PLAIN, BOUNDED, FULL, norm.NormStatement(1, 0, 1, columns=2)):
        x = [99] * statement.d
        commitment, _ = committed(statement, x)
        programmed = int.from_bytes(draw.bytes(31), "little")
        proof = simulated(statement, commitment, programmed, draw)
        assert not accepted(statement, commitment, proof)
        with challenge_is("cs", programmed):
            assert accepted(statement, commitment, proof)
        with challenge_is("cs", programmed + 1):
            assert not accepted(statement, commitment, proof)


def fixed_challenge(transcript: Transcript, label: str, q: int, *, nodes: int = 0) -> int:
    """The same in every proof, so that what differs comes from the prover's own choices."""
    start = max(nodes, 1)
    return start + int.from_bytes(hashlib.sha256(label.encode()).digest(), "little") % (q - start)


def revealed(
    statement: norm.NormStatement, x: Sequence[int], trials: int, fresh: Callable[[int, int], bool], seed: int
) -> dict[str, list[int]]:
    """The four scalars in clear of many proofs about one commitment, under the same challenges and with the same nonces
    but for those that are fresh(place, low): all that is random comes from them."""
    found: dict[str, list[int]] = {"fc": [], "gc": [], "za": [], "zr": []}
    places = [(label, start, end) for label, start, end in parts(statement) if label in found]
    generator, q, count = np.random.default_rng(seed), statement.group.order, 0

    def draw(low: int) -> int:
        nonlocal count
        count += 1
        return int(generator.integers(low, q)) if fresh(count, low) else 1 + 17 * count % (q - 1)

    commitment, opening = committed(statement, x)
    for _ in range(trials):
        count = 0
        with mock.patch.object(prover, "challenge", fixed_challenge):
            proof = prover.prove(
                statement, CONTEXT, np.array(x), commitment.encode(), opening, lambda _: draw, None
            )  # fmt: skip
        for label, start, end in places:
            found[label].append(int.from_bytes(proof[start:end], "little"))
    assert count == statement.table_rows + len(statement.messages) + 2 * statement.halvings + 4
    return found


def chi_square(values: Sequence[int], q: int, bins: int) -> float:
    expected = [(len(range(b * q // bins, (b + 1) * q // bins))) * len(values) / q for b in range(bins)]
    counts = np.bincount([next(b for b in range(bins) if v < (b + 1) * q // bins) for v in values], minlength=bins)
    return sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True))


def uniform(trials: int, bins: int, limit: float) -> None:
    """fc and gc by the two scalars that are drawn for them alone, za and zr by the last two."""
    with toy_group(*SMALL) as group:
        statement = norm.NormStatement(4, -4, 3, (), 2, group)
        last = statement.table_rows + len(statement.messages) + 2 * statement.halvings + 3
        choices: tuple[tuple[tuple[str, ...], Callable[[int, int], bool]], ...] = (
            (("fc", "gc"), lambda _, low: low == 0),
            (("za", "zr"), lambda place, _: place >= last),
        )
        for k, (labels, fresh) in enumerate(choices):
            found = revealed(statement, [3, -4, 0, 1], trials, fresh, k)
            for label in labels:
                assert chi_square(found[label], group.order, bins) < limit, label


def test_scalars_in_clear_are_uniform() -> None:
    uniform(150, 8, 24.3)  # the 99.9 % quantile for 7 degrees of freedom; the draws are fixed


@pytest.mark.assurance
def test_scalars_in_clear_are_uniform_in_many_bins() -> None:
    uniform(3000, 32, 61.1)  # 31 degrees of freedom


# ---- everything, in a tiny group


def false_ones(statement: norm.NormStatement, values: Sequence[int]) -> tuple[int, int]:
    """(how many true, how many false) of all vectors of values; true ones are proven, false ones refused."""
    true = false = 0
    for x in itertools.product(values, repeat=statement.d):
        entries = np.array(x)
        try:
            norm.require(statement, entries)
        except norm.api.EncodingError:
            false += 1
            assert not believed(liar(count=clipped), statement, x), x
        else:
            true += 1
            commitment, opening = norm.commit_var(statement, entries)
            proof = norm.prove_var(statement, CONTEXT, entries, commitment, opening)
            assert accepted(statement, commitment, proof), x
    return true, false


def truth(statement: norm.NormStatement, holds: Callable[[tuple[int, ...]], bool], values: Sequence[int]) -> int:
    return sum(
        all(statement.lo <= v <= statement.hi for v in x) and holds(x)
        for x in itertools.product(values, repeat=statement.d)
    )


@pytest.mark.parametrize("name", ["entries", "norm", "weight", "product", "count"])
def test_all_vectors_of_a_small_statement(name: str) -> None:
    """Accepted if and only if it is true: all vectors, allowed or not."""
    cases: dict[str, tuple[int, tuple[norm.Claim, ...], Callable[[tuple[int, ...]], bool]]] = {
        "entries": (3, (), lambda x: True),
        "norm": (3, (norm.L2AtMost(2),), lambda x: sum(v * v for v in x) <= 2),
        "weight": (2, (norm.L2AtMost(0), norm.EntryRange(1, 1, 1, True)), lambda x: x == (0, 1)),
        "product": (2, (norm.InnerProductAtLeast([2, -1], 1),), lambda x: 2 * x[0] - x[1] >= 1),
        "count": (3, (norm.HistogramAtMost.l0(-1, 1, 1),), lambda x: sum(v != 0 for v in x) <= 1),
    }
    d, claims, holds = cases[name]
    with toy_group(*MIDDLE) as group:
        statement = norm.NormStatement(d, -1, 1, claims, 2, group)
        values = range(-2, 3) if d == 2 else range(-1, 3)
        true, false = false_ones(statement, values)
        assert true == truth(statement, holds, values)
        assert true > 0 < false


# ---- how often the best known forgeries pass


def solved(q: int, rows: list[list[int]]) -> list[int]:
    """The solution of linear equations modulo q, the right sides last."""
    size = len(rows)
    for i in range(size):
        pivot = next(j for j in range(i, size) if rows[j][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        inverse = pow(rows[i][i], -1, q)
        rows[i] = [v * inverse % q for v in rows[i]]
        for j in range(size):
            if j != i and rows[j][i]:
                factor = rows[j][i]
                rows[j] = [(a - factor * b) % q for a, b in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


def chosen_alphas(x: Sequence[int], lo: int, values: int, q: int) -> list[int]:
    """Multiplicities that are right at as many points alpha as there are values, though an entry is not allowed."""
    poles = {-t % q for t in range(values)} | {(lo - v) % q for v in x}
    alphas = [a for a in range(1, q) if a not in poles][:values]
    rows = [[*(pow(a + t, -1, q) for t in range(values)), sum(pow(a + v - lo, -1, q) for v in x) % q] for a in alphas]
    return solved(q, rows)


def count_accepted(kind: type[prover._Prover], statement: norm.NormStatement, x: Sequence[int], trials: int) -> int:
    won = 0
    for k in range(trials):
        draw = np.random.default_rng([k, trials])
        blindings = Opening(statement.group.random_scalars(statement.rows, draw.bytes))
        gens, entries = statement.generators, [*x, *[0] * (statement.rows * statement.columns - len(x))]
        rows = [
            gens.columns.msm(statement.group.scalars(entries[a * statement.columns : (a + 1) * statement.columns]))
            + gens.blinding * blindings.blindings[a]
            for a in range(statement.rows)
        ]
        if any(row.is_identity() for row in rows):
            continue
        commitment = RowCommitment(norm.scheme(statement), statement.d, Points.concat(rows))
        won += believed(kind, statement, x, (commitment, blindings))
    return won


def near(won: int, trials: int, rate: float, bound: float) -> None:
    """As often as predicted, up to four standard deviations, and not more often than what is proven."""
    assert rate <= bound
    assert abs(won - rate * trials) < 4 * (rate * (1 - rate) * trials) ** 0.5
    assert won > 0


def alpha_rate(trials: int) -> None:
    with toy_group(*SMALL) as group:
        lo, hi, x = -24, 23, [3, -24, 24, 0]
        statement = norm.NormStatement(4, lo, hi, (), 4, group)
        q, values = group.order, statement.values
        m = chosen_alphas(x, lo, values, q)
        won = count_accepted(liar(count=lambda self, _: m), statement, x, trials)
        near(won, trials, values / (q - 1), (statement.leaves + values - 1) / (q - 1))
        assert count_accepted(liar(count=clipped), statement, x, 20) == 0


class Interpolator(Liar):
    """One product is wrong: gives the polynomial of all products roots where it can, at nodes and beyond."""

    wrong = 0
    error = 0

    def _products(self, slots: Sequence[int], factors: list[tuple[int, int]]) -> None:
        out, q, count = self.out, self.q, self.statement.products
        assert isinstance(out, Messages)

        def edit(label: str, values: list[int]) -> list[int]:
            if label != "aux":
                return values
            roots = [k for k in range(1, count + 1) if k != self.wrong] + list(range(2 * count + 1, 3 * count + 2))

            def at(k: int) -> int:
                total = 1
                for root in roots:
                    total = total * (k - root) % q
                return total

            scale = self.error * pow(at(self.wrong), -1, q)
            places = [0, *range(count + 1, 2 * count + 1)]
            return [*values[:2], *((v - scale * at(k)) % q for v, k in zip(values[2:], places, strict=True))]

        out.edit = edit
        super()._products(slots, factors)


def test_an_interpolator_whose_products_hold() -> None:
    kind = type("Right", (Interpolator,), {"wrong": 2, "error": 0})
    assert believed(kind, BOUNDED, [1, -4, 3, 0])


def product_rate(trials: int) -> None:
    """The count of a value is said with a "bit" that is 2: one product is wrong, all else holds."""
    with toy_group(*SMALL) as group:
        claims = tuple(norm.HistogramAtMost([0, 0, 1, 1], most) for most in (126, 127, 125, 124, 2))
        statement = norm.NormStatement(4, -2, 1, claims, 2, group)
        x = [1, 1, 1, 0]  # 4 counted, 2 allowed
        first, bits = statement.ranges[-1].first, statement.ranges[-1].bits
        assert bits == 2

        def edit(label: str, values: list[int]) -> list[int]:
            if label == "claims":
                values[first : first + 2] = [0, -1]  # 2 - 4 = 0 - 2
            return values

        places = [k for k, slot in enumerate(statement.slots) if slot.kind in ("bit", "sq")]
        wrong = 1 + places.index(first + 1)

        class Bits(Interpolator):
            def _claims(self) -> list[int]:
                values = super()._claims()
                values[first : first + 2] = [0, self.q - 1]
                return values

        Bits.wrong, Bits.error = wrong, 1 - -1  # (-1)(-1) where -1 should be
        Bits.edit = staticmethod(edit)
        q, count = group.order, statement.products
        won = count_accepted(Bits, statement, x, trials)
        allowed = q - 2 * count - 1
        near(won, trials, (count + 1) / allowed, 2 * count / allowed)


def test_forgeries_pass_as_often_as_predicted() -> None:
    """Multiplicities that are right at chosen points, and products that are right at chosen points."""
    alpha_rate(100)
    product_rate(100)


@pytest.mark.assurance
def test_forgeries_pass_as_often_as_predicted_in_many_trials() -> None:
    alpha_rate(2000)
    product_rate(2000)


def test_real_orders_leave_nothing_to_chance() -> None:
    """The same multiplicities in the real group."""
    x, lo, values = [3, -4, 4, 0], -4, 8
    m = chosen_alphas(x, lo, values, 1021)
    assert not believed(liar(count=lambda self, _: m), PLAIN, x)
    assert PLAIN.group == RISTRETTO255
