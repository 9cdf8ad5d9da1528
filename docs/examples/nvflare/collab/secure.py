"""Federated averaging with NVFlare's Collab API: the server reads the sum of the updates, and nothing else."""

import sys

import numpy as np
from nvflare.collab import CollabRecipe, collab
from nvflare.recipe import SimEnv

from privcomp.integrations.nvflare import SecureClients, secure_publish, simulate, simulation_homes

SITES = ["site-1", "site-2", "site-3", "site-4"]


class Trainer:
    """Fits y = x @ w to this site's own data."""

    @secure_publish
    def train(self, model):
        rng = np.random.default_rng(int(collab.site_name.split("-")[1]))
        x = rng.normal(size=(int(rng.integers(50, 150)), 5))
        y = x @ np.arange(5) + rng.normal(scale=0.1, size=len(x))
        error = x @ model["w"] - y
        return {"w": model["w"] - 0.2 * x.T @ error / len(x)}, len(x), {"loss": float(np.mean(error**2))}


class FedAvg:
    """Averages what the sites return, weighted by their numbers of examples."""

    def __init__(self, rounds=5):
        self.rounds = rounds

    @collab.main
    def run(self):
        model = {"w": np.zeros(5)}
        clients = SecureClients(clip=4.0, max_weight=1000, metrics={"loss": (0.0, 100.0)})
        for number in range(self.rounds):
            outcome = clients.train(model)
            model, loss = outcome.arrays, outcome.metrics["loss"]
            print(f"round {number + 1}: loss {loss:.4f}", flush=True)
        print("model", model["w"].round(2).tolist(), flush=True)


if __name__ == "__main__":
    workspace = sys.argv[1] if len(sys.argv) > 1 else "workspace"
    recipe = CollabRecipe(job_name="fedavg", server=FedAvg(), client=Trainer(), min_clients=len(SITES))
    simulate(recipe, simulation_homes(f"{workspace}/homes", SITES))
    recipe.execute(SimEnv(clients=SITES, workspace_root=workspace))
