"""The node's side: `ClientApp(mods=[secagg_mod])`.

Key stages are answered without the app. The stage that masks calls the app once, with the message that the strategy
would have sent, and masks what it returns; nothing of it leaves in another way. In a deployment every message is a
process of its own: identity, journal and the secrets of running rounds are in the node's home.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from logging import WARNING
from pathlib import Path
from typing import Any, Final

from flwr.app import Array, ArrayRecord, Context, Error, Message, MessageType, RecordDict
from flwr.app.message import make_message
from flwr.common.constant import ErrorCode
from flwr.supercore import log

from privcomp.dp import DistributedPlan
from privcomp.errors import BudgetError, EncodingError, LocalError, PolicyError, PrivcompError, RemoteError
from privcomp.integrations.flower.messages import HELLO, Claim, Extras, Parcel, binding
from privcomp.integrations.flower.records import from_content, restored, to_content
from privcomp.integrations.flower.settings import config_bytes
from privcomp.integrations.home import SIMULATED, NodeHome
from privcomp.rounds import RoundSpec
from privcomp.rounds.aggregation import TRAINING_STAGES

__all__ = ["LAUNCHER", "answered", "has_home", "only", "open_home", "secagg_mod", "tell_stripped", "trained"]

#: Set by `privcomp supernode` to the home that it guards, for the processes that it starts. A SuperLink can send an app
#: and its run config, but sets no environment of a node.
LAUNCHER: Final = "PRIVCOMP_SUPERNODE"
_HOME: Final = "privcomp-home"
_SIM_HOME: Final = "privcomp-sim-home"
_PURPOSES: Final = {MessageType.TRAIN: "training", MessageType.EVALUATE: "evaluation"}

ClientAppCallable = Callable[[Message, Context], Message]


def secagg_mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answer the stages of secure aggregation inside TRAIN and EVALUATE messages, and nothing else.

    Put it first in `mods`, so that no other mod sees more than it does. A refusal is an error reply that says why; the
    text of an exception of the app's functions stays in this node's log, because it may quote data. (What mods before
    this one raise, and `@app.lifespan()`, Flower sends to the server.)
    """
    return answered(message, lambda: to_content(_answer(message, context, call_next)))


def answered(message: Message, answer: Callable[[], RecordDict]) -> Message:
    """The reply with this content, or the error that may leave the node in its place."""
    try:
        return Message(answer(), reply_to=message)
    except BudgetError as error:  # its text says what other sessions have spent
        log(WARNING, "privcomp: this node does not answer: %s", error)
        reason = "privcomp: BudgetError: this node's privacy budget does not allow it; the figures stay in its log"
    except PrivcompError as error:
        log(WARNING, "privcomp: this node does not answer: %s", error)
        reason = f"privcomp: {type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 (Flower would send its text to the server)
        log(WARNING, "privcomp: this node does not answer", exc_info=error)
        reason = f"privcomp: {type(error).__name__}; its text stays in this node's log"
    return Message(Error(ErrorCode.MOD_FAILED_PRECONDITION, reason), reply_to=message)


def _answer(message: Message, context: Context, call_next: ClientAppCallable) -> Parcel:
    purpose = _PURPOSES.get(message.metadata.message_type.partition(".")[0])
    if purpose is None:
        raise PolicyError(
            f"a message of type {message.metadata.message_type!r}: this mod answers TRAIN and EVALUATE, because it can "
            "protect nothing else. Give it to these functions alone (@app.train(mods=[secagg_mod])) if others are meant"
        )
    request = from_content(message.content)
    with open_home(context) as (home, launched):
        if request.stage == HELLO:
            if len(request.items) != 1 or len(request.items[0]) != 32:
                raise RemoteError(b"server", HELLO, "a greeting is one nonce of 32 bytes")
            run, node = message.metadata.run_id, message.metadata.dst_node_id
            return Parcel(
                HELLO, (Claim.sign(home.identity, home.id, launched, request.items[0], run, node).to_bytes(),)
            )
        if len(request.items) != (2 if request.stage in TRAINING_STAGES else 1):
            raise RemoteError(b"server", request.stage, f"{len(request.items)} items, which no honest server sends")

        def update(model: bytes, spec: RoundSpec) -> tuple[Any, int]:
            return _update(message, context, call_next, request.items[-1], model, spec)

        # One function, for the purpose of Flower's message type: a server cannot ask for an update by EVALUATE.
        return Parcel(request.stage, tuple(home.client().receive(request.items[0], {purpose: update})))


@contextmanager
def open_home(context: Context) -> Iterator[tuple[NodeHome, bool]]:
    """The node's home, held open, and whether `privcomp supernode` guards it.

    Raises:
        PolicyError: there is none, or it is not one for this place.
    """
    folder, simulated = _home(context)
    with NodeHome.open(folder) as home:
        launched = os.environ.get(LAUNCHER) == os.path.realpath(folder)
        _check_place(home, folder, simulated, launched)
        yield home, launched


