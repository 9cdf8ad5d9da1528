"""One of four parties lies: whatever it alters, nobody opens anything wrong, and nobody honest is named.

Every check has a mutant: without it, a tampering passes that is caught with it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import itertools
import operator
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import RemoteError, StateError
from privcomp.mpc import circuits, rep4
from privcomp.mpc.backend import Bits, Value
from privcomp.mpc.rep4 import Link, Rep4
from privcomp.mpc.streams import Stream
from privcomp.typing import U64Array
from tests.mpc.four import IDS, Frames, Outcome, Program, Tamper, play

N = 6
X = np.array([0, 1, 2**63, 2**64 - 1, 12345, 2**62], np.uint64)
Y = np.array([7, 2**64 - 9, 2**63 + 3, 5, 2**33, 1], np.uint64)
PLANES = np.array([[0x123456789ABCDEF0], [0xFFFF]], np.uint64)
SHIFTED = np.array([-5 << 8, 0, 77 << 8, 1 << 40, -(1 << 40), 1 << 61], np.int64).view(np.uint64)


async def _two(mpc: Rep4) -> tuple[Value, Value]:
    x = mpc.scheduler.spawn(mpc.input(0, X if mpc.me == 0 else None, X.shape))
    y = mpc.scheduler.spawn(mpc.input(2, Y if mpc.me == 2 else None, Y.shape))
    return await x, await y


async def _bits(mpc: Rep4) -> Bits:
    return await mpc.input_bits(1, PLANES if mpc.me == 1 else None, 2, 64)


async def _numbers(mpc: Rep4, bits: Bits) -> U64Array | None:
    planes = await mpc.open_bits(bits)
    return None if planes is None else _core.from_planes(planes, N)


async def _input(mpc: Rep4) -> Any:
    return await mpc.open(mpc.sub(*await _two(mpc)))


async def _mul(mpc: Rep4) -> Any:
    return await mpc.open(await mpc.mul(*await _two(mpc)))


async def _matmul(mpc: Rep4) -> Any:
    x, y = await _two(mpc)
    return await mpc.open(
        await mpc.matmul(x.map(lambda part: part.reshape(2, 3)), y.map(lambda part: part.reshape(3, 2)))
    )


async def _gram(mpc: Rep4) -> Any:
    x, _ = await _two(mpc)
    return await mpc.open(await mpc.gram(x.map(lambda part: part.reshape(3, 2))))


async def _and(mpc: Rep4) -> Any:
    bits = await _bits(mpc)
    return await mpc.open_bits(await mpc.bit_and(bits[:1], bits[1:]))


async def _sign(mpc: Rep4) -> Any:
    x, _ = await _two(mpc)
    return await _numbers(mpc, await circuits.sign(mpc, x, 64))


async def _to_number(mpc: Rep4) -> Any:
    bits = await _bits(mpc)
    return await mpc.open(await mpc.to_number(bits[:1], 64))


async def _truncate(mpc: Rep4) -> Any:
    shared = await mpc.input(3, SHIFTED if mpc.me == 3 else None, SHIFTED.shape)
    return await mpc.open(await mpc.truncate(shared, 8))


async def _extend(mpc: Rep4) -> Any:
    x, _ = await _two(mpc)
    return await mpc.open(await mpc.extend(x.map(lambda part: part & np.uint64(0x1FFFF)), 17))


async def _choose_sum(mpc: Rep4) -> Any:
    x, _ = await _two(mpc)
    bits = await _bits(mpc)
    return await mpc.open(await mpc.choose_sum(Bits(bits[:1].parts, N), x.map(lambda part: part.reshape(3, -1))))


async def _extended_product(mpc: Rep4) -> Any:
    x, y = await _two(mpc)
    extended = await mpc.extend(x.map(lambda part: part & np.uint64(0x1FFFF)), 17)
    return await mpc.open(await mpc.mul(await mpc.mul(extended, y), y))


async def _to_one(mpc: Rep4) -> Any:
    x, y = await _two(mpc)
    return await mpc.open(await mpc.mul(x, mpc.sub(x, y)), 1)


async def _bits_to_one(mpc: Rep4) -> Any:
    bits = await _bits(mpc)
    return await mpc.open_bits(await mpc.bit_and(bits, bits), 2)


OPERATIONS = (
    _input, _mul, _matmul, _gram, _and, _sign, _to_number, _truncate, _extend, _choose_sum, _to_one, _bits_to_one,
)  # fmt: skip


def recorded(operation: Any) -> Program:
    async def program(mpc: Rep4, opened: list[Any]) -> None:
        opened.append(await operation(mpc))

    return program


async def everything(mpc: Rep4, opened: list[Any]) -> None:
    """All operations, and one opening at the end."""
    x, y = await _two(mpc)
    bits = await _bits(mpc)
    product = await mpc.mul(x, mpc.add_public(y, np.uint64(3)))
    low = mpc.scheduler.spawn(mpc.truncate(mpc.scale(x, np.uint64(0)), 8))
    less = await circuits.sign(mpc, mpc.sub(product, y), 64)
    number = await mpc.to_number(less, 64)
    gate = await mpc.bit_and(bits, mpc.xor_public(bits, PLANES))
    bit = await mpc.to_number(gate[:1], 16)
    gram = await mpc.gram(product.map(lambda part: part.reshape(3, 2)))
    total = mpc.add(mpc.add(number, await low), bit.map(lambda part: part[:1] << np.uint64(48)))
    total = mpc.add(total, gram.map(lambda part: part.reshape(-1)[:N]))
    chosen = await mpc.choose_sum(Bits(gate[1:].parts, N), x.map(lambda part: part.reshape(2, -1)))
    total = mpc.add(total, chosen.map(lambda part: part[:1]))
    opened.append(await mpc.open(await mpc.extend(total.map(lambda part: part & np.uint64(0xFFFF)), 16)))


def suspects(error: RemoteError) -> set[bytes]:
    """Whom an error names: one, or one of several."""
    if error.party is not None:
        return {error.party}
    return {name for name in IDS if repr(name) in str(error)}


def judge(out: Outcome, corrupt: int, *, opened: Sequence[Any] = (), at_most: int = 3) -> None:
    """Somebody honest refused; the liar is among whom it names; no list of openings goes beyond `opened`."""
    honest = [me for me in range(4) if me != corrupt]
    refusals = [out.errors[me] for me in honest if me in out.errors]
    assert refusals
    for error in refusals:
        assert isinstance(error, RemoteError)
        assert IDS[corrupt] in suspects(error), error
        assert len(suspects(error)) <= at_most, error
    for me in honest:
        seen = [got for got in out.opened[me] if got is not None]
        assert len(seen) <= len(opened)
        for got, allowed in zip(seen, opened, strict=False):
            assert (got == allowed[me]).all()


def alter(rng: random.Random, payload: bytearray, earlier: Sequence[bytearray]) -> None:
    """Flip a bit, replace, zero, swap words, cut, or send an older message again; never nothing."""
    before = bytes(payload)
    kind = rng.choice(("flip", "flip", "replace", "zero", "swap", "cut", "again"))
    same = [old for old in earlier if len(old) == len(payload)]
    if kind == "replace":
        payload[:] = rng.randbytes(len(payload))
    elif kind == "zero":
        payload[:] = bytes(len(payload))
    elif kind == "swap" and len(payload) >= 16:
        i, j = (8 * k for k in rng.sample(range(len(payload) // 8), 2))
        payload[i : i + 8], payload[j : j + 8] = payload[j : j + 8], payload[i : i + 8]
    elif kind == "cut":
        del payload[-8:]
    elif kind == "again" and same:
        payload[:] = rng.choice(same)
    if payload == before:
        payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)


def tamperings(count: int, seed: int) -> None:
    rng = random.Random(seed)
    plain: dict[Any, Outcome] = {}
    for operation in OPERATIONS:
        plain[operation] = play(recorded(operation))
        assert plain[operation].finished == {0, 1, 2, 3}
    for number in range(count):
        operation, corrupt = OPERATIONS[number % len(OPERATIONS)], rng.randrange(4)
        model = plain[operation]
        choices = [(r, to) for (r, sender, to), data in sorted(model.frames.items()) if sender == corrupt and data]
        first, receiver = rng.choice(choices)
        everything_from_there = rng.random() < 0.2

        def tamper(
            round_: int,
            to: int,
            payload: bytearray,
            frames: Frames,
            at: tuple[int, int] = (first, receiver),
            on: bool = everything_from_there,
            liar: int = corrupt,
        ) -> None:
            if payload and ((round_, to) == at or (on and round_ >= at[0])):
                alter(rng, payload, [old for (_, sender, _), old in frames.items() if sender == liar])

        out = play(recorded(operation), corrupt=corrupt, tamper=tamper)
        # What is altered in the round of the opening comes too late to stop the others, and changes nothing for them.
        late = first == model.rounds - 1
        allowed = [[opened[0] for opened in model.opened]] if late else []
        judge(out, corrupt, opened=allowed)


def test_random_tamperings_are_caught_before_anything_is_opened() -> None:
    tamperings(330, 1)


@pytest.mark.assurance
def test_ten_thousand_random_tamperings_are_caught() -> None:
    tamperings(10_000, 2)


@pytest.mark.parametrize("corrupt", range(4))
def test_every_single_message_of_a_party_counts(corrupt: int) -> None:
    program = recorded(_extended_product)
    model = play(program)
    mine = [(r, to) for (r, sender, to), data in model.frames.items() if sender == corrupt and data]
    assert len(mine) >= 20
    for at in mine:

        def tamper(round_: int, to: int, payload: bytearray, _: Frames, at: tuple[int, int] = at) -> None:
            if (round_, to) == at:
                payload[0] ^= 1

        allowed = [[opened[0] for opened in model.opened]] if at[0] == model.rounds - 1 else []
        judge(play(program, corrupt=corrupt, tamper=tamper), corrupt, opened=allowed)


def test_a_party_may_choose_its_own_input() -> None:
    # The one thing that nobody can object to: the same other value to both who receive it, and to itself.
    def tamper(round_: int, _to: int, payload: bytearray, _: Frames) -> None:
        if round_ == 2:
            payload[0] ^= 1

    class Liar(Rep4):
        async def _input(
            self, label: str, owner: int, values: U64Array | None, n: int, bits: bool
        ) -> tuple[U64Array, ...]:
            parts = await super()._input(label, owner, values, n, bits)
            if owner != self.me:
                return parts
            changed = parts[self.held.index((owner + 3) % 4)].copy()
            changed.view(np.uint8)[0] ^= 1
            return tuple(changed if c == (owner + 3) % 4 else part for c, part in zip(self.held, parts, strict=True))

    out = play(recorded(_input), corrupt=2, tamper=tamper, backend=Liar)
    assert out.finished == {0, 1, 2, 3}
    for opened in out.opened:
        assert list(opened[0] - (X - Y)) in ([1, 0, 0, 0, 0, 0], [2**64 - 1, 0, 0, 0, 0, 0])


# ---- parties that deviate in what they compute, and tell everybody the same ----


class WrongMessages(Rep4):
    """What it sends or vouches for in one joint step is off by one, in its own parts as well."""

    at = 0
    calls = 0

    async def _joint(self, label: str, links: Sequence[Link], messages: Any, n: int, **options: Any) -> Any:
        self.calls += 1
        fill = options.get("fill")
        if self.calls - 1 == self.at:
            if fill is not None:

                def off(link: Link, low: int, high: int, out: U64Array) -> None:
                    fill(link, low, high, out)
                    out[0] ^= np.uint64(1)

                options["fill"] = off
            else:
                messages = [None if m is None else m ^ np.uint64(1) for m in messages]
        return await super()._joint(label, links, messages, n, **options)


class WrongRandomness(Rep4):
    """Draws from a key of its own in place of one that it shares."""

    component = 0

    async def setup(self, rng: Any) -> None:
        await super().setup(rng)
        component = self.component if self.component != self.me else 3 - self.me
        self._streams[component] = Stream(rng(32), b"other")


class WrongConstants(Rep4):
    """Takes other public numbers than everybody else."""

    def public(self, values: U64Array) -> Value:
        return super().public(np.asarray(values + np.uint64(1)))


class WrongShares(Rep4):
    """Its share of every input is another one from the start."""

    async def input(self, owner: int, values: U64Array | None, shape: tuple[int, ...]) -> Value:
        shared = await super().input(owner, values, shape)
        return Value((shared.parts[0] + np.uint64(1), *shared.parts[1:]))


@pytest.mark.parametrize("corrupt", range(4))
@pytest.mark.parametrize(
    "liar",
    [
        *(type(f"WrongMessages{at}", (WrongMessages,), {"at": at}) for at in (0, 3, 8, 13, 19, 27)),
        *(type(f"WrongRandomness{c}", (WrongRandomness,), {"component": c}) for c in range(4)),
        WrongShares,
    ],
    ids=lambda liar: liar.__name__,
)
def test_a_party_that_computes_something_else_is_caught(liar: type[Rep4], corrupt: int) -> None:
    judge(play(everything, corrupt=corrupt, backend=liar), corrupt)


@pytest.mark.parametrize("corrupt", [1, 2, 3])  # party 0 has no component 0
def test_a_party_with_other_constants_is_caught(corrupt: int) -> None:
    judge(play(everything, corrupt=corrupt, backend=WrongConstants), corrupt)


def test_the_last_joint_step_of_the_program_is_among_those_that_are_altered() -> None:
    assert play(everything).backends[0]._step == 28 + 3


class WrongOpening(Rep4):
    """Opens something else than it holds, the same to all."""

    async def _open(self, label: str, parts: Sequence[U64Array], to: int | None) -> memoryview | None:
        return await super()._open(label, [part + np.uint64(1) for part in parts], to)


@pytest.mark.parametrize("corrupt", range(4))
def test_who_opens_something_else_is_named_by_all(corrupt: int) -> None:
    out = play(recorded(_mul), corrupt=corrupt, backend=WrongOpening)
    judge(out, corrupt, at_most=1)
    assert len(out.errors.keys() - {corrupt}) == 3
    if corrupt != 1:
        judge(play(recorded(_to_one), corrupt=corrupt, backend=WrongOpening), corrupt, at_most=1)


# ---- every check is needed ----


def without(*messages: str) -> type[Rep4]:
    """A party that does not make the checks whose refusals begin like this."""

    class Mutant(Rep4):
        def _require(self, holds: bool, suspects: set[int], stage: str, message: str) -> None:
            super()._require(holds or message.startswith(messages), suspects, stage, message)

    return Mutant


class NoCheck(Rep4):
    """Opens without looking."""

    async def _verified(self) -> None:
        pass


class NoInputLog(Rep4):
    """Does not compare what an owner sent with what the other receiver got."""

    async def _input(self, label: str, owner: int, values: U64Array | None, n: int, bits: bool) -> tuple[U64Array, ...]:
        kept, self._logs = self._logs, {place: rep4._Log() for place in self._logs}
        try:
            return await super()._input(label, owner, values, n, bits)
        finally:
            self._logs = kept


def flip(at: int, *receivers: int) -> Tamper:
    """One bit of what the corrupt party sends in a round, to some or to all."""

    def tamper(round_: int, to: int, payload: bytearray, _: Frames) -> None:
        if round_ == at and payload and (not receivers or to in receivers):
            payload[3] ^= 0x10

    return tamper


def wrong_somewhere(out: Outcome, corrupt: int, right: U64Array) -> bool:
    """Whether an honest party opened something else and nobody honest minded."""
    honest = [me for me in range(4) if me != corrupt]
    return not any(me in out.errors for me in honest) and any(
        (got != right).any() for me in honest for got in out.opened[me]
    )


# Rounds of _mul: 0 and 1 keys, 2 inputs, 3 products, 4 and 5 check, 6 opening. Party 1 sends to 3 and 2 in round 3.


def test_without_the_check_a_wrong_product_is_opened() -> None:
    judge(play(recorded(_mul), corrupt=1, tamper=flip(3, 3)), 1)
    loose = play(recorded(_mul), corrupt=1, tamper=flip(3, 3), everywhere=NoCheck, backend=NoCheck)
    assert any((got != X * Y).any() for me in (0, 2, 3) for got in loose.opened[me])


def test_without_the_log_of_inputs_two_parties_take_different_ones() -> None:
    judge(play(recorded(_input), corrupt=0, tamper=flip(2, 1)), 0)
    loose = play(recorded(_input), corrupt=0, tamper=flip(2, 1), everywhere=NoInputLog, backend=NoInputLog)
    assert any((got != X - Y).any() for me in (1, 2, 3) for got in loose.opened[me])


def test_without_the_comparison_of_keys_different_ones_are_used() -> None:
    drawn: dict[int, list[int]] = {}

    async def program(mpc: Rep4, opened: list[Any]) -> None:
        await mpc.input(0, X if mpc.me == 0 else None, X.shape)
        if mpc.me != 0:
            drawn[mpc.me] = mpc._streams[0].words((4,)).tolist()

    judge(play(program, corrupt=1, tamper=flip(0, 2)), 1, at_most=2)
    out = play(program, corrupt=1, tamper=flip(0, 2))
    assert all(error.stage == "setup" for me, error in out.errors.items() if isinstance(error, RemoteError) and me != 1)
    mutant = without("the dealer of a key")
    loose = play(program, corrupt=1, tamper=flip(0, 2), everywhere=mutant, backend=mutant)
    assert loose.finished == {0, 1, 2, 3}
    # Parties 2 and 3 now go on with different streams for component 0.
    assert drawn[2] != drawn[3]


def test_without_hashes_at_openings_something_else_is_opened() -> None:
    judge(play(recorded(_mul), corrupt=1, backend=WrongOpening), 1, at_most=1)
    mutant = without("the three who hold")
    assert wrong_somewhere(play(recorded(_mul), corrupt=1, backend=WrongOpening, everywhere=mutant), 1, X * Y)


def last_word(corrupt: int) -> Tamper:
    """Alter a product, then wait for the others' sums in the check, and give the one that makes all of them zero."""

    def tamper(round_: int, to: int, payload: bytearray, frames: Frames) -> None:
        if round_ == 3 and to == 3:
            payload[3] ^= 0x10
        if round_ == 5:
            mine = np.zeros(32, np.uint8)
            for other in range(4):
                if other != corrupt:
                    mine ^= np.frombuffer(bytes(frames[5, other, corrupt][:32]), np.uint8)
            payload[:32] = mine.tobytes()

    return tamper


