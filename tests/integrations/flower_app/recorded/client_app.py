"""Each node adds a pattern of its own and writes it, its weight and its loss into `out`."""

from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from privcomp.integrations.flower import secagg_mod

app = ClientApp()


def reply(msg: Message, context: Context, kind: str) -> Message:
    site, turn = int(context.node_config["partition-id"]), int(msg.content["config"]["server-round"])
    arrays = {name: array.numpy() for name, array in msg.content["arrays"].items()}
    draw = np.random.default_rng([site, turn])
    new = {name: array + draw.uniform(-0.5, 0.5, array.shape).astype(array.dtype) for name, array in arrays.items()}
    weight, loss = 111_111 + 7_777 * site + turn, 1.371337 * (site + 1)
    np.savez(
        Path(str(context.run_config["out"])) / f"{kind}-{turn}-{site}.npz",
        **{name: np.subtract(new[name], arrays[name], dtype=np.float64) for name in arrays},
        weight=weight,
        loss=loss,
    )
    content = RecordDict({"metrics": MetricRecord({"num-examples": weight, "loss": loss, "own": 987654.321})})
    if kind == "train":
        content["arrays"] = ArrayRecord({name: Array(array) for name, array in new.items()})
    return Message(content, reply_to=msg)


def mods(message: Message, context: Context, call_next: object) -> Message:
    """The mod, or with `secure = false` none: the same bundle is run plain for comparison."""
    if context.run_config["secure"]:
        return secagg_mod(message, context, call_next)
    return call_next(message, context)


@app.train(mods=[mods])
def train(msg: Message, context: Context) -> Message:
    return reply(msg, context, "train")


@app.evaluate(mods=[mods])
def evaluate(msg: Message, context: Context) -> Message:
    return reply(msg, context, "evaluate")
