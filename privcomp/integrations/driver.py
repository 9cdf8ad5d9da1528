"""Drives rounds for a framework that exchanges messages by calls, and keeps on disk what a restart must not lose.

The adapter gives one function, the `Exchange`; everything else is here: the stages and their deadlines, the ledger's
headers per node, nodes that vanish or misbehave, rounds that abort, and rounds that stall after the survivors are
fixed. Such a round is finished before anything else is asked on the same model: for the same survivors only, because a
node answers for one survivor set per model (rule 6 of docs/secagg.md), and a committee opens one (docs/oneshot.md).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from privcomp import oneshot
from privcomp.codec import U64, Blob, Codec, Message
from privcomp.errors import CodecError, LedgerError, LocalError, RemoteError, RoundAborted
from privcomp.integrations.files import replace_file, sync_folder
from privcomp.keys import Roster
from privcomp.ledger import Ledger
from privcomp.rounds import RoundResult, RoundServer, RoundSpec
from privcomp.rounds.aggregation import COMMITTEE, TRAINING_STAGES
from privcomp.rounds.messages import CommitteeEvidence

__all__ = ["Deadlines", "Exchange", "RoundStalled", "Rounds"]

_log = logging.getLogger("privcomp.rounds")
#: An announcement has no room for more.
_MAX_CLOSES = 16
_T = TypeVar("_T")

Exchange = Callable[[str, Mapping[bytes, bytes], float], Iterable[tuple[bytes, Iterable[bytes]]]]
"""exchange(stage, id -> message, seconds): sends, then yields (id, answers) as they come, a party's answers in order
and in as many pieces as it likes; ends when every party has answered or is known not to, or when the seconds are over.
The ids that it yields are those that the framework has authenticated; a node that refuses does not answer."""


class RoundStalled(RoundAborted):
    """The survivors are fixed and too few of them have answered; the round is finished as soon as they come back."""


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Seconds that each stage waits for its slowest node, the stages of masks and those of one-shot rounds; `mask` and
    `upload` contain the training.

    >>> Deadlines.of(20, training=300, last=40).upload
    300
    """

    advertise: float = 60.0
    share: float = 60.0
    mask: float = 600.0
    consistency: float = 60.0
    unmask: float = 60.0
    boxkeys: float = 60.0
    upload: float = 600.0
    accept: float = 60.0
    vote: float = 60.0
    close: float = 60.0
    answer: float = 60.0

    @classmethod
    def of(cls, slow: float, *, training: float, last: float | None = None) -> Self:
        """The same for all stages, but for those in which nodes train, and for the last one.

        Args:
            slow: seconds of a stage.
            training: seconds of a stage in which nodes train (`TRAINING_STAGES`).
            last: seconds of the last stage, after which the round stalls; None: `slow`.
        """
        seconds = dict.fromkeys(cls.__dataclass_fields__, slow) | dict.fromkeys(TRAINING_STAGES, training)
        end = slow if last is None else last
        return cls(**seconds | {"unmask": end, "answer": end})


@dataclass(frozen=True)
class _Saved(Message):
    """The number of the last announced round, and its state while it is not recorded (else empty)."""

    TAG: ClassVar[int] = 0x43
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("number", U64), ("state", Blob((1 << 32) - 1)))
    EXPANSION: ClassVar[int] = 8
    number: int
    state: bytes