class Shameless(Rep4):
    """Goes on whatever it sees."""

    def _require(self, holds: bool, suspects: set[int], stage: str, message: str) -> None:
        pass

    async def _trace(self, steps: list[int], cut: rep4.Cut, sums: dict[int, bytes]) -> None:
        pass


def test_without_commitments_who_speaks_last_passes_the_check() -> None:
    judge(play(recorded(_mul), corrupt=1, tamper=last_word(1), backend=Shameless), 1, at_most=1)
    mutant = without("a commitment opened")
    loose = play(recorded(_mul), corrupt=1, tamper=last_word(1), everywhere=mutant, backend=Shameless)
    assert any((got != X * Y).any() for me in (0, 2, 3) for got in loose.opened[me])


class TwoFaced(Rep4):
    """Gives the sum of its tags to parties 2 and 3, and another one to party 0, with a commitment to match."""

    async def _agree(self, name: str, mine: bytes) -> dict[int, bytes]:
        if not name.startswith("check"):
            return await super()._agree(name, mine)
        lie = bytes(32)

        def sealed(value: bytes) -> bytes:
            return rep4.digest(rep4._COMMIT, self.session.digest, name.encode(), bytes([self.me]), value)

        to = {peer: lie if peer == 0 else mine for peer in self._peers}
        got = await rep4.Exchange(
            f"{name} commit", {peer: sealed(to[peer]) for peer in to}, dict.fromkeys(self._peers, 32)
        )
        seen = {peer: bytes(got[peer]) for peer in self._peers}
        sends = {
            peer: to[peer] + b"".join(sealed(to[peer]) if p == self.me else seen[p] for p in range(4)) for peer in to
        }
        got = await rep4.Exchange(f"{name} open", sends, dict.fromkeys(self._peers, 32 + 128))
        return {self.me: mine} | {peer: bytes(got[peer][:32]) for peer in self._peers}


