"""What travels inside Flower's TRAIN and EVALUATE messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from privcomp.codec import Blob, Bool, Codec, Fixed, Message, Seq, Text, Tup, digest
from privcomp.keys import Identity, Roster, verify

__all__ = ["HELLO", "Claim", "Extras", "Parcel", "binding"]

#: The stage before the first: a node says which member of the roster it is.
HELLO: Final = "hello"
_CLAIM: Final = "privcomp-flower-node"


@dataclass(frozen=True)
class Parcel(Message):
    """One request or one reply: a stage of the protocol and its messages.

    Items of a request: a nonce of 32 bytes (hello); the server's message, in a stage in which nodes train
    (`privcomp.rounds.aggregation.TRAINING_STAGES`) followed by an `Extras`.
    Items of a reply: a `Claim` (hello); the node's messages in order.
    """

    TAG: ClassVar[int] = 0x44
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("stage", Text(32)),
        ("items", Seq(Blob((1 << 32) - 1), 1 << 20)),
    )
    stage: str
    items: tuple[bytes, ...]

    def __repr__(self) -> str:
        return f"Parcel({self.stage!r}, {len(self.items)} items)"


@dataclass(frozen=True)
class Claim(Message):
    """Which member of the roster a node is, signed for one nonce of the server.

    It only makes the route: every message of a round is signed or sealed by the identity itself.

    Attributes:
        id: id in the roster.
        launched: whether `privcomp supernode` checks the code that runs at this node.
        signature: over nonce, run, node and the rest, under the roster's key of this id.
    """

    TAG: ClassVar[int] = 0x45
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("id", Blob(64)),
        ("launched", Bool),
        ("signature", Fixed(64)),
    )
    id: bytes
    launched: bool
    signature: bytes

    @classmethod
    def sign(cls, identity: Identity, id: bytes, launched: bool, nonce: bytes, run: int, node: int) -> Claim:
        """The claim of this identity at this address."""
        return cls(id, launched, identity.sign(_CLAIM, *_claimed(id, launched, nonce, run, node)))

    def verify(self, roster: Roster, nonce: bytes, run: int, node: int) -> bool:
        """Whether the roster's owner of this id made it for this nonce and address."""
        parts = _claimed(self.id, self.launched, nonce, run, node)
        return self.id in roster and verify(roster.public(self.id), self.signature, _CLAIM, *parts)


def _claimed(id: bytes, launched: bool, nonce: bytes, run: int, node: int) -> tuple[bytes, ...]:
    return id, bytes([launched]), nonce, run.to_bytes(8, "little"), node.to_bytes(8, "little")


@dataclass(frozen=True)
class Extras(Message):
    """What the strategy sends beside the arrays, the same for all nodes.

    Attributes:
        arrays: name of the record that holds the arrays.
        weight: name of the metric that is the weight.
        records: (name, kind, bytes) of every other record.
    """

    TAG: ClassVar[int] = 0x46
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("arrays", Text(256)),
        ("weight", Text(256)),
        ("records", Seq(Tup(Text(256), Text(32), Blob(1 << 26)), 256)),
    )
    arrays: str
    weight: str
    records: tuple[tuple[str, str, bytes], ...]


def binding(message_type: str, group: str, run_config: bytes, extras: bytes) -> bytes:
    """The digest that the round binds (`Task.binding`).

    Whoever could give one node another learning rate than the rest could make the rest's updates vanish, and the sum
    would be that node's. Bound into the round digest, the configuration of all nodes of a round is one and the same.

    Args:
        message_type: Flower's, such as "train" or "train.finetune".
        group: Flower's group id: the app sees it, and strategies put the number of the round there.
        run_config: canonical bytes of the run config as this party knows it.
        extras: bytes of `Extras`.

    Returns:
        32 bytes.
    """
    return digest("privcomp-flower-request", message_type.encode(), group.encode(), run_config, extras)
