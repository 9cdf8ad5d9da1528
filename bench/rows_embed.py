"""What a round costs as it grows: vector work, keys and sets apart, and what the server holds.

Every client and the server run one after another in one process. Seconds of the parts are CPU seconds of the process,
so that what else the machine does counts less.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from bench.drive import Round, ids_of, plain_sum
from bench.harness import Case, Peer, Row, Target, expect
from bench.peers import versioned
from privcomp.encoding import FixedPoint
from privcomp.secagg import SECAGGPLUS, SEMI_HONEST, Params, Segment, Server, context, graph, rules
from privcomp.secagg import client as client_module
from privcomp.secagg.leaves import pack_leaves
from privcomp.secagg.messages import KeyList

__all__ = ["EMBED_ROWS"]

SEED = 20240602
VECTORS = 64  # distinct ones; client i adds the one with number i mod 64


class Meter:
    """CPU seconds of clients inside named functions, each counted once however they call one another."""

    #: Work that grows with d: masks, packing, hashes of the blocks.
    VECTOR = ((client_module, "masked_blocks"), (client_module, "block_leaf"))
    #: Work that grows with n: decoding and hashing the key list, its order, the sets U2 and U.
    SETS = (
        (KeyList, "from_bytes"),
        (client_module, "sha256"),
        (context, "Leaves"),
        (context, "key_list_hash"),
        (context.Directory, "members"),
        (context.Directory, "neighbours"),
        (context.Directory, "u2_digest"),
        (context.Directory, "u_digest"),
        (rules.Rules, "survivors"),
    )

    def __init__(self) -> None:
        self.seconds = {"vector": 0.0, "sets": 0.0}
        self._stack: list[str] = []
        self._since = 0.0
        self._client = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        receive = client_module.Client.receive

        def received(*arguments: Any, **options: Any) -> Any:
            self._client = True  # the server calls some of the functions, too
            try:
                return receive(*arguments, **options)
            finally:
                self._client = False

        with ExitStack() as stack:
            stack.enter_context(patch.object(client_module.Client, "receive", received))
            for kind, places in (("vector", self.VECTOR), ("sets", self.SETS)):
                for owner, name in places:
                    stack.enter_context(patch.object(owner, name, self._timed(kind, getattr(owner, name))))
            yield

    def _enter(self, kind: str) -> None:
        now = time.process_time()
        if self._stack:
            self.seconds[self._stack[-1]] += now - self._since
        self._stack.append(kind)
        self._since = now

    def _leave(self) -> None:
        now = time.process_time()
        self.seconds[self._stack.pop()] += now - self._since
        self._since = now

    def _timed(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if not self._client:
                return function(*arguments, **options)
            self._enter(kind)
            try:
                result = function(*arguments, **options)
            finally:
                self._leave()
            return self._steps(kind, result) if isinstance(result, Iterator) else result

        return call

    def _steps(self, kind: str, steps: Iterator[Any]) -> Iterator[Any]:
        while True:
            self._enter(kind)
            try:
                step = next(steps, None)
            finally:
                self._leave()
            if step is None:
                return
            yield step


def _inputs(n: int, d: int) -> tuple[Params, dict[bytes, NDArray[np.uint32]], frozenset[bytes]]:
    """Parameters, vectors (few distinct arrays), and the 5 % that vanish after stage 1."""
    ids, encoding = ids_of(n), FixedPoint(16, 2.0**-12, "exact", 1, n, d)
    rng = np.random.default_rng(SEED)
    distinct = [rng.integers(0, 1 << 16, encoding.length, dtype=np.uint32) for _ in range(min(n, VECTORS))]
    vectors = {party: distinct[i % len(distinct)] for i, party in enumerate(ids)}
    params = Params(SECAGGPLUS, SEMI_HONEST, (Segment.ring(encoding.modulus_bits, encoding.length),), 0, n)
    return params, vectors, frozenset(ids[::20][: n // 20])


def _scale(n: int, small: int) -> Callable[[bool, bool], Case]:
    """A whole round with n clients."""

    def build(quick: bool, peers: bool) -> Case:
        count, d = (small, 1000) if quick else (n, 10**4)
        params, vectors, lost = _inputs(count, d)
        bits, thresholds = params.segments[0].bits, params.thresholds(count)
        survivors = [vector for party, vector in vectors.items() if party not in lost]
        executor = ThreadPoolExecutor(1)
        state: dict[str, Any] = {}

        def before() -> None:
            graph.order.cache_clear()
            state.update(round=Round(params, vectors, lost, executor, clock=time.process_time), meter=Meter())

        def ours() -> Any:
            with state["meter"].watching():
                return state["round"].run()

        def check(result: Any, peer_result: Any) -> None:
            expect(np.array_equal(result[0], peer_result), "the secure sum is not the plain sum")

        def report(result: Any, seconds: float) -> dict[str, Any]:
            done: Round = state["round"]
            client_s = sum(done.client_s.values()) / count
            parts = {kind: value / count for kind, value in state["meter"].seconds.items()}
            # The clients of one process share the order of the ring; each real one derives it.
            began = time.process_time()
            if not thresholds.complete:
                graph.order.__wrapped__(bytes(32), count)
            order_s = time.process_time() - began
            leaves = b"" if thresholds.complete else pack_leaves((party, bytes(32)) for party in vectors)
            alive = [party for party in vectors if party not in lost]
            upload = float(np.median([done.upload[party] for party in alive]))
            return {
                "bytes_up": int(np.median([done.up[party] for party in alive])),
                "bytes_down": int(np.median([done.down[party] for party in alive])),
                "rounds": 4,
                "client_s": client_s + order_s,
                "server_s": sum(done.server_s.values()),
                "params": {
                    "client_vector_s": parts["vector"],
                    "client_sets_s": parts["sets"] + order_s,
                    "client_keys_s": client_s - parts["vector"] - parts["sets"],
                    "vector_s_per_neighbour": parts["vector"] / thresholds.neighbours,
                    "bytes_vector": upload,
                    "bytes_list": float(len(leaves)),
                },
            }

        return Case(
            ours,
            Peer(versioned("numpy", "NumPy") + " plain sum", lambda: plain_sum(survivors, bits), repeats=9),
            check,
            {
                "n": count,
                "d": d,
                "bits": 16,
                "modulus_bits": bits,
                "neighbours": thresholds.neighbours,
                "threshold": thresholds.threshold,
                "dropouts": len(lost),
                "security_bits": 128,
                "seed": SEED,
            },
            before=before,
            report=report,
            repeats=1,
        )

    return build


def _recorded(n: int, d: int) -> tuple[Callable[[], Server], list[tuple[str, bytes, list[bytes]]]]:
    """A round, run once: how to make its server again, and all messages of the clients in their order."""
    params, vectors, lost = _inputs(n, d)
    done = Round(params, vectors, lost, ThreadPoolExecutor(1), record=True)
    done.run()
    return done.fresh_server, done.recorded


def server_memory(n: int, d: int) -> tuple[int, NDArray[np.uint32]]:
    """Peak bytes that the server of a round allocates, without anything of the clients, and its sum.

    The messages of a round that was run before are given to another server of the same round; what counts is what
    Python and NumPy allocate while that one lives, the message that it sends included.
    """
    fresh, recorded = _recorded(n, d)
    tracemalloc.start()
    try:
        server = fresh()
        stage, outbox = "advertise", None
        for at, party, messages in recorded:
            if at != stage:
                stage, outbox = at, server.advance()
            if outbox is not None:
                len(outbox[party])  # built, sent and let go
            for message in messages:
                server.receive(message, party)
        total = server.result().sums[0]
        return tracemalloc.get_traced_memory()[1], total
    finally:
        tracemalloc.stop()


def _server(quick: bool, peers: bool) -> Case:
    """What the server holds at most, for two lengths of the vector."""
    n, lengths = (48, (1000, 5000)) if quick else (1000, (10**4, 10**5))
    state: dict[int, tuple[int, NDArray[np.uint32]]] = {}

    def ours() -> Mapping[int, Any]:
        state.update({d: server_memory(n, d) for d in lengths})
        return state

    def peer() -> list[NDArray[np.uint32]]:
        sums = []
        for d in lengths:
            params, vectors, lost = _inputs(n, d)
            sums.append(plain_sum([v for p, v in vectors.items() if p not in lost], params.segments[0].bits))
        return sums

    def check(result: Any, peer_result: Any) -> None:
        same = all(np.array_equal(result[d][1], total) for d, total in zip(lengths, peer_result, strict=True))
        expect(same, "the secure sum is not the plain sum")

    def report(result: Any, seconds: float) -> dict[str, Any]:
        (short, few), (long, many) = ((d, result[d][0]) for d in lengths)
        slope = (many - few) / (long - short)
        k = _inputs(n, short)[0].thresholds(n).neighbours
        return {
            "peak_mb": many / 1e6,
            "params": {
                f"peak_mb_d{short}": few / 1e6,
                "bytes_per_entry": slope,
                "bytes_per_pair": (few - slope * short) / (n * k),
            },
        }

    name = versioned("numpy", "NumPy") + " plain sum"
    params = {"n": n, "d": lengths[-1], "bits": 16, "seed": SEED}
    return Case(ours, Peer(name, peer, repeats=1), check, params, report=report, repeats=1)


EMBED_ROWS = (
    *(
        Row(
            f"embed.scale.n{n}",
            f"whole secaggplus round, n = {n:,}, d = 1e4, 5 % lost | plain sum of the same vectors",
            _scale(n, small),
        )
        for n, small in ((10, 10), (100, 24), (1000, 36), (10_000, 48))
    ),
    Row(
        "embed.scale.server",
        "memory of the server's objects, n = 1000, d = 1e4 and 1e5 | plain sum of the same vectors",
        _server,
        (Target("params.bytes_per_entry", at_most=40.0),),
    ),
)