def test_without_the_echo_honest_parties_blame_each_other() -> None:
    out = play(recorded(_mul), corrupt=1, backend=TwoFaced)
    judge(out, 1, at_most=2)
    assert len(out.errors.keys() - {1}) == 3
    mutant = without("two parties say")
    loose = play(recorded(_mul), corrupt=1, backend=TwoFaced, everywhere=mutant)
    named = [suspects(error) for me, error in loose.errors.items() if me != 1 and isinstance(error, RemoteError)]
    assert any(IDS[1] not in names for names in named)


# ---- who is named ----


class LiesInTheCheck(Rep4):
    """Follows the protocol but for what it says of its tags: at the check, in the list of sums, in the list of tags."""

    where = "check"

    async def _agree(self, name: str, mine: bytes) -> dict[int, bytes]:
        kind = "tags" if " step " in name else name.split(" ", 1)[0]
        if kind in self.where.split("+"):
            mine = mine[:-1] + bytes([mine[-1] ^ 1])
        return await super()._agree(name, mine)


def liar_in(where: str) -> type[Rep4]:
    return type("Liar", (LiesInTheCheck,), {"where": where})


@pytest.mark.parametrize("corrupt", range(4))
def test_a_false_sum_of_tags_leads_to_who_gave_it(corrupt: int) -> None:
    # Its list of sums is not that of the check; or it is, and its tags do not add up to it: all three name it.
    for where in ("check", "check+trace"):
        out = play(recorded(_mul), corrupt=corrupt, backend=liar_in(where))
        judge(out, corrupt, at_most=1)
        assert len(out.errors.keys() - {corrupt}) == 3
    # Or they do, and one of them is not what its partner has: two say different things of a third.
    judge(play(recorded(_mul), corrupt=corrupt, backend=liar_in("check+trace+tags")), corrupt)


