"""The demo's secure sums: hospitals with identities, journals and policies, a server with a ledger, planned losses.

Everything here is the library's own: `RoundClient`, `RoundServer`, byte messages. Two things are the demonstrator's:
the losses are planned from the seed, and each hospital's encoded vector is also handed to the comparison
(`integer_difference`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from privcomp._core import Drbg
from privcomp.attest import AttestationSpec
from privcomp.demo.train import SecureResult, Updates
from privcomp.dp import DistributedPlan
from privcomp.encoding import FixedPoint
from privcomp.errors import ParameterError
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity, Roster
from privcomp.ledger import Ledger
from privcomp.oneshot import ONESHOT, Committee, least_survivors
from privcomp.oneshot.committee import quorum
from privcomp.policy import CommitteePolicy, Policy
from privcomp.rounds import NodeBudget, RoundClient, RoundResult, RoundServer, RoundSpec
from privcomp.secagg import MALICIOUS, SEMI_HONEST, Contribution, Params, Segment
from privcomp.simulation.loopback import Traffic, run_round

__all__ = ["WIDTHS", "SecureFederation"]

_STAGES: Final = {
    MALICIOUS: ("advertise", "share", "mask", "consistency", "unmask"),
    SEMI_HONEST: ("advertise", "share", "mask", "unmask"),
}
_ONESHOT_STAGES: Final = {
    MALICIOUS: ("boxkeys", "upload", "accept", "vote", "answer"),
    SEMI_HONEST: ("boxkeys", "upload", "accept", "answer"),
}
_COMMITTEE_MIN: Final = 10
#: Most bits of a value and of a sum: of a modulus, or of a digit of a ciphertext. CKKS fits the values itself.
WIDTHS: Final = {"bonawitz": (48, 64), "secaggplus": (48, 64), "oneshot": (32, 48), "ckks": (48, 64)}


class _Observed(RoundClient):
    """A client whose encoded vector is also kept in the clear, for the comparison that a demonstration makes."""

    encoded: NDArray[np.int64] | None = None

    def _encoded(self, spec: RoundSpec, values: Any, weight: int) -> NDArray[np.int64]:
        self.encoded = super()._encoded(spec, values, weight)
        return self.encoded.copy()

    def _contribution(self, round_digest: bytes, model: bytes, update: Any) -> Contribution:
        contribution = super()._contribution(round_digest, model, update)
        self.encoded = contribution.vectors[0].copy()
        return contribution


class SecureFederation:
    """Hospitals 0 .. clients - 1 and their server; calling it runs one round (see `privcomp.demo.SecureSum`).

    Args:
        clients: number of hospitals.
        seed: decides who is lost in which stage of which round; keys and masks come from the operating system.
        dropout: fraction of the hospitals that is lost in every round, rounded up, 0..0.9.
        protocol: "bonawitz", "secaggplus" or "oneshot"; in one-shot rounds the first hospitals are the committee.
        adversary: as in `privcomp.secagg.Params`.
        hybrid: X25519 with ML-KEM-768.
        ledger: file of the ledger, or None to keep it in memory.
        policy: further limits of every hospital's policy.
        executor: runs the server's unmasking; default: one pool of threads for the whole run.

    Raises:
        ParameterError: so many losses that a round could fail under this adversary model.
    """

    def __init__(
        self,
        clients: int,
        seed: int,
        *,
        dropout: float = 0.1,
        protocol: str = "bonawitz",
        adversary: str = MALICIOUS,
        hybrid: bool = False,
        ledger: Path | None = None,
        policy: Mapping[str, Any] | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.check(clients, dropout=dropout, protocol=protocol, adversary=adversary)
        self._seed = seed
        self._lost = math.ceil(dropout * clients)
        self._options: dict[str, Any] = {
            "protocol": protocol,
            "adversary": adversary,
            "hybrid": hybrid,
            "delta_ppm": _delta_ppm(dropout),
        }
        identities = {_name(i): Identity.generate() for i in range(clients)}
        self.roster = Roster.of({party: identity.public for party, identity in identities.items()})
        self._corrupt = Policy(adversary=adversary).corrupt_for(adversary, clients)
        self.ledger = Ledger(ledger, Identity.generate())
        pins: dict[str, Any] = {"roster_hash": self.roster.hash, "ledger_key": self.ledger.public}
        #: Who holds the shares of the keys; None in interactive rounds.
        self.committee: Committee | None = None
        if protocol == ONESHOT:
            count = _committee_size(clients, self._lost)
            members = tuple((party, identities[party].public) for party in sorted(identities)[:count])
            self.committee = Committee.named(members)
            named = CommitteePolicy(members=members, privacy_min=self.committee.privacy)
            pins |= {"protocols": (ONESHOT,), "committee": named}
        self._node = Policy(adversary=adversary, **pins, **(policy or {}))
        self._journals = {party: MemoryJournal(identity.public) for party, identity in identities.items()}
        self._clients = {
            party: _Observed(party, identity, self._node, self._journals[party], self.roster)
            for party, identity in identities.items()
        }
        self._identities = identities
        self._heads: dict[bytes, bytes] = {}
        self._session = sha256(b"privcomp-demo" + self.ledger.public).digest()
        self._executor = executor or ThreadPoolExecutor()

    @staticmethod
    def check(clients: int, *, dropout: float, protocol: str, adversary: str) -> None:
        """Refuse what cannot work before anything is written.

        The losses must be such that a round survives them whichever stages they hit: then no run aborts by bad luck.

        Raises:
            ParameterError: a value is out of range, or the losses are too many.
        """
        if not 0 <= dropout <= 0.9:
            raise ParameterError(f"--dropout {dropout}: a fraction in 0..0.9 is needed")
        if adversary not in _STAGES:
            raise ParameterError(f"--adversary {adversary!r}: allowed are {MALICIOUS!r} and {SEMI_HONEST!r}")
        if clients < 3:
            raise ParameterError(f"--clients {clients}: secure aggregation needs at least 3")
        lost, allowed = math.ceil(dropout * clients), _tolerance(clients, adversary, protocol)
        c = Policy(adversary=adversary).corrupt_for(adversary, clients)
        if lost > allowed:
            raise ParameterError(
                f"{lost} of {clients} hospitals would be lost in every round; with c = {c} corrupt clients to "
                f"withstand ({adversary}), at most {max(allowed, 0)} may be: "
                + ("use more --clients, or --adversary semi_honest" if allowed < 1 else "lower --dropout")
            )
        if protocol == ONESHOT:
            _committee_size(clients, lost)
        else:
            Params(protocol, adversary, (Segment.ring(8, 1),), c, clients, delta_ppm=_delta_ppm(dropout))

    @property
    def colluders(self) -> int:
        """Corrupt hospitals that every round withstands: c, or those that its sparse graph is made for."""
        sparse = self._options["protocol"] == "secaggplus"
        return max(self._corrupt, Params.gamma_ppm * len(self._clients) // 1_000_000 if sparse else 0)

    @property
    def survivors_min(self) -> int:
        """Hospitals that are left in every round, whatever the planned losses hit."""
        return len(self._clients) - self._lost

    @property
    def heads(self) -> tuple[bytes, ...]:
        """The ledger heads that the hospitals remember."""
        return tuple(sorted({client.chain.head for client in self._clients.values() if client.chain is not None}))

    def close(self) -> None:
        """Release the ledger's file."""
        self.ledger.close()

    def spent(self, unit: str) -> float:
        """The most that a hospital's own journal has charged: epsilon at the delta of the policy."""
        found = (NodeBudget(self._node, journal).of(unit, "zero_out") for journal in self._journals.values())
        return max(budget.spent_epsilon() for budget in found)

    def _losses(self, round: int) -> dict[bytes, str]:
        """Who is lost in a round, and from which stage on."""
        rng = Drbg.insecure_deterministic(sha256(f"privcomp-demo-losses/{self._seed}/{round}".encode()).digest())
        order = sorted(self._clients, key=lambda party: (rng.random_bytes(8), party))
        stages = (_STAGES if self.committee is None else _ONESHOT_STAGES)[self._options["adversary"]]
        return {party: stages[rng.random_bytes(8)[0] % len(stages)] for party in order[: self._lost]}

    def __call__(self, *, purpose: str, model: bytes, encoding: FixedPoint, updates: Updates) -> SecureResult:
        """One round; raises RoundAborted where too few hospitals answer (it is in the ledger then)."""
        if self.committee is None:
            spec = RoundSpec.secure_sum(encoding, corrupt=self._corrupt, **self._options)
        else:
            options = {name: self._options[name] for name in ("adversary", "hybrid")}
            spec = RoundSpec.one_shot(encoding, self.committee, corrupt=self._corrupt, **options)
        losses = self._losses(len(self.ledger))
        return self._run(RoundServer, spec, self._clients, losses, purpose, model, updates)[1]

    def noised(
        self, *, purpose: str, model: bytes, plan: DistributedPlan, values: Callable[[int], NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], SecureResult]:
        """One round with noise.

        Args:
            purpose, model: as for a call.
            plan: of the noise.
            values: hospital -> what `DistributedPlan.encode_var` takes.

        Returns:
            (the noised mean, what the round was)
        """
        spec = RoundSpec.secure_sum(plan, corrupt=self._corrupt, **self._options)
        losses = self._losses(len(self.ledger))
        updates: Updates = lambda hospital: (values(hospital), 1)  # noqa: E731
        result, sums = self._run(RoundServer, spec, self._clients, losses, purpose, model, updates)
        return result.decoded.mean, sums

    def attested(
        self,
        spec: AttestationSpec,
        *,
        model: bytes,
        encoding: FixedPoint,
        updates: Updates,
        server: type[RoundServer] = RoundServer,
        cheat: type[RoundClient] | None = None,
    ) -> tuple[RoundResult, SecureResult]:
        """One training round with attestations and without planned losses.

        Args:
            spec: what is proven of every update.
            model, encoding, updates: as for a call.
            server: the server, honest or not.
            cheat: what hospital 0 runs; None: what all run.
        """
        declared = RoundSpec.secure_sum(encoding, attestation=spec, corrupt=self._corrupt, **self._options)
        clients: dict[bytes, RoundClient] = dict(self._clients)
        if cheat is not None:
            party = _name(0)
            clients[party] = cheat(party, self._identities[party], self._node, self._journals[party], self.roster)
        return self._run(server, declared, clients, {}, "training", model, updates)

    def beside(self, ledger: Path, clients: int) -> SecureFederation:
        """A federation like this one without planned losses, with keys and a ledger of its own."""
        options = {name: self._options[name] for name in ("protocol", "adversary", "hybrid")}
        return SecureFederation(clients, self._seed, dropout=0.0, ledger=ledger, executor=self._executor, **options)

    def can_lose(self, count: int) -> bool:
        """Whether a round survives the loss of so many hospitals."""
        return count <= _tolerance(len(self._clients), self._options["adversary"], self._options["protocol"])

    def _run(
        self,
        kind: type[RoundServer],
        spec: RoundSpec,
        clients: Mapping[bytes, RoundClient],
        losses: Mapping[bytes, str],
        purpose: str,
        model: bytes,
        updates: Updates,
    ) -> tuple[RoundResult, SecureResult]:
        number = len(self.ledger)
        server = kind(
            spec,
            session=self._session,
            round=number,
            purpose=purpose,
            model=model,
            roster=self.roster,
            ledger=self.ledger,
            executor=self._executor,
        )
        places = {party: i for i, party in enumerate(clients)}

        def update_of(party: bytes) -> Callable[[bytes, RoundSpec], tuple[NDArray[np.float64], int]]:
            return lambda _model, _spec: updates(places[party])

        traffic = Traffic()
        result = run_round(server, clients, update_of, losses=losses, heads=self._heads, traffic=traffic)
        reference = np.zeros(spec.encoding.length, dtype=np.int64)
        for party in result.aggregate.survivors:
            encoded = self._clients[party].encoded
            if encoded is not None:
                reference += encoded
        return result, SecureResult(
            survivors=tuple(places[party] for party in result.aggregate.survivors),
            integer_sum=result.integer_sum,
            reference_integer_sum=reference,
            decoded=result.decoded,
            bytes_up={places[party]: count for party, count in traffic.bytes_up.items()},
            bytes_down={places[party]: count for party, count in traffic.bytes_down.items()},
            seconds=traffic.seconds,
            record=number,
            lost=tuple(sorted(places[party] for party in losses)),
            sent_as=_sent_as(spec),
        )


