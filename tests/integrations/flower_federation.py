"""A federation in one process: Flower's own ClientApps, messages and strategies; only the transport is a function call.

Every message goes through Flower's serialisation, as on the wire, and is kept: `seen` is everything that the server
sees or sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from privcomp.integrations import NodeHome, ServerHome
from privcomp.integrations.flower import SecAggGrid, secagg_mod
from privcomp.integrations.home import certificate_name, make_roster

RUN = 77


def on_the_wire(message: Message) -> tuple[Message, list[bytes]]:
    """The message as the other side inflates it, and the bytes that travelled."""
    message.metadata.__dict__["_message_id"] = message.object_id
    contents = {key: obj.deflate() for key, obj in get_all_nested_objects(message).items()}
    copy = inflate_object_from_contents(get_object_tree(message).object_id, dict(contents))
    assert isinstance(copy, Message)
    copy.metadata.__dict__["_message_id"] = message.object_id
    return copy, list(contents.values())


class Node:
    """One node: its app, its configuration, and what a test does to it."""

    def __init__(self, app: ClientApp, config: dict[str, Any], run_config: dict[str, Any], number: int) -> None:
        self.app = app
        self.number = number
        self.context = Context(RUN, number, config, RecordDict(), run_config)
        self.lost: Callable[[str], bool] = lambda stage: False

    def answer(self, message: Message) -> Message:
        """As Flower's process for a ClientApp answers."""
        try:
            return self.app(message, self.context)
        except Exception as error:  # noqa: BLE001 (as Flower does)
            code = ErrorCode.CLIENT_APP_RAISED_EXCEPTION
            return Message(Error(code, f"{type(error)}:<'{error}'>"), reply_to=message)


class LoopGrid(Grid):
    """Flower's Grid over function calls."""

    def __init__(self) -> None:
        self.nodes: dict[int, Node] = {}
        self.seen: list[tuple[str, Message, list[bytes]]] = []  # "out" or "in", the message, its bytes
        self.tamper: Callable[[Message], Message] = lambda message: message
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        raise AssertionError("nobody calls it")

    @property
    def run(self) -> Run:
        return Run.create_empty(RUN)

    def create_message(self, *arguments: Any, **options: Any) -> Message:
        raise AssertionError("deprecated by Flower")

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            sent, data = on_the_wire(self.tamper(message))
            message.metadata.__dict__["_message_id"] = sent.metadata.message_id
            ids.append(sent.metadata.message_id)
            self.seen.append(("out", sent, data))
            node = self.nodes.get(message.metadata.dst_node_id)
            if node is None or node.lost(stage_of(sent)):
                continue
            reply, data = on_the_wire(node.answer(sent))
            self.seen.append(("in", reply, data))
            self._replies[sent.metadata.message_id] = reply
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(key) for key in message_ids if key in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(list(self.push_messages(messages)))


def stage_of(message: Message) -> str:
    """The stage of a request of ours, or the type of a plain one."""
    from privcomp.errors import CodecError
    from privcomp.integrations.flower.records import from_content

    try:
        return from_content(message.content).stage
    except CodecError:
        return message.metadata.message_type