class Curious(liar_in("check+trace")):  # type: ignore[misc]
    """Fails the check for nothing, so that everybody shows its tags, and tests guesses of a secret against them."""

    shown: dict[int, bytes]
    guessed: list[int]

    async def setup(self, rng: Any) -> None:
        await super().setup(rng)
        streams = {c: Stream.__new__(Stream) for c in (1, 2)}
        for c, stream in streams.items():
            stream._seed, stream._at = self._streams[c].seed.copy(), 0
        self.masks = [int(stream.words((1,))[0]) for stream in streams.values()]
        self.keys = [bytes(key) for key in self._tag_keys.values()]
        self.hashers = dict(self._hashers)

    def guesses(self, keys: Sequence[bytes], step: int) -> list[int]:
        """Which secrets of one byte party 0 may have shared: its message to 1 and 2 is the component that 3 lacks."""
        found = []
        for guess in range(256):
            message = np.array([(guess - sum(self.masks)) % 2**64], np.uint64)
            item = rep4._Hash(self.hashers[0], 0, (0, 1, 2), 1).add(message).value
            prefix = hashlib.sha256(bytes(32) + item).digest()
            text = rep4.lp(bytes([0, 1, 2]), step.to_bytes(8, "little"), prefix)
            if any(hmac.digest(key, text, "sha256") in self.shown[1] for key in keys):
                found.append(guess)
        return found

    async def _agree(self, name: str, mine: bytes) -> dict[int, bytes]:
        got = await super()._agree(name, mine)
        if " step " in name:
            self.shown = got
        return dict(got)