def has_home(context: Context) -> bool:
    """Whether the node was given a home, or a simulation names one."""
    return _HOME in context.node_config or _SIM_HOME in context.run_config


def _home(context: Context) -> tuple[Path, bool]:
    """The node's folder, and whether the node is simulated."""
    node, run = context.node_config, context.run_config
    if _HOME in node:
        return Path(str(node[_HOME])).expanduser(), False
    if _SIM_HOME in run and "partition-id" in node and "num-partitions" in node and LAUNCHER not in os.environ:
        return Path(str(run[_SIM_HOME])).expanduser() / str(int(node["partition-id"])), True
    raise PolicyError(
        f"this node has no home: start it with --node-config '{_HOME}=\"/path/of/its/folder\"' (`privcomp keys node` "
        f"makes the folder); in a simulation the run config names {_SIM_HOME} (`privcomp keys simulation`)"
    )


def _check_place(home: NodeHome, folder: Path, simulated: bool, launched: bool) -> None:
    if home.id.startswith(SIMULATED) != simulated:
        kind = "a simulation" if not simulated else "a real node"
        raise PolicyError(f"{folder} is the home of {kind}; it is not used for the other")
    if home.policy.adversary == "malicious" and not launched:
        raise PolicyError(
            "this node's policy does not trust the server, but the server chooses the code that runs here: start the "
            'node with `privcomp supernode`, which pins that code, or trust the server (adversary = "semi_honest" in '
            "policy.toml)"
        )


def _update(
    message: Message, context: Context, call_next: ClientAppCallable, extras_bytes: bytes, model: bytes, spec: RoundSpec
) -> tuple[Any, int]:
    """Call the app once, on the verified model, and encode what it returns."""
    task, metadata = spec.task, message.metadata
    if task is None:
        raise PolicyError("the round has no task; this node answers training and evaluation rounds only")
    config = config_bytes(context.run_config)
    if binding(metadata.message_type, metadata.group_id, config, extras_bytes) != task.binding:
        raise RemoteError(
            b"server",
            "mask",
            "message type, group, run config or config record are not those that the round binds: this node was given "
            "another configuration than the rest (or the server's app changed its run config after the start)",
        )
    extras = Extras.from_bytes(extras_bytes, max_bytes=len(extras_bytes))
    arrays = task.parse(model)
    content = restored(extras, ArrayRecord({name: Array(array) for name, array in arrays.items()}))
    reply = trained(make_message(metadata=metadata, content=content), context, call_next)
    new = {}
    if task.kind == "update":
        record = only(reply.content.array_records, "ArrayRecord")
        new = {name: array.numpy() for name, array in record.items()}
    if isinstance(spec.encoding, DistributedPlan):
        # A weight or a metric would be summed without noise. Every node counts once, and nothing else is looked at.
        tell_stripped(reply.content, "no metric leaves a node in a round with noise")
        return task.values(arrays, new, {}, spec.encoding), 1
    metrics = dict(only(reply.content.metric_records, "MetricRecord"))
    if extras.weight not in metrics:
        raise EncodingError(f"the app's MetricRecord has no {extras.weight!r}, which is the weight")
    weight = metrics.pop(extras.weight)
    which = "train" if task.kind == "update" else "evaluate"
    named = {name for name, _, _ in task.metrics} | {extras.weight}
    tell_stripped(reply.content, f"privcomp-{which}-metrics does not name them", named)
    return task.values(arrays, new, metrics, spec.encoding), task.weight(weight, spec.encoding)


def trained(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The app's reply.

    Raises:
        LocalError: it failed; what it says stays in this node's log.
    """
    try:
        reply = call_next(message, context)
    except Exception as error:  # noqa: BLE001 (any: it must not travel)
        log(WARNING, "privcomp: the app failed", exc_info=error)
        raise LocalError(f"the app raised {type(error).__name__}; its text stays in this node's log") from None
    if reply.has_error():
        raise LocalError("the app replied with an error; its text stays in this node's log")
    return reply


def tell_stripped(content: RecordDict, why: str, named: Collection[str] = ()) -> None:
    """Log the metrics of a reply that are not sent, but for those that are named."""
    stripped = sorted({name for record in content.metric_records.values() for name in record} - set(named))
    if stripped:
        log(WARNING, "privcomp: not sent, because %s: %s", why, ", ".join(stripped))


def only(records: Any, kind: str, where: str = "the app returned") -> Any:
    """The one record of this kind.

    Raises:
        EncodingError: none, or several.
    """
    if len(records) != 1:
        raise EncodingError(f"{where} {len(records)} {kind}s; Flower's averages need exactly one")
    return next(iter(records.values()))
