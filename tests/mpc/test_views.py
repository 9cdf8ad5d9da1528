"""What one party receives says nothing: its bytes are uniform, whatever the inputs are."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from scipy import stats

from privcomp._core import Drbg
from privcomp.mpc import circuits, sorting
from privcomp.mpc.backend import ReplicatedBackend, Value
from tests.mpc.parties import REPLICATED, U64, run

ALPHA = 1e-6
N = 1 << 13

Operation = Callable[[ReplicatedBackend, Value, Value], Coroutine[Any, Any, Any]]


async def _compare(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    return await circuits.sign(backend, backend.sub(a, b), 64)


async def _bits(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    return await circuits.bits_of(backend, a, 16)


async def _truncate(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    # Both are small or 2^62 - 1; 40 bits travel packed in whole bytes, 16 in a stream of bits.
    await backend.truncate(a, 40)
    return await backend.truncate(a, 16)


async def _extend(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    return await backend.extend(a.map(lambda part: part & U64(0xFFFF)), 16)


async def _to_number(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    plane = await backend.input_bits(1, np.zeros((1, N // 64), U64) if backend.me == 1 else None, 1, N)
    return await backend.to_number(plane, 64)


async def _median(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    # All items alike: the marks are the same everywhere, and so is what they choose.
    return await sorting.sum_of_ranks(backend, a.map(lambda part: part.reshape(4, -1)), 18, [1, 2])


async def _weigh(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    planes = await backend.input_bits(1, np.zeros((4, N // 64), U64) if backend.me == 1 else None, 4, N)
    return await backend.weigh(planes, np.array([1, 2, 4, 8], U64))


async def _mul(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    return await backend.mul(a, b)


async def _matmul(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    x, y = a.map(lambda part: part.reshape(64, -1)), b.map(lambda part: part.reshape(-1, 64))
    return await backend.matmul(x, y)


async def _mul_truncated(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    return await backend.mul_truncated(a, b, 16)


async def _matmul_truncated(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    x, y = a.map(lambda part: part.reshape(64, -1)), b.map(lambda part: part.reshape(-1, 64))
    return await backend.matmul_truncated(x, y, 16, 1 << 40)


async def _gram_doubled(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    blocks = [value.map(lambda part: part.reshape(64, -1)) for value in (a, b)]
    return await backend.gram_doubled(blocks)


async def _input(backend: ReplicatedBackend, a: Value, b: Value) -> Any:
    """The two inputs below are all there is."""


OPERATIONS = [
    *(_input, _mul, _matmul, _compare, _bits, _truncate, _extend, _to_number, _median, _weigh),
    *(_mul_truncated, _matmul_truncated, _gram_doubled),
]


@pytest.mark.parametrize("protocol", REPLICATED)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__[1:])
@pytest.mark.parametrize("value", [0, 2**62 - 1])
def test_a_view_is_uniform(protocol: str, operation: Operation, value: int) -> None:
    """Chi-square over all bytes, and over the XOR of low bytes of neighbouring words; alpha = 1e-6 each.

    Constant inputs: whatever is not masked shows as a peak. Pinned randomness: the outcome is the same in every run.
    """
    received: dict[int, bytearray] = defaultdict(bytearray)

    def record(sender: int, receiver: int, number: int, payload: bytearray) -> None:
        # Round 0 are the keys, and their digests where there are any. Short messages are digests and paddings.
        if number > 0 and len(payload) >= 512:
            received[receiver] += payload

    async def program(backend: ReplicatedBackend) -> None:
        values = np.full(N, value, U64)
        a = await backend.input(0, values if backend.me == 0 else None, values.shape)
        b = await backend.input(1, values if backend.me == 1 else None, values.shape)
        await operation(backend, a, b)

    seed = hashlib.sha256(f"{protocol} {operation.__name__} {value}".encode()).digest()
    run(protocol, program, rng=Drbg.insecure_deterministic(seed).random_bytes, tamper=record)
    # Of input alone, the owner's predecessor receives nothing from it.
    assert received
    for view in received.values():
        seen = np.frombuffer(bytes(view), np.uint8)
        assert seen.size >= 2048
        words = seen[: seen.size // 8 * 8].reshape(-1, 8)
        for sample in (seen, words[1:, 0] ^ words[:-1, 0]):
            expected = sample.size / 256
            statistic = float(((np.bincount(sample, minlength=256) - expected) ** 2 / expected).sum())
            assert statistic < stats.chi2.isf(ALPHA, 255)


@pytest.mark.parametrize(("mask", "receiver"), [("add_streams", 1), ("add_at", 1), ("add_at", 2)])
def test_an_unmasked_product_is_seen(mask: str, receiver: int) -> None:
    """The test above can fail: a resharing without its zero sharing fails it, and so does a product that is truncated
    without the masks of its summands."""
    from privcomp.mpc import rep3

    received: dict[int, bytearray] = defaultdict(bytearray)

    def record(sender: int, to: int, number: int, payload: bytearray) -> None:
        # Whom party 0 tells what is another matter.
        if mask == "add_streams" or sender:
            received[to] += payload

    async def program(backend: Any) -> None:
        values = np.full(N, 3, U64)
        public = backend.public(values)
        await (backend.mul(public, public) if mask == "add_streams" else backend.mul_truncated(public, public, 16))

    def no_masks(acc: Any, *streams: Any, **more: Any) -> None:
        """Draws nothing."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rep3, mask, no_masks)
        run("rep3", program, tamper=record)
    seen = np.frombuffer(bytes(received[receiver]), np.uint8)
    expected = seen.size / 256
    assert ((np.bincount(seen, minlength=256) - expected) ** 2 / expected).sum() > 10 * stats.chi2.isf(ALPHA, 255)