def test_tags_that_are_shown_tell_the_liar_nothing_about_messages_that_went_past_it() -> None:
    held: dict[int, list[bytes]] = {}

    async def program(mpc: Rep4, opened: list[Any]) -> None:
        held[mpc.me] = [bytes(key) for key in mpc._tag_keys.values()]
        secret = await mpc.input(0, np.array([77], np.uint64) if mpc.me == 0 else None, (1,))
        opened.append(await mpc.open(secret, 2))

    out = play(program, corrupt=3, backend=Curious)
    judge(out, 3)
    liar = out.backends[3]
    assert isinstance(liar, Curious)
    # With a key that the two who keep the log have, the guess is right; with those that the liar has, there is none.
    assert liar.guesses(held[1], 1) == [77]
    assert liar.guesses(liar.keys, 1) == []


def test_without_a_look_at_the_last_sum_the_trace_finds_nothing() -> None:
    mutant = without("its last sum")
    with pytest.raises(RuntimeError, match="StopIteration"):
        play(recorded(_mul), corrupt=2, backend=liar_in("check"), everywhere=mutant)


def test_without_adding_tags_up_the_trace_names_nobody_in_particular() -> None:
    mutant = without("its tags do not")
    out = play(recorded(_mul), corrupt=2, backend=liar_in("check+trace"), everywhere=mutant)
    assert all(len(suspects(out.errors[me])) == 3 for me in (0, 1, 3))  # type: ignore[arg-type]


