"""Open uploads at the server: their blocks, in memory or in a temporary file, until the survivors are fixed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO

from privcomp.errors import LocalError, StateError
from privcomp.oneshot.messages import UploadEnd

__all__ = ["Staging", "Upload"]


@dataclass
class Upload:
    """One client's upload.

    Attributes:
        hashes: block -> SHA-256 of its payload.
        end: the signed last message, once it came.
        complete: whether all blocks are those that it signs.
    """

    hashes: dict[int, bytes] = field(default_factory=dict)
    end: UploadEnd | None = None
    complete: bool = False
    _payloads: dict[int, bytes] = field(default_factory=dict)
    _spilled: dict[int, tuple[int, int]] = field(default_factory=dict)  # block -> (place in the file, bytes)


class Staging:
    """Keeps the blocks of many uploads: `budget` bytes in memory, the rest in one temporary file.

    A ciphertext cannot be added when it arrives: which clients are in U is known only when the members have checked
    their shares, and long afterwards the client is gone.
    """

    def __init__(self, budget: int) -> None:
        self._left = budget
        self._file: IO[bytes] | None = None
        self._end = 0
        self._free: dict[int, list[int]] = {}  # size of a slot -> places in the file that may be written again

    def put(self, upload: Upload, index: int, payload: bytes, hashed: bytes) -> None:
        """Stage a block with its SHA-256, in the place of the one that came before.

        Raises:
            LocalError: it cannot be written to disk.
        """
        self._drop(upload, index)
        if self._left >= len(payload):
            self._left -= len(payload)
            upload._payloads[index] = payload
        else:
            upload._spilled[index] = (self._write(payload), len(payload))
        upload.hashes[index] = hashed

    def blocks(self, upload: Upload) -> Iterator[bytes]:
        """All blocks in order.

        Raises:
            LocalError: a block cannot be read back, or was changed on disk.
        """
        for index in sorted(upload.hashes):
            payload = upload._payloads.get(index)
            if payload is None:
                payload = self._read(*upload._spilled[index])
                if sha256(payload).digest() != upload.hashes[index]:
                    raise LocalError("a staged upload was changed on disk; nothing was proposed")
            yield payload

    def clear(self, upload: Upload) -> None:
        """Let go of an upload's blocks."""
        for index in list(upload.hashes):
            self._drop(upload, index)
        upload.hashes.clear()

    def close(self) -> None:
        """Let go of the temporary file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _drop(self, upload: Upload, index: int) -> None:
        self._left += len(upload._payloads.pop(index, b""))
        place, size = upload._spilled.pop(index, (0, 0))
        if size:
            self._free.setdefault(size, []).append(place)

    def _write(self, payload: bytes) -> int:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="privcomp-")  # noqa: SIM115 (closed by close())
            free = self._free.get(len(payload))
            place = free.pop() if free else self._end
            self._file.seek(place)
            self._file.write(payload)
            self._file.flush()  # a full disk shows here, with the block that it concerns
        except OSError as error:
            raise LocalError(
                f"an upload cannot be staged on disk ({error}); free space or raise memory_budget"
            ) from None
        self._end = max(self._end, place + len(payload))
        return place

    def _read(self, place: int, size: int) -> bytes:
        if self._file is None:
            raise StateError("a block of an upload is neither in memory nor on disk")
        try:
            self._file.seek(place, os.SEEK_SET)
            return self._file.read(size)
        except OSError as error:
            raise LocalError(f"a staged upload cannot be read back ({error}); nothing was proposed") from None
