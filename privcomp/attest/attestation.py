"""One client's proof about its update, signed, and its check: alone or among many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from hashlib import sha256, shake_256
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from privcomp.algebra import Scalars
from privcomp.codec import Blob, Codec, Fixed, Message, Nested, Seq, lp
from privcomp.errors import CodecError, ParameterError, RemoteError
from privcomp.keys import Identity, verify
from privcomp.zk import norm
from privcomp.zk.norm import NormStatement

__all__ = [
    "Attestation",
    "AttestationPart",
    "Submission",
    "UpdateContext",
    "attest_message",
    "attest_var",
    "check_attestation",
    "check_attestations",
]

PARTS: Final = {1: ("whole",), 2: ("signal", "noise")}
STAGE: Final = "attest"
_PROTOCOL: Final = b"privcomp-attest-v1"
_LABEL: Final = "privcomp/attest"
_BLINDINGS: Final = "privcomp/attest-blindings"
_ENTROPY_BYTES: Final = 64
_VERSION: Final = b"1"
_MAX_ROWS: Final = 1 << 26

IntArray = npt.NDArray[np.signedinteger]


@dataclass(frozen=True)
class AttestationPart(Message):
    """Row commitments to one vector, one encoding after another, and the proof about it."""

    TAG: ClassVar[int] = 0x0601
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("rows", Blob(_MAX_ROWS)), ("proof", Blob(1 << 20)))
    rows: bytes
    proof: bytes

    def __repr__(self) -> str:
        return f"AttestationPart({len(self.rows)} + {len(self.proof)} bytes)"


@dataclass(frozen=True)
class Attestation(Message):
    """What a client sends beside its masked vector.

    Args:
        parts: of the whole update, or of signal and noise.
        signature: Ed25519, over `attest_message`.
    """

    TAG: ClassVar[int] = 0x0602
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("parts", Seq(Nested(AttestationPart), 2)),
        ("signature", Fixed(64)),
    )
    parts: tuple[AttestationPart, ...]
    signature: bytes

    @staticmethod
    def size(statements: Sequence[NormStatement]) -> int:
        """Length in bytes of every attestation of these statements."""
        parts = tuple(AttestationPart(bytes(s.commitment_bytes), bytes(s.proof_bytes)) for s in statements)
        return len(Attestation(parts, bytes(64)).to_bytes())


@dataclass(frozen=True)
class UpdateContext:
    """The round that an attestation belongs to; client and part are added to it.

    Args:
        session: the session's identifier.
        round: the round's number, >= 0.
        model: hash of the model that the update refers to.
        roster: hash of the roster.
    """

    session: bytes
    round: int
    model: bytes
    roster: bytes

    def fields(self, client: bytes, part: str) -> dict[str, bytes]:
        """The fields of the statement's context."""
        return {
            "client": client,
            "model": self.model,
            "part": part.encode(),
            "roster": self.roster,
            "round": b"%d" % self.round,
            "session": self.session,
            "version": _VERSION,
        }


@dataclass(frozen=True)
class Submission:
    """What came from a client: its long-term public key as the roster has it (None: it is not there), the bytes."""

    public: bytes | None
    attestation: bytes


def _names(statements: Sequence[NormStatement]) -> tuple[str, ...]:
    if len(statements) not in PARTS:
        raise ParameterError(f"{len(statements)} statements; an update has one part, or signal and noise")
    return PARTS[len(statements)]


def attest_message(
    statements: Sequence[NormStatement], context: UpdateContext, client: bytes, parts: Iterable[AttestationPart]
) -> bytes:
    """What a client signs, 32 bytes: SHA-256 over statements, generators, contexts, commitments and proofs."""

    def i64(value: int) -> bytes:
        return value.to_bytes(8, "little", signed=True)

    hashed = sha256(lp(_PROTOCOL) + i64(len(statements)))
    for statement, name, part in zip(statements, _names(statements), parts, strict=True):
        fields = context.fields(client, name)
        hashed.update(lp(statement.encoding, statement.generators.tag) + i64(len(fields)))
        for key in sorted(fields):
            hashed.update(lp(key.encode(), fields[key]))
        hashed.update(i64(statement.rows) + part.rows + lp(part.proof))
    return hashed.digest()


