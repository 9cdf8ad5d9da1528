"""python tasks_job.py OUT PLAN: a job over the Task API with the faults of PLAN, in the simulator."""

import json
import sys
from pathlib import Path

from nvflare.app_common.np.recipes import NumpyFedAvgRecipe
from nvflare.recipe import SimEnv

from privcomp.integrations.nvflare import secure, simulation_homes

if __name__ == "__main__":
    out, plan = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    code = Path(__file__).parent
    faults = json.dumps(plan["faults"]).encode().hex()
    recipe = NumpyFedAvgRecipe(
        name="job",
        model=[0.0] * 40,
        min_clients=len(plan["sites"]),
        num_rounds=plan["rounds"],
        train_script=str(code / "script.py"),
        train_args=f"{out} {code} {faults} {plan['kind']}",
    )
    if not plan["plain"]:
        homes = simulation_homes(f"{out}/homes", plan["sites"], policy=plan["policy"])
        secure(recipe, simulation=homes, executor="executors:threads", **plan["proposal"])
    recipe.execute(SimEnv(clients=plan["sites"], num_threads=plan.get("threads"), workspace_root=f"{out}/workspace"))
