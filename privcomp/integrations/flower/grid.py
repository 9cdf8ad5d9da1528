"""The server's side: a Grid that turns one TRAIN or EVALUATE exchange of a strategy into the rounds of the protocol."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from hashlib import sha256
from logging import ERROR, INFO, WARNING
from pathlib import Path
from typing import Any, Final

from flwr.app import Array, ArrayRecord, Context, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvg, FedAvgM, FedProx, FedYogi, Strategy
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords
from flwr.supercore import log
from flwr.supercore.run import Run
from flwr.superlink.grid import InMemoryGrid

from privcomp.dp import DistributedPlan, PrivateMean
from privcomp.errors import CodecError, LocalError, ParameterError, RemoteError
from privcomp.integrations.driver import Rounds
from privcomp.integrations.flower.messages import HELLO, Claim, Parcel, binding
from privcomp.integrations.flower.records import extras_of, from_content, raw, to_content
from privcomp.integrations.flower.settings import PREFIX, Settings, config_bytes
from privcomp.integrations.home import SIMULATED, ServerHome
from privcomp.rounds import RoundResult, RoundSpec, Task
from privcomp.rounds.aggregation import TRAINING_STAGES
from privcomp.rounds.privacy import PRIVACY, PrivacySpent
from privcomp.secagg.params import MALICIOUS

__all__ = ["SecAggGrid"]

#: Names the server's folder, in the environment of the SuperLink.
SERVER_HOME: Final = "PRIVCOMP_SERVER_HOME"
#: Their aggregation looks at the weighted mean of the replies and at nothing else.
_WEIGHTED_MEAN: Final = (FedAvg, FedProx, FedAvgM, FedAdagrad, FedAdam, FedYogi)
_POLL: Final = 0.1
#: How often nodes that came (back) during a stage are looked for.
_LOOK: Final = 2.0
_KINDS: Final = {MessageType.TRAIN: "update", MessageType.EVALUATE: "metrics"}


class SecAggGrid(Grid):
    """A Grid whose TRAIN and EVALUATE exchanges return one reply: the weighted mean over the nodes that took part.

        with SecAggGrid(grid, context, strategy) as secure:
            strategy.start(grid=secure, ...)

    or `grid = SecAggGrid(grid, context, strategy)` in a ServerApp, whose process ends with the run. Protocol and
    parameters come from the run config (`privcomp.integrations.flower.settings.Settings`). A round that fails returns
    one error per node: the strategy keeps its arrays and the run goes on. Every round is recorded in the ledger of the
    server's folder.

    Args:
        grid: Flower's.
        context: the ServerApp's; its run config must not be changed, as every round binds it.
        strategy: a Grid cannot see who uses it, so it is told.
        assume_weighted_mean: accept a strategy of one's own, whose aggregation is a function of the weighted mean.
        executor: runs the server's unmasking; default: threads.

    Raises:
        LocalError: the strategy needs each node's own arrays or metrics; no folder, no roster, a run config that does
            not add up.
    """

    def __init__(
        self,
        grid: Grid,
        context: Context,
        strategy: Strategy,
        *,
        assume_weighted_mean: bool = False,
        executor: Executor | None = None,
    ) -> None:
        _check_strategy(strategy, assume_weighted_mean)
        self._grid = grid
        self._settings = Settings.of(context.run_config)
        self._config = config_bytes(context.run_config)
        self._weight = str(getattr(strategy, "weighted_by_key", "num-examples"))
        if any(name == self._weight for name, _, _ in self._settings.train_metrics + self._settings.evaluate_metrics):
            raise ParameterError(f"{self._weight!r} is the weight, which is summed anyway; it is not a metric as well")
        folder = _folder(self._settings, simulated=isinstance(grid, InMemoryGrid))
        self._home = ServerHome.open(folder)
        if self._home.roster is None:
            self._home.close()
            raise LocalError(f"{folder} has no roster: make it with `privcomp keys roster --server {folder}`")
        self._roster = self._home.roster
        try:
            self._settings.committee_of(self._roster)
        except ParameterError:
            self._home.close()
            raise
        self._rounds = Rounds(
            self._home.ledger,
            self._home.session,
            self._roster,
            deadlines=self._settings.deadlines,
            executor=executor,
            folder=folder,
            redeliver=True,  # a node is a process per message
        )
        self._parties: dict[int, bytes] = {}  # Flower's node id -> id in the roster, as far as a signed claim shows it
        self._nodes: dict[bytes, int] = {}  # the way back
        self._launched: dict[bytes, bool] = {}
        self._told: set[str] = set()
        self._evaluated: tuple[bytes, MetricRecord] | None = None
        self._plan: DistributedPlan | None = None  # of this run, once a model is known
        self._simulated = any(party.startswith(SIMULATED) for party in self._roster.ids)
        if self._simulated:
            log(WARNING, "privcomp: simulation; one machine holds all keys, so nothing is protected from anybody")

    # ---- what a Grid has

    def set_run(self, run: Run) -> None:
        """Delegated."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """Delegated."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Delegated."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Delegated."""
        return self._grid.get_node_ids()

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Delegated."""
        return self._grid.get_nodes()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Delegated: nodes refuse what comes this way in TRAIN and EVALUATE."""
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Delegated."""
        return self._grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """One round of secure aggregation for TRAIN and EVALUATE; other types are delegated.

        Args:
            messages: the strategy's, the same content for every node.
            timeout: seconds for all stages together, beside the deadlines of each.

        Returns:
            One reply with the aggregate, or one error per node.

        Raises:
            LocalError: nodes are sent different contents, or arrays that cannot be summed.
        """
        batch = list(messages)
        kinds = {message.metadata.message_type for message in batch}
        kind = _KINDS.get(next(iter(kinds)).partition(".")[0]) if len(kinds) == 1 else None
        if kind is None:
            return self._grid.send_and_receive(batch, timeout=timeout)
        return self._aggregated(batch, kind, None if timeout is None else time.monotonic() + timeout)

    def close(self) -> None:
        """Release the server's folder."""
        self._home.close()

    def __enter__(self) -> SecAggGrid:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- one round

    def _aggregated(self, batch: list[Message], kind: str, end: float | None) -> list[Message]:
        first = batch[0]
        if any(message.content is not first.content and message.content != first.content for message in batch):
            raise LocalError(
                "the strategy sends different contents to different nodes; a sum needs one question for all"
            )
        if kind == "metrics" and not self._settings.evaluate_metrics:
            self._tell(WARNING, f"no evaluation: name its metrics in {PREFIX}evaluate-metrics to have them summed")
            return []
        if kind == "metrics" and self._settings.dp_epsilon is not None:
            self._tell(
                WARNING,
                f"{PREFIX}evaluate-metrics are summed without noise, outside of {PREFIX}dp-epsilon: nodes whose policy "
                'says privacy = "required" do not answer',
            )
        record, extras = extras_of(first.content, self._weight)
        arrays = {name: array.numpy() for name, array in record.items()}
        extra_bytes = extras.to_bytes()
        metadata = first.metadata
        bound = binding(metadata.message_type, metadata.group_id, self._config, extra_bytes)
        task = self._settings.task(kind, bound)
        plan = self._planned(task, arrays) if kind == "update" else None
        spec = self._settings.spec(task, arrays, self._roster, plan)
        model = task.request(arrays)
        digest = sha256(model).digest()
        if kind == "metrics" and self._evaluated is not None and self._evaluated[0] == digest:
            # The training in between was aborted. The nodes would not answer a second time (rule 6).
            log(INFO, "privcomp: this model was evaluated already; its metrics are returned again")
            return [Message(RecordDict({"metrics": self._evaluated[1]}), reply_to=first)]
        post = _Post(self._grid, first, extra_bytes, raw(model), end)
        stalled = self._rounds.stalled
        if (
            kind == "metrics"
            and stalled is not None
            and stalled.spec.task is not None
            and stalled.spec.task.kind == "update"
        ):
            return _errors(batch, "the training round on this model is not finished; it is evaluated after that")
        try:
            parties = self._greet([message.metadata.dst_node_id for message in batch], post)
            if stalled is not None:
                announce = stalled.announce
                if (announce.model_hash, announce.purpose) == (digest, task.purpose):
                    spec = stalled.spec  # it is finished now, and by its own declaration
            result = self._rounds.run(
                spec,
                task.purpose,
                model,
                parties,
                lambda stage, asked, seconds: self._exchange(stage, asked, seconds, post),
            )
        except RemoteError as error:  # RoundAborted and RoundStalled are among them
            log(WARNING, "privcomp: round %d: %s", self._rounds.number, error)
            return _errors(batch, str(error))
        reply = self._reply(first, spec, arrays, result, extras.arrays)
        if kind == "metrics":
            self._evaluated = digest, reply.content.metric_records["metrics"]
        return [reply]

    def _planned(self, task: Task, arrays: Mapping[str, Any]) -> DistributedPlan | None:
        """The run's plan: what nodes charge is this one plan's rounds, so it does not change on the way."""
        if self._settings.dp_epsilon is None:
            return None
        entries = task.entries(arrays)
        if self._plan is None:
            self._plan = self._settings.plan(entries, len(self._roster))
            if self._plan is not None:
                log(INFO, "privcomp: the plan of this run's training rounds\n%s", self._plan.describe())
        elif self._plan.entries != entries:
            raise LocalError(
                f"the model has {entries} entries now, the plan of this run was made for {self._plan.entries}; a plan "
                "is not changed within a run: start another one"
            )
        return self._plan

    def _reply(
        self, first: Message, spec: RoundSpec, arrays: dict[str, Any], result: RoundResult, name: str
    ) -> Message:
        task = spec.task
        if task is None:
            raise LocalError("the finished round was not one of this Grid; give this run a server's folder of its own")
        decoded = result.decoded
        new, metrics = task.result(arrays, decoded, spec.encoding)
        self._tell_result(task, result)
        content = RecordDict({"metrics": MetricRecord({self._weight: decoded.total_weight, **metrics})})
        if task.kind == "update":
            content[name] = ArrayRecord({key: Array(array) for key, array in new.items()})
        return Message(content, reply_to=first)

    def _tell_result(self, task: Task, result: RoundResult) -> None:
        decoded, nodes = result.decoded, result.aggregate
        if isinstance(decoded, PrivateMean):
            error = f"noise of standard deviation {decoded.error_std:.3g} in every entry of their mean"
        else:
            error = f"every entry within {decoded.quantisation_bound:.3g} of their mean"
        log(
            INFO,
            "privcomp: round %d (%s): %d of %d nodes; %s",
            self._rounds.number,
            task.purpose,
            len(nodes.survivors),
            len(nodes.u1),
            error,
        )
        if isinstance(decoded, PrivateMean):
            for spent in PrivacySpent.read(self._home.ledger.newest_extra(PRIVACY)).spent:
                log(INFO, "privcomp: privacy spent by this ledger: %s", spent)
        elif decoded.clipped:
            log(
                WARNING,
                "privcomp: %d entries were clipped; raise %sclip, or train in smaller steps",
                decoded.clipped,
                PREFIX,
            )

    def _tell(self, level: int, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            log(level, "privcomp: %s", text)

    # ---- who is where

    def _greet(self, nodes: list[int], post: _Post) -> list[bytes]:
        """The roster ids of these nodes; asks those that are not known yet.

        Flower's node id is an address that the SuperLink draws. Which member answers there is signed, so nobody can
        take another's place; whoever could would only make that member miss the round.
        """
        found: dict[bytes, list[int]] = {}
        for node, claim in self._ask([node for node in nodes if node not in self._parties], post):
            found.setdefault(claim.id, []).append(node)
            self._launched[claim.id] = claim.launched
        # A member at a new address: it was restarted, unless it still answers at the old one.
        old = {self._nodes[party] for party in found if party in self._nodes}
        for node, claim in self._ask(sorted(old), post, seconds=10.0):
            if self._nodes.get(claim.id) == node and claim.id in found:  # else somebody else lives there now
                found[claim.id].append(node)
        for party, places in found.items():
            if len(places) > 1:
                self._tell(
                    ERROR,
                    f"{len(places)} nodes answer as {party!r}, and none of them takes part: one identity, one node; "
                    "give each its own home (`privcomp keys node`), and never copy one",
                )
                self._nodes.pop(party, None)
                self._parties |= dict.fromkeys(places, b"")  # known, and nobody
            else:
                self._settle(party, places[0])
        self._tell_launched()
        return [self._parties[node] for node in nodes if self._parties.get(node)]

    def _tell_launched(self) -> None:
        open_ = sum(not launched for launched in self._launched.values())
        if open_ and self._settings.adversary == MALICIOUS and not self._simulated:
            self._tell(
                WARNING,
                f"{open_} of {len(self._launched)} nodes were not started by `privcomp supernode`: the server chooses "
                "their code, so towards them this session is semi_honest",
            )

    def _ask(self, nodes: Iterable[int], post: _Post, seconds: float | None = None) -> Iterator[tuple[int, Claim]]:
        nonces = {node: os.urandom(32) for node in nodes}
        box = post.box(
            {node: to_content(Parcel(HELLO, (nonce,))) for node, nonce in nonces.items()},
            seconds or self._settings.deadline,
        )
        for node, reply in box.replies():
            claim = self._claim(node, nonces[node], reply)
            if claim is not None:
                yield node, claim

    def _claim(self, node: int, nonce: bytes, reply: Parcel | str) -> Claim | None:
        if isinstance(reply, str):
            self._tell(WARNING, f"a node does not take part: {reply}")
            return None
        try:
            claim = Claim.from_bytes(reply.items[0] if reply.items else b"", max_bytes=1 << 10)
        except CodecError as error:
            self._tell(WARNING, f"node {node} does not take part: {error.message}")
            return None
        if not claim.verify(self._roster, nonce, self.run.run_id, node):
            self._tell(WARNING, f"node {node} is not {claim.id!r}, or {claim.id!r} is not in this server's roster")
            return None
        return claim

    def _settle(self, party: bytes, node: int) -> None:
        if party in self._nodes:
            self._parties[self._nodes[party]] = b""  # an address that it has left: not asked again
        self._nodes[party], self._parties[node] = node, party

    # ---- the exchange of the driver

    def _exchange(
        self, stage: str, asked: Mapping[bytes, bytes], seconds: float, post: _Post
    ) -> Iterator[tuple[bytes, Iterable[bytes]]]:
        """Send a stage's messages and yield the answers; nodes that come back in the meantime are asked, too."""
        waiting = set(asked)
        refusals: Counter[str] = Counter()

        def content(party: bytes) -> RecordDict:
            if stage in TRAINING_STAGES:
                return to_content(Parcel(stage, (asked[party], post.extras)), post.model)
            return to_content(Parcel(stage, (asked[party],)))

        here = {self._nodes[party]: party for party in asked if party in self._nodes}
        box = post.box({node: content(party) for node, party in here.items()}, seconds)
        nonces: dict[int, bytes] = {}
        look = time.monotonic() + _LOOK
        while waiting and box.seconds_left > 0:
            for node, reply in box.poll():
                if node in nonces:  # somebody new
                    claim = self._claim(node, nonces.pop(node), reply)
                    if claim is not None and claim.id in waiting:
                        self._settle(claim.id, node)
                        here[node] = claim.id
                        box.send({node: content(claim.id)})
                    continue
                party = here[node]
                if isinstance(reply, str):
                    refusals[reply] += 1
                    # A node that is gone may come back with the answer that is missing; before the survivors are
                    # fixed the others do not wait for it.
                    if stage not in _FIXED or not reply.startswith(_GONE):
                        waiting.discard(party)
                elif reply.stage != stage:
                    refusals[f"an answer of stage {reply.stage!r} in stage {stage!r}"] += 1
                    waiting.discard(party)
                elif party in waiting:
                    waiting.discard(party)
                    yield party, reply.items
            if not waiting:
                break
            if time.monotonic() >= look:
                look = time.monotonic() + _LOOK
                new = [node for node in self._grid.get_node_ids() if node not in self._parties and node not in nonces]
                nonces |= {node: os.urandom(32) for node in new}
                box.send({node: to_content(Parcel(HELLO, (nonces[node],))) for node in new})
            box.rest()
        for reason, count in refusals.items():
            log(WARNING, "privcomp: round %d, %s: %d nodes: %s", self._rounds.number, stage, count, reason)


_GONE: Final = "gone: "
#: The stages in which the survivors are fixed: the round is not over without these answers.
_FIXED: Final = frozenset({"unmask", "vote", "answer"})


@dataclass(frozen=True)
class _Post:
    """What all messages of one exchange of the strategy have in common."""

    grid: Grid
    first: Message
    extras: bytes
    model: Array
    end: float | None

    def box(self, contents: Mapping[int, RecordDict], seconds: float) -> _Box:
        end = time.monotonic() + seconds
        box = _Box(self, end if self.end is None else min(end, self.end))
        box.send(contents)
        return box


@dataclass
class _Box:
    """Messages under way: `poll` gives (node, parcel or the reason for there being none)."""

    post: _Post
    end: float
    pending: dict[str, int] = field(default_factory=dict)

    @property
    def seconds_left(self) -> float:
        return self.end - time.monotonic()

    def send(self, contents: Mapping[int, RecordDict]) -> None:
        if not contents or self.seconds_left <= 0:
            return
        metadata = self.post.first.metadata
        messages = [
            # The lifetime is the deadline: a node that is late does not work on a stage that is over.
            Message(content, node, metadata.message_type, ttl=max(1.0, self.seconds_left), group_id=metadata.group_id)
            for node, content in contents.items()
        ]
        sent = set(self.post.grid.push_messages(messages))
        self.pending |= {
            message.metadata.message_id: message.metadata.dst_node_id
            for message in messages
            if message.metadata.message_id in sent
        }

    def poll(self) -> Iterator[tuple[int, Parcel | str]]:
        if not self.pending:
            return
        for reply in self.post.grid.pull_messages(set(self.pending)):
            node = self.pending.pop(reply.metadata.reply_to_message_id, None)
            if node is None:
                continue
            if reply.has_error():
                gone = reply.error.code == ErrorCode.NODE_UNAVAILABLE
                yield node, f"{_GONE if gone else ''}{reply.error.reason}"
                continue
            try:
                parcel = from_content(reply.content)
            except CodecError as error:
                yield node, error.message
            else:
                yield node, parcel

    def rest(self) -> None:
        time.sleep(max(0.0, min(_POLL, self.seconds_left)))

    def replies(self) -> Iterator[tuple[int, Parcel | str]]:
        """Until all are there or the time is over."""
        while self.pending and self.seconds_left > 0:
            yield from self.poll()
            if self.pending:
                self.rest()


def _errors(batch: list[Message], reason: str) -> list[Message]:
    return [Message(Error(ErrorCode.UNKNOWN, f"privcomp: {reason}"), reply_to=message) for message in batch]


def _folder(settings: Settings, *, simulated: bool) -> Path:
    if simulated:
        if not settings.sim_home:
            raise ParameterError(
                f"run config: {PREFIX}sim-home must name the folder that `privcomp keys simulation` made"
            )
        return Path(settings.sim_home).expanduser() / "server"
    folder = settings.home or os.environ.get(SERVER_HOME, "")
    if not folder:
        raise ParameterError(
            f"the server has no folder: set {SERVER_HOME} where flower-superlink is started, or {PREFIX}home in the "
            "run config, to the folder that `privcomp keys server` made"
        )
    return Path(folder).expanduser()


def _check_strategy(strategy: Strategy, assume_weighted_mean: bool) -> None:
    name = type(strategy).__name__
    if assume_weighted_mean:
        return
    if type(strategy) not in _WEIGHTED_MEAN:
        known = ", ".join(kind.__name__ for kind in _WEIGHTED_MEAN)
        raise LocalError(
            f"{name} may need each node's own arrays (to compare, sort, clip or select them), and secure aggregation "
            f"reveals their weighted mean only. Allowed: {known}; and your own strategy, with assume_weighted_mean=True"
            ", if it uses nothing but the mean"
        )
    for which in ("train_metrics_aggr_fn", "evaluate_metrics_aggr_fn"):
        if getattr(strategy, which, aggregate_metricrecords) is not aggregate_metricrecords:
            raise LocalError(
                f"{which} of this {name} is your own function: it would see one record, the weighted mean, and not one "
                "per node. If that is what it needs, pass assume_weighted_mean=True"
            )
