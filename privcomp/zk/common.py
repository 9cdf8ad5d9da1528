"""What every proof here needs: one-time secrets, challenges, bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from privcomp import _core
from privcomp.algebra import Group, Scalar, Scalars
from privcomp.errors import ParameterError, RemoteError
from privcomp.transcript import Transcript
from privcomp.typing import Buffer

__all__ = ["challenge", "nonces", "to_bytes"]

_ENTROPY_BYTES: Final = 64


def nonces(transcript: Transcript, group: Group, n: int, secret: bytes, rng: Callable[[int], bytes]) -> Scalars:
    """n uniform scalars from what was said so far, the witness and fresh entropy.

    A nonce that repeats under another challenge reveals the witness. These repeat only where transcript, witness and
    entropy all do, in which case the proof is the same one. The transcript itself is not changed. Source: Merlin's
    generator for provers.
    """
    entropy = rng(_ENTROPY_BYTES)
    if len(entropy) != _ENTROPY_BYTES:
        raise ParameterError(f"rng gave {len(entropy)} bytes where {_ENTROPY_BYTES} were asked for")
    fork = transcript.copy()
    fork.append("nonces.secret", secret)
    fork.append("nonces.entropy", entropy)
    return fork.challenge_scalars("nonces", group, n)


def challenge(transcript: Transcript, label: str, group: Group) -> Scalar:
    """A challenge that is not 0.

    Raises:
        RemoteError: it is 0, which happens in one proof of as many as the group has elements; another proof has others.
    """
    found = transcript.challenge_scalar(label, group)
    if found == group.scalar(0):
        raise RemoteError(None, "proof", "a challenge is 0; the prover has to make another proof")
    return found


def to_bytes(data: Buffer) -> bytes:
    """Received bytes of any kind as bytes; BufferTypeError for what is none."""
    return _core.as_bytes("a proof", data).tobytes()
