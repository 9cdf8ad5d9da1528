"""The core's Fiat-Shamir transcript."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from privcomp._core._buffers import as_bytes, pointer
from privcomp._core._privcomp import ffi, lib
from privcomp.errors import ParameterError, StateError

_LIMIT = (1 << 32) - 1


def _bytes(name: str, data: object) -> Any:
    return pointer(as_bytes(name, data))


class MerlinState:
    """One transcript; `append` and `challenge` change it. See privcomp.transcript.Transcript."""

    __slots__ = ("_lock", "_state")

    def __init__(self, label: bytes) -> None:
        self._state, self._lock = ffi.new("privcomp_transcript *"), threading.Lock()
        data = _bytes("label", label)
        _check(lib.privcomp_transcript_init(self._state, data, len(data)))

    def append(self, label: bytes, message: bytes | bytearray | memoryview) -> None:
        name, data = _bytes("label", label), _bytes("message", message)
        with self._alone():
            _check(lib.privcomp_transcript_append(self._state, name, len(name), data, len(data)))

    def challenge(self, label: bytes, length: int) -> bytes:
        if not 0 <= length <= _LIMIT:
            raise ParameterError(f"a challenge of {length} bytes; allowed is [0, {_LIMIT}]")
        name, out = _bytes("label", label), ffi.new("uint8_t[]", length)
        with self._alone():
            _check(lib.privcomp_transcript_challenge(self._state, out, length, name, len(name)))
        found = bytes(ffi.buffer(out))
        lib.privcomp_wipe(out, length)
        return found

    def copy(self) -> MerlinState:
        other = MerlinState.__new__(MerlinState)
        with self._alone():
            other._state, other._lock = ffi.new("privcomp_transcript *", self._state[0]), threading.Lock()
        return other

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two threads in one transcript would each see half of what the other says."""
        if not self._lock.acquire(blocking=False):
            raise StateError("two threads use one transcript; give each of them a copy")
        try:
            yield
        finally:
            self._lock.release()

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is not None:  # a prover's copy has absorbed the witness
            lib.privcomp_wipe(ffi.cast("uint8_t *", state), ffi.sizeof("privcomp_transcript"))


def _check(status: int) -> None:
    if status != lib.PRIVCOMP_OK:
        raise ParameterError(f"a label or message of 2^32 bytes or more (code {status})")
