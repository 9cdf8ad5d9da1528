"""How good the trained model is on patients of no hospital."""

import numpy as np
from hospital import predict

data, model = np.load("test.npz"), np.load("server/model.npz")
right = (predict(model, data["patients"]) > 0.5) == data["ill"]
print(f"accuracy {right.mean():.3f}")
