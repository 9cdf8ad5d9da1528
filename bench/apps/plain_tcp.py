"""Federated averaging over the transport of `privcomp serve` and `privcomp join`, without secure aggregation: the same
folders, mutual TLS, frames and processes; the server reads every update.

    python -m bench.apps.plain_tcp serve FOLDER MODEL ROUNDS NODES
    python -m bench.apps.plain_tcp join FOLDER PORT UPDATE

`serve` prints one JSON object per round, `UPDATE` is as for `privcomp join --update`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import io
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp.integrations import NodeHome, ServerHome, tls
from privcomp.integrations.npz import load_model, save_model
from privcomp.integrations.tcp_frames import ANSWER, BYE, FINISHED, REQUEST, Channel, Limits, certificate

Arrays = dict[str, NDArray[Any]]
LIMITS = Limits()


def packed(arrays: Mapping[str, Any]) -> bytes:
    """Named arrays as .npz bytes."""
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def unpacked(data: bytes) -> Arrays:
    """Back from .npz bytes."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


async def serve(folder: Path, model: Path, rounds: int, nodes: int) -> None:
    """Wait for all nodes, then average what they send, weighted, round after round."""
    with ServerHome.open(folder) as home:
        roster, channels = home.roster, {}
        everybody = asyncio.Event()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            party = tls.peer_id(certificate(writer), roster)
            channels[party] = Channel(reader, writer, party, LIMITS, None)
            if len(channels) == nodes:
                everybody.set()

        context = tls.server_context(home.tls_certificate, home.tls_key, home.clients)
        async with await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context) as server:
            print(f"listening at 127.0.0.1:{server.sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
            await everybody.wait()
            arrays = load_model(model)
            for _ in range(rounds):
                before = [(channel.received, channel.sent) for channel in channels.values()]
                began = time.monotonic()
                arrays = await turn(channels, arrays)
                ended = time.monotonic()
                after = [(channel.received, channel.sent) for channel in channels.values()]
                up, down = np.subtract(after, before).sum(0).tolist()
                save_model(folder / "model.npz", arrays)
                print(json.dumps({"seconds": ended - began, "bytes_up": up, "bytes_down": down}), flush=True)
            await asyncio.gather(*(channel.bye(FINISHED, "the training is over") for channel in channels.values()))


async def turn(channels: Mapping[bytes, Channel], arrays: Arrays) -> Arrays:
    """One round: the model to everybody, the weighted mean of what comes back."""
    request = packed(arrays)
    most = 4 * len(request) + 4096

    async def ask(channel: Channel) -> Arrays:
        await channel.write(REQUEST, request)
        _, answer = await channel.read({ANSWER: most}, 600.0)
        return unpacked(answer)

    answers = await asyncio.gather(*map(ask, channels.values()))
    weights = [int(answer.pop("weight")) for answer in answers]
    mean = {name: np.average([answer[name] for answer in answers], 0, weights) for name in arrays}
    return {name: mean[name].astype(array.dtype) for name, array in arrays.items()}


async def join(folder: Path, port: int, update: str) -> None:
    """Train on every model that comes, until the server says that it is over."""
    file, _, name = update.rpartition(":")
    spec = importlib.util.spec_from_file_location("update", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with NodeHome.open(folder) as home:
        context = tls.client_context(home.tls_certificate, home.tls_key, home.server_certificate)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        tls.check_server(certificate(writer), home.policy.ledger_key or b"")
        channel = Channel(reader, writer, home.id, LIMITS, None)
        while True:
            kind, body = await channel.read({REQUEST: LIMITS.message, BYE: 4096}, 600.0)
            if kind == BYE:
                return await channel.close()
            arrays, weight, _ = getattr(module, name)(unpacked(body))
            await channel.write(ANSWER, packed({**arrays, "weight": np.int64(weight)}))


if __name__ == "__main__":
    role, folder, *rest = sys.argv[1:]
    if role == "serve":
        asyncio.run(serve(Path(folder), Path(rest[0]), int(rest[1]), int(rest[2])))
    else:
        asyncio.run(join(Path(folder), int(rest[0]), rest[1]))
