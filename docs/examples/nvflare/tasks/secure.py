"""NVFlare's FedAvg recipe: the server reads the sum of the updates only. The training script is the same."""

import sys
from pathlib import Path

from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

from privcomp.integrations.nvflare import secure, simulation_homes

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
    homes = simulation_homes(f"{workspace}/homes", SITES)
    secure(recipe, simulation=homes, clip=4.0, max_weight=1000, metrics={"loss": (0.0, 100.0)})
    recipe.execute(SimEnv(clients=SITES, workspace_root=workspace))
