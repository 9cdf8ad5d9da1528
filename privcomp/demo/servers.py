"""Rules on shares for the demo: every hospital shares its encoded update once, three or four servers compute on shares.

All parties run in this process, in lock-step (`privcomp.simulation.mpc.simulate`), with the messages that they would
send over a network: uploads with signed hashes, the servers' agreement on the list of clients, the rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from privcomp._core import Drbg
from privcomp.errors import ParameterError, RoundAborted
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.mpc.backend import ReplicatedBackend
from privcomp.mpc.clients import Collection, Collector, MpcClient, agree
from privcomp.mpc.robust import Release, Rule, aggregate, terms
from privcomp.policy import Policy
from privcomp.simulation.mpc import simulate
from privcomp.typing import F64Array, I64Array

__all__ = ["PROTOCOLS", "PURPOSES", "Opened", "Servers"]

PROTOCOLS: Final[Mapping[int, str]] = {3: "rep3", 4: "rep4"}
PURPOSES: Final = ("statistics", "training")
"""The purposes that the hospitals' policies allow."""


@dataclass(frozen=True, eq=False)
class Opened:
    """What one round opened.

    Attributes:
        mean: float64 (d,), in units of the encoding; None where the rule's gate stayed closed.
        refusal: why, then.
        clients: on the final list.
        uploaded: bytes that one hospital sent to all servers.
        sent: bytes that server 0 sent to the others.
        rounds: among the servers.
        seconds: of this process, all parties one after another.
    """

    mean: F64Array | None
    refusal: str | None
    clients: int
    uploaded: int
    sent: int
    rounds: int
    seconds: float


class Servers:
    """Hospitals 0 .. clients - 1 with their keys, and the servers with theirs.

    Args:
        clients: number of hospitals.
        servers: 3 (semi-honest, one of three may look) or 4 (one of four may do anything; the others notice).
        reentries: how often a hospital shares an update of the same model again. It does after rounds that opened
            nothing but the bit of a gate that stayed closed; by default a node would refuse that.
        rng: gives fresh random bytes.

    Raises:
        ParameterError: another number of servers.
    """

    def __init__(
        self, clients: int, servers: int, *, reentries: int = 0, rng: Callable[[int], bytes] | None = None
    ) -> None:
        if servers not in PROTOCOLS:
            raise ParameterError(f"--servers {servers}: 3 (semi-honest) or 4 (one of them may lie) are possible")
        self.protocol = PROTOCOLS[servers]
        self._rng = Drbg().random_bytes if rng is None else rng
        self._servers = [Identity.generate() for _ in range(servers)]
        self._journals = [MemoryJournal(identity.public) for identity in self._servers]
        policy = Policy(
            protocols=(self.protocol,),
            adversary="semi_honest" if servers == 3 else "malicious",
            purposes=PURPOSES,
            same_model_reentries=(("training", reentries),),
        )
        identities = {f"hospital-{i:05d}".encode(): Identity.generate() for i in range(clients)}
        self.roster = Roster.of({name: identity.public for name, identity in identities.items()})
        self._clients = [
            MpcClient(name, identity, policy, MemoryJournal(identity.public), rng=self._rng)
            for name, identity in identities.items()
        ]
        self._count = 0

    def aggregate(
        self,
        rule: Rule,
        release: Release,
        updates: Mapping[int, I64Array],
        width: int,
        *,
        model: bytes,
        purpose: str = "training",
    ) -> Opened:
        """One round.

        Args:
            rule: the same at every server; the hospitals sign it.
            release: when its result may be opened.
            updates: hospital -> int64 (d,), |q| <= 2^(width-1) - 1; who is missing was lost before it sent anything.
            width: b.
            model: the bytes that the hospitals acted on.
            purpose: for the hospitals' policies and journals, one of `PURPOSES`.

        Raises:
            ParameterError: a bound of the rule or of the release is exceeded; nothing was sent.
            JournalError: a hospital has shared an update of this model before.
            RoundAborted: a hospital that sent its shares was left out.
        """
        began = time.perf_counter()
        entries = next(iter(updates.values())).size
        rule.require(len(updates), entries, width, release)
        collection = Collection(
            self.protocol,
            # The names under which `simulate` runs its parties.
            tuple((b"party-%d" % i, identity.public) for i, identity in enumerate(self._servers)),
            self.roster,
            width,
            entries,
            terms(rule, release),
            self._rng(32),
            self._count,
            purpose,
            sha256(model).digest(),
        )
        self._count += 1
        collectors = [Collector(collection, i) for i in range(len(self._servers))]
        uploaded = 0
        for hospital in sorted(updates):
            uploads = self._clients[hospital].upload(collection, updates[hospital])
            uploaded = sum(map(len, uploads))
            for collector, upload in zip(collectors, uploads, strict=True):
                collector.receive(upload)

        async def program(backend: ReplicatedBackend) -> tuple[F64Array | None, str | None, int]:
            me = backend.me
            shares = await agree(
                backend, collectors[me], self._servers[me], self._journals[me], clients_min=len(updates)
            )
            try:
                outcome = await aggregate(backend, rule, shares, release)
                return outcome.mean, None, shares.clients
            except RoundAborted as refused:
                if refused.party is not None:
                    raise
                # The gate: a public bit, the same at every server. The program ends in the same round everywhere.
                return None, str(refused), shares.clients

        simulated = simulate(self.protocol, program, parties=len(self._servers), rng=self._rng)
        mean, refusal, seen = simulated.results[0]
        cost = simulated.costs[0]
        seconds = time.perf_counter() - began
        return Opened(mean, refusal, seen, uploaded, cost.bytes, cost.rounds, seconds)