@pytest.mark.parametrize("corrupt", range(4))
def test_a_false_message_names_two_to_those_who_compared_and_three_to_the_other(corrupt: int) -> None:
    model = play(recorded(_mul))
    for to in [to for (round_, sender, to), data in model.frames.items() if (round_, sender) == (3, corrupt) and data]:
        out = play(recorded(_mul), corrupt=corrupt, tamper=flip(3, to))
        judge(out, corrupt)
        (link,) = (link for link in rep4._PAIRS if (link.sender, link.receiver) == (corrupt, to))
        names = {me: suspects(error) for me, error in out.errors.items() if isinstance(error, RemoteError)}
        assert names[link.receiver] == {IDS[corrupt], IDS[link.witness]}
        assert names[link.witness] == {IDS[corrupt], IDS[link.receiver]}
        assert names[link.rest] == {IDS[party] for party in link}


def test_false_messages_to_two_name_the_sender_alone_to_who_is_in_both_disputes() -> None:
    # Party 0 sends to party 2, with witness 1, and to party 3, with witness 2: both disputes have 0 and 2 in common.
    out = play(recorded(_mul), corrupt=0, tamper=flip(3, 2, 3))
    judge(out, 0, at_most=2)
    assert suspects(out.errors[2]) == {IDS[0]}  # type: ignore[arg-type]


