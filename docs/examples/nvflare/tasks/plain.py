"""NVFlare's FedAvg recipe, without secure aggregation: the server reads every update."""

import sys
from pathlib import Path

from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

SITES = ["site-1", "site-2", "site-3", "site-4"]

if __name__ == "__main__":
    workspace = sys.argv[1] if len(sys.argv) > 1 else "workspace"
    recipe = NumpyFedAvgRecipe(
        name="fedavg",
        model=[0.0] * 5,
        min_clients=len(SITES),
        num_rounds=3,
        train_script=str(Path(__file__).with_name("client.py")),
    )
    recipe.execute(SimEnv(clients=SITES, workspace_root=workspace))
