"""A round is declared by one frozen object that names its stages and their parameters.

Today a round has two stages: an encoding (floats to bounded integers) and one way to aggregate (secure aggregation).
Noise is another encoding (a plan that rotates, clips, rounds and draws noise beside the signal); an attestation adds
a segment modulo its group order and an attachment; encryption is another way to aggregate. Client and server are
built from the declaration, and everything in it is part of the round digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from privcomp.codec import Blob, Codec, Message
from privcomp.encoding import FixedPoint
from privcomp.errors import CodecError, ParameterError
from privcomp.rounds.task import Task
from privcomp.secagg.params import Params, Segment

__all__ = ["RoundSpec"]


@dataclass(frozen=True)
class TaskedMessage(Message):
    """What the parameters bind of a round that has a task: the encoding's bytes and the task's."""

    TAG: ClassVar[int] = 0x42
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("encoding", Blob(1 << 10)), ("task", Blob(1 << 24)))
    encoding: bytes
    task: bytes


@dataclass(frozen=True)
class RoundSpec:
    """What one round computes and how.

    Args:
        encoding: floats <-> bounded integers; fixes the modulus.
        aggregation: secure-aggregation parameters; build both together with `secure_sum`.
        task: what is asked of the nodes in terms of named arrays and metrics; None: what the vector means is agreed
            elsewhere.

    Raises:
        ParameterError: the stages do not fit together (a sum could wrap, a length differs).
    """

    encoding: FixedPoint
    aggregation: Params
    task: Task | None = None

    def __post_init__(self) -> None:
        encoding, params = self.encoding, self.aggregation
        first = params.segments[0]
        if len(params.segments) != 1 or not first.is_ring or first.length != encoding.length:
            raise ParameterError(f"the round needs one ring segment of {encoding.length} entries")
        encoding.require_modulus(first.bits)
        if params.clients > encoding.clients:
            raise ParameterError(
                f"the encoding is safe for {encoding.clients} clients, the aggregation admits {params.clients}"
            )
        if params.context != _context(encoding, self.task):
            raise ParameterError("the aggregation does not bind this encoding; build the round with secure_sum()")

    @classmethod
    def secure_sum(cls, encoding: FixedPoint, task: Task | None = None, **options: Any) -> Self:
        """The round that sums encoded vectors by secure aggregation.

        Args:
            encoding: the encoding; its modulus and its number of clients are taken over.
            task: the round's task, bound like everything else.
            options: further fields of `secagg.Params` (protocol, adversary, corrupt, threshold, cipher, hybrid, ...).
        """
        values = {
            "protocol": "bonawitz",
            "adversary": "malicious",
            "corrupt": 0,
            "clients": encoding.clients,
            **options,
            "segments": (Segment.ring(encoding.modulus_bits, encoding.length),),
            "context": _context(encoding, task),
        }
        return cls(encoding, Params(**values), task)

    @classmethod
    def of_params(cls, params: Params) -> Self:
        """Rebuild the declaration from announced parameters.

        Raises:
            CodecError: the bytes that they bind are no encoding.
            ParameterError: the stages do not fit together.
        """
        try:
            if params.context[:5] == _TASKED:
                bound = TaskedMessage.from_bytes(params.context, max_bytes=1 << 25)
                task = Task.from_bytes(bound.task, max_bytes=1 << 24)
                return cls(FixedPoint.from_bytes(bound.encoding), params, task)
            return cls(FixedPoint.from_bytes(params.context), params)
        except CodecError as error:
            raise CodecError(f"the announced encoding is not canonical: {error.message}") from None


_TASKED = TaskedMessage(b"", b"").to_bytes()[:5]  # magic, version, tag


def _context(encoding: FixedPoint, task: Task | None) -> bytes:
    return encoding.to_bytes() if task is None else TaskedMessage(encoding.to_bytes(), task.to_bytes()).to_bytes()
