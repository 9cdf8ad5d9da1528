"""What prover and verifier say to the transcript, in the same words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from privcomp.errors import BufferTypeError, ParameterError
from privcomp.transcript import Script, Step, Transcript
from privcomp.zk.norm.statement import PROTOCOL, NormStatement

__all__ = ["ForbiddenChallenge", "begin", "challenge", "challenges", "check_context", "layer_rounds"]

_CHALLENGE_BYTES = 64


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
    """The prover's next challenge modulo q: not 0, and none of 0 .. nodes - 1."""
    return _admitted(transcript.challenge_bytes(label, _CHALLENGE_BYTES), label, q, nodes)


def challenges(transcript: Transcript, statement: NormStatement, proof: bytes) -> dict[str, int]:
    """All challenges of a proof by their labels, from a transcript that has absorbed what is stated.

    The proof is as long as the statement says. Raises ForbiddenChallenge.
    """
    point, q = statement.group.encoding_bytes, statement.group.order
    table = proof[: point * statement.table_rows]
    transcript.append_each("M", table, point)
    script, labels = _script(statement.variables, statement.open_rounds, statement.halvings, point)
    drawn = transcript.replay(script, proof[len(table) :])
    nodes = {"c": 2 * statement.products + 1}
    return {
        label: _admitted(drawn[k * _CHALLENGE_BYTES : (k + 1) * _CHALLENGE_BYTES], label, q, nodes.get(label, 0))
        for k, label in enumerate(labels)
    }


def _admitted(data: bytes, label: str, q: int, nodes: int) -> int:
    value = int.from_bytes(data, "little") % q
    if value == 0 or value < nodes:
        raise ForbiddenChallenge(label)
    return value


def layer_rounds(variables: int) -> Iterator[tuple[int, list[int]]]:
    """Layers from the root down, each with the variables that its rounds bind, from the highest."""
    for k in range(variables):
        yield k, list(reversed(range(k)))


@lru_cache(maxsize=64)
def _script(variables: int, open_rounds: int, halvings: int, point: int) -> tuple[Script, tuple[str, ...]]:
    """What a proof says after the table, and the challenges between; the labels of the challenges."""
    steps: list[Step] = []

    def say(label: str, *then: str, size: int = point) -> None:
        """A message, and the challenges that follow it."""
        steps.append(Step(label, size))
        steps.extend(Step(name, _CHALLENGE_BYTES, True) for name in then)

    say("claims", "alpha")
    say("root", "lam0")
    for k, rounds in layer_rounds(variables):
        for bit in rounds:
            say(f"layer{k}.round{bit}", f"layer{k}.s{bit}")
        say(f"layer{k}.values", f"mu{k}", f"lam{k + 1}" if k + 1 < variables else "eta")
    for bit in reversed(range(open_rounds)):
        say(f"open.round{bit}", f"open.s{bit}")
    say("open.values", "kappa")
    say("aux", "c")
    say("fc", size=32)
    say("gc", "zeta", "theta", "chi", size=32)
    for i in range(halvings):
        say(f"L{i}")
        say(f"R{i}", f"e{i}")
    say("A", "cs")
    say("za", size=32)
    say("zr", size=32)
    return Script(tuple(steps)), tuple(step.label for step in steps if step.challenge)
