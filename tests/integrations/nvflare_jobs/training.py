"""Training code of the tests: known changes, written down as they are returned, and planned faults."""

import os
import signal
import time
from pathlib import Path

import numpy as np

GRANULARITY = 2.0**-14


def change(site, number, size):
    """The change of one site in one round: multiples of the granularity that no rounding touches."""
    rng = np.random.default_rng([int(site.split("-")[1]), number])
    return rng.integers(-8000, 8000, size) * GRANULARITY


def train(folder, site, number, model, fault):
    """(arrays, weight, metrics) of a site; what it returned is in the folder afterwards.

    Args:
        folder: for the records.
        site: name.
        number: of the round.
        model: named arrays.
        fault: None, or what goes wrong.
    """
    if fault == "raise":
        raise ValueError(f"a script that quotes its data: {model}")
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault and fault.startswith("sleep"):
        time.sleep(float(fault.split()[1]))
    weight = 987_654 + 1000 * int(site.split("-")[1])
    metrics = {"loss": 3.0 + int(site.split("-")[1]) / 8 + number / 1024, "secret": 0.7316528194537}
    new = {}
    for name, array in model.items():
        new[name] = array
        if np.issubdtype(array.dtype, np.floating):
            new[name] = array + change(site, number, array.shape).astype(array.dtype)
    if fault in ("nan", "shape"):
        name = next(iter(new))
        new[name] = np.full_like(new[name], np.nan) if fault == "nan" else new[name][:-1]
        return new, weight, metrics
    delta = {name: new[name].astype(np.float64) - model[name] for name in new if name != "round"}
    np.savez(Path(folder) / f"{number}.{site}.npz", weight=weight, loss=metrics["loss"], **delta)
    return new, weight, metrics
