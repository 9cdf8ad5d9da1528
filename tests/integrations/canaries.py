"""What one client must not be recognised by: its update, weight and metrics in every form that a careless transport, or
a careless adapter, would send them in."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp._core import pack
from privcomp.encoding import FixedPoint
from privcomp.rounds.task import Task

#: No pattern is shorter: 2^-64 for every place of a transcript, or nearly so.
SHORTEST = 7


@dataclass(frozen=True)
class Canary:
    """One client's secret values.

    Args:
        received, new: the model before and after its training.
        weight: seven digits or more.
        metrics: with many digits each.
    """

    received: dict[str, NDArray[Any]]
    new: dict[str, NDArray[Any]]
    weight: int
    metrics: dict[str, float]

    def raw(self) -> Iterator[tuple[str, bytes]]:
        """(form, bytes) of what is not encoded: windows of the arrays, and the numbers, binary and as text."""
        for name, array in self.new.items():
            change = array.astype(np.float64) - self.received[name].astype(np.float64)
            for what, values in (("array", array), ("change", change)):
                for dtype in ("<f4", ">f4", "<f8", ">f8", "<f2"):
                    yield from _windows(f"{what} {name} {dtype}", values.ravel().astype(dtype))
        for code in ("<q", ">q", "<d", ">d"):
            yield f"weight {code}", struct.pack(code, self.weight)
        yield "weight text", str(self.weight).encode()
        for name, value in self.metrics.items():
            for code in ("<d", ">d"):
                yield f"metric {name} {code}", struct.pack(code, value)
            yield f"metric {name} text", repr(value)[:10].encode()

    def encoded(self, task: Task, encoding: FixedPoint) -> Iterator[tuple[str, bytes]]:
        """(form, bytes) after the encoding, before any mask: quantised, weighted, reduced and packed.

        The changes must be multiples of the granularity, so that nothing is rounded at random.
        """
        values = task.values(self.received, self.new, self.metrics, encoding)[: -len(task.metrics)]
        quantised = np.round(values / encoding.granularity).astype(np.int64)
        assert np.array_equal(quantised * encoding.granularity, values)
        weighted = quantised * self.weight
        bits = encoding.modulus_bits
        for what, integers in (("quantised", quantised), ("weighted", weighted)):
            for dtype in ("<i2", "<i4", "<i8", ">i4", ">i8"):
                if np.abs(integers).max() < 1 << (8 * np.dtype(dtype).itemsize - 1):
                    yield from _windows(f"{what} {dtype}", integers.astype(dtype))
            reduced = integers.astype(np.uint64) & np.uint64((1 << bits) - 1)
            yield from _windows(f"{what} mod 2^{bits}", reduced.astype("<u8"))
            for start in range(0, len(reduced) - 64, 192):
                yield f"{what}, packed to {bits} bits, from {start}", pack(reduced[start : start + 64], bits)[:24]
        narrow = (quantised & ((1 << encoding.bits) - 1)).astype(np.uint32)
        yield f"quantised, packed to {encoding.bits} bits", pack(narrow[:64], encoding.bits)[:24]

    def plain(self) -> bytes:
        """The update as a system without privcomp sends it."""
        numbers = {"num_examples": self.weight, "metrics": self.metrics}
        return json.dumps(numbers).encode() + b"".join(array.tobytes() for array in self.new.values())


def _windows(form: str, values: NDArray[Any]) -> Iterator[tuple[str, bytes]]:
    """A few stretches of 16 bytes and more; a receiver finds any of them."""
    for start in range(0, len(values) - 16, max(16, len(values) // 5)):
        yield f"{form} from {start}", values[start : start + 16].tobytes()


def found(transcript: bytes, patterns: Iterator[tuple[str, bytes]]) -> list[str]:
    """The forms that occur in a transcript."""
    out = []
    for form, pattern in patterns:
        assert len(pattern) >= SHORTEST, form
        assert len(set(pattern)) > 2, f"{form} would be found anywhere"
        if pattern in transcript:
            out.append(form)
    return out
