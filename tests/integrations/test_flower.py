"""The mod and the Grid under Flower's own strategies, in one process: results, transcripts, losses, and every misuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed here; `make check-embed` runs these tests")

from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, FedProx

from tests.integrations.flower_federation import Federation

from privcomp.ledger import COMPLETE, Ledger

MODEL = {"w": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), "b": np.zeros(2, dtype=np.float64)}
BOUND = 2.0**-14  # of 16 bits and clip 1


def records(federation: Federation) -> list[Any]:
    from privcomp.integrations import ServerHome

    with ServerHome.open(federation.folder / "server") as home:
        return list(home.ledger.records())


def record(model: Any) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in model.items()})


def start(federation: Federation, strategy: Any, rounds: int = 1, model: Any = None, **options: Any) -> Any:
    with federation.secure(strategy, **options) as grid:
        return strategy.start(grid=grid, initial_arrays=record(model or MODEL), num_rounds=rounds)


def test_fedavg(tmp_path: Path) -> None:
    federation = Federation(tmp_path, 4)
    result = start(federation, FedAvg(min_available_nodes=4), rounds=2)
    arrays = dict(MODEL)
    for turn in (1, 2):
        delta, metrics, _ = federation.recorder.mean(range(1, 5), "train", turn)
        arrays = {name: arrays[name] + delta[name] for name in arrays}
        assert result.train_metrics_clientapp[turn]["loss"] == pytest.approx(metrics["loss"], abs=20 * BOUND)
        _, metrics, _ = federation.recorder.mean(range(1, 5), "evaluate", turn)
        assert result.evaluate_metrics_clientapp[turn]["loss"] == pytest.approx(metrics["loss"], abs=20 * BOUND)
        assert set(result.train_metrics_clientapp[turn]) == {"loss"}
    for name, array in result.arrays.items():
        np.testing.assert_allclose(array.numpy(), arrays[name], atol=3 * BOUND)
        assert array.numpy().dtype == MODEL[name].dtype
    assert [(r.outcome, r.purpose) for r in records(federation)] == [
        (COMPLETE, "training"), (COMPLETE, "evaluation")
    ] * 2  # fmt: skip
    assert federation.recorder.configs[0] == {"server-round": 1}
