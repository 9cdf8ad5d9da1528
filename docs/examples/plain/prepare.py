"""Makes up the patients of six hospitals, and the model that the training begins with."""

import numpy as np

HOSPITALS = ("north", "east", "south", "west", "lake", "hill")
FEATURES = 8

draw = np.random.default_rng(1)
truth = draw.normal(0, 1, FEATURES)


def people(count):
    patients = draw.normal(0, 1, (count, FEATURES))
    return {"patients": patients, "ill": (patients @ truth + draw.normal(0, 0.3, count) > 0).astype(float)}


for number, name in enumerate(HOSPITALS):
    np.savez(f"{name}/data.npz", **people(60 + 40 * number))
np.savez("test.npz", **people(1000))
np.savez("model.npz", weights=np.zeros(FEATURES), bias=np.zeros(1))
