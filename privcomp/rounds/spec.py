"""A round is declared by one frozen object that names its stages and their parameters.

Today a round has an encoding (floats to bounded integers), perhaps an attestation (each update is proven bounded, and
the sum proven to be that of these updates), and one way to aggregate (secure aggregation). The attestation adds a
segment modulo its group's order, for the sum of the blindings, and an attachment to the upload. Noise is another
encoding (`privcomp.dp.DistributedPlan` rotates, clips, rounds, and draws noise beside the signal): its sum of d padded
entries carries no weight and no clip count, as these would be released without noise, and clients open it only with as
many survivors as its privacy counts on. Encryption is another way to aggregate.
Client and server are built from the declaration, and everything in it is part of the round digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from privcomp import oneshot
from privcomp.attest import Attestation, AttestationSpec
from privcomp.codec import Blob, Codec, Message
from privcomp.dp import DistributedPlan, PrivateMean
from privcomp.encoding import Decoded, FixedPoint
from privcomp.errors import CodecError, ParameterError
from privcomp.he import RlweParams
from privcomp.ledger.record import MAX_PARAMS_BYTES
from privcomp.rounds.task import Encoding, Task
from privcomp.secagg.params import SECAGGPLUS, Params, Segment
from privcomp.typing import I64Array
from privcomp.zk.norm import NormStatement

__all__ = ["RoundSpec"]


@dataclass(frozen=True)
class TaskedMessage(Message):
    """What the parameters bind of a round that has a task: the encoding's bytes and the task's."""

    TAG: ClassVar[int] = 0x42
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("encoding", Blob(1 << 10)), ("task", Blob(1 << 24)))
    encoding: bytes
    task: bytes


@dataclass(frozen=True)
class AttestedMessage(Message):
    """What the parameters bind of a round with attestations: the attestation's bytes, and what they bind without."""

    TAG: ClassVar[int] = 0x47
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("attestation", Blob(1 << 10)), ("rest", Blob(1 << 25)))
    attestation: bytes
    rest: bytes


