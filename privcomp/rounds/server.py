"""The server of a federated round: announces with the ledger's head, aggregates, decodes, records."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from privcomp._core import center
from privcomp.encoding import Decoded
from privcomp.errors import LedgerError, PrivcompError, StateError
from privcomp.keys import Roster
from privcomp.ledger import ABORTED, COMPLETE, Header, Ledger, Record
from privcomp.ledger.record import genesis
from privcomp.rounds.messages import RoundAnnouncement
from privcomp.rounds.spec import RoundSpec
from privcomp.secagg.server import Aggregate, Server

__all__ = ["INLINE_BYTES", "RoundResult", "RoundServer"]

#: A longer aggregate is written beside the ledger instead of into it.
INLINE_BYTES = 1 << 16


@dataclass(frozen=True)
class RoundResult:
    """What a round published.

    Attributes:
        decoded: weighted mean, total weight, clipped entries, quantisation bound.
        integer_sum: int64 array of shape (d + 2,), the exact sum.
        aggregate: survivors and the sets of the earlier stages.
        header: the signed ledger header of the round.
    """

    decoded: Decoded
    integer_sum: NDArray[np.int64]
    aggregate: Aggregate
    header: Header


class RoundServer:
    """One federated round at the server.

    Args:
        spec: the declaration of the round.
        session: 32 bytes, the same for a whole run.
        round: round number, growing.
        purpose: what the sum is for.
        model: model bytes that the clients hash and train on.
        roster: who may take part (None: semi-honest sessions only).
        ledger: where the round is recorded.
        accept, executor, memory_budget: as for `privcomp.secagg.Server`.
    """

    def __init__(
        self,
        spec: RoundSpec,
        *,
        session: bytes,
        round: int,
        purpose: str,
        model: bytes,
        roster: Roster | None,
        ledger: Ledger,
        accept: Callable[[bytes, bytes], bool] | None = None,
        executor: Executor | None = None,
        memory_budget: int = 1 << 28,
    ) -> None:
        self.spec = spec
        self._ledger = ledger
        self._announced_head = ledger.head
        self._finished = False
        self.secagg = Server(
            spec.aggregation,
            session=session,
            round=round,
            purpose=purpose,
            model=model,
            roster=roster,
            ledger_head=ledger.head,
            accept=accept,
            executor=executor,
            memory_budget=memory_budget,
        )

    def freeze(self) -> bytes:
        """What a restarted server needs of this round; see `privcomp.secagg.Server.freeze`."""
        return self.secagg.freeze()

    @classmethod
    def thaw(cls, data: bytes, *, roster: Roster | None, ledger: Ledger, executor: Executor | None = None) -> Self:
        """The round that `freeze` wrote, on the same ledger.

        Raises:
            CodecError: not what `freeze` writes.
            LedgerError: the round was announced on another ledger.
        """
        secagg = Server.thaw(data, roster=roster, executor=executor)
        head = secagg.context.announce.ledger_head
        ledger.headers_since(head)
        server = cls.__new__(cls)
        server.spec = RoundSpec.of_params(secagg.params)
        server._ledger = ledger
        server._announced_head = head
        server._finished = False
        server.secagg = secagg
        return server

    def announcement(self, known_head: bytes | None = None) -> bytes:
        """Stage 0 for one client: with the headers since the head that it last signed (None: since the beginning)."""
        head = known_head if known_head is not None else genesis(self._ledger.public)
        headers = self._ledger.headers_since(head)
        upto = len(self._ledger.headers_since(self._announced_head))
        headers = headers[: len(headers) - upto]
        return RoundAnnouncement(self._ledger.public, headers, self.secagg.announcement).to_bytes()

    def receive(self, data: bytes, sender: bytes | None = None) -> None:
        """Take one client message; see `privcomp.secagg.Server.receive`."""
        self.secagg.receive(data, sender)

    def advance(self) -> Mapping[bytes, bytes]:
        """Close the stage: id -> next message; see `privcomp.secagg.Server.advance`."""
        return self.secagg.advance()

    def finish(self) -> RoundResult:
        """Open the sum, check and decode it, append the record.

        Raises:
            RoundAborted: too few shares; receive more and call again, or `abort`.
            RemoteError: a secret or the decoded sum is not what it must be; nothing is decoded. Call `abort`.
            ExecutorError: the executor did not do its work; set `secagg.executor` and call again.
        """
        if self._finished:
            raise StateError("this round is recorded already")
        aggregate = self.secagg.result()
        total = center(aggregate.sums[0], self.spec.aggregation.segments[0].bits)
        decoded = self.spec.encoding.decode(total, len(aggregate.survivors))
        published = total.astype("<i8").tobytes()
        header = self._append(COMPLETE, "", published)
        return RoundResult(decoded, total, aggregate, header)

    def abort(self, error: PrivcompError | str) -> Header:
        """Record that the round ended without a sum."""
        if self._finished:
            raise StateError("this round is recorded already")
        return self._append(ABORTED, str(error)[:1024] or "aborted", None)

    def _append(self, outcome: str, reason: str, published: bytes | None) -> Header:
        server, ledger = self.secagg, self._ledger
        announce, directory = server.context.announce, server._directory
        ids = directory.ids if directory is not None else ()
        inline, artefact = published, None
        if published is not None and len(published) > INLINE_BYTES and ledger.path is not None:
            inline, artefact = None, f"{ledger.path.name}.{len(ledger)}.sum"
            _write_synced(ledger.path.parent / artefact, published)
        u2 = directory.members(server.u2_bitmap, "u2") if directory is not None and server.u2_bitmap else ()
        u = directory.members(server.u_bitmap, "u") if directory is not None and server.u_bitmap else ()
        record = Record(
            index=len(ledger),
            previous=ledger.head,
            announced_head=self._announced_head,
            session=announce.session,
            round=announce.round,
            purpose=announce.purpose,
            protocol=self.spec.aggregation.protocol,
            params=announce.params,
            round_digest=server.context.digest,
            model_hash=announce.model_hash,
            roster_hash=announce.roster_hash,
            key_list_hash=directory.hash if directory is not None else bytes(32),
            u1=tuple(ids),
            u2=_named(ids, u2),
            survivors=_named(ids, u),
            advertisements=tuple(
                (party, data, data[-64:]) for party, data in server.advertisements.items() if party in ids
            ),
            quorum=tuple(server.quorum_signatures.items()) if directory is not None else (),
            outcome=outcome,
            reason=reason,
            aggregate_digest=Record.digest_of(published) if published is not None else None,
            aggregate=inline,
            artefact=artefact,
        )
        header = ledger.append(record)
        self._finished = True
        return header


def _write_synced(path: Path, data: bytes) -> None:
    """The artefact is on disk before the record that names it."""
    try:
        with open(path, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise LedgerError(
            f"the artefact {path.name} cannot be written: {error.strerror}; nothing was recorded"
        ) from None


def _named(ids: tuple[bytes, ...], places: Iterable[int]) -> tuple[bytes, ...]:
    return tuple(ids[p] for p in sorted(places))
