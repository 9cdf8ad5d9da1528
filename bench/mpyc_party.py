"""One party of MPyC, the peer of the rows `mpc.*`: `python -m bench.mpyc_party OPERATION SIZE`, MPyC's options behind.

Three parties, one of them corrupt, as `bench.rows_mpc` starts them. Whole arrays everywhere, as its users would write
it. Inputs are shared before the clock starts; what is timed ends when all parties are at a barrier.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
from mpyc.runtime import mpc

SEED = 20240603


async def _inputs(kind: Any, *arrays: np.ndarray) -> list[Any]:
    shared = [mpc.input(kind.array(array), senders=0) for array in arrays]
    for each in shared:
        await mpc.gather(each)
    return shared


async def _run(operation: str, size: int) -> dict[str, Any]:
    draw = np.random.default_rng(SEED)
    if operation == "mul":
        x, y = (draw.integers(-(2**31), 2**31, size) for _ in range(2))
        a, b = await _inputs(mpc.SecInt(64), x, y)
        work, expected = (lambda: mpc.np_multiply(a, b)), x * y
    elif operation == "compare":
        x, y = (draw.integers(-(2**62), 2**62, size) for _ in range(2))
        a, b = await _inputs(mpc.SecInt(64), x, y)
        work, expected = (lambda: a < b), (x < y).astype(np.int64)
    elif operation == "matmul":
        x, y = (draw.integers(-(2**20), 2**20, (size, size)) / 2**16 for _ in range(2))
        a, b = await _inputs(mpc.SecFxp(64, 16), x, y)
        work, expected = (lambda: mpc.np_matmul(a, b)), x @ y
    elif operation == "median":
        x = draw.integers(-(2**15), 2**15, (10, size))
        (a,) = await _inputs(mpc.SecInt(17), x)
        work, expected = (lambda: mpc.np_sort(a, axis=0)[4:6].sum(axis=0)), np.sort(x, axis=0)[4:6].sum(axis=0)
    elif operation == "gram":
        x = draw.integers(-(2**15), 2**15, (20, size))
        (a,) = await _inputs(mpc.SecInt(64), x)
        work, expected = (lambda: mpc.np_matmul(a, mpc.np_transpose(a))), x @ x.T
    else:
        raise SystemExit(f"unknown operation {operation!r}")
    await mpc.barrier()
    began = time.perf_counter()
    result = work()
    await mpc.gather(result)
    await mpc.barrier()
    seconds = time.perf_counter() - began
    opened = np.array(await mpc.output(result), dtype=np.float64)
    exact = bool(np.abs(opened - expected.astype(np.float64)).max() <= (2**-10 if operation == "matmul" else 0.5))
    return {"seconds": seconds, "exact": exact}


async def _main() -> None:
    operation, size = sys.argv[1], int(sys.argv[2])
    await mpc.start()
    found = await _run(operation, size)
    await mpc.shutdown()
    print(json.dumps(found))


if __name__ == "__main__":
    mpc.run(_main())