@dataclass(frozen=True)
class RoundSpec:
    """What one round computes and how.

    Args:
        encoding: floats <-> bounded integers; fixes the modulus. A `DistributedPlan` adds noise.
        aggregation: parameters of secure aggregation; build both together with `secure_sum`, or with `one_shot`.
        task: what is asked of the nodes in terms of named arrays and metrics; None: what the vector means is agreed
            elsewhere.
        attestation: what every client proves of its update; None: nothing.

    Raises:
        ParameterError: the stages do not fit together (a sum could wrap, a length differs).
    """

    encoding: Encoding
    aggregation: Params | oneshot.Params
    task: Task | None = None
    attestation: AttestationSpec | None = None

    def __post_init__(self) -> None:
        encoding, params = self.encoding, self.aggregation
        if params.clients > encoding.clients:
            raise ParameterError(
                f"the encoding is safe for {encoding.clients} clients, the aggregation admits {params.clients}"
            )
        if isinstance(params, oneshot.Params):
            self._encrypted(params)
        else:
            self._masked(params)
        if params.context != _context(encoding, self.task, self.attestation):
            raise ParameterError("the aggregation does not bind this encoding; build the round with secure_sum()")
        size = len(params.to_bytes())
        if size > MAX_PARAMS_BYTES:
            raise ParameterError(
                f"the declaration has {size} bytes, a record of the ledger takes {MAX_PARAMS_BYTES}: fewer members, or "
                "fewer names in the task"
            )

    def _encrypted(self, params: oneshot.Params) -> None:
        """What a one-shot round takes: bounded integers, alone."""
        encoding = self.encoding
        if not isinstance(encoding, FixedPoint) or self.attestation is not None:
            raise ParameterError(
                "one-shot rounds take neither a plan of noise nor attestations: use secure_sum() for these"
            )
        if params.length != encoding.length:
            raise ParameterError(f"the round needs {encoding.length} entries, its ciphertexts have {params.length}")
        if encoding.bound > params.ring.value_bound:
            raise ParameterError(
                f"entries up to {encoding.bound}, but a ciphertext of this round holds up to {params.ring.value_bound}"
            )

    def _masked(self, params: Params) -> None:
        encoding = self.encoding
        first = params.segments[0]
        extra, attachment = _attested(encoding, self.attestation)
        if not first.is_ring or first.length != encoding.length or params.segments[1:] != extra:
            lanes = f", and {extra[0].length} lanes for the blindings of its attestations" if extra else ""
            raise ParameterError(f"the round needs one ring segment of {encoding.length} entries{lanes}")
        if self.attestation is not None:
            if params.attachment_bytes != attachment:
                raise ParameterError(f"attestations of this round take exactly {attachment} attached bytes")
            if self.attestation.l2_squared and self.task is not None and self.task.metrics:
                raise ParameterError("a bound of the norm would count the task's metrics; sum them in another round")
        if isinstance(encoding, FixedPoint):
            encoding.require_modulus(first.bits)
            if self.attestation is not None and self.attestation.noise:
                raise ParameterError("an attestation of noise, but nothing in this round draws any")
        else:
            self._private(encoding, params, first.bits)

    def _private(self, plan: DistributedPlan, params: Params, bits: int) -> None:
        """What a plan's privacy counts on is what this round promises."""
        if bits != plan.modulus_bits:
            raise ParameterError(f"the plan is made for sums modulo 2^{plan.modulus_bits}, not 2^{bits}")
        if self.task is not None and (self.task.metrics or self.task.kind != "update"):
            raise ParameterError("a plan's noise covers one update; metrics beside it would need a plan of their own")
        if params.corrupt > plan.colluders:
            raise ParameterError(
                f"c = {params.corrupt} corrupt clients, but the plan counts on the noise of all but {plan.colluders}"
            )
        sparse = params.gamma_ppm * params.clients // 1_000_000 if params.protocol == SECAGGPLUS else 0
        if sparse > plan.colluders:
            raise ParameterError(
                f"the sparse graph is made for {sparse} corrupt clients, but the plan counts on the noise of all but "
                f"{plan.colluders}"
            )
        # Clients open a sum over U only where |U| - c is at least `honest_survivors`.
        if params.honest_survivors + params.corrupt < plan.min_survivors:
            raise ParameterError(
                f"clients would open a sum of {params.honest_survivors + params.corrupt} survivors; the plan's "
                f"privacy needs {plan.min_survivors}"
            )

    @classmethod
    def secure_sum(
        cls,
        encoding: Encoding,
        task: Task | None = None,
        attestation: AttestationSpec | None = None,
        **options: Any,
    ) -> Self:
        """The round that sums encoded vectors by secure aggregation.

        Args:
            encoding: the encoding; its modulus and its number of clients are taken over, of a plan also its
                colluders (as c) and its least number of survivors.
            task: the round's task, bound like everything else.
            attestation: what every client proves of its update, bound like everything else.
            options: further fields of `secagg.Params` (protocol, adversary, corrupt, threshold, cipher, hybrid, ...).
        """
        extra, attachment = _attested(encoding, attestation)
        values = {
            "protocol": "bonawitz",
            "adversary": "malicious",
            "corrupt": encoding.colluders if isinstance(encoding, DistributedPlan) else 0,
            "clients": encoding.clients,
            **options,
            "segments": (Segment.ring(encoding.modulus_bits, encoding.length), *extra),
            "context": _context(encoding, task, attestation),
        }
        if attestation is not None:
            values["attachment_bytes"] = attachment
        if isinstance(encoding, DistributedPlan):
            least = max(encoding.min_survivors - values["corrupt"], Params.honest_survivors)
            values.setdefault("honest_survivors", least)
        return cls(encoding, Params(**values), task, attestation)

    @classmethod
    def one_shot(
        cls,
        encoding: FixedPoint,
        committee: oneshot.Committee,
        task: Task | None = None,
        *,
        corrupt: int = 0,
        **options: Any,
    ) -> Self:
        """The round that sums encoded vectors in one message per client, with keys shared among a committee.

        Args:
            encoding: the encoding; its bound and its number of clients decide the ring.
            committee: who holds the shares of the keys; every node's policy must name it.
            task: the round's task, bound like everything else.
            corrupt: c, corrupt clients of the roster to withstand.
            options: further fields of `oneshot.Params` (adversary, survivors_min, gamma_ppm, hybrid, ...).

        Raises:
            ParameterError: a plan of noise, or no ring has room for such sums.
        """
        if not isinstance(encoding, FixedPoint):
            raise ParameterError("one-shot rounds take no plan of noise: use secure_sum()")
        # The weight is multiplied in by the client: |w q| <= W L.
        weight = encoding.max_weight if encoding.way == "exact" else 1
        limit = -(-encoding.bound // weight)
        ring = RlweParams.for_round(max(4, limit.bit_length() + 1), encoding.clients, weight)
        values = {
            "adversary": oneshot.MALICIOUS,
            "survivors_min": oneshot.least_survivors(encoding.clients, corrupt, Params.honest_survivors),
            **options,
            "ring": ring,
            "length": encoding.length,
            "committee": committee,
            "context": _context(encoding, task, None),
        }
        return cls(encoding, oneshot.Params(**values), task)

    def decode(self, total: I64Array, survivors: int, round_digest: bytes) -> Decoded | PrivateMean:
        """What a published sum says.

        Args:
            total: int64 (encoding.length,), the centred sum.
            survivors: how many updates it is made of.
            round_digest: 32 bytes, of the round.

        Raises:
            RemoteError: no such sum of so many updates exists.
        """
        if isinstance(self.encoding, DistributedPlan):
            return self.encoding.decode(total, survivors, round_digest)
        return self.encoding.decode(total, survivors)

    @property
    def statements(self) -> tuple[NormStatement, ...]:
        """What is proven of every update; empty without attestation."""
        return self.attestation.statements(self.encoding) if self.attestation is not None else ()

    @classmethod
    def of_bytes(cls, params: bytes) -> Self:
        """Rebuild the declaration from the bytes of announced parameters, of whatever protocol.

        Raises:
            CodecError, ParameterError: as `of_params`.
        """
        if params.startswith(oneshot.Params.prefix()):
            return cls.of_params(oneshot.Params.from_bytes(params, max_bytes=1 << 17))
        return cls.of_params(Params.from_bytes(params, max_bytes=1 << 16))

    @classmethod
    def of_params(cls, params: Params | oneshot.Params) -> Self:
        """Rebuild the declaration from announced parameters.

        Raises:
            CodecError: the bytes that they bind are no encoding.
            ParameterError: the stages do not fit together.
        """
        context, attestation, task = params.context, None, None
        try:
            if context.startswith(AttestedMessage.prefix()):
                attested = AttestedMessage.from_bytes(context, max_bytes=1 << 26)
                attestation = AttestationSpec.from_bytes(attested.attestation, max_bytes=1 << 10)
                context = attested.rest
            if context.startswith(TaskedMessage.prefix()):
                tasked = TaskedMessage.from_bytes(context, max_bytes=1 << 25)
                task = Task.from_bytes(tasked.task, max_bytes=1 << 24)
                context = tasked.encoding
            encoding: Encoding
            if context.startswith(DistributedPlan.prefix()):
                encoding = DistributedPlan.from_bytes(context, max_bytes=1 << 10)
            else:
                encoding = FixedPoint.from_bytes(context)
        except CodecError as error:
            raise CodecError(f"the announced encoding is not canonical: {error.message}") from None
        return cls(encoding, params, task, attestation)


def _attested(encoding: Encoding, attestation: AttestationSpec | None) -> tuple[tuple[Segment, ...], int]:
    """What attestations add to the aggregation: a segment for the blindings, bytes beside the upload."""
    if attestation is None:
        return (), 0
    statements = attestation.statements(encoding)
    whole = statements[0]
    return (Segment.prime(whole.group.order, whole.rows),), Attestation.size(statements)


def _context(encoding: Encoding, task: Task | None, attestation: AttestationSpec | None) -> bytes:
    out = encoding.to_bytes() if task is None else TaskedMessage(encoding.to_bytes(), task.to_bytes()).to_bytes()
    return out if attestation is None else AttestedMessage(attestation.to_bytes(), out).to_bytes()
