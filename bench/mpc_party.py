"""One party of the rows `mpc.*`: `python -m bench.mpc_party`, started by `bench.rows_mpc`.

Parties connect once. Each repetition stands between two barriers; the seconds between them, the second barrier
included, are what counts. The result of the last one is opened and compared with plain integers.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import expect
from privcomp import _core
from privcomp.integrations import PartyHome
from privcomp.integrations.mpc import Computation, Seat, connect, connect_insecure_tcp, keep_memory
from privcomp.mpc import Mpc, circuits
from privcomp.mpc.backend import ReplicatedBackend, Value
from privcomp.mpc.engine import Exchange
from privcomp.mpc.robust import MultiKrum, Release
from privcomp.mpc.robust.updates import Updates, column_blocks

__all__ = ["OPERATIONS", "party"]

SEED = 20240603
FRACTION = 16

Work = Callable[[], Awaitable[Any]]
Check = Callable[[Any], Awaitable[None]]


async def _shared(mpc: ReplicatedBackend, owner: int, values: np.ndarray) -> Value:
    words = np.ascontiguousarray(values.astype(np.int64)).view(np.uint64)
    return await mpc.input(owner, words if mpc.me == owner else None, words.shape)


def _equal(opened: np.ndarray | None, expected: np.ndarray, slack: int = 0) -> None:
    found = opened.view(np.int64) if opened is not None else np.empty(0)
    expect(found.shape == expected.shape and (abs(found - expected) <= slack).all(), "opened and plain result differ")


async def mul(mpc: ReplicatedBackend, size: int) -> tuple[Work, Check]:
    draw = np.random.default_rng(SEED)
    x, y = (draw.integers(-(2**31), 2**31, size) for _ in range(2))
    a, b = await _shared(mpc, 0, x), await _shared(mpc, 1, y)

    async def check(product: Value) -> None:
        _equal(await mpc.open(product), x * y)

    return lambda: mpc.mul(a, b), check


async def compare(mpc: ReplicatedBackend, size: int) -> tuple[Work, Check]:
    """x < y for any signed 63-bit numbers; the bit stays Boolean."""
    draw = np.random.default_rng(SEED)
    x, y = (draw.integers(-(2**62), 2**62, size) for _ in range(2))
    a, b = await _shared(mpc, 0, x), await _shared(mpc, 1, y)

    async def check(bits: Any) -> None:
        opened = await mpc.open_bits(bits)
        _equal(None if opened is None else _core.from_planes(opened, size), (x < y).astype(np.int64))

    return lambda: circuits.sign(mpc, mpc.sub(a, b), 64), check


async def matmul(mpc: ReplicatedBackend, size: int) -> tuple[Work, Check]:
    """Fixed point with 16 bits of fraction, entries below 16, truncated."""
    draw = np.random.default_rng(SEED)
    x, y = (draw.integers(-(2**20), 2**20, (size, size)) for _ in range(2))
    a, b = await _shared(mpc, 0, x), await _shared(mpc, 1, y)

    async def work() -> Value:
        return await mpc.matmul_truncated(a, b, FRACTION, size << 40)

    async def check(product: Value) -> None:
        _equal(await mpc.open(product), (x @ y) >> FRACTION, 1)

    return work, check


async def median(mpc: ReplicatedBackend, size: int) -> tuple[Work, Check]:
    """Of ten numbers of 16 bits each, for `size` coordinates."""
    draw = np.random.default_rng(SEED)
    x = draw.integers(-(2**15), 2**15, (10, size))
    tensors = Mpc(mpc)
    shared = await _shared(mpc, 0, x)

    async def work() -> Value:
        return await tensors.wrap(shared, bound=2**15).median(0).value()

    async def check(middle: Value) -> None:
        ordered = np.sort(x, axis=0)
        _equal(await mpc.open(middle), ordered[4] + ordered[5])  # one more bit of fraction

    return work, check


async def gram(mpc: ReplicatedBackend, size: int) -> tuple[Work, Check]:
    draw = np.random.default_rng(SEED)
    x = draw.integers(-(2**15), 2**15, (20, size))
    shared = await _shared(mpc, 0, x)

    async def check(products: Value) -> None:
        _equal(await mpc.open(products), x @ x.T)

    return lambda: mpc.gram(shared), check


async def extend(mpc: ReplicatedBackend, size: int) -> tuple[Work, Check]:
    """From 16 bits, as clients share them."""
    draw = np.random.default_rng(SEED)
    x = draw.integers(-(2**15), 2**15, size)
    mask = np.uint64(2**16 - 1)
    shared = (await _shared(mpc, 0, x)).map(lambda part: part & mask)

    async def check(extended: Value) -> None:
        _equal(await mpc.open(extended), x)

    return lambda: mpc.extend(shared, 16), check


def _words(seed: int, start: int, shape: tuple[int, int]) -> np.ndarray:
    """The same words at every party: shares of this size are not dealt for a measurement."""
    out = np.zeros(shape[0] * shape[1], np.uint64)
    seeds = np.full((1, _core.SEED_BYTES[_core.AES128_CTR]), seed, np.uint8)
    _core.mask_add(out, seeds, np.zeros(1, np.bool_), offset=start, cipher=_core.AES128_CTR)
    return out.reshape(shape)


async def krum(mpc: ReplicatedBackend, size: int) -> tuple[Work, Check]:
    """Multi-Krum among 100 clients, 10 of whom may be poisoners, from extended shares to the opened sum of 90."""
    clients, poisoners, width = 100, 10, 16
    blocks, plain = [], []
    for start, stop in column_blocks(clients, size):
        shape = clients, stop - start
        x = (_words(2, clients * start, shape) >> np.uint64(64 - width)) - np.uint64(1 << (width - 1))
        # Client i stretches its update by 1 + i / 64: scores differ, so that the choice is not a tie.
        x = (x.view(np.int64) * (64 + np.arange(clients))[:, None] >> 8).view(np.uint64)
        held = {0: _words(0, clients * start, shape), 1: _words(1, clients * start, shape)}
        held[2] = x - held[0] - held[1]
        blocks.append(Value((held[mpc.me], held[(mpc.me + 1) % 3])))
        plain.append(x.view(np.int64).astype(np.int16) if mpc.me == 0 else None)
    updates = Updates(tuple(blocks), clients, size, width)
    rule = MultiKrum(poisoners)

    async def check(outcome: Any) -> None:
        if mpc.me != 0:
            return
        gram = np.zeros((clients, clients))
        for block in plain:
            exact = block.astype(np.float64)  # |x| < 2^15, d <= 2^20: sums of products stay below 2^53
            gram += exact @ exact.T
        norms = np.diagonal(gram)
        distances = np.sort(norms[:, None] + norms[None, :] - 2 * gram, axis=1)[:, 1 : clients - poisoners - 1]
        chosen = np.argsort(distances.sum(axis=1), kind="stable")[: clients - poisoners]
        expected = np.concatenate([block[chosen].sum(axis=0, dtype=np.int64) for block in plain])
        _equal(outcome.total.view(np.uint64), expected)

    return lambda: rule.run(mpc, updates, Release()), check


async def rounds(mpc: ReplicatedBackend, size: int) -> tuple[Work, Check]:
    """A hundred rounds with eight bytes each: what a round costs by itself."""
    data = np.zeros(1, np.uint64)

    async def work() -> None:
        for _ in range(size):
            await Exchange("round", {(mpc.me + 1) % mpc.n: data}, {(mpc.me - 1) % mpc.n: 8})

    async def check(_: None) -> None:
        return None

    return work, check


OPERATIONS: dict[str, Callable[[ReplicatedBackend, int], Awaitable[tuple[Work, Check]]]] = {
    "mul": mul,
    "compare": compare,
    "matmul": matmul,
    "median": median,
    "gram": gram,
    "extend": extend,
    "krum": krum,
    "rounds": rounds,
}


async def _barrier(mpc: ReplicatedBackend) -> None:
    others = [peer for peer in range(mpc.n) if peer != mpc.me]
    await Exchange("barrier", dict.fromkeys(others, b"barrier."), dict.fromkeys(others, 8))


def _program(operation: str, size: int, repeats: int, found: dict[str, Any]) -> Callable[[Any], Awaitable[None]]:
    async def program(mpc: ReplicatedBackend) -> None:
        work, check = await OPERATIONS[operation](mpc, size)
        cost, seconds, busy = mpc.scheduler.cost, [], []
        result: Any = None
        for _ in range(repeats + 1):  # the first one warms up
            result = None
            await _barrier(mpc)
            before, began, used = (cost.rounds, cost.bytes), time.perf_counter(), time.process_time()
            result = await work()
            after = cost.rounds, cost.bytes
            await _barrier(mpc)
            seconds.append(time.perf_counter() - began)
            busy.append(time.process_time() - used)
        found["rounds"], found["bytes"] = (b - a for a, b in zip(before, after, strict=True))
        found["seconds"], found["cpu"] = seconds[1:], busy[1:]
        await check(result)

    return program


async def party(given: dict[str, Any], listener: socket.socket) -> dict[str, Any]:
    """One party from its connections to its figures; see `bench.rows_mpc` for what is given."""
    certificates = [Path(path).read_bytes() for path in given["certificates"]]
    seats = tuple(
        Seat(b"party-%d" % i, "127.0.0.1", port, certificate)
        for i, (port, certificate) in enumerate(zip(given["ports"], certificates, strict=True))
    )
    computation = Computation(given["protocol"], seats, b"bench", deadline=120.0, wait=60.0)
    context = (
        connect(computation, PartyHome.open(given["folder"]), listener=listener)
        if given["tls"]
        else connect_insecure_tcp(computation, given["me"], listener=listener)
    )
    found: dict[str, Any] = {}
    async with context as connection:
        await connection.run(_program(given["operation"], given["size"], given["repeats"], found))
    return found


if __name__ == "__main__":
    keep_memory()
    wanted = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(party(wanted, socket.socket(fileno=wanted["listener"])))))