class Rounds:
    """The rounds of one server, one after another.

    Args:
        ledger: where every round is recorded.
        session: 32 bytes, the same for all rounds of this server.
        roster: who may take part; None in semi-honest sessions only.
        deadlines: seconds per stage.
        executor: runs the unmasking; default: threads.
        folder: where the running round is kept across restarts; None: it is lost with this process, and so is the
            count of rounds (a node then refuses a round number that it has seen; use a new session).
        memory_budget: bytes of open uploads in memory.
        redeliver: nodes keep nothing between two messages, so that members of a committee are given their shares again
            with every request.
    """

    def __init__(
        self,
        ledger: Ledger,
        session: bytes,
        roster: Roster | None,
        *,
        deadlines: Deadlines | None = None,
        executor: Executor | None = None,
        folder: str | os.PathLike[str] | None = None,
        memory_budget: int = 1 << 28,
        redeliver: bool = False,
    ) -> None:
        self.ledger = ledger
        self.session = session
        self.roster = roster
        self.deadlines = deadlines if deadlines is not None else Deadlines()
        #: The round whose survivors are fixed and whose sum is not open yet.
        self.stalled: RoundServer | None = None
        #: Who sent something wrong in the running stage: the exchange need not wait for them.
        self.wrong: set[bytes] = set()
        self._executor = executor
        self._budget = memory_budget
        self._redeliver = redeliver
        self._file = None if folder is None else Path(folder) / "round"
        self._number = len(ledger)
        self._heads: dict[bytes, bytes] = {}
        self._reported: set[bytes] = set()
        self._past: dict[bytes, dict[bytes, bytes | None]] | None = None
        if self._file is not None and self._file.exists():
            self._load(self._file)

    @property
    def number(self) -> int:
        """Number of the last round that was announced."""
        return self._number

    def run(
        self, spec: RoundSpec, purpose: str, model: bytes, parties: Iterable[bytes], exchange: Exchange
    ) -> RoundResult:
        """One round, or the rest of the round that stalled on this very model and purpose.

        Args:
            spec: the round's declaration.
            purpose: what the sum is for.
            model: the request that the nodes hash and compute on (`Task.request`).
            parties: ids to be asked.
            exchange: carries the messages.

        Returns:
            The decoded result; the record is in the ledger.

        Raises:
            RoundStalled: too few answered after the survivors were fixed; call again when they are back.
            RoundAborted: too few nodes before that, or all have answered and these survivors cannot be summed;
                recorded. Calling again begins a new round.
            RemoteError: the sum is not one that honest nodes produce; recorded.
            ExecutorError: the executor failed; the round is kept as a stalled one, call again when it works.
        """
        if self.stalled is not None:
            before = self.stalled.announce
            if (before.model_hash, before.purpose) == (sha256(model).digest(), purpose):
                return self.finish(exchange)
            self.give_up("a round on another model was asked for")
        closes = self._closes(spec, sha256(model).digest(), exchange)
        self._number = max(self._number, len(self.ledger)) + 1
        server = RoundServer(
            spec,
            session=self.session,
            round=self._number,
            purpose=purpose,
            model=model,
            roster=self.roster,
            ledger=self.ledger,
            executor=self._executor,
            memory_budget=self._budget,
            redeliver=self._redeliver,
            closes=closes,
        )
        if self._opens_again(server):
            _log.warning(
                "round %d: a committee was asked about this very model before; members open a second sum on it only if "
                "their policy grants same_model_reentries",
                self._number,
            )
        self._save(server)  # before anybody hears the number
        try:
            messages: Mapping[bytes, bytes] = server.begin(parties, dict(self._heads))
            while not server.fixed:
                self._stage(server, messages, exchange)
                messages = server.advance()
                if server.stage == server.announces:
                    self._save(server)  # what is announced only now: a restart records that it was
        except BaseException as error:
            self._abort(server, error)
            raise
        self.stalled = server
        self._save(server)  # before a node answers for these survivors
        return self._open(server, messages, exchange)

    def finish(self, exchange: Exchange) -> RoundResult:
        """Ask those whose answers the stalled round lacks once more, and open the sum.

        Raises:
            LocalError: no round is stalled.
            LedgerError: the round cannot be stored; nobody was asked.
            RoundStalled: still too few.
            RoundAborted: all have answered, and these survivors cannot be summed; recorded.
        """
        if self.stalled is None:
            raise LocalError("no round is stalled")
        self._save(self.stalled)  # which failed, perhaps, when the survivors were fixed
        return self._open(self.stalled, self.stalled.requests(), exchange)

    def give_up(self, reason: str) -> None:
        """Record the stalled round as aborted. Its model cannot be summed again under the nodes' default policy."""
        if self.stalled is not None:
            self._abort(self.stalled, RoundAborted(None, self.stalled.stage, reason))
            self.stalled = None

    def _stage(self, server: RoundServer, messages: Mapping[bytes, bytes], exchange: Exchange) -> None:
        name = server.stage
        silent, self.wrong = set(messages), set()
        for party, answers in exchange(name, messages, getattr(self.deadlines, name)):
            for answer in answers:
                if party in self.wrong:
                    continue  # taken from the exchange, so that it can go on
                try:
                    server.receive(answer, party)
                except RemoteError as error:
                    _log.warning("round %d: %s", self._number, error)
                    self.wrong.add(party)
            silent.discard(party)
            if name == server.announces and party not in self.wrong:
                self._heads[party] = server.announce.ledger_head
        if silent:
            _log.info("round %d, %s: no answer from %d of %d", self._number, name, len(silent), len(messages))

    def _open(self, server: RoundServer, messages: Mapping[bytes, bytes], exchange: Exchange) -> RoundResult:
        self._stage(server, messages, exchange)
        while server.stage != server.stages[-1]:
            messages = self._settled(server, server.advance)
            self._save(server)
            self._stage(server, messages, exchange)
        result = self._settled(server, server.finish)
        self.stalled = None
        self._recorded(server)
        return result

    def _settled(self, server: RoundServer, step: Callable[[], _T]) -> _T:
        """A step of a round whose survivors are fixed; where it fails, the round is kept, or recorded as aborted."""
        announce = server.announce
        try:
            return step()
        except RoundAborted as error:
            # All have answered: nothing that could still come would help. Or members have every reason to refuse, which
            # looks like silence.
            if not server.requests() or (self._opens_again(server) and server.stage == _first_fixed(server)):
                self._abort(server, error)
                self.stalled = None
                raise
            if announce.model_hash not in self._reported:
                self._reported.add(announce.model_hash)
                _log.error(
                    "round %d (%s) stalled: %s. Nodes that come back complete it; without them this model cannot be "
                    "summed again under the nodes' policy",
                    announce.round,
                    announce.purpose,
                    error.message,
                )
            self._save(server)  # with the answers that came
            raise RoundStalled(error.party, error.stage, error.message) from None
        except RemoteError as error:
            self._abort(server, error)
            self.stalled = None
            raise

    def _opens_again(self, server: RoundServer) -> bool:
        """Whether the ledger has survivors of a one-shot round on this very model."""
        if not isinstance(server.spec.aggregation, oneshot.Params):
            return False
        return None in self._committees(server.announce.model_hash).values()

    def _committees(self, model_hash: bytes) -> dict[bytes, bytes | None]:
        """Hash of a committee -> the first announcement of this model to it; None once a set was fixed."""
        if self._past is None:  # read once, then counted along
            self._past = {}
            for record in self.ledger.records():
                if record.protocol == oneshot.ONESHOT:
                    evidence = dict(record.extras).get(COMMITTEE, b"")
                    self._remember(record.params, record.model_hash, evidence, fixed=bool(record.survivors))
        return self._past.setdefault(model_hash, {})

    def _remember(self, params: bytes, model_hash: bytes, evidence: bytes, *, fixed: bool) -> None:
        if self._past is None or not (fixed or evidence):  # never announced
            return
        known = self._past.setdefault(model_hash, {})
        try:
            committee = oneshot.Params.from_bytes(params, max_bytes=1 << 17).committee.hash
            announce = None if fixed else CommitteeEvidence.from_bytes(evidence, max_bytes=len(evidence)).announce
        except CodecError:  # another release's: nobody can be asked about it, but what was summed was summed
            committee, announce = b"", None
            if not fixed:
                return
        if fixed or committee not in known:
            known[committee] = announce

    def _recorded(self, server: RoundServer) -> None:
        self._save(None)
        if self._past is not None and isinstance(server.spec.aggregation, oneshot.Params):
            evidence = dict(server.aggregation.recorded().extras).get(COMMITTEE, b"")
            self._remember(server.announce.params, server.announce.model_hash, evidence, fixed=server.fixed)

    def _closes(self, spec: RoundSpec, model_hash: bytes, exchange: Exchange) -> tuple[oneshot.CloseCertificate, ...]:
        """Close certificates of the other committees to which this model was announced: clients that uploaded to one of
        them need its certificate to go to this one. They are asked for now, and again whenever a round begins."""
        if not isinstance(spec.aggregation, oneshot.Params):
            return ()
        found = []
        for committee, announce in list(self._committees(model_hash).items()):
            if committee == spec.aggregation.committee.hash:
                continue
            if announce is None:
                _log.warning("another committee opened a sum on this very model: clients refuse to go to a second one")
                continue
            closing, self.wrong = oneshot.Closing.of(announce), set()
            asked = dict.fromkeys(sorted(closing.pending), closing.request)
            stream = iter(exchange("close", asked, self.deadlines.close))
            for party, answers in stream:
                for answer in answers:
                    try:
                        closing.receive(answer, party)
                    except RemoteError as error:
                        _log.warning("close: %s", error)
                        self.wrong.add(party)
                if closing.is_complete:  # nobody waits for members that may be gone for good
                    break
            getattr(stream, "close", lambda: None)()
            try:
                found.append(closing.certificate())
                _log.info("the committee of an aborted round has closed this model")
            except RoundAborted as error:
                _log.warning(
                    "this model was announced to another committee, which has not closed it (%s): clients that "
                    "uploaded then sit out",
                    error.message,
                )
        return tuple(found[-_MAX_CLOSES:])

    def _abort(self, server: RoundServer, error: BaseException) -> None:
        reason = str(error) if isinstance(error, RemoteError) else f"{type(error).__name__}: the server stopped"
        server.abort(reason)
        self._recorded(server)

    # ---- across restarts ----

    def _save(self, server: RoundServer | None) -> None:
        if self._file is None:
            return
        state = server.freeze() if server is not None else b""
        data = _Saved(self._number, state).to_bytes()
        try:
            replace_file(self._file, data)
            sync_folder(self._file.parent)
        except OSError as error:
            raise LedgerError(f"{self._file} cannot be written: {error.strerror}") from None

    def _load(self, file: Path) -> None:
        data = file.read_bytes()
        try:
            saved = _Saved.from_bytes(data, max_bytes=len(data))
            server = None
            if saved.state:
                server = RoundServer.thaw(
                    saved.state,
                    roster=self.roster,
                    ledger=self.ledger,
                    executor=self._executor,
                    redeliver=self._redeliver,
                )
        except CodecError as error:
            raise LedgerError(f"{file} is damaged ({error.message}); restore it, or begin a new session") from None
        self._number = max(self._number, saved.number)
        if server is None:
            return
        if any(record.round_digest == server.digest for record in self.ledger.records()):
            self._save(None)  # the crash came between the record and this file
        elif server.fixed:
            self.stalled = server
        else:
            self._abort(server, RoundAborted(None, server.stage, "the server was restarted during this round"))


def _first_fixed(server: RoundServer) -> str:
    """The first stage of a one-shot round in which the survivors are fixed."""
    return server.stages[server.stages.index("accept") + 1]
