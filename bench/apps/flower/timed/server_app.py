"""The ServerApp: Flower's FedAvg; writes when each round began and ended, its bytes and its model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

app = ServerApp()


def counted(grid: Grid, carried: dict[str, int]) -> Grid:
    """The same Grid object (its class matters), which adds up what the messages of both ways have when serialised."""
    push, pull = grid.push_messages, grid.pull_messages

    def count(way: str, messages: Iterable[Message]) -> list[Message]:
        found = list(messages)
        for message in found:
            carried[way] += sum(len(item.deflate()) for item in get_all_nested_objects(message).values())
        return found

    grid.push_messages = lambda messages: push(count("down", messages))  # type: ignore[method-assign]
    grid.pull_messages = lambda ids: count("up", pull(ids))  # type: ignore[method-assign]
    return grid


def polled(grid: Grid, seconds: float) -> Grid:
    """The same Grid object, whose exchange looks for replies that often; otherwise Flower's own loop."""

    def send_and_receive(messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        waiting, replies = set(grid.push_messages(messages)), []
        while waiting:
            found = list(grid.pull_messages(waiting))
            replies += found
            waiting -= {message.metadata.reply_to_message_id for message in found}
            time.sleep(seconds if waiting else 0)
        return replies

    grid.send_and_receive = send_and_receive  # type: ignore[method-assign]
    return grid


@app.main()
def main(grid: Grid, context: Context) -> None:
    """FedAvg without evaluation, for `rounds` rounds."""
    config = context.run_config
    out, nodes = Path(str(config["out"])), int(config["nodes"])
    carried = {"up": 0, "down": 0}
    began = 0.0

    def save(turn: int, arrays: ArrayRecord) -> None:
        nonlocal began
        ended = time.monotonic()
        np.save(out / f"{turn}.npy", arrays["w"].numpy())
        with open(out / "rounds", "a") as file:
            file.write(json.dumps({"began": began, "ended": ended, **carried}) + "\n")
        carried.update(up=0, down=0)
        began = time.monotonic()

    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=nodes, min_available_nodes=nodes)
    grid = counted(grid, carried)
    if config["secure"]:
        from privcomp.integrations.flower import SecAggGrid

        grid = SecAggGrid(grid, context, strategy)
    elif config["poll"]:
        grid = polled(grid, float(config["poll"]))
    initial = ArrayRecord({"w": Array(np.zeros(int(config["dimension"]), np.float32))})
    strategy.start(grid=grid, initial_arrays=initial, num_rounds=int(config["rounds"]), evaluate_fn=save)
