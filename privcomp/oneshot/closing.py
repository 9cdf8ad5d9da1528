"""Row 5c at the server: the members of a committee close a model, so that clients may go to another committee with it.

A client uploads on one model to one committee. A round that never came to a proposal would so tie the model to a
committee that may be gone; K = c + t_p - Q + 1 members that sign never to vote for a set on it set it free, as too few
others are left to certify one.
"""

from __future__ import annotations

from privcomp import keys
from privcomp.errors import CodecError, RemoteError, RoundAborted, StateError
from privcomp.oneshot.context import RoundContext, close_parts, closes
from privcomp.oneshot.messages import MAX_ANNOUNCE, Announce, Close, CloseCertificate, CloseRequest

__all__ = ["Closing"]


class Closing:
    """The closes of one announced round's model, by the members of its committee.

    Args:
        context: the round: the first one that was announced on this model to this committee, as members look into their
            journals from there.
    """

    def __init__(self, context: RoundContext) -> None:
        self.context = context
        self._signatures: dict[int, bytes] = {}

    @classmethod
    def of(cls, announce: bytes) -> Closing:
        """Of the bytes of an announcement.

        Raises:
            CodecError: they are none.
        """
        return cls(RoundContext.of(Announce.from_bytes(announce, max_bytes=MAX_ANNOUNCE)))

    @property
    def request(self) -> bytes:
        """What the members are asked."""
        return CloseRequest(self.context.announce.to_bytes()).to_bytes()

    @property
    def pending(self) -> frozenset[bytes]:
        """Ids of the members that took part in the round and have not closed the model."""
        ids = self.context.params.committee.ids
        return frozenset(ids[place] for place in self.context.present if place not in self._signatures)

    @property
    def is_complete(self) -> bool:
        """Whether K members have closed the model."""
        return len(self._signatures) >= self.context.params.committee.release

    def receive(self, data: bytes | Close, sender: bytes | None = None) -> None:
        """Take a member's answer. A repeat changes nothing.

        Args:
            data: a `Close`, or its bytes.
            sender: id that the transport has authenticated.

        Raises:
            RemoteError: it is no close of this model by a member of this committee, or in another name.
        """
        try:
            message = data if isinstance(data, Close) else Close.from_bytes(data, max_bytes=1 << 10)
        except CodecError as error:
            raise error.by(sender, "close") from None
        committee = self.context.params.committee
        parts = close_parts(self.context.announce.model_hash, committee.hash)
        place = committee.place(message.id)
        if sender is not None and message.id != sender:
            raise RemoteError(sender, "close", f"a message in the name of {message.id!r}")
        if place is None:
            raise RemoteError(message.id, "close", "this party is not in the committee")
        if (message.model_hash, message.committee_hash) != parts:
            raise RemoteError(message.id, "close", "a close of another model or committee")
        if not keys.verify(committee.members[place][1], message.signature, "privcomp-oneshot-1/close", *parts):
            raise RemoteError(message.id, "close", "the signature of the close does not verify")
        self._signatures[place] = message.signature

    def certificate(self) -> CloseCertificate:
        """K close signatures, for `closes=` of the next server on this model.

        Raises:
            RoundAborted: too few came; more may still come in.
        """
        committee = self.context.params.committee
        here, need = len(self._signatures), committee.release
        if not self.is_complete:
            raise RoundAborted(None, "close", f"{here} members closed the model, {need} are needed; nothing was opened")
        signed = tuple(sorted(self._signatures.items()))
        made = CloseCertificate(self.context.announce.model_hash, committee, signed)
        if not closes(made):
            raise StateError("the close certificate does not verify")
        return made
