"""Commit, prove, check: one proof, or many at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from privcomp import _core
from privcomp.algebra import RISTRETTO255, Points, Scalars
from privcomp.commitments.hyrax import Hyrax, Opening, RowCommitment
from privcomp.commitments.weights import verifier_weights
from privcomp.errors import BufferTypeError, CodecError, EncodingError, ExecutorError, ParameterError, RemoteError
from privcomp.transcript import Transcript
from privcomp.typing import Buffer, I64Array
from privcomp.zk.common import nonces, to_bytes
from privcomp.zk.norm.prover import Draw, prove
from privcomp.zk.norm.replay import check_context
from privcomp.zk.norm.statement import (
    CosineAtLeast,
    DistanceAtMost,
    EntryRange,
    HistogramAtMost,
    InnerProductAtLeast,
    L2AtMost,
    NormStatement,
    square_sum,
)
from privcomp.zk.norm.verifier import Equation, equation, has_identity

__all__ = ["Proven", "check", "commit_var", "decode_commitment", "failures", "prove_var", "require", "scheme"]

IntArray = npt.NDArray[np.signedinteger]

_NONCES_AT_ONCE: Final = 64


def scheme(statement: NormStatement) -> Hyrax:
    """The layout in which the entries of a statement are committed."""
    largest = max(-statement.lo, statement.hi)
    return Hyrax(statement.columns, next(b for b in range(1, 5) if largest <= 1 << (8 * b - 1)), statement.group)


def _entries(statement: NormStatement, x: object) -> I64Array:
    if not isinstance(x, np.ndarray) or x.dtype.kind != "i" or x.ndim != 1:
        raise BufferTypeError("entries are a one-dimensional array of signed integers")
    if x.size != statement.d:
        raise EncodingError(f"{x.size} entries; the statement is about {statement.d}")
    return np.ascontiguousarray(x, dtype=np.int64)


def require(statement: NormStatement, x: IntArray) -> None:
    """Check that a statement is true of x: whoever proves it should know first.

    Raises:
        BufferTypeError: x is not one dimension of signed integers.
        EncodingError: another length, or a claim that does not hold.
    """
    x = _entries(statement, x)
    if int(x.min()) < statement.lo or int(x.max()) > statement.hi:
        raise EncodingError(f"an entry is outside [{statement.lo}, {statement.hi}]")

    q = RISTRETTO255.order

    def dot(u: I64Array, v: I64Array) -> int:
        """Exact, since |u| < 2^24, |v| <= 2^63 and 2^28 places stay below half of an order: a wide accumulator."""
        found = _core.dot_i64(RISTRETTO255.core_id, u, v)
        return found if found < q // 2 else found - q

    outside = [c.index for c in statement.claims if isinstance(c, EntryRange) and c.outside_norm]
    norm = dot(x, x) - sum(int(x[j]) ** 2 for j in outside)
    counts = np.bincount(x - statement.lo, minlength=statement.values).astype(np.int64)
    counts[-statement.lo] += statement.padding
    for claim in statement.claims:
        holds = False
        if isinstance(claim, EntryRange):
            holds = claim.low <= int(x[claim.index]) <= claim.high
        elif isinstance(claim, L2AtMost):
            holds = norm <= claim.squared
        elif isinstance(claim, InnerProductAtLeast):
            holds = dot(x, claim.direction) >= claim.least
        elif isinstance(claim, DistanceAtMost):
            holds = norm - 2 * dot(x, claim.direction) + square_sum(claim.direction) <= claim.squared
        elif isinstance(claim, CosineAtLeast):
            product, size = dot(x, claim.direction), square_sum(claim.direction)
            holds = product >= 0 and (claim.denominator * product) ** 2 >= claim.numerator**2 * size * norm
        elif isinstance(claim, HistogramAtMost):
            holds = dot(counts, claim.direction) <= claim.most
        if not holds:
            raise EncodingError(f"{claim!r} does not hold for these entries; nothing was proven")


def commit_var(
    statement: NormStatement, x: IntArray, rng: Callable[[int], bytes] = os.urandom
) -> tuple[RowCommitment, Opening]:
    """Commit to entries with fresh blindings: see `Hyrax.commit_var`.

    Never commit twice with one opening: two commitments with the same blindings tell whether their entries differ.
    """
    return scheme(statement).commit_var(_entries(statement, x), rng)


def prove_var(
    statement: NormStatement,
    context: Mapping[str, bytes],
    x: IntArray,
    commitment: RowCommitment,
    opening: Opening,
    rng: Callable[[int], bytes] = os.urandom,
    *,
    transcript: Transcript | None = None,
) -> bytes:
    """Prove that the committed entries satisfy the statement.

    Counting the entries and committing read memory at places that depend on the entries (and on the multiplicities):
    whoever watches the cache of the prover's processor may learn them. How long it takes depends on where bytes of
    entries are zero and, slightly, on all of them. The other kernels are constant time, the Python integers between
    them are not.

    Args:
        statement: what is proven.
        context: what the proof is bound to, name -> bytes: session, round, client, ...: whatever is not in it can be
            exchanged.
        x: the entries, signed integers (d,).
        commitment: of `commit_var`, for these entries: that is not checked; of others, the proof will be refused.
        opening: its blindings.
        rng: entropy.
        transcript: a fresh one over another hash, where the bytes are fixed elsewhere.

    Returns:
        `statement.proof_bytes` bytes.

    Raises:
        BufferTypeError: x is not one dimension of signed integers.
        EncodingError: the statement is false; nothing was sent.
        ParameterError: a commitment or opening of another shape.
    """
    require(statement, x)
    if len(opening.blindings) != statement.rows or opening.blindings.group != statement.group:
        raise ParameterError("the opening is of another commitment")
    rows = _rows(statement, commitment).encode()
    draw_for = _drawer(statement, opening, rng)
    return prove(statement, context, _entries(statement, x), rows, opening, draw_for, transcript)


def _drawer(statement: NormStatement, opening: Opening, rng: Callable[[int], bytes]) -> Callable[[Transcript], Draw]:
    """Nonces from the statement, the blindings (which with the commitment fix the entries) and entropy."""
    order = statement.group.order

    def begin(transcript: Transcript) -> Draw:
        stock: list[int] = []
        count = 0

        def draw(low: int) -> int:
            nonlocal count
            while True:
                if not stock:
                    fork = transcript.copy()
                    fork.append_int("nonces.block", count)
                    count += 1
                    secret = opening.blindings.to_bytes()
                    stock.extend(nonces(fork, statement.group, _NONCES_AT_ONCE, secret, rng).to_ints())
                value = stock.pop()
                if low <= value < order:
                    return value

        return draw

    return begin


def _rows(statement: NormStatement, commitment: RowCommitment) -> RowCommitment:
    same = (commitment.scheme.columns, commitment.scheme.group, commitment.d)
    if same != (statement.columns, statement.group, statement.d):
        raise ParameterError("the commitment has another layout than the statement")
    return commitment


def decode_commitment(statement: NormStatement, data: Buffer) -> RowCommitment:
    """Received row commitments.

    Raises:
        CodecError: another length, an encoding that is not canonical, or the identity.
    """
    found = scheme(statement).decode(data, statement.d)
    if has_identity(statement.group, found.encode()):
        raise CodecError("a row commitment is the identity")
    return found


def check(
    statement: NormStatement,
    context: Mapping[str, bytes],
    commitment: RowCommitment,
    proof: Buffer,
    *,
    transcript: Transcript | None = None,
) -> None:
    """Check a proof.

    Raises:
        RemoteError: it does not hold. (CodecError: its bytes are no proof of this statement.) Nothing else is raised,
            whatever the bytes; the time is bounded by the statement.
        ParameterError: the commitment has another layout than the statement.
    """
    raw = to_bytes(proof)
    if not equation(statement, context, _rows(statement, commitment), raw, transcript).holds():
        raise _refused()


def _refused() -> RemoteError:
    return RemoteError(None, "proof", "the proof does not hold for this statement, context and commitment")


@dataclass(frozen=True)
class Proven:
    """A received statement with its commitment and proof, as bytes."""

    statement: NormStatement
    context: Mapping[str, bytes]
    commitment: bytes
    proof: bytes


def failures(
    items: Sequence[Proven],
    rng: Callable[[int], bytes] = os.urandom,
    *,
    executor: Executor | None = None,
    workers: int = 2,
) -> dict[int, RemoteError]:
    """Check many proofs together: one multi-scalar multiplication under random weights, and a search where it fails.

    Args:
        items: of any statements.
        rng: entropy of the verifier, that no prover foresees (workers of an executor use their system's own).
        executor: where to check `workers` parts side by side; threads share one interpreter and gain little.
        workers: parts that an executor gets.

    Returns:
        The errors by index in items; empty if all hold. A false proof is missed with probability 2^-128.

    Raises:
        ExecutorError: the executor did not do its work.
    """
    for item in items:
        check_context(item.context)
    if executor is None or len(items) < 2:
        return _failures(items, rng)
    step = -(-len(items) // max(1, workers))
    parts = [(first, items[first : first + step]) for first in range(0, len(items), step)]
    out: dict[int, RemoteError] = {}
    try:
        futures = [(first, executor.submit(_failures_apart, part)) for first, part in parts]
        for first, future in futures:
            out.update({first + k: _restored(*error) for k, error in future.result().items()})
    except Exception as error:
        raise ExecutorError(f"the executor did not check the proofs: {type(error).__name__}") from error
    return out


def _restored(canonical: bool, message: str) -> RemoteError:
    return RemoteError(None, "proof", message) if canonical else CodecError(message)


def _failures_apart(items: Sequence[Proven]) -> dict[int, tuple[bool, str]]:
    """`failures` in another process, which has entropy of its own; errors as plain values."""
    found = _failures(items, os.urandom)
    return {k: (not isinstance(error, CodecError), error.message) for k, error in found.items()}


def _failures(items: Sequence[Proven], rng: Callable[[int], bytes]) -> dict[int, RemoteError]:
    out: dict[int, RemoteError] = {}
    found: list[tuple[int, Equation]] = []
    for k, item in enumerate(items):
        try:
            commitment = decode_commitment(item.statement, item.commitment)
            found.append((k, equation(item.statement, item.context, commitment, to_bytes(item.proof), None)))
        except RemoteError as error:
            out[k] = error
    weights = verifier_weights(RISTRETTO255, len(found), rng, _bound(items)).to_ints()
    scaled = [
        (k, one.scaled(one.statement.group.scalar(weight))) for (k, one), weight in zip(found, weights, strict=True)
    ]
    for k in _bad(scaled):
        out[k] = _refused()
    return dict(sorted(out.items()))


def _bound(items: Sequence[Proven]) -> Iterator[bytes]:
    """Everything that is checked, for the weights."""
    for item in items:
        yield item.statement.encoding
        for name in sorted(item.context):
            yield name.encode()
            yield item.context[name]
        yield item.commitment
        yield item.proof


def _bad(equations: list[tuple[int, Equation]]) -> list[int]:
    """The indices of the equations that do not hold."""
    if not equations or _together([one for _, one in equations]):
        return []
    if len(equations) == 1:
        return [equations[0][0]]
    half = len(equations) // 2
    return _bad(equations[:half]) + _bad(equations[half:])


def _together(equations: Sequence[Equation]) -> bool:
    """Whether the sum of all is the identity; those over the same generators share them."""
    by_group: dict[Any, dict[bytes, list[Equation]]] = {}
    for one in equations:
        generators = one.statement.generators
        by_group.setdefault(generators.group, {}).setdefault(generators.tag, []).append(one)
    for by_tag in by_group.values():
        bases, weights = [], []
        for same in by_tag.values():
            gens, total = same[0].statement.generators, same[0].generators
            for one in same[1:]:
                total = total + one.generators
            bases += [gens.columns, gens.messages, gens.product, gens.blinding, *(one.points for one in same)]
            weights += [total, *(one.weights for one in same)]
        if not Points.concat(bases).msm_var(Scalars.concat(weights)).is_identity():
            return False
    return True