class Recorder:
    """The update rule of the tests: distinctive updates, weights and metrics per node, all remembered."""

    def __init__(self) -> None:
        self.updates: dict[tuple[int, str, int], tuple[dict[str, Any], int, dict[str, float]]] = {}
        self.configs: list[dict[str, Any]] = []
        self.change: Callable[[int, dict[str, Any], dict[str, Any]], None] = lambda node, arrays, metrics: None

    def app(self, mods: list[Any]) -> ClientApp:
        """A ClientApp that trains and evaluates by this rule."""
        app = ClientApp(mods=mods)

        def reply(message: Message, context: Context, kind: str) -> Message:
            config = dict(message.content["config"])
            self.configs.append(config)
            node, turn = context.node_id, int(config["server-round"])
            arrays = {name: array.numpy() for name, array in message.content["arrays"].items()}
            step = np.random.default_rng([node, turn])
            new = {
                name: array + step.uniform(-0.5, 0.5, array.shape).astype(array.dtype)
                if array.dtype.kind == "f"
                else array + 1
                for name, array in arrays.items()
            }
            metrics: dict[str, Any] = {"loss": 0.1 * node + turn, "num-examples": 10 * node + 3, "own": 12.5 * node}
            self.change(node, new, metrics)
            deltas = {
                name: np.subtract(new[name], arrays[name], dtype=np.float64)
                for name in arrays
                if np.shape(new.get(name)) == arrays[name].shape
            }
            self.updates[node, kind, turn] = (deltas, metrics["num-examples"], metrics)
            content = RecordDict({"metrics": MetricRecord(metrics)})
            if kind == "train":
                content["arrays"] = ArrayRecord({name: Array(np.asarray(array)) for name, array in new.items()})
            return Message(content, reply_to=message)

        @app.train()
        def train(message: Message, context: Context) -> Message:
            return reply(message, context, "train")

        @app.evaluate()
        def evaluate(message: Message, context: Context) -> Message:
            return reply(message, context, "evaluate")

        return app

    def mean(self, nodes: Iterable[int], kind: str, turn: int) -> tuple[dict[str, Any], dict[str, float], int]:
        """Weighted means of the updates and metrics of these nodes, and the sum of their weights."""
        found = [self.updates[node, kind, turn] for node in nodes]
        total = sum(weight for _, weight, _ in found)
        arrays = {name: sum(weight * update[name] for update, weight, _ in found) / total for name in found[0][0]}
        return arrays, {"loss": sum(weight * float(metrics["loss"]) for _, weight, metrics in found) / total}, total


CONFIG: dict[str, Any] = {
    "privcomp-adversary": "semi_honest",
    "privcomp-clip": 1.0,
    "privcomp-max-examples": 1000,
    "privcomp-train-metrics": "loss 0 20",
    "privcomp-evaluate-metrics": "loss 0 20",
    "privcomp-deadline": 2.0,
    "privcomp-mask-deadline": 4.0,
    "local-epochs": 1,
}


class Federation:
    """Homes, nodes and a wrapped Grid; Flower's node ids are 1, 2, ... and the ids in the roster `site-1`, ..."""

    def __init__(
        self,
        folder: Path,
        nodes: int,
        changes: Mapping[str, Any] | None = None,
        policy: str = "",
        committee: Iterable[bytes] = (),
    ) -> None:
        self.folder = folder
        config = {**CONFIG, "privcomp-home": str(folder / "server"), **(changes or {})}
        self.config = {name: value for name, value in config.items() if value is not None}  # None: leave it out
        self.recorder = Recorder()
        self.grid = LoopGrid()
        ServerHome.create(folder / "server")
        certificates = {}
        for k in range(1, nodes + 1):
            party = f"site-{k}".encode()
            NodeHome.create(folder / str(k), party)
            certificates[str(k)] = (folder / str(k) / certificate_name(party)).read_bytes()
        roster, clients = make_roster(certificates)
        ServerHome.install(folder / "server", roster, clients)
        server = (folder / "server" / "server.pem").read_bytes()
        for k in range(1, nodes + 1):
            (folder / str(k) / "policy.toml").write_text(policy or 'adversary = "semi_honest"\n')
            NodeHome.trust(folder / str(k), roster.to_bytes(), server, committee=committee)
            self.add(k)
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN, 1, 0

    def add(self, k: int, number: int | None = None, mods: list[Any] | None = None) -> Node:
        """The node with home k, at the address `number` (default k)."""
        app = self.recorder.app([secagg_mod] if mods is None else mods)
        config = {"privcomp-home": str(self.folder / str(k))}
        node = Node(app, config, dict(self.config), number or k)
        self.grid.nodes[number or k] = node
        return node

    def secure(self, strategy: Any, **options: Any) -> SecAggGrid:
        """The server's Grid."""
        context = Context(RUN, 0, {}, RecordDict(), dict(self.config))
        return SecAggGrid(self.grid, context, strategy, **options)
