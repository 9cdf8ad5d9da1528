"""Federated averaging with NVFlare's Collab API, without secure aggregation: the server reads every update."""

import sys

import numpy as np
from nvflare.collab import CollabRecipe, collab
from nvflare.recipe import SimEnv

SITES = ["site-1", "site-2", "site-3", "site-4"]


class Trainer:
    """Fits y = x @ w to this site's own data."""

    @collab.publish
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
        for number in range(self.rounds):
            results = [result for _, result in collab.clients.train(model)]
            total = sum(weight for _, weight, _ in results)
            model = {"w": sum(weight * arrays["w"] for arrays, weight, _ in results) / total}
            loss = sum(weight * metrics["loss"] for _, weight, metrics in results) / total
            print(f"round {number + 1}: loss {loss:.4f}", flush=True)
        print("model", model["w"].round(2).tolist(), flush=True)


if __name__ == "__main__":
    workspace = sys.argv[1] if len(sys.argv) > 1 else "workspace"
    recipe = CollabRecipe(job_name="fedavg", server=FedAvg(), client=Trainer(), min_clients=len(SITES))
    recipe.execute(SimEnv(clients=SITES, workspace_root=workspace))