def _tolerance(clients: int, adversary: str, protocol: str) -> int:
    """How many hospitals a round can lose, at whatever stage."""
    policy = Policy(adversary=adversary)
    c, least = policy.corrupt_for(adversary, clients), policy.honest_survivors_min
    if protocol == ONESHOT:
        return clients - least_survivors(clients, c, least)
    allowed = -(-(clients - c) // 2) - 2 if adversary == MALICIOUS else clients - (clients + 1) // 2 - 1
    return min(allowed, clients - c - least)


def _sent_as(spec: RoundSpec) -> str:
    """How the entries of a round travel, where they are not masked."""
    params = spec.aggregation
    if isinstance(params, Params) or isinstance(spec.encoding, DistributedPlan):
        return ""
    return f"{spec.encoding.describe_values()}; {params.ring.describe()}; {params.committee.could_open}"


def _committee_size(clients: int, lost: int) -> int:
    """Members of the least committee, of ten or more if so many there are, that can spare as many as a round loses.

    Raises:
        ParameterError: not even all hospitals together can.
    """
    for count in range(min(_COMMITTEE_MIN, clients), clients + 1):
        privacy = max(1, (count - 1) // 3)
        packing = max(1, (count + privacy) // 2 - privacy)
        if count - max(privacy + packing + 1, quorum(count, privacy, packing)) >= lost:
            return count
    raise ParameterError(
        f"{lost} hospitals would be lost in every round, and no committee of {clients} can spare them: lower --dropout"
    )


def _delta_ppm(dropout: float) -> int:
    """The vanishing fraction that a sparse graph is made for: the planned one, at least the default of `Params`."""
    return max(Params.delta_ppm, math.ceil(dropout * 1_000_000))


def _name(index: int) -> bytes:
    return f"hospital-{index:05d}".encode()
