"""The client of a federated round: follows the ledger, encodes the update, takes part in the aggregation."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp import oneshot
from privcomp.attest import attest_var
from privcomp.codec import Message, decode_any
from privcomp.dp import DistributedPlan
from privcomp.dp.plan import RECORD
from privcomp.encoding import Layout
from privcomp.errors import CodecError, EncodingError, LedgerError, ParameterError, PolicyError, RemoteError
from privcomp.journal import Journal
from privcomp.keys import Identity, Roster
from privcomp.ledger import HeaderChain
from privcomp.oneshot.messages import BoxKeyRequest, Certificate, CloseRequest, Propose, Shares
from privcomp.policy import Policy
from privcomp.rounds.aggregation import Announced
from privcomp.rounds.budget import NodeBudget
from privcomp.rounds.evidence import update_context
from privcomp.rounds.messages import RoundAgain, RoundAnnouncement, RoundUpload
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
_MASKS = (KeyList, MaskRequest, ConsistencyRequest, UnmaskRequest)
_MEMBERS = (BoxKeyRequest, Shares, Propose, Certificate, CloseRequest)
_MESSAGES: Mapping[int, type[Message]] = {
    cls.TAG: cls for cls in (RoundAnnouncement, RoundUpload, RoundAgain, *_MASKS, *_MEMBERS)
}


class RoundClient:
    """One node, across rounds: a client of interactive and of one-shot rounds, and a member of the committees that name
    it. Which of these it takes part in says its policy.

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
        # One-shot rounds: there is none without a roster.
        self._uploader = oneshot.Client(id, identity, policy, journal, roster, rng=rng) if roster is not None else None
        self._member: oneshot.Member | None = None
        if roster is not None:
            holds = policy.committee.key_holder == (id, identity.public)
            kind = oneshot.KeyHolder if holds else oneshot.Member
            self._member = kind(id, identity, policy, journal, roster, rng=rng)
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
            update: computes (values, weight) from the verified model bytes; called in the stage in which nodes compute
                (`TRAINING_STAGES`). Give one function per purpose where a node takes part in several: else the server
                decides what a purpose computes.

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
        if isinstance(message, RoundUpload):
            return self._upload(message, update)
        if isinstance(message, RoundAgain):
            return [answer for part in message.messages for answer in self._as_member(part)]
        if isinstance(message, _MEMBERS):
            return self._as_member(data)
        round_digest: bytes = message.round_digest  # type: ignore[attr-defined]
        state = self._states.get(round_digest)
        following, out = self._client.receive(
            state, data, lambda model: self._contribution(round_digest, model, update)
        )
        if following is not None:
            self._states[round_digest] = following
        return out

    def _as_member(self, data: bytes) -> Iterable[bytes]:
        if self._member is None:
            raise PolicyError("this node has no roster: it is a member of no committee")
        chain = self.chain
        self._member.follows = chain.ledger_key if chain is not None else None
        return self._member.receive(data)

    def _upload(self, message: RoundUpload, update: Updates) -> Iterable[bytes]:
        """One-shot: everything in one message."""
        client = self._uploader
        if client is None:
            raise PolicyError("this node has no roster, and one-shot rounds need one")
        try:
            announce = oneshot.Announce.from_bytes(message.announce, max_bytes=len(message.announce))
        except CodecError as error:
            raise PolicyError(f"the announced round is refused: {error.message}") from None
        spec = self._declared(announce)
        if announce.server != message.ledger_key:
            raise LedgerError("the round is announced under another key than the ledger's; this client sits out")
        with self._journal.locked():
            chain = self._linked(message, announce.ledger_head)
            client.check_announcement(message.announce)
            self._journal.remember(_CHAIN, chain.to_bytes())

            def contribution(model: bytes) -> oneshot.Contribution:
                values, weight = self._computed(spec, announce.purpose, model, update)
                return oneshot.Contribution(self._encoded(spec, values, weight))

            request = oneshot.UploadRequest(message.announce, message.model).to_bytes()
            return client.receive(None, request, contribution)[1]

    def _declared(self, announce: Announced) -> RoundSpec:
        """The declaration of an announced round, if this node allows it.

        Raises:
            PolicyError: it does not, or it does not add up.
        """
        try:
            spec = RoundSpec.of_bytes(announce.params)
        except CodecError as error:
            raise PolicyError(f"the announced round is refused: {error.message}") from None
        except ParameterError as error:
            raise PolicyError(f"the announced round does not add up: {error}") from None
        if spec.task is not None and spec.task.purpose != announce.purpose:
            raise PolicyError(f"the round is announced for {announce.purpose!r}, its task is {spec.task.purpose!r}")
        self._allowed(spec, announce.session)
        return spec

    def _linked(self, message: RoundAnnouncement | RoundUpload, head: bytes) -> HeaderChain:
        chain = self._followed(message)
        if chain.head != head:
            raise LedgerError(
                "the announcement does not bind the head of the ledger headers that it carries; this client sits out"
            )
        return chain

    def _announced(self, message: RoundAnnouncement) -> Iterable[bytes]:
        try:
            announce = Announce.from_bytes(message.announce, max_bytes=1 << 17)
            context = RoundContext.of(announce)
        except CodecError as error:
            raise PolicyError(f"the announced round is refused: {error.message}") from None
        self._declared(announce)
        with self._journal.locked():
            chain = self._linked(message, announce.ledger_head)
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

    def _followed(self, message: RoundAnnouncement | RoundUpload) -> HeaderChain:
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
        values, weight = self._computed(spec, purpose, model, update)
        if isinstance(spec.encoding, DistributedPlan):
            return self._noised(spec, spec.encoding, state.context, values, weight)
        return self._attested(spec, state.context, self._encoded(spec, values, weight))

    def _computed(self, spec: RoundSpec, purpose: str, model: bytes, update: Updates) -> tuple[Values, int]:
        if isinstance(update, Mapping):
            self._policy.require(purpose in update, f"purpose {purpose!r}", f"{sorted(update)}")
            update = update[purpose]
        return update(model, spec)

    def _encoded(self, spec: RoundSpec, values: Values, weight: int) -> I64Array:
        """Bounded integers, without noise."""
        encoding = spec.encoding
        if isinstance(encoding, DistributedPlan):
            raise ParameterError("a plan's values go with its noise")
        if isinstance(values, tuple):
            arrays, layout = values
            return encoding.encode(arrays, weight, layout=layout, rng=self._coins)
        return encoding.encode(values, weight, rng=self._coins)

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
