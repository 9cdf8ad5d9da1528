"""The client of a federated round: follows the ledger, encodes the update, takes part in the aggregation."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp.attest import attest_var
from privcomp.codec import Message, decode_any
from privcomp.dp import DistributedPlan
from privcomp.dp.plan import RECORD
from privcomp.encoding import Layout
from privcomp.errors import CodecError, EncodingError, LedgerError, ParameterError, PolicyError, RemoteError
from privcomp.journal import Journal
from privcomp.keys import Identity, Roster
from privcomp.ledger import HeaderChain
from privcomp.policy import Policy
from privcomp.rounds.budget import NodeBudget
from privcomp.rounds.evidence import update_context
from privcomp.rounds.messages import RoundAnnouncement
from privcomp.rounds.spec import RoundSpec
from privcomp.secagg.client import Client, ClientState, Contribution
from privcomp.secagg.context import SERVER, RoundContext
from privcomp.secagg.messages import Announce, ConsistencyRequest, KeyList, MaskRequest, UnmaskRequest
from privcomp.typing import I64Array

__all__ = ["LocalUpdate", "RoundClient", "Values"]

#: A float vector, or named float arrays together with their layout.
Values = NDArray[Any] | tuple[Mapping[str, NDArray[Any]], Layout]
#: Computes (values, integer weight) from the verified model bytes and the declaration of the round.
LocalUpdate = Callable[[bytes, RoundSpec], tuple[Values, int]]
#: One function for all rounds, or one per purpose: a purpose that is not there is refused.
Updates = LocalUpdate | Mapping[str, LocalUpdate]

_log = logging.getLogger("privcomp.rounds")

_CHAIN = "ledger-chain"
_MESSAGES: Mapping[int, type[Message]] = {
    cls.TAG: cls for cls in (RoundAnnouncement, KeyList, MaskRequest, ConsistencyRequest, UnmaskRequest)
}


class RoundClient:
    """One client, across rounds.

    Args: see `privcomp.secagg.Client`.
    """

    def __init__(
        self,
        id: bytes,
        identity: Identity,
        policy: Policy,
        journal: Journal,
        roster: Roster | None = None,
        *,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._client = Client(id, identity, policy, journal, roster, rng=rng)
        self._identity = identity
        self._policy = policy
        self._journal = journal
        self._rng = rng
        # Coins by the million: the core's generator, unless the caller brings its own entropy.
        self._coins = None if rng is os.urandom else rng
        self._states: dict[bytes, ClientState] = {}
        self._budget = NodeBudget(policy, journal)

    @property
    def id(self) -> bytes:
        """This client's id."""
        return self._client.id

    def __repr__(self) -> str:
        return f"RoundClient(id={self.id!r})"

    @property
    def chain(self) -> HeaderChain | None:
        """What this client remembers of the server's ledger, or None before its first round."""
        with self._journal.locked():
            stored = self._journal.recall(_CHAIN)
        return HeaderChain.from_bytes(stored, max_bytes=256) if stored is not None else None

    def receive(self, data: bytes, update: Updates) -> Iterable[bytes]:
        """Take one message of the server and return the messages to send.

        Args:
            data: the server's bytes.
            update: computes (values, weight) from the verified model bytes; called in stage 2 only. Give one function
                per purpose where a node takes part in several: else the server decides what a purpose computes.

        Raises:
            LocalError: this node refuses (policy, journal, ledger, encoding); nothing was sent.
            RemoteError: the message is not what an honest server sends.
        """
        try:
            message = decode_any(data, _MESSAGES, max_bytes=(1 << 32) + (1 << 20))
        except CodecError as error:
            raise error.by(SERVER, "decode") from None
        if isinstance(message, RoundAnnouncement):
            return self._announced(message)
        round_digest: bytes = message.round_digest  # type: ignore[attr-defined]
        state = self._states.get(round_digest)
        following, out = self._client.receive(
            state, data, lambda model: self._contribution(round_digest, model, update)
        )
        if following is not None:
            self._states[round_digest] = following
        return out

    def _announced(self, message: RoundAnnouncement) -> Iterable[bytes]:
        try:
            announce = Announce.from_bytes(message.announce, max_bytes=1 << 17)
            context = RoundContext.of(announce)
            spec = RoundSpec.of_params(context.params)
        except CodecError as error:
            raise PolicyError(f"the announced round is refused: {error.message}") from None
        except ParameterError as error:
            raise PolicyError(f"the announced round does not add up: {error}") from None
        if spec.task is not None and spec.task.purpose != announce.purpose:
            raise PolicyError(f"the round is announced for {announce.purpose!r}, its task is {spec.task.purpose!r}")
        self._allowed(spec, announce.session)
        with self._journal.locked():
            chain = self._followed(message)
            if chain.head != announce.ledger_head:
                raise LedgerError(
                    "the announcement does not bind the head of the ledger headers that it carries; "
                    "this client sits out"
                )
            # After every refusal (which leaves no trace) and before the answer (a crash in between must
            # not forget a head that this client signed).
            self._client.check_announcement(message.announce)
            self._journal.remember(_CHAIN, chain.to_bytes())
            state, out = self._client.receive(None, message.announce)
        if state is not None:
            self._states = {context.digest: state}
        return out

    def _allowed(self, spec: RoundSpec, session: bytes) -> None:
        """What the policy says of attestations and of privacy."""
        policy = self._policy
        attested = policy.attestation == "any" or spec.attestation is not None
        policy.require(attested, "a round without attestations", "rounds in which updates are proven bounded")
        values = max((statement.values for statement in spec.statements), default=0)
        most = policy.attestation_values_max
        policy.require(values <= most, f"attestations about entries of {values} values", f"at most {most}")
        if isinstance(spec.encoding, DistributedPlan):
            self._budget.check(spec.encoding, session)
        else:
            policy.require(policy.privacy == "any", "a round without differential privacy", "rounds with a plan")

    def _followed(self, message: RoundAnnouncement) -> HeaderChain:
        pinned = self._policy.ledger_key
        if pinned is not None and pinned != message.ledger_key:
            raise LedgerError("the ledger is not signed by the key that this node's policy pins; this client sits out")
        stored = self._journal.recall(_CHAIN)
        if stored is None:
            return HeaderChain.start(message.ledger_key).extend(message.headers)
        chain = HeaderChain.from_bytes(stored, max_bytes=256)
        if chain.ledger_key != message.ledger_key:
            raise LedgerError("the server changed its ledger key; this client sits out until its operator agrees")
        known = [k for k, header in enumerate(message.headers) if header.hash == chain.head]
        return chain.extend(message.headers[known[-1] + 1 :] if known else message.headers)

    def _contribution(self, round_digest: bytes, model: bytes, update: Updates) -> Contribution:
        state = self._states.get(round_digest) or self._client.restore(round_digest)
        if state is None:
            raise RemoteError(SERVER, "mask", "a round that this client is not in")
        spec, purpose = RoundSpec.of_params(state.context.params), state.context.announce.purpose
        encoding = spec.encoding
        if isinstance(update, Mapping):
            self._policy.require(purpose in update, f"purpose {purpose!r}", f"{sorted(update)}")
            update = update[purpose]
        values, weight = update(model, spec)
        if isinstance(encoding, DistributedPlan):
            return self._noised(spec, encoding, state.context, values, weight)
        if isinstance(values, tuple):
            arrays, layout = values
            vector = encoding.encode(arrays, weight, layout=layout, rng=self._coins)
        else:
            vector = encoding.encode(values, weight, rng=self._coins)
        return self._attested(spec, state.context, vector)

    def _noised(
        self, spec: RoundSpec, plan: DistributedPlan, context: RoundContext, values: Values, weight: int
    ) -> Contribution:
        """Signal and noise, charged before they exist: a crash afterwards costs the round, never privacy."""
        if type(weight) is bool or weight != 1:
            raise EncodingError(
                f"the weight is {weight!r}; under a plan every update counts once, as a sum of weights would be "
                "released without noise"
            )
        flat = values[1].flatten(values[0]) if isinstance(values, tuple) else values
        if plan.unit == RECORD and type(flat) is np.ndarray and flat.ndim == 2 and len(flat) > plan.records_max:
            # A refusal would tell the server, who names the bound, on which side of it this node's data set is.
            _log.warning("the round counts %d of this node's %d records, the first ones", plan.records_max, len(flat))
            flat = flat[: plan.records_max]
        plan.check(flat)  # what cannot be encoded costs nothing
        self._budget.charge(plan, context.announce.session)
        if plan.record_rate < 1:
            # The server names the rate and the charge counts on it: the coins are this node's, whatever its update did.
            flat = flat[plan.sample_records_var(len(flat), self._rng)]
        if spec.attestation is None:
            return Contribution((plan.encode_total_var(flat, context.digest, rng=self._rng),))
        encoded = plan.encode_var(flat, context.digest, rng=self._rng)
        return self._proven(spec, context, encoded.total(), (encoded.signal, encoded.noise))

    def _attested(self, spec: RoundSpec, context: RoundContext, vector: I64Array) -> Contribution:
        """The vector within what the round states, with the proof; as it is where nothing is stated."""
        if spec.attestation is None:
            return Contribution((vector,))
        vector, scaled = spec.attestation.fitted(spec.encoding, vector)
        if scaled:
            _log.warning("the norm of the update is above the round's bound: the update is scaled down to it")
        return self._proven(spec, context, vector, (vector,))

    def _proven(
        self, spec: RoundSpec, context: RoundContext, vector: I64Array, parts: tuple[I64Array, ...]
    ) -> Contribution:
        attestation, blindings = attest_var(
            spec.statements, update_context(context.announce), self.id, self._identity, parts, self._rng
        )
        lanes = np.frombuffer(blindings.to_bytes(), dtype=np.uint8).reshape(-1, 32)
        return Contribution((vector, lanes), attestation.to_bytes())
