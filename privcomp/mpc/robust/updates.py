"""Extended updates: what the rules on sums, norms and distances compute on.

The shares of n clients with d entries come in Z_{2^b}; here they are numbers modulo 2^64, in blocks of columns, so that
no temporary array is larger than a block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from privcomp.errors import ParameterError
from privcomp.mpc.backend import ReplicatedBackend, Value
from privcomp.mpc.clients import ClientShares, spend
from privcomp.typing import I64Array, U64Array

__all__ = ["ShareSource", "Updates", "column_blocks", "join"]

BLOCK: Final = 1 << 21
"""Entries (clients times columns) of a block."""

_TASKS: Final = 1 << 14
"""Products in one round: each takes some kilobytes beside its operands."""


class ShareSource(Protocol):
    """Shares of n updates in Z_{2^width}: what `ClientShares` is."""

    @property
    def clients(self) -> int:
        """n."""

    @property
    def entries(self) -> int:
        """d."""

    @property
    def width(self) -> int:
        """b."""

    def block(self, start: int, stop: int) -> Value:
        """Columns start .. stop - 1, (clients, stop - start)."""


def column_blocks(clients: int, entries: int, block: int = BLOCK) -> list[tuple[int, int]]:
    """Ranges of columns, a multiple of 64 each but the last one, of about `block` numbers."""
    step = max(64, block // max(clients, 1) // 64 * 64)
    return [(start, min(start + step, entries)) for start in range(0, entries, step)]


def join(values: list[Value]) -> Value:
    """One-dimensional values behind each other."""
    return Value(tuple(np.concatenate(parts) for parts in zip(*(value.parts for value in values), strict=True)))


def row_sum(backend: ReplicatedBackend, values: list[Value]) -> Value:
    """The sum of values of one shape."""
    total = values[0]
    for value in values[1:]:
        total = backend.add(total, value)
    return total


def _row_and_column(block: Value, row: int) -> tuple[Value, Value]:
    """One update as (1, d) and as (d, 1)."""
    one = block.map(lambda p: p[row : row + 1])
    return one, one.map(lambda p: p.T)


@dataclass(frozen=True, repr=False, eq=False)
class Updates:
    """This party's shares modulo 2^64 of n updates with d entries of b bits.

    Attributes:
        blocks: of columns, (clients, ...) each.
        clients: n.
        entries: d.
        width: b: every entry lies in [-2^(b-1), 2^(b-1)).
        terms: what the clients signed that is computed and opened (`robust.terms`): nothing else is, for two rules on
            the same updates can open what neither of them does, such as two sums that differ by one client. For the
            same reason they are good for one rule, and for scores once. None: updates that no clients shared by
            `agree`; they may be used as often as one likes.
    """

    blocks: tuple[Value, ...]
    clients: int
    entries: int
    width: int
    terms: bytes | None = None
    _spent: set[str] = field(default_factory=set, init=False)

    def spend(self, what: str) -> None:
        """Note that they are used for a rule's result, or for scores.

        Raises:
            StateError: they were before, and clients signed what they are used for.
        """
        if self.terms is not None:
            spend(self._spent, what)

    def __post_init__(self) -> None:
        if any(block.shape[0] != self.clients for block in self.blocks):
            raise ParameterError(f"a block does not have {self.clients} rows")
        if sum(block.shape[1] for block in self.blocks) != self.entries:
            raise ParameterError(f"the blocks do not have {self.entries} columns together")

    def __repr__(self) -> str:
        return f"Updates(clients={self.clients}, entries={self.entries}, width={self.width})"

    @classmethod
    async def extend(cls, backend: ReplicatedBackend, shares: ShareSource, *, block: int = BLOCK) -> Updates:
        """From Z_{2^b} to Z_{2^64}, block by block.

        Raises:
            ParameterError: shares of clients that belong to another server, or to other servers.
            StateError: shares of clients that have been used.
        """
        shares = shares.take(backend) if isinstance(shares, ClientShares) else shares
        blocks = []
        for start, stop in column_blocks(shares.clients, shares.entries, block):
            blocks.append(await backend.extend(shares.block(start, stop), shares.width))
        terms = shares.collection.terms if isinstance(shares, ClientShares) else None
        return cls(tuple(blocks), shares.clients, shares.entries, shares.width, terms)

    async def gram(self, backend: ReplicatedBackend) -> Value:
        """X X^T, (n, n): right as long as d 2^(2b-2) < 2^63."""
        tasks = [backend.scheduler.spawn(backend.gram(block)) for block in self.blocks]
        return row_sum(backend, [await task for task in tasks])

    async def gram_doubled(self, backend: ReplicatedBackend) -> Value:
        """2 X X^T, (n, n): right as long as d 2^(2b-2) < 2^62, and modulo 2^64 in any case."""
        return await backend.gram_doubled(self.blocks)

    async def square_norms(self, backend: ReplicatedBackend) -> Value:
        """|x_i|^2, (n,): right as long as d 2^(2b-2) < 2^63."""
        sums: list[Value | None] = [None] * self.clients
        products = [(block, i) for block in self.blocks for i in range(self.clients)]
        for start in range(0, len(products), _TASKS):
            group = products[start : start + _TASKS]
            tasks = [backend.scheduler.spawn(backend.matmul(*_row_and_column(*one))) for one in group]
            for (_, i), task in zip(group, tasks, strict=True):
                before, one = sums[i], await task
                sums[i] = one if before is None else backend.add(before, one)
        return join([one.map(lambda p: p.reshape(1)) for one in sums if one is not None])

    def dots_public(self, backend: ReplicatedBackend, vector: I64Array) -> Value:
        """<x_i, v> with a public v, (n,)."""
        parts, start = [], 0
        for block in self.blocks:
            stop = start + block.shape[1]
            column = np.ascontiguousarray(vector[start:stop, None]).astype(np.uint64)
            parts.append(backend.matmul_public(block, column))
            start = stop
        return row_sum(backend, parts).map(lambda p: p.reshape(-1))

    async def weighted_sums(self, backend: ReplicatedBackend, weights: Value) -> list[Value]:
        """Per block sum_i w_i x_i, one-dimensional, for shared weights (n,)."""
        row = weights.map(lambda p: p.reshape(1, -1))
        tasks = [backend.scheduler.spawn(backend.matmul(row, block)) for block in self.blocks]
        return [(await task).map(lambda p: p.reshape(-1)) for task in tasks]

    def sums(self) -> list[Value]:
        """Per block sum_i x_i, one-dimensional."""
        return [block.map(lambda p: p.sum(axis=0, dtype=np.uint64)) for block in self.blocks]


async def open_blocks(backend: ReplicatedBackend, blocks: list[Value]) -> I64Array:
    """Open one-dimensional blocks of signed numbers, all in one round."""
    tasks = [backend.scheduler.spawn(backend.open(block)) for block in blocks]
    opened: list[U64Array] = []
    for task in tasks:
        values = await task
        if values is not None:
            opened.append(values)
    return np.concatenate(opened).view(np.int64)
