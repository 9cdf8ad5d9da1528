"""A round is declared by one frozen object that names its stages and their parameters.

Today a round has an encoding (floats to bounded integers), perhaps an attestation (each update is proven bounded, and
the sum proven to be that of these updates), and one way to aggregate (secure aggregation). The attestation adds a
segment modulo its group's order, for the sum of the blindings, and an attachment to the upload. Noise is another
encoding (a plan that rotates, clips, rounds and draws noise beside the signal); encryption is another way to aggregate.
Client and server are built from the declaration, and everything in it is part of the round digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from privcomp.attest import Attestation, AttestationSpec
from privcomp.codec import Blob, Codec, Message
from privcomp.encoding import FixedPoint
from privcomp.errors import CodecError, ParameterError
from privcomp.rounds.task import Task
from privcomp.secagg.params import Params, Segment
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
        encoding: floats <-> bounded integers; fixes the modulus.
        aggregation: secure-aggregation parameters; build both together with `secure_sum`.
        task: what is asked of the nodes in terms of named arrays and metrics; None: what the vector means is agreed
            elsewhere.
        attestation: what every client proves of its update; None: nothing.

    Raises:
        ParameterError: the stages do not fit together (a sum could wrap, a length differs).
    """

    encoding: FixedPoint
    aggregation: Params
    task: Task | None = None
    attestation: AttestationSpec | None = None

    def __post_init__(self) -> None:
        encoding, params = self.encoding, self.aggregation
        first = params.segments[0]
        extra, attachment = _attested(encoding, self.attestation)
        if not first.is_ring or first.length != encoding.length or params.segments[1:] != extra:
            lanes = f", and {extra[0].length} lanes for the blindings of its attestations" if extra else ""
            raise ParameterError(f"the round needs one ring segment of {encoding.length} entries{lanes}")
        if self.attestation is not None:
            if params.attachment_bytes != attachment:
                raise ParameterError(f"attestations of this round take exactly {attachment} attached bytes")
            if self.attestation.noise:
                raise ParameterError("an attestation of noise, but nothing in this round draws any")
            if self.attestation.l2_squared and self.task is not None and self.task.metrics:
                raise ParameterError("a bound of the norm would count the task's metrics; sum them in another round")
        encoding.require_modulus(first.bits)
        if params.clients > encoding.clients:
            raise ParameterError(
                f"the encoding is safe for {encoding.clients} clients, the aggregation admits {params.clients}"
            )
        if params.context != _context(encoding, self.task, self.attestation):
            raise ParameterError("the aggregation does not bind this encoding; build the round with secure_sum()")

    @classmethod
    def secure_sum(
        cls,
        encoding: FixedPoint,
        task: Task | None = None,
        attestation: AttestationSpec | None = None,
        **options: Any,
    ) -> Self:
        """The round that sums encoded vectors by secure aggregation.

        Args:
            encoding: the encoding; its modulus and its number of clients are taken over.
            task: the round's task, bound like everything else.
            attestation: what every client proves of its update, bound like everything else.
            options: further fields of `secagg.Params` (protocol, adversary, corrupt, threshold, cipher, hybrid, ...).
        """
        extra, attachment = _attested(encoding, attestation)
        values = {
            "protocol": "bonawitz",
            "adversary": "malicious",
            "corrupt": 0,
            "clients": encoding.clients,
            **options,
            "segments": (Segment.ring(encoding.modulus_bits, encoding.length), *extra),
            "context": _context(encoding, task, attestation),
        }
        if attestation is not None:
            values["attachment_bytes"] = attachment
        return cls(encoding, Params(**values), task, attestation)

    @property
    def statements(self) -> tuple[NormStatement, ...]:
        """What is proven of every update; empty without attestation."""
        return self.attestation.statements(self.encoding) if self.attestation is not None else ()

    @classmethod
    def of_params(cls, params: Params) -> Self:
        """Rebuild the declaration from announced parameters.

        Raises:
            CodecError: the bytes that they bind are no encoding.
            ParameterError: the stages do not fit together.
        """
        context, attestation, task = params.context, None, None
        try:
            if context[:5] == _ATTESTED:
                attested = AttestedMessage.from_bytes(context, max_bytes=1 << 26)
                attestation = AttestationSpec.from_bytes(attested.attestation, max_bytes=1 << 10)
                context = attested.rest
            if context[:5] == _TASKED:
                tasked = TaskedMessage.from_bytes(context, max_bytes=1 << 25)
                task = Task.from_bytes(tasked.task, max_bytes=1 << 24)
                context = tasked.encoding
            encoding = FixedPoint.from_bytes(context)
        except CodecError as error:
            raise CodecError(f"the announced encoding is not canonical: {error.message}") from None
        return cls(encoding, params, task, attestation)


_ATTESTED = AttestedMessage(b"", b"").to_bytes()[:5]  # magic, version, tag
_TASKED = TaskedMessage(b"", b"").to_bytes()[:5]


def _attested(encoding: FixedPoint, attestation: AttestationSpec | None) -> tuple[tuple[Segment, ...], int]:
    """What attestations add to the aggregation: a segment for the blindings, bytes beside the upload."""
    if attestation is None:
        return (), 0
    statements = attestation.statements(encoding)
    whole = statements[0]
    return (Segment.prime(whole.group.order, whole.rows),), Attestation.size(statements)


def _context(encoding: FixedPoint, task: Task | None, attestation: AttestationSpec | None) -> bytes:
    out = encoding.to_bytes() if task is None else TaskedMessage(encoding.to_bytes(), task.to_bytes()).to_bytes()
    return out if attestation is None else AttestedMessage(attestation.to_bytes(), out).to_bytes()
