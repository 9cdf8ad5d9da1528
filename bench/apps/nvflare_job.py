"""`python nvflare_job.py OUT PLAN`: federated averaging over NVFlare's Collab API in its simulator, secure or plain."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.collab import CollabRecipe, collab
from nvflare.recipe import SimEnv

from bench.apps import training
from privcomp.integrations.nvflare import SecureClients, secure_publish, simulate, simulation_homes


class Trainer:
    """A site."""

    def local(self, model: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, float]]:
        site = int(collab.site_name.split("-")[1])
        return {"w": training.trained(site, model["w"])}, training.weight(site), {}

    @secure_publish
    def train(self, model: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, float]]:
        return self.local(model)

    @collab.publish
    def in_the_clear(self, model: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, float]]:
        return self.local(model)


class FedAvg:
    """The server: the weighted mean of what the sites return; writes down what each round took."""

    def __init__(self, out: str, plan: dict[str, Any]) -> None:
        self.out, self.plan = out, plan

    def plain(self, model: dict[str, Any]) -> dict[str, Any]:
        results = [result for _, result in collab.clients.in_the_clear(model)]
        weights = [weight for _, weight, _ in results]
        return {"w": np.average([arrays["w"] for arrays, _, _ in results], 0, weights).astype(np.float32)}

    @collab.main
    def run(self) -> None:
        carried, out = count_frames(), Path(self.out)
        plan, model = self.plan, {"w": np.zeros(self.plan["dimension"], np.float32)}
        clients = SecureClients(**plan["proposal"]) if plan["secure"] else None
        for turn in range(1, plan["rounds"] + 1):
            carried.update(up=0, down=0)
            began = time.monotonic()
            if clients is None:
                model = self.plain(model)
            else:
                outcome = clients.train(model)
                if outcome.error is not None:
                    raise RuntimeError(outcome.error)
                model = outcome.arrays
            ended = time.monotonic()
            np.save(out / f"{turn}.npy", model["w"])
            with open(out / "rounds", "a") as file:
                file.write(json.dumps({"began": began, "ended": ended, **carried}) + "\n")


def count_frames() -> dict[str, int]:
    """What this process, which is the simulator's server, takes and sends in NVFlare's frames from now on, in bytes."""
    from nvflare.fuel.f3.sfm.conn_manager import SfmFrameReceiver
    from nvflare.fuel.f3.sfm.sfm_conn import SfmConnection

    carried = {"up": 0, "down": 0}
    take, send = SfmFrameReceiver.process_frame, SfmConnection.send_frame

    def taken(self: Any, frame: Any) -> Any:
        carried["up"] += len(frame)
        return take(self, frame)

    def sent(self: Any, prefix: Any, headers: Any, payload: Any) -> Any:
        result = send(self, prefix, headers, payload)
        carried["down"] += prefix.length
        return result

    SfmFrameReceiver.process_frame, SfmConnection.send_frame = taken, sent
    return carried


if __name__ == "__main__":
    out, plan = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())
    recipe = CollabRecipe(
        job_name="timed",
        server=FedAvg(out, plan),
        client=Trainer(),
        min_clients=len(plan["sites"]),
    )
    if plan["secure"]:
        simulate(recipe, simulation_homes(f"{out}/homes", plan["sites"], policy=plan["policy"]))
    recipe.execute(SimEnv(clients=plan["sites"], workspace_root=f"{out}/workspace"))
