"""What the server, or anybody behind its TLS, reads of one node: a transcript of every byte, searched for canaries."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import privcomp.secagg.client as client_module
from privcomp.codec import decode_any
from privcomp.integrations import NodeHome, ServerHome
from privcomp.integrations.asyncio_tcp import Server, join
from privcomp.integrations.committee import committee_of
from privcomp.integrations.driver import Deadlines
from privcomp.integrations.tcp_frames import ANSWER, BYE, DONE, HELLO, PING, PONG, REQUEST, WELCOME
from privcomp.oneshot import messages as oneshot
from privcomp.rounds import RoundSpec
from privcomp.rounds.messages import RoundAnnouncement, RoundUpload
from privcomp.rounds.task import Task
from privcomp.secagg.messages import (
    Advertise,
    BundleMessage,
    ConsistencyRequest,
    ConsistencySignature,
    KeyList,
    MaskRequest,
    UnmaskRequest,
    UnmaskResponse,
    UploadBlock,
    UploadEnd,
)
from tests.integrations.canaries import Canary, found
from tests.integrations.federation import Federation

NODES = 5
MEMBERS = 4
TASK = Task("update", metrics=(("loss", 0.0, 10.0), ("accuracy", 0.0, 1.0)))
MODEL = {"first": np.zeros((40, 25), np.float32), "second": np.zeros(77, np.float64)}
FROM_NODES = (Advertise, BundleMessage, UploadBlock, UploadEnd, ConsistencySignature, UnmaskResponse)
ONE_SHOT_NODES = (
    *(oneshot.BoxKey, oneshot.UploadBlock, oneshot.UploadEnd, oneshot.Accept, oneshot.Vote, oneshot.Answer),
)
ONE_SHOT_SERVER = (oneshot.BoxKeyRequest, RoundUpload, oneshot.Shares, oneshot.Propose, oneshot.Certificate)
FROM_SERVER = (RoundAnnouncement, KeyList, MaskRequest, ConsistencyRequest, UnmaskRequest)


def canary(k: int) -> Canary:
    """Updates that are exact in the encoding (16 bits, clip 1), all different, with telling numbers."""
    draw = np.random.default_rng(100 + k)
    new = {
        name: (draw.integers(-32000, 32000, array.shape) * 2.0**-15).astype(array.dtype)
        for name, array in MODEL.items()
    }
    metrics = {"loss": float(draw.uniform(1, 9)), "accuracy": float(draw.uniform(0.1, 0.9))}
    return Canary(MODEL, new, 1_000_003 + 1009 * k, metrics)


CANARIES = {f"node-{k}".encode(): canary(k) for k in range(NODES)}

#: (who tapped, whose connection, direction) -> bytes; directions are the server's.
Transcript = dict[tuple[str, bytes, str], bytes]


def recorded(federation: Federation, members: int = 0) -> Transcript:
    """One round, every byte of it, as the server and as the nodes see it; one-shot with a committee of that many."""
    said: dict[tuple[str, bytes, str], bytearray] = defaultdict(bytearray)

    def at_server(party: bytes, direction: str, data: bytes) -> None:
        said["server", party, direction].extend(data)

    def at_node(party: bytes, direction: str, data: bytes) -> None:
        said["node", party, "in" if direction == "out" else "out"].extend(data)

    async def node(k: int, port: int) -> None:
        with NodeHome.open(federation.node(k)) as home:
            own = CANARIES[home.id]
            await join(home, "127.0.0.1", port, lambda _: (own.new, own.weight, own.metrics), tap=at_node)

    async def scenario() -> None:
        with ServerHome.open(federation.server) as home:
            async with Server(home, port=0, tap=at_server) as server:
                nodes = [asyncio.create_task(node(k, server.port)) for k in range(NODES)]
                await server.run(
                    MODEL,
                    **{"task": TASK, "rounds": 1, "clip": 0.99, "max_weight": 1 << 20, "corrupt": 1},
                    committee=committee_of(federation.roster, federation.ids[:members]) if members else None,
                    min_clients=NODES,
                    deadlines=Deadlines.of(20, training=20),
                )
            await asyncio.gather(*nodes)

    asyncio.run(scenario())
    return {key: bytes(data) for key, data in said.items()}


def spec_of(federation: Federation) -> RoundSpec:
    (record,) = federation.records()
    return RoundSpec.of_bytes(record.params)


def betrayed(federation: Federation, transcript: bytes) -> dict[bytes, list[str]]:
    """id -> forms in which this node's values are found."""
    spec = spec_of(federation)
    return {
        party: [*found(transcript, own.raw()), *found(transcript, own.encoded(TASK, spec.encoding))]
        for party, own in CANARIES.items()
    }


