"""python collab_job.py OUT PLAN: a job over the Collab API with the faults of PLAN, in the simulator."""

import json
import sys
from pathlib import Path

import numpy as np
from nvflare.collab import CollabRecipe, collab
from nvflare.recipe import SimEnv

from privcomp.integrations.nvflare import SecureClients, secure_evaluation, secure_publish, simulate, simulation_homes


class Trainer:
    def __init__(self, out, faults, code):
        self.out, self.faults, self.code = out, faults, code

    def local(self, model):
        sys.path.append(self.code)
        from training import train

        number, site = int(model["round"]), collab.site_name
        return train(self.out, site, number, model, self.faults.get(str(number), {}).get(site))

    @secure_publish
    def train(self, model):
        return self.local(model)

    @secure_evaluation
    def evaluate(self, model):
        return 10 * int(collab.site_name.split("-")[1]), {"loss": float(collab.site_name.split("-")[1])}

    @collab.publish
    def in_the_clear(self, model):
        return self.local(model)


class Server:
    def __init__(self, out, rounds, proposal, plain, threads):
        self.out, self.rounds, self.proposal, self.plain, self.threads = out, rounds, proposal, plain, threads

    @collab.main
    def run(self):
        from concurrent.futures import ThreadPoolExecutor

        model = {"w": np.zeros(40, np.float32), "b": np.ones((3, 2)), "round": np.zeros((), np.int64)}
        if self.plain:  # a round without privcomp first; what the server has received until then ends at the mark
            list(collab.clients.in_the_clear(model))
            sizes = {name: (Path(self.out) / name).stat().st_size for name in ("frames", "records")}
            (Path(self.out) / "mark").write_text(json.dumps(sizes))
        done = []
        with ThreadPoolExecutor(self.threads) as pool, SecureClients(executor=pool, **self.proposal) as clients:
            for number in range(self.rounds):
                model["round"] = np.array(number)
                outcome = clients.train(model)
                model = outcome.arrays
                np.savez(Path(self.out) / f"model.{number}.npz", **model)
                done.append([outcome.error, outcome.metrics, outcome.seconds, sorted(clients.failures)])
                done[-1] += [outcome.sent, outcome.received]
            if self.proposal["metrics"]:
                outcome = clients.evaluate(model)
                done.append([outcome.error, outcome.metrics, outcome.seconds, [], outcome.sent, outcome.received])
        (Path(self.out) / "done.json").write_text(json.dumps(done))


if __name__ == "__main__":
    out, plan = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    code = str(Path(__file__).parent)
    recipe = CollabRecipe(
        job_name="job",
        server=Server(out, plan["rounds"], plan["proposal"], plan["plain"], 2),
        client=Trainer(out, plan["faults"], code),
        min_clients=1,
        sync_task_timeout=150,
    )
    simulate(recipe, simulation_homes(f"{out}/homes", plan["sites"], policy=plan["policy"]))
    recipe.execute(SimEnv(clients=plan["sites"], workspace_root=f"{out}/workspace"))
