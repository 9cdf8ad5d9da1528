"""One party of SPU, beside the rows `mpc.*`: `python -m bench.spu_party RANK OPERATION SIZE REPEATS PORT PORT PORT`.

ABY3 over 64 bits, a process a party, plain TCP, as `bench.rows_mpc` starts them in the environment where SPU is. The
program is compiled and the inputs are shared before the clock starts; each repetition stands between two barriers. The
result of the last one is opened by the first party and compared with plain integers. Nothing here needs this library.
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spu
from spu import libspu
from spu.utils import frontend

SEED = 20240603
PARTIES = 3
_SECRET = libspu.Visibility.VIS_SECRET


def _middle(x: Any) -> Any:
    """The sum of the two middle rows of ten, by Batcher's network of minima and maxima over whole rows (Knuth, TAOCP 3,
    5.2.2, Algorithm M): `jnp.sort` of the same rows takes longer by orders of magnitude."""
    rows, n = list(x), x.shape[0]
    p = 1 << (n - 1).bit_length() - 1
    while p > 0:
        q, r, d = 1 << (n - 1).bit_length() - 1, 0, p
        while True:
            for i in range(n - d):
                if i & p == r:
                    a, b = rows[i], rows[i + d]
                    rows[i], rows[i + d] = jnp.minimum(a, b), jnp.maximum(a, b)
            if q == p:
                break
            q, r, d = q >> 1, p, q - p
        p >>= 1
    return rows[n // 2 - 1] + rows[n // 2]


def _work(operation: str, size: int) -> tuple[Callable[..., Any], list[np.ndarray], np.ndarray]:
    """What is computed, on what, and what comes out: the sizes and ranges of `bench.mpyc_party`."""
    draw = np.random.default_rng(SEED)
    if operation == "mul":
        x, y = (draw.integers(-(2**31), 2**31, size) for _ in range(2))
        return jnp.multiply, [x, y], x * y
    if operation == "compare":
        x, y = (draw.integers(-(2**62), 2**62, size) for _ in range(2))
        return jnp.less, [x, y], x < y
    if operation == "matmul":
        x, y = (draw.integers(-(2**20), 2**20, (size, size)) / 2**16 for _ in range(2))
        return jnp.matmul, [x, y], x @ y
    if operation == "median":
        x = draw.integers(-(2**15), 2**15, (10, size))
        return _middle, [x], np.sort(x, axis=0)[4:6].sum(axis=0)
    if operation == "gram":
        x = draw.integers(-(2**15), 2**15, (20, size))
        return lambda a: a @ a.T, [x], x @ x.T
    raise SystemExit(f"unknown operation {operation!r}")


def main() -> None:
    rank, operation, size, repeats = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    jax.config.update("jax_enable_x64", True)  # integers have 32 bits otherwise
    work, inputs, expected = _work(operation, size)

    peers = libspu.link.Desc()
    for i, port in enumerate(sys.argv[5:]):
        peers.add_party(f"party-{i}", f"127.0.0.1:{port}")
    link = libspu.link.create_brpc(peers, rank)
    config = libspu.RuntimeConfig(protocol=libspu.ProtocolKind.ABY3, field=libspu.FieldType.FM64)
    names = [f"in{k}" for k in range(len(inputs))]
    secret = [_SECRET] * len(names)
    program, _ = frontend.compile(frontend.Kind.JAX, work, inputs, {}, names, secret, lambda out: ["out0"] * len(out))
    runtime, shares = spu.Runtime(link, config), spu.Io(PARTIES, config)
    for name, array in zip(names, inputs, strict=True):
        if rank == 0:
            mine, *others = shares.make_shares(array, _SECRET)
            for i, share in enumerate(others, start=1):
                link.send(i, pickle.dumps(share))
        else:
            mine = pickle.loads(link.recv(0))
        runtime.set_var(name, mine)

    runtime.run(program)  # the first one is slower
    seconds = []
    for _ in range(repeats):
        link.barrier()
        began = time.perf_counter()
        runtime.run(program)
        link.barrier()
        seconds.append(time.perf_counter() - began)

    found: dict[str, Any] = {"seconds": seconds}
    share = runtime.get_var("out0")
    if rank == 0:
        opened = shares.reconstruct([share, *(pickle.loads(link.recv(i)) for i in range(1, PARTIES))])
        away = np.abs(np.asarray(opened, np.float64) - np.asarray(expected, np.float64)).max()
        found["exact"] = bool(away <= (2**-10 if operation == "matmul" else 0.5))
    else:
        link.send(0, pickle.dumps(share))
    link.barrier()
    link.stop_link()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