# ---- what a liar learns ----


def counting() -> Any:
    """The same bytes in every run."""
    count = 0

    def rng(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(count.to_bytes(8, "little")).digest(size)

    return rng


class OtherTagKeys(Rep4):
    """The keys of tags that party 1 lacks are others, alike at the two who have each."""

    async def setup(self, rng: Any) -> None:
        await super().setup(rng)
        for partner in {0, 2, 3} - {self.me} if self.me != 1 else ():
            self._tag_keys[partner] = bytearray(b"other key of thirty-one bytes! ") + bytes([self.me + partner])


@pytest.mark.parametrize("lies", [False, True])
def test_sums_of_tags_are_masked_by_keys_that_a_liar_lacks(lies: bool) -> None:
    # Party 1 alters a product; its victim's messages then depend on a secret, and so do its tags. Whatever the liar
    # adds up of the others' sums depends on keys that it lacks, but for all three if it was honest.
    async def program(mpc: Rep4, opened: list[Any]) -> None:
        x, y = await _two(mpc)
        product = await mpc.mul(x, y)
        opened.append(await mpc.open(await mpc.mul(product, y)))

    sums = []
    for backend in (Rep4, OtherTagKeys):
        out = play(program, corrupt=1, tamper=flip(3, 3) if lies else None, everywhere=backend, rng=counting())
        sums.append([int.from_bytes(out.frames[6, other, 1][:32], "little") for other in (0, 2, 3)])
    for chosen in itertools.chain.from_iterable(itertools.combinations(range(3), size) for size in (1, 2, 3)):
        one, other = (functools.reduce(operator.xor, (row[at] for at in chosen)) for row in sums)
        assert (one == other) == (len(chosen) == 3 and not lies)


def test_who_speaks_last_at_an_opening_may_keep_it_from_one_and_nothing_else() -> None:
    # No fairness: party 1 has its output, parties 2 and 3 have theirs, party 0 has none, and knows who is to blame.
    model = play(recorded(_mul))

    def withhold(round_: int, to: int, payload: bytearray, frames: Frames) -> None:
        if round_ == model.rounds - 1 and to == 0:
            assert (round_, 0, 1) in frames  # it has seen what it needs
            payload[:] = bytes(len(payload))

    out = play(recorded(_mul), corrupt=1, tamper=withhold)
    assert out.finished == {1, 2, 3}
    assert all((out.opened[me][0] == X * Y).all() for me in (1, 2, 3))
    assert not out.opened[0]
    assert suspects(out.errors[0]) == {IDS[1]}  # type: ignore[arg-type]


@pytest.mark.parametrize("tamper", [None, flip(3, 3), flip(6)], ids=["nothing", "product", "opening"])
def test_keys_are_zeroed_and_gone_when_a_party_has_ended_or_refused(tamper: Tamper | None) -> None:
    kept: list[Any] = []

    async def program(mpc: Rep4, opened: list[Any]) -> None:
        kept.extend([*(stream.seed for stream in mpc._streams.values()), *mpc._tag_keys.values()])
        assert all(any(bytes(key)) for key in kept)
        await _mul(mpc)

    out = play(program, corrupt=1, tamper=tamper)
    assert len(kept) == 24
    assert not any(any(bytes(key)) for key in kept)
    for mpc in out.backends.values():
        assert not mpc._streams
        assert not mpc._tag_keys
        assert not mpc._hashers


@pytest.mark.parametrize("again", [_mul, _input, _and, _to_one])
def test_who_goes_on_after_a_refusal_has_no_keys(again: Any) -> None:
    async def program(mpc: Rep4, opened: list[Any]) -> None:
        x, _ = await _two(mpc)
        with contextlib.suppress(RemoteError):
            await mpc.open(x)
        opened.append(await again(mpc))

    honest = play(program)
    assert honest.finished == {0, 1, 2, 3}
    out = play(program, corrupt=1, tamper=flip(5, 0, 2, 3))
    errors = [out.errors[me] for me in (0, 2, 3)]
    assert any(isinstance(error, StateError) and "keys" in str(error) for error in errors)
    assert all(isinstance(error, (StateError, RemoteError)) for error in errors)


def test_naming_does_not_go_astray_where_checks_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rep4, "_LOG", 2)
    rng = random.Random(3)
    model = play(everything)
    for _ in range(25):
        corrupt = rng.randrange(4)
        places = [
            (r, to) for (r, sender, to), data in model.frames.items() if sender == corrupt and r < model.rounds - 1
        ]
        at = rng.choice(sorted(places))

        def tamper(round_: int, to: int, payload: bytearray, _: Frames, at: tuple[int, int] = at) -> None:
            if (round_, to) == at:
                alter(rng, payload, [])

        judge(play(everything, corrupt=corrupt, tamper=tamper), corrupt)


