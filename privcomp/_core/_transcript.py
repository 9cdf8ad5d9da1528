"""The core's Fiat-Shamir transcript."""

from __future__ import annotations

import threading
from typing import Any

from privcomp._core._buffers import as_bytes, pointer
from privcomp._core._privcomp import ffi, lib
from privcomp.errors import ParameterError, StateError
from privcomp.typing import U8Array, U32Array

_LIMIT = (1 << 32) - 1


def _bytes(name: str, data: object) -> Any:
    return pointer(as_bytes(name, data))


class MerlinState:
    """One transcript; `append` and `challenge` change it. See privcomp.transcript.Transcript."""

    __slots__ = ("_lock", "_state")

    def __init__(self, label: bytes) -> None:
        self._state, self._lock = ffi.new("privcomp_transcript *"), threading.Lock()
        _check(lib.privcomp_transcript_init(self._state, label, len(label)))

    def append(self, label: bytes, message: bytes | bytearray | memoryview) -> None:
        # A proof appends hundreds of times: cffi takes bytes as they are, the rest goes through a view.
        data = message if type(message) is bytes else _bytes("message", message)
        if not self._lock.acquire(blocking=False):
            raise _two_threads()
        try:
            status = lib.privcomp_transcript_append(self._state, label, len(label), data, len(data))
        finally:
            self._lock.release()
        if status:
            _check(status)

    def append_each(self, label: bytes, messages: U8Array, length: int) -> None:
        """The lengths are those that Transcript.append_each has checked."""
        count = messages.size // length
        self._enter()
        try:
            _check(
                lib.privcomp_transcript_append_each(self._state, label, len(label), pointer(messages), length, count)
            )
        finally:
            self._lock.release()

    def challenge(self, label: bytes, length: int) -> bytes:
        if not 0 <= length <= _LIMIT:
            raise ParameterError(f"a challenge of {length} bytes; allowed is [0, {_LIMIT}]")
        out = ffi.new("uint8_t[]", length)
        self._enter()
        try:
            _check(lib.privcomp_transcript_challenge(self._state, out, length, label, len(label)))
        finally:
            self._lock.release()
        return _taken(out, length)

    def replay(self, labels: U8Array, steps: U32Array, messages: U8Array, length: int) -> bytes:
        """`length` bytes of challenges. labels and steps: those of a privcomp.transcript.Script, u32 (n, 3)."""
        out = ffi.new("uint8_t[]", length)
        self._enter()
        try:
            status = lib.privcomp_transcript_replay(
                self._state, out, length, pointer(messages), messages.size, pointer(labels), labels.size,
                pointer(steps), steps.size // 3,
            )  # fmt: skip
        finally:
            self._lock.release()
        if status:
            raise ParameterError("steps that say other lengths than messages and challenges have")
        return _taken(out, length)

    def copy(self) -> MerlinState:
        other = MerlinState.__new__(MerlinState)
        self._enter()
        try:
            other._state, other._lock = ffi.new("privcomp_transcript *", self._state[0]), threading.Lock()
        finally:
            self._lock.release()
        return other

    def _enter(self) -> None:
        """Two threads in one transcript would each see half of what the other says."""
        if not self._lock.acquire(blocking=False):
            raise _two_threads()

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is not None:  # a prover's copy has absorbed the witness
            lib.privcomp_wipe(ffi.cast("uint8_t *", state), ffi.sizeof("privcomp_transcript"))


def _taken(out: Any, length: int) -> bytes:
    found = bytes(ffi.buffer(out))
    lib.privcomp_wipe(out, length)
    return found


def _two_threads() -> StateError:
    return StateError("two threads use one transcript; give each of them a copy")


def _check(status: int) -> None:
    if status != lib.PRIVCOMP_OK:
        raise ParameterError(f"a label or message of 2^32 bytes or more (code {status})")