def attest_var(
    statements: Sequence[NormStatement],
    context: UpdateContext,
    client: bytes,
    identity: Identity,
    vectors: Sequence[IntArray],
    rng: Callable[[int], bytes] = os.urandom,
) -> tuple[Attestation, Scalars]:
    """Commit to an update, prove what is stated about it, and sign.

    Variable time in the entries, as `privcomp.zk.norm.prove_var` says.

    Args:
        statements: of `AttestationSpec.statements`.
        context: the round.
        client: this client's id.
        identity: its long-term key.
        vectors: for each statement its vector, signed integers (d,): the update, or signal and noise.
        rng: entropy.

    Returns:
        (attestation, blindings): the blindings, one for each row and added up over the parts, are secret; they go
        into the sum together with the update.

    Raises:
        BufferTypeError: a vector is not one dimension of signed integers.
        EncodingError: a statement is not true of its vector; nothing may be sent.
    """
    parts: list[AttestationPart] = []
    openings = []
    for statement, name, x in zip(statements, _names(statements), vectors, strict=True):
        fields = context.fields(client, name)
        commitment, opening = norm.commit_var(statement, x, _hedged(identity, fields, x, rng))
        proof = norm.prove_var(statement, fields, x, commitment, opening, rng)
        parts.append(AttestationPart(commitment.encode(), proof))
        openings.append(opening)
    blindings = openings[0].blindings
    for opening in openings[1:]:
        blindings = blindings + opening.blindings
    signature = identity.sign(_LABEL, attest_message(statements, context, client, parts))
    return Attestation(tuple(parts), signature), blindings


def _hedged(
    identity: Identity, fields: Mapping[str, bytes], x: IntArray, rng: Callable[[int], bytes]
) -> Callable[[int], bytes]:
    """Entropy for blindings: of `rng`, of vector and context, and of what only the holder of the key can compute.

    Blindings that repeat beside another vector would show where the two differ. These repeat only where everything
    does.
    """
    parts = [part for name in sorted(fields) for part in (name.encode(), fields[name])]
    secret = identity.sign(_BLINDINGS, *parts, sha256(np.ascontiguousarray(x).tobytes()).digest())  # never sent

    def drawn(n: int) -> bytes:
        return shake_256(lp(secret, rng(_ENTROPY_BYTES))).digest(n)

    return drawn


def _signed(
    statements: Sequence[NormStatement], context: UpdateContext, client: bytes, submission: Submission
) -> Attestation:
    """Shape and signature."""
    if submission.public is None:
        raise RemoteError(client, STAGE, "the roster does not name it")
    try:
        found = Attestation.from_bytes(submission.attestation, max_bytes=_MAX_ROWS)
    except CodecError as error:
        raise error.by(client, STAGE) from None
    sizes = [(len(part.rows), len(part.proof)) for part in found.parts]
    wanted = [(statement.commitment_bytes, statement.proof_bytes) for statement in statements]
    if sizes != wanted:
        raise RemoteError(
            client, STAGE, f"commitments and proofs of {sizes} bytes; the round's statements take {wanted}"
        )
    if not verify(submission.public, found.signature, _LABEL, attest_message(statements, context, client, found.parts)):
        raise RemoteError(client, STAGE, "the signature of its attestation does not verify")
    return found


def check_attestation(
    statements: Sequence[NormStatement],
    context: UpdateContext,
    client: bytes,
    public: bytes | None,
    attestation: bytes,
    rng: Callable[[int], bytes] = os.urandom,
) -> Attestation:
    """Check what came from a client, when it comes.

    Args:
        statements: of the round.
        context: the round.
        client: who sent it.
        public: its key as the roster has it; None: the roster does not name it.
        attestation: the bytes.
        rng: entropy of the verifier.

    Raises:
        RemoteError: names the client: not in the roster, other sizes than stated, a signature or proof that does not
            hold. Nothing else is raised, whatever the bytes.
    """
    found, bad = check_attestations(statements, context, {client: Submission(public, attestation)}, rng)
    if client in bad:
        raise bad[client]
    return found[client]


def check_attestations(
    statements: Sequence[NormStatement],
    context: UpdateContext,
    submissions: Mapping[bytes, Submission],
    rng: Callable[[int], bytes] = os.urandom,
    *,
    executor: Executor | None = None,
    workers: int = 2,
) -> tuple[dict[bytes, Attestation], dict[bytes, RemoteError]]:
    """Check the attestations of many clients: proofs together, and one by one only where they fail.

    Args:
        statements, context: of the round.
        submissions: id -> what came from it.
        rng: entropy of the verifier, that no client foresees.
        executor, workers: as for `privcomp.zk.norm.failures`.

    Returns:
        (attestations that hold, errors of the others), by id. A false proof is missed with probability 2^-128.

    Raises:
        ExecutorError: the executor did not do its work.
    """
    good: dict[bytes, Attestation] = {}
    bad: dict[bytes, RemoteError] = {}
    items: list[norm.Proven] = []
    owners: list[tuple[bytes, str]] = []
    for client, submission in submissions.items():
        try:
            found = _signed(statements, context, client, submission)
        except RemoteError as error:
            bad[client] = error
            continue
        good[client] = found
        for statement, name, part in zip(statements, _names(statements), found.parts, strict=True):
            items.append(norm.Proven(statement, context.fields(client, name), part.rows, part.proof))
            owners.append((client, name))
    for k, refusal in norm.failures(items, rng, executor=executor, workers=workers).items():
        client, name = owners[k]
        good.pop(client, None)
        bad.setdefault(client, RemoteError(client, STAGE, f"its proof ({name}) is refused: {refusal.message}"))
    return good, bad
