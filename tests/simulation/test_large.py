"""One full round with a thousand clients."""

from __future__ import annotations

import resource
import time

import numpy as np

from privcomp._core import Drbg
from privcomp.journal import MemoryJournal
from privcomp.policy import DEFAULT_PURPOSES, Policy
from privcomp.secagg import SECAGGPLUS, SEMI_HONEST, Client, ClientState, Contribution, Params, Segment, Server
from privcomp.simulation import Coins
from tests.simulation.people import people

CLIENTS, ENTRIES, BITS = 1_000, 100_000, 26


def test_a_thousand_clients_sum_a_hundred_thousand_entries() -> None:
    """`secaggplus`, semi-honest, k = 34, t = 18; 5 % of the clients are lost, at every stage some."""
    coins = Coins(1, "large")
    ids, identities, roster = people(CLIENTS, coins)
    lost = {party: k % 5 for k, party in enumerate(coins.sample(ids, CLIENTS // 20))}
    params = Params(SECAGGPLUS, SEMI_HONEST, (Segment.ring(BITS, ENTRIES),), 0, CLIENTS)
    policy, rng = Policy(adversary=SEMI_HONEST), Drbg.insecure_deterministic(coins.bytes(32)).random_bytes
    base = coins.integers(-30_000, 30_000, ENTRIES)

    def vector(k: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.roll(base, 97 * k)

    start = time.process_time()
    clients = {i: Client(i, identities[i], policy, MemoryJournal(identities[i].public), roster, rng=rng) for i in ids}
    states: dict[bytes, ClientState | None] = dict.fromkeys(ids)
    server = Server(params, session=bytes(32), round=1, purpose=DEFAULT_PURPOSES[0], model=b"model", roster=roster)
    requests = dict.fromkeys(ids, server.announcement)
    for stage in (0, 1, 2, 4):
        for k, party in enumerate(ids):
            if party not in requests or lost.get(party, 5) <= stage:
                continue
            update = Contribution((vector(k),)) if stage == 2 else None
            states[party], answer = clients[party].receive(states[party], requests[party], update)
            for message in answer:
                server.receive(message, party)
            if stage == 2:
                # The upload is with the server; this process need not keep a thousand copies.
                clients[party]._journal._answers.clear()  # type: ignore[attr-defined]
        if stage < 4:
            requests = server.advance()
    thresholds = server.directory.thresholds
    result = server.result()
    seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(f"n = {CLIENTS}, d = {ENTRIES}: {seconds:.1f} s of CPU time, {peak} MiB at most, {thresholds}")
    expected = np.sum([vector(k) for k, i in enumerate(ids) if i in result.survivors], axis=0)
    assert len(result.survivors) >= CLIENTS - len(lost)
    assert (result.sums[0] == (expected & ((1 << BITS) - 1))).all()
