"""What prover and verifier say to the transcript, in the same words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from privcomp.errors import BufferTypeError, ParameterError
from privcomp.transcript import Transcript
from privcomp.zk.norm.statement import PROTOCOL, NormStatement

__all__ = ["ForbiddenChallenge", "begin", "challenge", "check_context", "layer_rounds"]


class ForbiddenChallenge(Exception):
    """A challenge is 0, a node, or a pole: the prover starts again, the verifier refuses. About one proof in 2^230."""


def check_context(context: Mapping[str, bytes]) -> None:
    """Fields of the context: names of ASCII letters, digits and `_`, values of bytes."""
    fields: list[tuple[object, object]] = list(context.items())
    for name, value in fields:
        if not isinstance(name, str) or not name.isascii() or not name.isidentifier() or name in ("params", "gens"):
            raise ParameterError(f"the context field {name!r}; a name is of ASCII letters, and not params or gens")
        if not isinstance(value, bytes):
            raise BufferTypeError(f"the context field {name!r} is a {type(value).__name__}; bytes are needed")


def begin(
    statement: NormStatement, context: Mapping[str, bytes], rows: bytes, transcript: Transcript | None
) -> Transcript:
    """A transcript that has absorbed everything that is stated: claims, generators, context, commitments."""
    check_context(context)
    out = Transcript(PROTOCOL) if transcript is None else transcript.copy()
    out.append("stmt.params", statement.encoding)
    out.append("stmt.gens", statement.generators.tag)
    for name in sorted(context):
        out.append(f"stmt.{name}", context[name])
    out.append_each("C", rows, statement.group.encoding_bytes)
    return out


def challenge(transcript: Transcript, label: str, q: int, *, nodes: int = 0) -> int:
    """A challenge modulo q that is not 0, and none of 0 .. nodes - 1."""
    value = int.from_bytes(transcript.challenge_bytes(label, 64), "little") % q
    if value == 0 or value < nodes:
        raise ForbiddenChallenge(label)
    return value


def layer_rounds(statement: NormStatement) -> Iterator[tuple[int, list[int]]]:
    """Layers from the root down, each with the variables that its rounds bind, from the highest."""
    for k in range(statement.variables):
        yield k, list(reversed(range(k)))
