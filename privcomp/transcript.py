"""Fiat-Shamir transcripts: what has been said so far, and challenges that depend on all of it.

A proof's soundness needs that a challenge is fixed by everything before it: the statement, its context and every
message. Whatever is not appended before a challenge can be changed after it. So prover and verifier append, under fixed
labels and in one order, first what the statement is about, then each message, and draw each challenge from the state.

Merlin v1.0 over STROBE-128: every message and challenge is framed by its label and length, so no two different
sequences of appends absorb the same bytes. Source: https://merlin.cool; Hamburg, "The STROBE protocol framework", 2017.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np

from privcomp import _core
from privcomp.algebra import Group, Points, Scalar, Scalars
from privcomp.errors import ParameterError
from privcomp.typing import U8Array, U32Array

__all__ = ["Script", "State", "Step", "Transcript"]

_LIMIT = (1 << 32) - 1


class State(Protocol):
    """What a transcript needs of its hash."""

    def append(self, label: bytes, message: bytes, /) -> None:
        """Absorb a framed message."""

    def challenge(self, label: bytes, length: int, /) -> bytes:
        """Bytes that depend on all that was absorbed, and are absorbed themselves."""

    def copy(self) -> State:
        """A state that goes on by itself."""


class Step(NamedTuple):
    """A message of `length` bytes under its label or, with `challenge`, a challenge of as many."""

    label: str
    length: int
    challenge: bool = False


@dataclass(frozen=True)
class Script:
    """Messages and challenges of known lengths in their order, for `Transcript.replay`.

    Args:
        steps: the steps.

    Raises:
        ParameterError: something that is no `Step`; a label is empty or not ASCII; a length is not in [0, 2^32).
    """

    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        given: Any = self.steps
        given = tuple(given) if isinstance(given, Iterable) else (given,)
        for step in given:
            if not isinstance(step, Step):
                raise ParameterError(f"{step!r} is no step; a script is made of Step(label, length, challenge)")
            _ascii(step.label)
        checked = [Step(s.label, _core.check_int("length", s.length, 0, _LIMIT), bool(s.challenge)) for s in given]
        object.__setattr__(self, "steps", tuple(checked))

    @cached_property
    def message_bytes(self) -> int:
        """Length of all messages."""
        return sum(step.length for step in self.steps if not step.challenge)

    @cached_property
    def challenge_bytes(self) -> int:
        """Length of all challenges."""
        return sum(step.length for step in self.steps if step.challenge)

    @cached_property
    def _packed(self) -> tuple[U8Array, U32Array]:
        """Labels one after another; for each step its label's length, its length, and whether it is a challenge."""
        labels = [_ascii(step.label) for step in self.steps]
        numbers = [(len(label), step.length, step.challenge) for label, step in zip(labels, self.steps, strict=True)]
        return np.frombuffer(b"".join(labels), np.uint8), np.array(numbers, np.uint32).reshape(-1, 3)


class Transcript:
    """A labelled transcript; what is appended, replayed and drawn changes it.

    Labels are str, ASCII, at least one character. Two transcripts agree as long as labels, messages and their order do.

    Args:
        label: names the protocol and its version: the same messages in another protocol give other challenges.

    >>> transcript = Transcript("test protocol")
    >>> transcript.append("some label", b"some data")
    >>> transcript.challenge_bytes("challenge", 32).hex()[:16]
    'd5a21972d0d5fe32'
    """

    __slots__ = ("_state",)

    def __init__(self, label: str) -> None:
        self._state: State = _core.MerlinState(_ascii(label))

    @classmethod
    def over(cls, state: State) -> Transcript:
        """A transcript over another hash than Merlin, for protocols whose bytes are fixed elsewhere.

        Args:
            state: it has absorbed already which protocol this is.
        """
        self = cls.__new__(cls)
        self._state = state
        return self

    def append(self, label: str, message: bytes) -> None:
        """Absorb bytes.

        Raises:
            BufferTypeError: message is not bytes.
            ParameterError: the label is empty or not ASCII.
        """
        self._state.append(_ascii(label), message)

    def append_each(self, label: str, messages: bytes, length: int) -> None:
        """Absorb messages of `length` bytes that stand one after another, number k under the label followed by k.

        How many there are is not absorbed: it has to follow from what was said before.

        Raises:
            BufferTypeError: messages is not bytes.
            ParameterError: the label is empty or not ASCII; length is not in [1, 2^32) or does not divide messages.
        """
        name, data = _ascii(label), _core.as_bytes("messages", messages)
        size = _core.check_int("length", length, 1, _LIMIT)
        if data.size % size:
            raise ParameterError(f"{data.size} bytes are no number of messages of {size} bytes each")
        if isinstance(self._state, _core.MerlinState):
            self._state.append_each(name, data, size)
            return
        for k, message in enumerate(data.reshape(-1, size)):
            self._state.append(b"%s%d" % (name, k), message.tobytes())

    def replay(self, script: Script, messages: bytes) -> bytes:
        """Absorb messages that stand one after another, and draw the challenges between them: a proof's verifier.

        Returns:
            script.challenge_bytes bytes, the challenges one after another.

        Raises:
            BufferTypeError: messages is not bytes.
            ParameterError: script is no `Script`; messages has another length than it says.
        """
        if not isinstance(script, Script):
            raise ParameterError(f"a {type(script).__name__} is no script")
        data = _core.as_bytes("messages", messages)
        if data.size != script.message_bytes:
            raise ParameterError(f"{data.size} bytes of messages; the script is about {script.message_bytes}")
        if isinstance(self._state, _core.MerlinState):
            return self._state.replay(*script._packed, data, script.challenge_bytes)
        found, at = [], 0
        for step in script.steps:
            if step.challenge:
                found.append(self.challenge_bytes(step.label, step.length))
            else:
                self.append(step.label, data[at : at + step.length].tobytes())
                at += step.length
        return b"".join(found)

    def append_int(self, label: str, value: int) -> None:
        """Absorb an integer in [-2^63, 2^63), as eight little-endian bytes."""
        value = operator.index(value)
        if not -(1 << 63) <= value < 1 << 63:
            raise ParameterError(f"{label} is {value}; a transcript takes integers of 64 bits")
        self.append(label, value.to_bytes(8, "little", signed=True))

    def append_points(self, label: str, points: Points) -> None:
        """Absorb the canonical encodings of one or more elements, as one message."""
        self.append(label, points.encode())

    def append_scalars(self, label: str, scalars: Scalars) -> None:
        """Absorb 32 bytes for each scalar, as one message."""
        self.append(label, scalars.to_bytes())

    def challenge_bytes(self, label: str, length: int) -> bytes:
        """Bytes that depend on everything so far."""
        return self._state.challenge(_ascii(label), length)

    def challenge_scalar(self, label: str, group: Group) -> Scalar:
        """A scalar within 2^-256 of uniform. It is 0 with probability 2^-252: who must not accept 0 has to check."""
        return group.scalars_from_wide(self.challenge_bytes(label, 64))[0]

    def challenge_scalars(self, label: str, group: Group, n: int) -> Scalars:
        """n scalars of one challenge."""
        return group.scalars_from_wide(self.challenge_bytes(label, 64 * n))

    def copy(self) -> Transcript:
        """A transcript with the same past that goes on by itself."""
        return Transcript.over(self._state.copy())


def _ascii(label: object) -> bytes:
    if not isinstance(label, str) or not label or not label.isascii():
        raise ParameterError(f"the label {label!r}; a label is a str of at least one ASCII character")
    return label.encode("ascii")