@pytest.fixture(scope="module", params=[0, MEMBERS], ids=["masks", "one-shot"])
def honest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Federation, Transcript]:
    federation = Federation.create(tmp_path_factory.mktemp("transcript"), NODES, committee=request.param)
    return federation, recorded(federation, request.param)


def test_no_canary_is_in_the_transcript(honest: tuple[Federation, Transcript]) -> None:
    federation, transcript = honest
    for party, forms in betrayed(federation, b"".join(transcript.values())).items():
        assert forms == [], f"{party!r} is recognised by {forms}"
    assert federation.records()[0].outcome == "complete"


def test_both_sides_recorded_the_same(honest: tuple[Federation, Transcript]) -> None:
    """So nothing else was on the wire: every byte that one side wrote is one that the other side read."""
    _, transcript = honest
    for party in CANARIES:
        for direction in ("in", "out"):
            assert transcript["server", party, direction] == transcript["node", party, direction]
            assert transcript["server", party, direction]


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        size, kind = int.from_bytes(data[:4], "little"), data[4]
        assert len(data) >= 5 + size
        yield kind, data[5 : 5 + size]
        data = data[5 + size :]


def test_every_record_is_of_a_known_type(honest: tuple[Federation, Transcript]) -> None:
    """Nothing is left over, in any direction; what is not a message of the protocol has no room for an update."""
    federation, transcript = honest
    masks = federation.records()[0].protocol != "oneshot"
    from_nodes, from_server = (FROM_NODES, FROM_SERVER) if masks else (ONE_SHOT_NODES, ONE_SHOT_SERVER)
    kinds: Counter[Any] = Counter()
    for party in CANARIES:
        for kind, body in frames(transcript["server", party, "in"]):
            if kind == ANSWER:
                message = decode_any(body[4:], {cls.TAG: cls for cls in from_nodes}, max_bytes=1 << 24)
                assert message.id == party
                kinds[type(message)] += 1
            else:
                assert (kind, len(body)) in {(HELLO, 48), (DONE, 4), (PONG, 0)}
        for kind, body in frames(transcript["server", party, "out"]):
            if kind == REQUEST:
                message = decode_any(body[4:], {cls.TAG: cls for cls in from_server}, max_bytes=1 << 24)
                kinds[type(message)] += 1
                if isinstance(message, (MaskRequest, RoundUpload)):
                    assert message.model == TASK.request(MODEL)
            else:
                assert kind in {WELCOME, PING, BYE}
                assert kind != WELCOME or len(body) == 48
    everybody = {oneshot.UploadBlock, oneshot.UploadEnd, RoundUpload}
    assert kinds == {cls: NODES if masks or cls in everybody else MEMBERS for cls in (*from_nodes, *from_server)}


def test_without_masks_the_canaries_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same run of a client that forgets its masks: the search for what is quantised and packed can fail."""
    masked_blocks = client_module.masked_blocks
    monkeypatch.setattr(
        client_module,
        "masked_blocks",
        lambda params, vectors, seeds, negate: masked_blocks(params, vectors, [s[:0] for s in seeds], negate[:0]),
    )
    federation = Federation.create(tmp_path, NODES)
    transcript = recorded(federation)
    for forms in betrayed(federation, b"".join(transcript.values())).values():
        assert any("weighted, packed to" in form for form in forms), forms


def test_without_privcomp_the_canaries_are_found() -> None:
    """Nodes that send their updates as they are, over a plain connection: the search for what is raw can fail."""
    said = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said.extend(await reader.read())
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        for own in CANARIES.values():
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(own.plain())
            writer.write_eof()
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        while len(said) < sum(len(own.plain()) for own in CANARIES.values()):
            await asyncio.sleep(0.01)
        server.close()

    asyncio.run(scenario())
    for own in CANARIES.values():
        forms = found(bytes(said), own.raw())
        for expected in ("array first <f4", "change second <f8", "weight text", "metric loss text"):
            assert any(form.startswith(expected) for form in forms), (expected, forms)
