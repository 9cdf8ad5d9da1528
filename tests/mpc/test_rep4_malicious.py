"""One of four parties lies: whatever it alters, nobody opens anything wrong, and nobody honest is named.

Every check has a mutant: without it, a tampering passes that is caught with it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from privcomp import _core
from privcomp.errors import RemoteError
from privcomp.mpc import circuits
from privcomp.mpc.backend import Bits, Value
from privcomp.mpc.rep4 import Link, Rep4
from privcomp.mpc.streams import Stream
from privcomp.typing import U64Array
from tests.mpc.four import IDS, Frames, Outcome, Program, play

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


async def _to_one(mpc: Rep4) -> Any:
    x, y = await _two(mpc)
    return await mpc.open(await mpc.mul(x, mpc.sub(x, y)), 1)


async def _bits_to_one(mpc: Rep4) -> Any:
    bits = await _bits(mpc)
    return await mpc.open_bits(await mpc.bit_and(bits, bits), 2)


OPERATIONS = (
    _input, _mul, _matmul, _gram, _and, _sign, _to_number, _truncate, _extend, _to_one, _bits_to_one,
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
    tamperings(400, 1)


@pytest.mark.assurance
def test_ten_thousand_random_tamperings_are_caught() -> None:
    tamperings(10_000, 2)


@pytest.mark.parametrize("corrupt", range(4))
def test_every_single_message_of_a_party_counts(corrupt: int) -> None:
    program = recorded(_extend)
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
        *(type(f"WrongMessages{at}", (WrongMessages,), {"at": at}) for at in (*range(0, 27, 4), 26)),
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
    assert play(everything).backends[0]._step == 27 + 3


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