def test_a_check_that_starts_by_itself_stops_a_program_that_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rep4, "_LOG", 4)

    async def program(mpc: Rep4, opened: list[Any]) -> None:
        x, y = await _two(mpc)
        for _ in range(12):
            x = await mpc.mul(x, y)

    out = play(program, corrupt=1, tamper=flip(3, 3))
    judge(out, 1)
    assert not out.finished - {1}


def test_a_later_check_waits_for_an_earlier_one() -> None:
    # The second opening begins while the first one's check runs; it must not find less than the first.
    async def program(mpc: Rep4, opened: list[Any]) -> None:
        x, y = await _two(mpc)
        product = await mpc.mul(x, y)
        first = mpc.scheduler.spawn(mpc.open(product))
        other = await mpc.mul(y, y)
        second = mpc.scheduler.spawn(mpc.open(other))
        opened.append(await second)
        opened.append(await first)

    assert play(program).finished == {0, 1, 2, 3}
    for at in (3, 4):
        judge(play(program, corrupt=1, tamper=flip(at, 3, 2)), 1)


def test_messages_of_many_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two words a piece, three pieces a product: what is hashed while it is made is hashed alike on arrival.
    whole = [play(recorded(operation)).opened for operation in OPERATIONS]
    monkeypatch.setattr(rep4, "_BLOCK", 2)
    monkeypatch.setattr(rep4, "_PIECE", 16)
    for operation, opened in zip(OPERATIONS, whole, strict=True):
        out = play(recorded(operation))
        assert out.finished == {0, 1, 2, 3}
        for got, expected in zip(out.opened, opened, strict=True):
            assert (got[0] is None) == (expected[0] is None)
            assert got[0] is None or (got[0] == expected[0]).all()

    def last_bit(round_: int, to: int, payload: bytearray, _: Frames) -> None:
        if (round_, to) == (3, 3):
            payload[-1] ^= 0x80

    def exchanged(round_: int, to: int, payload: bytearray, _: Frames) -> None:
        if (round_, to) == (3, 3):
            payload[:16], payload[16:32] = payload[16:32], payload[:16]

    for tamper in (last_bit, exchanged):
        judge(play(recorded(_mul), corrupt=1, tamper=tamper), 1)
