"""Mean and standard deviation of numbers that three parties hold, and that nobody else sees."""

from pathlib import Path

import numpy as np


async def spread(mpc, entries):
    """The same at every party: share what this one holds, add, multiply, open the two sums."""
    name = mpc.session.parties[mpc.me].decode()
    held = np.loadtxt(Path(name) / "values.txt", dtype=np.int64).view(np.uint64)
    total = squares = mpc.public(np.zeros(1, np.uint64))
    for owner in range(mpc.n):
        values = await mpc.input(owner, held if mpc.me == owner else None, (entries,))
        row = values.map(lambda part: part.reshape(1, -1))
        column = values.map(lambda part: part.reshape(-1, 1))
        square = await mpc.matmul(row, column)  # a dot product: one word is sent, however long it is
        squares = mpc.add(squares, square.map(lambda part: part.reshape(1)))
        total = mpc.add(total, values.map(lambda part: part.sum(keepdims=True)))
    opened = [(await mpc.open(value)).item() for value in (total, squares)]
    mean = opened[0] / (mpc.n * entries)
    return {"mean": mean, "deviation": (opened[1] / (mpc.n * entries) - mean**2) ** 0.5}
