"""FedAvg over a Grid that writes down every object of every message, and the model of every round."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

from privcomp.integrations.flower import SecAggGrid

app = ServerApp()


def tapped(grid: Grid, folder: Path) -> Grid:
    """The same Grid object (its class matters), with every message in `folder/transcript`, one object after another."""
    push, pull = grid.push_messages, grid.pull_messages

    def write(way: bytes, messages: Iterable[Message]) -> list[Message]:
        found = list(messages)
        with open(folder / "transcript", "ab") as file:
            for message in found:
                for data in (item.deflate() for item in get_all_nested_objects(message).values()):
                    file.write(way + len(data).to_bytes(8, "little") + data)
        return found

    grid.push_messages = lambda messages: push(write(b">", messages))  # type: ignore[method-assign]
    grid.pull_messages = lambda ids: write(b"<", pull(ids))  # type: ignore[method-assign]
    return grid


@app.main()
def main(grid: Grid, context: Context) -> None:
    config = context.run_config
    out = Path(str(config["out"]))

    def save(turn: int, arrays: ArrayRecord) -> None:
        np.savez(out / f"model-{turn}.npz", **{name: array.numpy() for name, array in arrays.items()})

    initial = {"w": np.linspace(-1, 1, int(config["dimension"]), dtype=np.float32), "b": np.zeros((2, 3), np.float32)}
    strategy = FedAvg(
        fraction_evaluate=float(config["fraction-evaluate"]),
        min_train_nodes=int(config["nodes"]),
        min_available_nodes=int(config["nodes"]),
    )
    grid = tapped(grid, out)
    if config["secure"]:
        grid = SecAggGrid(grid, context, strategy)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord({name: Array(array) for name, array in initial.items()}),
        num_rounds=int(config["num-server-rounds"]),
        evaluate_fn=save,
    )
    print("METRICS", result.train_metrics_clientapp, result.evaluate_metrics_clientapp)
