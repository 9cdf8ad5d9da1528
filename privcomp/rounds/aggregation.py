"""The server's side of the ways to aggregate, as a round sees them: stages, messages, a sum, what the ledger keeps.

`MaskedSum` is interactive secure aggregation (`privcomp.secagg`), `CommitteeSum` one-shot aggregation with a committee
(`privcomp.oneshot`). What both share, and nothing else of them, is known to `RoundServer` and to whoever drives rounds.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from privcomp import oneshot
from privcomp._core import center
from privcomp.errors import StateError
from privcomp.ledger import Header
from privcomp.oneshot.context import upload_body
from privcomp.oneshot.keyshares import merkle_root
from privcomp.rounds.messages import CommitteeEvidence, RoundAgain, RoundAnnouncement, RoundUpload, SignedUpload
from privcomp.secagg.messages import STAGES
from privcomp.secagg.params import MALICIOUS
from privcomp.secagg.server import Aggregate, Outbox, Server
from privcomp.typing import I64Array

__all__ = ["COMMITTEE", "TRAINING_STAGES", "Aggregation", "Announced", "CommitteeSum", "MaskedSum", "Recorded"]

#: The stages in which nodes get the model and compute.
TRAINING_STAGES: Final = frozenset({"mask", "upload"})
#: Name in `Record.extras` of what a committee signed.
COMMITTEE: Final = "committee"


class Announced(Protocol):
    """What every announcement says of its round."""

    @property
    def params(self) -> bytes: ...
    @property
    def session(self) -> bytes: ...
    @property
    def round(self) -> int: ...
    @property
    def purpose(self) -> str: ...
    @property
    def model_hash(self) -> bytes: ...
    @property
    def roster_hash(self) -> bytes: ...
    @property
    def ledger_head(self) -> bytes: ...


@dataclass(frozen=True)
class Recorded:
    """What a round leaves in its record, whatever became of it; the fields are those of `privcomp.ledger.Record`."""

    key_list_hash: bytes = bytes(32)
    u1: tuple[bytes, ...] = ()
    u2: tuple[bytes, ...] = ()
    advertisements: tuple[tuple[bytes, bytes, bytes], ...] = ()
    quorum: tuple[tuple[bytes, bytes], ...] = ()
    extras: tuple[tuple[str, bytes], ...] = ()


class Aggregation(ABC):
    """One round of aggregation at the server."""

    #: The stage in which clients get the announcement, and with it the ledger's headers.
    announces: ClassVar[str]

    @property
    @abstractmethod
    def announce(self) -> Announced:
        """What is announced."""

    @property
    @abstractmethod
    def digest(self) -> bytes:
        """What everything in the round is bound to, 32 bytes."""

    @property
    @abstractmethod
    def stages(self) -> tuple[str, ...]:
        """The names of the stages, in order."""

    @property
    @abstractmethod
    def stage(self) -> str:
        """The stage whose answers are awaited."""

    @property
    @abstractmethod
    def fixed(self) -> bool:
        """Whether the survivors are fixed for good: from here on the round can be finished at any later time."""

    @property
    @abstractmethod
    def asked_for_updates(self) -> bool:
        """Whether clients were asked for their updates."""

    @property
    @abstractmethod
    def refused(self) -> Mapping[bytes, str]:
        """id -> reason, for uploads that were refused."""

    @property
    @abstractmethod
    def survivors(self) -> tuple[bytes, ...]:
        """The ids of U, increasing; empty before it is fixed."""

    @abstractmethod
    def begin(self, parties: Iterable[bytes], announced: Callable[[bytes], tuple[Header, ...]]) -> Outbox:
        """The messages of the first stage.

        Args:
            parties: who can be reached.
            announced: id -> the headers that this party's announcement carries; called when it is sent.
        """

    @abstractmethod
    def receive(self, data: bytes, sender: bytes | None) -> None:
        """Take one message."""

    @abstractmethod
    def advance(self) -> Outbox:
        """Close the stage: the messages of the next one."""

    @abstractmethod
    def requests(self) -> Outbox:
        """The requests of this stage for those who have not answered; StateError before the survivors are fixed."""

    @abstractmethod
    def result(self) -> Aggregate:
        """Open the sum."""

    @abstractmethod
    def total(self, aggregate: Aggregate) -> I64Array:
        """The sum as signed integers."""

    @abstractmethod
    def recorded(self) -> Recorded:
        """What goes into the record."""

    @abstractmethod
    def freeze(self) -> bytes:
        """What a restarted server needs; empty: nothing was announced, so nothing is lost."""


class MaskedSum(Aggregation):
    """Interactive secure aggregation.

    Args:
        server: the protocol's server.
        ledger_key: public key that signs the ledger.
    """

    announces = STAGES[0]

    def __init__(self, server: Server, ledger_key: bytes) -> None:
        self.server = server
        self._ledger_key = ledger_key

    @property
    def announce(self) -> Announced:
        return self.server.context.announce

    @property
    def digest(self) -> bytes:
        return self.server.context.digest

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(name for name in STAGES if name != "consistency" or self.server.params.adversary == MALICIOUS)

    @property
    def stage(self) -> str:
        return STAGES[min(self.server.stage, len(STAGES) - 1)]

    @property
    def fixed(self) -> bool:
        return self.stage == STAGES[-1]

    @property
    def asked_for_updates(self) -> bool:
        return bool(self.server.u2_bitmap)

    @property
    def refused(self) -> Mapping[bytes, str]:
        return self.server.refused

    @property
    def survivors(self) -> tuple[bytes, ...]:
        return self._named(self.server.u_bitmap, "u")

    def _named(self, bits: bytes, what: str) -> tuple[bytes, ...]:
        if not bits:
            return ()
        directory = self.server.directory
        return tuple(directory.ids[p] for p in sorted(directory.members(bits, what)))

    def begin(self, parties: Iterable[bytes], announced: Callable[[bytes], tuple[Header, ...]]) -> Outbox:
        announce = self.server.announcement
        build = _once(lambda headers: (RoundAnnouncement(self._ledger_key, headers, announce).to_bytes(),))
        return Outbox(parties, lambda party: build(announced(party)))

    def receive(self, data: bytes, sender: bytes | None) -> None:
        self.server.receive(data, sender)

    def advance(self) -> Outbox:
        return self.server.advance()

    def requests(self) -> Outbox:
        return self.server.unmask_requests()

    def result(self) -> Aggregate:
        return self.server.result()

    def total(self, aggregate: Aggregate) -> I64Array:
        return center(aggregate.sums[0], self.server.params.segments[0].bits)

    def recorded(self) -> Recorded:
        server, directory = self.server, self.server._directory
        if directory is None:
            return Recorded()
        signed = tuple(
            (party, data, data[-64:]) for party, data in server.advertisements.items() if party in directory.place
        )
        return Recorded(
            directory.hash,
            tuple(directory.ids),
            self._named(server.u2_bitmap, "u2"),
            signed,
            tuple(server.quorum_signatures.items()),
        )

    def freeze(self) -> bytes:
        return self.server.freeze()


class CommitteeSum(Aggregation):
    """One-shot aggregation. Its members are parties like clients; one party may be both.

    Args:
        server: the protocol's server.
        ledger_key: public key that signs the ledger, and the announcement.
        model: the model bytes.
        redeliver: members keep nothing between two messages: they get their shares again with every request.
    """

    announces = oneshot.STAGES[1]

    def __init__(self, server: oneshot.Server, ledger_key: bytes, model: bytes, *, redeliver: bool = False) -> None:
        self.server = server
        self._redeliver = redeliver
        self._ledger_key = ledger_key
        self._model = model
        self._clients: tuple[bytes, ...] = ()
        self._announced: Callable[[bytes], tuple[Header, ...]] = lambda _: ()

    @property
    def announce(self) -> Announced:
        return self.server.announced

    @property
    def digest(self) -> bytes:
        return self.server.context.digest if self.server.is_announced else bytes(32)

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(name for name in oneshot.STAGES if name != "vote" or self.server.params.certified)

    @property
    def stage(self) -> str:
        return oneshot.STAGES[min(self.server.stage, len(oneshot.STAGES) - 1)]

    @property
    def fixed(self) -> bool:
        return bool(self.server.survivors)

    @property
    def asked_for_updates(self) -> bool:
        return self.server.is_announced

    @property
    def refused(self) -> Mapping[bytes, str]:
        return self.server.refused

    @property
    def survivors(self) -> tuple[bytes, ...]:
        return self.server.survivors

    def begin(self, parties: Iterable[bytes], announced: Callable[[bytes], tuple[Header, ...]]) -> Outbox:
        here = dict.fromkeys(parties)
        self._clients, self._announced = tuple(here), announced
        asked = self.server.requests()
        return Outbox((party for party in asked if party in here), asked.parts)

    def receive(self, data: bytes, sender: bytes | None) -> None:
        self.server.receive(data, sender)

    def advance(self) -> Outbox:
        asked = self.server.advance()
        if self.stage != self.announces:
            return self.requests() if self.fixed and self._redeliver else asked
        announce, model = self.server.announcement, self._model

        def upload(headers: tuple[Header, ...]) -> tuple[bytes, ...]:
            # Ends with the length of the model, which is the same object for all.
            empty = RoundUpload(self._ledger_key, headers, announce, b"").to_bytes()
            return empty[:-4] + struct.pack("<I", len(model)), model

        build, announced = _once(upload), self._announced
        return Outbox((party for party in self._clients if party in asked), lambda party: build(announced(party)))

    def requests(self) -> Outbox:
        if not self.fixed:
            raise StateError("the survivors of this round are not fixed")
        asked = self.server.requests()
        # Who was restarted has forgotten the shares; the same ones are delivered again.
        return Outbox(asked, lambda party: (RoundAgain(self.server.catch_up(party)).to_bytes(),))

    def result(self) -> Aggregate:
        found = self.server.result()
        return Aggregate(found.sums, found.survivors, found.uploaded, found.uploaded, found.faulty)

    def total(self, aggregate: Aggregate) -> NDArray[np.int64]:
        total: NDArray[np.int64] = aggregate.sums[0]
        return total

    def recorded(self) -> Recorded:
        server = self.server
        if not server.is_announced:
            return Recorded()
        uploads = tuple((party, _signed(end), end.signature) for party, end in sorted(server.ends.items()))
        evidence = CommitteeEvidence(server.announcement, server.certificate)
        ids = tuple(party for party, _, _ in uploads)
        listed = upload_list_hash(uploads)
        return Recorded(listed, ids, ids, uploads, (), ((COMMITTEE, evidence.to_bytes()),))

    def freeze(self) -> bytes:
        return self.server.freeze() if self.server.is_announced else b""


def _once(
    build: Callable[[tuple[Header, ...]], tuple[bytes, ...]],
) -> Callable[[tuple[Header, ...]], tuple[bytes, ...]]:
    """What a message is made of, built once per tuple of headers: after a restart all get the whole chain of them. By
    its identity, as its hash would be as long as the chain; it is kept, so that no other has it."""
    built: dict[int, tuple[tuple[Header, ...], tuple[bytes, ...]]] = {}

    def message(headers: tuple[Header, ...]) -> tuple[bytes, ...]:
        if id(headers) not in built:
            built[id(headers)] = headers, build(headers)
        return built[id(headers)][1]

    return message


def _signed(end: Any) -> bytes:
    """The signed part of an upload."""
    leaves = [end.leaves[k : k + 32] for k in range(0, len(end.leaves), 32)]
    return SignedUpload(*upload_body(end, merkle_root(leaves) if leaves else bytes(32))).to_bytes()


def upload_list_hash(uploads: Iterable[tuple[bytes, bytes, bytes]]) -> bytes:
    """What a record of a one-shot round calls its key list: SHA-256 over ids, signed parts and signatures, in order."""
    whole = sha256(b"privcomp-rounds/uploads")
    for entry in uploads:
        for part in entry:
            whole.update(len(part).to_bytes(8, "little") + part)
    return whole.digest()
