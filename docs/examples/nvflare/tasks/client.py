"""The training script of both jobs: fits y = x @ w to this site's own data."""

import numpy as np
import nvflare.client as flare

flare.init()
rng = np.random.default_rng(int(flare.get_site_name().split("-")[1]))
x = rng.normal(size=(int(rng.integers(50, 150)), 5))
y = x @ np.arange(5) + rng.normal(scale=0.1, size=len(x))

while flare.is_running():
    model = flare.receive()
    if model is None:
        break
    w = model.params["numpy_key"]
    error = x @ w - y
    flare.send(
        flare.FLModel(
            params={"numpy_key": (w - 0.2 * x.T @ error / len(x)).astype(w.dtype)},
            metrics={"loss": float(np.mean(error**2))},
            meta={"NUM_STEPS_CURRENT_ROUND": len(x)},
        )
    )
