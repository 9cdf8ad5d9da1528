"""The model and the data: nothing about Flower, nothing about privacy."""

import numpy as np

FEATURES = 8


def init_model() -> dict[str, np.ndarray]:
    """A random model, so that no two runs train the same one."""
    rng = np.random.default_rng()
    return {"weights": rng.normal(0, 0.01, FEATURES).astype(np.float32), "bias": np.zeros(1, np.float32)}


def load_data(partition_id: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The data of one site: synthetic, 200 examples and a few more per site, a fifth of them for testing."""
    truth = np.random.default_rng(7).normal(size=FEATURES)
    rng = np.random.default_rng(100 + partition_id)
    x = rng.normal(size=(200 + 10 * partition_id, FEATURES))
    y = (x @ truth + 0.5 * rng.normal(size=len(x)) > 0).astype(float)
    test = len(x) // 5
    return x[test:], y[test:], x[:test], y[:test]


def predict(model: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Probability of the class 1."""
    return 1 / (1 + np.exp(-(x @ model["weights"] + model["bias"])))


def loss_and_accuracy(model: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Mean log loss and accuracy."""
    p = np.clip(predict(model, x), 1e-4, 1 - 1e-4)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))), float(np.mean((p > 0.5) == y))


def fit(model: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray, rate: float, steps: int = 20) -> None:
    """Gradient descent, in place."""
    for _ in range(steps):
        error = predict(model, x) - y
        model["weights"] -= (rate * (x.T @ error) / len(x)).astype(np.float32)
        model["bias"] -= np.float32(rate * error.mean())
