"""The ServerApp."""

from flwr.app import Array, ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from flowerapp.task import init_model
from privcomp.integrations.flower import SecAggGrid

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train for `num-server-rounds` rounds."""
    arrays = ArrayRecord({name: Array(array) for name, array in init_model().items()})
    strategy = FedAvg(min_available_nodes=int(context.run_config["min-nodes"]))
    grid = SecAggGrid(grid, context, strategy)
    result = strategy.start(grid=grid, initial_arrays=arrays, num_rounds=int(context.run_config["num-server-rounds"]))
    print("evaluation of every round:", result.evaluate_metrics_clientapp)
