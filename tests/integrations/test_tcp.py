"""The server and its nodes over real TLS, in one process: who is let in, what is refused, what is waited for."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import logging
import re
import shutil
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from privcomp.errors import LocalError, ParameterError, RemoteError
from privcomp.integrations import NodeHome, ServerHome, asyncio_tcp, tcp_frames, tls
from privcomp.integrations.asyncio_tcp import Limits, RoundReport, Server, Update, _answer_limits, join, replay
from privcomp.integrations.driver import Deadlines
from privcomp.integrations.file_journal import FileJournal
from privcomp.journal import Entry
from privcomp.keys import Roster
from privcomp.ledger import ABORTED, COMPLETE
from privcomp.rounds import RoundServer, RoundSpec
from privcomp.rounds.task import Task
from privcomp.secagg.messages import UploadBlock
from privcomp.secagg.params import Params
from tests.integrations.federation import METRICS, Arrays, Federation, compute, first_model

TASK = Task("update", metrics=METRICS)
QUICK = Limits(hello=5, stall=5, grace=2)
SHARE, MASK, CONSISTENCY, UNMASK = range(1, 5)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    return Federation.create(tmp_path_factory.mktemp("template"), 6)


@pytest.fixture
def federation(template: Federation, tmp_path: Path) -> Federation:
    """Six nodes that have not done anything yet."""
    shutil.copytree(template.folder, tmp_path, dirs_exist_ok=True)
    return Federation(tmp_path, template.ids, template.roster)


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """And no task ended with an error that nobody saw."""
    caplog.set_level(logging.INFO, "privcomp")
    yield
    gc.collect()
    lost = [r.getMessage() for r in caplog.get_records("call") if r.name == "asyncio" and r.levelno >= logging.WARNING]
    assert lost == []


@dataclass
class Running:
    """A server and the tasks of its nodes."""

    federation: Federation
    server: Server
    limits: Limits
    reports: list[RoundReport] = field(default_factory=list)
    nodes: dict[int, asyncio.Task[str]] = field(default_factory=dict)

    def join(self, k: int, update: Update | None = None, **options: Any) -> asyncio.Task[str]:
        node = self.federation.node(k)

        async def run() -> str:
            with NodeHome.open(node) as home:
                function = update if update is not None else lambda arrays: compute(node, arrays)
                options.setdefault("limits", self.limits)
                return await join(home, "127.0.0.1", self.server.port, function, **options)

        self.nodes[k] = asyncio.create_task(run())
        return self.nodes[k]

    async def run(self, model: Arrays | None = None, **options: Any) -> Arrays:
        given: dict[str, Any] = {
            **{"task": TASK, "rounds": 1, "clip": 2.0, "max_weight": 1000, "corrupt": 1, "wait": 60.0},
            **{"gather": 60.0, "deadlines": Deadlines.of(20, training=20), "report": self.reports.append},
            **options,
        }
        return await self.server.run(first_model() if model is None else model, **given)

    async def ended(self, k: int) -> str:
        return await asyncio.wait_for(self.nodes[k], 30)


@contextlib.asynccontextmanager
async def running(federation: Federation, limits: Limits = QUICK, **options: Any) -> AsyncIterator[Running]:
    with ServerHome.open(federation.server) as home:
        async with Server(home, port=0, limits=limits, **options) as server:
            started = Running(federation, server, limits)
            yield started
        left = list(started.nodes.values())
        if left and server._farewell[0] == tcp_frames.FINISHED:
            await asyncio.wait(left, timeout=10)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The frames of one direction of a connection, strictly."""
    while data:
        size, kind = int.from_bytes(data[:4], "little"), data[4]
        assert len(data) >= 5 + size
        yield kind, data[5 : 5 + size]
        data = data[5 + size :]


# ---- rounds


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"hybrid": True},
        {"protocol": "secaggplus", "adversary": "semi_honest", "corrupt": 0},
        {"clients": 4, "rounds": 3, "gather": 5.0},
        {"block_entries": 64, "bits": 24},
    ],
    ids=str,
)
def test_rounds_give_the_weighted_mean(federation: Federation, options: dict[str, Any]) -> None:
    """In every mode; whatever is sent fits into the limits of its stage."""
    if "adversary" in options:
        for k in range(6):
            path = federation.node(k) / "policy.toml"
            path.write_text(path.read_text().replace('= "malicious"', '= "semi_honest"').replace("corrupt = 1", ""))

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k)
            model = await started.run(**{"rounds": 2, **options})
        assert [await started.ended(k) for k in range(6)] == ["the training is over"] * 6
        assert [report.outcome for report in started.reports] == [COMPLETE] * options.get("rounds", 2)
        last, records = federation.check_means(first_model())
        assert all(np.array_equal(last[name], array) for name, array in model.items())
        assert all(len(record.survivors) == options.get("clients", 6) for record in records)
        if "clients" in options:  # who was left out comes next
            assert len({party for record in records for party in record.survivors}) == 6

    asyncio.run(scenario())
    federation.audit()


def test_what_is_reported(federation: Federation) -> None:
    saved: list[Arrays] = []

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k)
            model = await started.run(save=saved.append)
        (report,) = started.reports
        assert (report.round, report.asked, report.survivors, report.refused) == (1, 6, 6, {})
        assert 6 <= report.weight <= 6000
        assert 0 <= report.metrics["loss"] <= 10
        assert report.bytes_up > 6 * 5000 * 3
        assert report.bytes_down > 6 * 5000 * 4
        assert all(np.array_equal(saved[0][name], model[name]) for name in model)

    asyncio.run(scenario())


def test_a_model_that_does_not_change_ends_the_training(federation: Federation) -> None:
    """A node answers once per model: another round could not be completed."""

    def idle(arrays: Arrays) -> tuple[Arrays, int, dict[str, float]]:
        return arrays, 1, {"loss": 1.0}

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k, idle)
            await started.run({"w": np.zeros(10)}, rounds=9)
        assert len(started.reports) == 1

    asyncio.run(scenario())


# ---- nodes that vanish, and come back


def crash(monkeypatch: pytest.MonkeyPatch, started: Running, stage: int, *nodes: int) -> None:
    """These nodes are gone when the entry of a stage is in their journal; nothing of its answer is sent. Once each."""
    append, loop = FileJournal._append, asyncio.get_running_loop()
    doomed = {}
    for k in nodes:
        with NodeHome.open(started.federation.node(k)) as home:
            doomed[home.identity.public] = k

    def append_and_vanish(journal: FileJournal, entry: Entry) -> None:
        append(journal, entry)
        if entry.stage == stage and journal.identity in doomed:
            loop.call_soon_threadsafe(started.nodes[doomed.pop(journal.identity)].cancel)

    monkeypatch.setattr(FileJournal, "_append", append_and_vanish)


async def gone(started: Running, *nodes: int) -> None:
    for k in nodes:
        with pytest.raises(asyncio.CancelledError):
            await started.nodes[k]


@pytest.mark.parametrize("stage", [SHARE, MASK, CONSISTENCY, UNMASK])
def test_a_node_resumes_within_the_stage(federation: Federation, monkeypatch: pytest.MonkeyPatch, stage: int) -> None:
    """It is gone when it has journalled and not sent; a new process answers the request, which comes again, with these
    bytes. Nobody else notices."""

    async def scenario() -> None:
        async with running(federation, Limits(grace=20)) as started:
            crash(monkeypatch, started, stage, 3)
            for k in range(6):
                started.join(k)
            rounds = asyncio.create_task(started.run())
            await gone(started, 3)
            started.join(3)
            await rounds
        (report,) = started.reports
        assert (report.outcome, report.survivors) == (COMPLETE, 6)
        (record,) = federation.check_means(first_model())[1]
        assert federation.ids[3] in dict(record.quorum)
        assert report.seconds < 15

    asyncio.run(scenario())
    federation.audit()


def test_a_node_that_stays_away_is_waited_for_no_longer_than_its_grace(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with running(federation, Limits(grace=1)) as started:
            crash(monkeypatch, started, MASK, 3)
            for k in range(6):
                started.join(k)
            await started.run(rounds=2)
        assert [report.survivors for report in started.reports] == [5, 5]
        assert started.reports[0].seconds < 10

    asyncio.run(scenario())
    federation.check_means(first_model())


def test_a_node_that_still_trains_is_not_asked_again(federation: Federation) -> None:
    """It is late for one round, and holds up no other; when it is done it takes part again."""
    done = threading.Event()

    def slow(arrays: Arrays) -> tuple[Arrays, int, dict[str, float]]:
        done.wait(30)
        return compute(federation.node(2), arrays)

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k, slow if k == 2 else None)

            def report(report: RoundReport) -> None:
                started.reports.append(report)
                if len(started.reports) == 2:
                    done.set()

            rounds = asyncio.create_task(started.run(rounds=8, report=report, deadlines=Deadlines.of(20, training=2)))
            while len(started.reports) < 2 or started.reports[-1].asked < 6:
                await asyncio.sleep(0.02)
            started.server.stop()
            await rounds
        assert (started.reports[0].asked, started.reports[0].survivors) == (6, 5)
        assert (started.reports[1].asked, started.reports[1].survivors) == (5, 5)
        assert started.reports[-1].survivors in (0, 6)  # 0: the stop was faster

    asyncio.run(scenario())
    federation.check_means(first_model())
    federation.audit()


def test_too_few_nodes_abort_the_round_and_the_next_one_completes(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with running(federation, Limits(grace=0.5)) as started:
            crash(monkeypatch, started, MASK, 2, 3, 4)
            for k in range(6):
                started.join(k)
            rounds = asyncio.create_task(started.run(rounds=2, min_clients=6))
            await gone(started, 2, 3, 4)
            while not started.reports:
                await asyncio.sleep(0.05)
            for k in (2, 3, 4):
                started.join(k)
            await rounds
        assert [report.outcome for report in started.reports] == ["aborted", "complete"]
        assert "3 complete uploads, 5 are needed" in started.reports[0].reason

    asyncio.run(scenario())
    assert [record.outcome for record in federation.records()] == [ABORTED, COMPLETE]
    federation.check_means(first_model())
    federation.audit()


@pytest.mark.parametrize("restarted", [False, True])
def test_a_round_that_stalls_is_finished_first(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, restarted: bool
) -> None:
    """Two of six survivors do not answer the last stage: with the four others nothing opens. The same survivors
    complete the round when they are back, even after a restart of the server."""

    async def scenario() -> None:
        async with running(federation, Limits(grace=0.5)) as started:
            crash(monkeypatch, started, UNMASK, 1, 4)
            for k in range(6):
                started.join(k)
            rounds = asyncio.create_task(started.run(rounds=1 if restarted else 3))
            await gone(started, 1, 4)
            while not started.reports:
                await asyncio.sleep(0.05)
            assert started.reports[0].outcome == "stalled"
            assert federation.records() == []
            if not restarted:
                for k in (1, 4):
                    started.join(k)
            await rounds
            assert (started.server._farewell[0] == tcp_frames.STOPPING) == restarted  # nodes stay for what is left
        if restarted:
            async with running(federation, Limits(grace=20)) as started:
                for k in range(6):
                    started.join(k)
                await started.run(rounds=2)
        outcomes = [report.outcome for report in started.reports if report.outcome != "stalled"]
        assert outcomes in (["complete"], ["complete"] * 2)
        first = federation.records()[0]
        assert (first.round, len(first.survivors)) == (1, 6)

    asyncio.run(scenario())
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1  # loudly, and once
    federation.check_means(first_model())
    federation.audit()


def test_a_ledger_is_gone_on_from(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    """A server that was stopped and lost its newest model takes it from the ledger, artefacts included."""
    model = first_model(50_000)  # sums of this size lie beside the ledger

    async def scenario(rounds: int) -> Arrays:
        async with running(federation) as started:
            for k in range(6):
                started.join(k)
            return await started.run(model, rounds=rounds)

    first = asyncio.run(scenario(2))
    with ServerHome.open(federation.server) as home:
        again, count = replay(home.ledger, TASK, model)
    assert count == 2
    assert all(np.array_equal(first[name], again[name]) for name in first)
    second = asyncio.run(scenario(1))
    assert "the ledger has 2 rounds" in caplog.text
    last, records = federation.check_means(model)
    assert len(records) == 3
    assert all(np.array_equal(last[name], second[name]) for name in last)
    (federation.server / str(records[0].artefact)).write_bytes(b"")
    with (
        ServerHome.open(federation.server) as home,
        pytest.raises(LocalError, match="not the one that the ledger names"),
    ):
        replay(home.ledger, TASK, model)


# ---- what a node refuses, and what its server then knows


def bad(change: Callable[[Arrays], Any]) -> Callable[[Path], Update]:
    def of(node: Path) -> Update:
        def update(arrays: Arrays) -> Any:
            new, weight, metrics = compute(node, arrays)
            changed = change(new)
            return (new, weight, metrics) if changed is None else changed

        return update

    return of


def nan(new: Arrays) -> None:
    new["weights"][3, 4] = np.nan


def shape(new: Arrays) -> None:
    new["weights"] = new["weights"].reshape(-1)


def dtype(new: Arrays) -> None:
    new["weights"] = new["weights"].astype(np.float64)


def integers(new: Arrays) -> None:
    new["weights"] = new["weights"].astype(np.int32)


def missing(new: Arrays) -> None:
    del new["bias"]


def extra(new: Arrays) -> None:
    new["more"] = new["bias"]


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (nan, "EncodingError", "is NaN or infinite"),
        (shape, "EncodingError", "array 'weights' is float32 of shape"),
        (dtype, "EncodingError", "array 'weights' is float64"),
        (integers, "EncodingError", "'weights' has dtype"),
        (missing, "EncodingError", "missing ['bias']"),
        (extra, "EncodingError", "arrays that the server did not send: 'more'"),
        (lambda new: (new, 0, {"loss": 1.0}), "EncodingError", "the weight must be a whole number of at least 1"),
        (lambda new: (new, 1.5, {"loss": 1.0}), "EncodingError", "the weight is a float"),
        (lambda new: (new, 1, {}), "EncodingError", "the metric 'loss', which this node did not return"),
        (lambda new: (new, 1, {"loss": float("inf")}), "EncodingError", "metric 'loss' is not finite"),
        (lambda new: new, "LocalError", "must return (new arrays, weight, metrics)"),
        (lambda new: (list(new), 1, {}), "LocalError", "both must be mappings"),
        (lambda new: 1 // 0, "LocalError", "the update function failed: ZeroDivisionError"),
    ],
)
def test_an_update_that_does_not_fit(
    federation: Federation, caplog: pytest.LogCaptureFixture, change: Callable[[Arrays], Any], kind: str, said: str
) -> None:
    """The node says what is wrong in its own log; the server learns the class; the round is completed without it."""

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k, bad(change)(federation.node(k)) if k == 2 else None)
            await started.run()
            assert started.reports[0].refused == {federation.ids[2]: kind}
            assert started.reports[0].survivors == 5

    asyncio.run(scenario())
    assert said in caplog.text
    remote = [record.getMessage() for record in caplog.records if "'node-2' refuses" in record.getMessage()]
    assert len(remote) == 1
    assert not any(character.isdigit() for character in remote[0].replace("node-2", ""))  # no value crosses
    federation.check_means(first_model())


def test_a_policy_that_forbids_the_round(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    path = federation.node(2) / "policy.toml"
    path.write_text(path.read_text().replace("corrupt = 1", "corrupt = 2"))

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k)
            await started.run()
            assert started.reports[0].refused == {federation.ids[2]: "PolicyError"}
            assert started.reports[0].survivors == 5

    asyncio.run(scenario())
    assert "refused by this node's policy: c = 1 corrupt clients; allowed: at least 2 of the roster" in caplog.text


def test_a_node_with_another_roster(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    fewer = Roster.of({party: federation.roster.public(party) for party in federation.ids[:5]})
    node = federation.node(2)
    NodeHome.trust(node, fewer.to_bytes(), (federation.server / "server.pem").read_bytes(), force=True)

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(6):
                started.join(k)
            await started.run()
            assert started.reports[0].refused == {federation.ids[2]: "PolicyError"}
            assert started.reports[0].survivors == 5

    asyncio.run(scenario())
    assert "another roster; allowed: the roster that this client holds" in caplog.text


def test_what_the_server_refuses_itself(federation: Federation) -> None:
    async def scenario() -> None:
        async with running(federation) as started:
            with pytest.raises(ParameterError, match="NaN or infinity"):
                await started.run({"w": np.array([1.0, np.nan])})
            with pytest.raises(ParameterError, match="clients = 7"):
                await started.run(clients=7)
            with pytest.raises(ParameterError, match="lower c or ask more"):
                await started.run(min_clients=3)
            with pytest.raises(ParameterError, match=r"min_clients = 6; 3\.\.5"):
                await started.run(min_clients=6, clients=5)
            with pytest.raises(ParameterError, match="needs a task of kind 'update'"):
                await started.run(task=Task("metrics", metrics=METRICS))
            with pytest.raises(LocalError, match="0 nodes are connected and free after 0 s, 4 are needed"):
                await started.run(wait=0.1)

    asyncio.run(scenario())


def test_a_server_without_a_roster_and_a_node_without_a_server(tmp_path: Path) -> None:
    ServerHome.create(tmp_path / "server")
    with ServerHome.open(tmp_path / "server") as home, pytest.raises(LocalError, match="has no roster"):
        Server(home)
    NodeHome.create(tmp_path / "node", b"node")
    with NodeHome.open(tmp_path / "node") as node, pytest.raises(LocalError, match="does not know its server"):
        asyncio.run(join(node, "127.0.0.1", 1, lambda arrays: (arrays, 1, {})))


def test_an_address_that_is_in_use(federation: Federation) -> None:
    async def scenario() -> None:
        async with running(federation) as started:
            with pytest.raises(LocalError, match="cannot listen at"):
                async with Server(started.server.home, port=started.server.port):
                    pass

    asyncio.run(scenario())


def test_no_server(federation: Federation) -> None:
    async def scenario() -> None:
        async with running(federation) as started:
            port = started.server.port
        with NodeHome.open(federation.node(0)) as home, pytest.raises(LocalError, match=r"no server at .* for 0 s"):
            await join(home, "127.0.0.1", port, lambda arrays: (arrays, 1, {}), patience=0.0)

    asyncio.run(scenario())


# ---- who is let in


def forged(federation: Federation, issuer: int, name: bytes | None) -> tuple[Path, Path]:
    """Transport key and certificate in somebody's name, under the identity certificate of a node."""
    with NodeHome.open(federation.node(issuer)) as home:
        key, authority = Ed25519PrivateKey.generate(), Ed25519PrivateKey.from_private_bytes(home.identity.seed_bytes())
        names = [x509.UniformResourceIdentifier(tls._uri(name)), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = (
            tls._builder(tls._name(b"forged"), tls._name(home.id), key.public_key(), authority.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        pem = builder.sign(authority, None).public_bytes(Encoding.PEM) + home.certificate.read_bytes()
    folder = federation.folder
    (folder / "forged.pem").write_bytes(pem)
    (folder / "forged.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "forged.pem", folder / "forged.key"


async def dial(started: Running, k: int, **pair: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection with a node's certificate (or another), on which the test speaks for itself."""
    node = started.federation.node(k)
    certificate, key = pair.get("certificate", node / "tls.pem"), pair.get("key", node / "tls.key")
    context = tls.client_context(certificate, key, node / "server.pem")
    return await asyncio.open_connection("127.0.0.1", started.server.port, ssl=context)


HELLO = bytes([48, 0, 0, 0, 1]) + b"privcomp-tcp" + bytes([1, 0, 0, 0]) + bytes(32)


async def rest(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server ends the connection."""
    data = b""
    with contextlib.suppress(OSError):
        while more := await asyncio.wait_for(reader.read(1 << 16), 20):
            data += more
    return data


def test_a_member_cannot_pass_for_another_one(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    """Its identity is an authority in OpenSSL's eyes: the name must be that of the key that issued the certificate."""

    async def scenario() -> None:
        async with running(federation) as started:
            for name in (federation.ids[1], None):
                certificate, key = forged(federation, 0, name)
                reader, writer = await dial(started, 0, certificate=certificate, key=key)
                writer.write(HELLO)
                assert [kind for kind, _ in frames(await rest(reader))] == [tcp_frames.BYE]
                writer.close()
            assert started.server.connected == frozenset()

    asyncio.run(scenario())
    assert "the certificate in this node's name was not issued by its key in the roster" in caplog.text
    assert "the peer's certificate is a server's" in caplog.text


def test_an_identity_is_not_for_tls(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with running(federation) as started:
            node = federation.node(0)
            reader, writer = await dial(started, 0, certificate=node / "node-0.pem", key=node / "identity")
            writer.write(HELLO)
            assert tcp_frames.WELCOME not in [kind for kind, _ in frames(await rest(reader))]
            writer.close()

    asyncio.run(scenario())
    assert "turned away" in caplog.text or "no TLS with a certificate of the roster" in caplog.text


def test_strangers(federation: Federation, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No certificate, one that is not in the roster, an older TLS, no TLS: none gets as far as a greeting."""
    NodeHome.create(tmp_path / "stranger", b"stranger")
    stranger = tmp_path / "stranger"

    async def scenario() -> None:
        async with running(federation, Limits(hello=1)) as started:
            pinned = federation.node(0) / "server.pem"
            nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            nobody.load_verify_locations(pinned)
            older = tls.client_context(federation.node(0) / "tls.pem", federation.node(0) / "tls.key", pinned)
            older.minimum_version, older.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
            unknown = tls.client_context(stranger / "tls.pem", stranger / "tls.key", pinned)
            for context in (nobody, unknown, older, None):
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", started.server.port, ssl=context)
                    writer.write(HELLO)
                    assert await rest(reader) == b""
                    writer.close()
                except OSError:
                    assert context is older
            assert started.server.connected == frozenset()

    asyncio.run(scenario())
    assert caplog.text.count("no TLS with a certificate of the roster") == 4


def test_a_node_that_is_not_in_the_roster_is_told(
    federation: Federation, template: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own roster has it, the server's has not: TLS 1.3 lets it find out when it reads for the first time."""
    other = Federation.create(tmp_path / "other", 3)
    node = other.node(0)
    NodeHome.trust(node, (node / "roster").read_bytes(), (federation.server / "server.pem").read_bytes(), force=True)

    async def scenario() -> None:
        async with running(federation) as started:
            with NodeHome.open(node) as home, pytest.raises(RemoteError, match="in its roster"):
                await join(home, "127.0.0.1", started.server.port, lambda arrays: (arrays, 1, {}))

    asyncio.run(scenario())


def test_a_server_that_is_not_the_pinned_one(federation: Federation, tmp_path: Path) -> None:
    ServerHome.create(tmp_path / "impostor")
    roster, clients = federation.roster, (federation.server / "clients.pem").read_bytes()
    ServerHome.install(tmp_path / "impostor", roster, clients)

    async def scenario() -> None:
        with ServerHome.open(tmp_path / "impostor") as home:
            async with Server(home, port=0) as server:
                with (
                    NodeHome.open(federation.node(0)) as node,
                    pytest.raises(RemoteError, match="not the one that this"),
                ):
                    await join(node, "127.0.0.1", server.port, lambda arrays: (arrays, 1, {}))
                # The file that OpenSSL trusts was replaced; the pin in the policy was not.
                shutil.copy(tmp_path / "impostor" / "server.pem", federation.node(0) / "server.pem")
                with NodeHome.open(federation.node(0)) as node, pytest.raises(RemoteError, match="not issued by the"):
                    await join(node, "127.0.0.1", server.port, lambda arrays: (arrays, 1, {}))

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["spoofed", "cut"])
def test_a_node_that_was_welcome_outlasts_what_the_network_does(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """Another server at the address, or connections that end before their welcome: it says so, and comes back."""
    ServerHome.create(tmp_path / "other")
    folder = tmp_path / "other" if way == "spoofed" else federation.server
    context = tls.server_context(folder / "tls.pem", folder / "tls.key", federation.server / "clients.pem")
    monkeypatch.setattr("privcomp.integrations.tcp_node.secrets.randbelow", lambda most: 0)
    said = "not the one that this node pins" if way == "spoofed" else "ends every connection before its welcome"

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async def scenario() -> None:
        with ServerHome.open(federation.server) as home, NodeHome.open(federation.node(0)) as own:
            async with Server(home, port=0) as server:
                port = server.port
                task = asyncio.create_task(
                    join(own, "127.0.0.1", port, lambda arrays: (arrays, 1, {}), limits=QUICK, patience=60)
                )
                while not server.connected:
                    await asyncio.sleep(0.02)
            listener = await asyncio.start_server(cut, "127.0.0.1", port, ssl=context)
            while said not in caplog.text:
                assert not task.done()
                await asyncio.sleep(0.02)
            listener.close()
            await listener.wait_closed()
            async with Server(home, port=port) as server:
                while not server.connected:
                    assert not task.done()
                    await asyncio.sleep(0.02)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_a_member_cannot_pass_for_the_server(federation: Federation) -> None:
    """Even where a node takes its peer's certificate for the server's."""
    certificate, key = forged(federation, 1, None)

    async def scenario() -> None:
        context = tls.server_context(certificate, key, federation.server / "clients.pem")
        listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context)
        port = listener.sockets[0].getsockname()[1]
        for trusted, said in (
            ("server.pem", "not the one that this node pins"),
            ("node-1.pem", "not issued by the ledger"),
        ):
            if trusted != "server.pem":
                shutil.copy(federation.node(1) / trusted, federation.node(0) / "server.pem")
            with NodeHome.open(federation.node(0)) as node, pytest.raises(RemoteError, match=said):
                await join(node, "127.0.0.1", port, lambda arrays: (arrays, 1, {}))
        listener.close()

    asyncio.run(scenario())


def test_a_name_that_the_certificate_does_not_have(federation: Federation) -> None:
    ServerHome.set_hosts(federation.server, ["federation.example"])

    async def scenario() -> None:
        async with running(federation) as started:
            started.join(0)
            with pytest.raises(RemoteError, match=r"certificate is not for '127.0.0.1'.*--renew"):
                await started.nodes[0]

    asyncio.run(scenario())


def test_two_copies_of_one_identity(federation: Federation, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The second one counts, as it would after a change of networks; the first one hears of it and ends."""
    shutil.copytree(federation.node(0), tmp_path / "copy")

    async def scenario() -> None:
        async with running(federation) as started:
            first = started.join(0)
            while not started.server.connected:
                await asyncio.sleep(0.02)
            with NodeHome.open(tmp_path / "copy") as home:
                second = asyncio.create_task(
                    join(home, "127.0.0.1", started.server.port, lambda arrays: (arrays, 1, {}), limits=QUICK)
                )
                with pytest.raises(RemoteError, match="another process connected with this node's identity"):
                    await asyncio.wait_for(first, 20)
                assert started.server.connected == {federation.ids[0]}
                second.cancel()
                await asyncio.gather(second, return_exceptions=True)

    asyncio.run(scenario())
    assert "with the same identity: this connection counts" in caplog.text


# ---- what is said on the wire


@pytest.mark.parametrize(
    ("hello", "said"),
    [
        (bytes([48, 0, 0, 0, 1]) + b"privcomp-tcp" + bytes([2, 0, 0, 0]) + bytes(32), "speaks version 2 .* speaks 1"),
        (bytes([5, 0, 0, 0, 1]) + b"hello", "this is no node of privcomp"),
        (
            bytes([20, 0, 0, 0, 1]) + b"privcomp-tcp" + bytes([1, 0, 0, 0]) + bytes(4),
            "the greeting of this node is damaged",
        ),
        (bytes([0, 16, 0, 0, 1]), "type 1 with 4096 bytes; at most 512"),
        (bytes([4, 0, 0, 0, 2]) + bytes(4), "type 2, which is not allowed here"),
        (bytes([255, 255, 255, 255, 99]), "type 99, which is not allowed here"),
        (HELLO + bytes([4, 0, 0, 0, 2]) + bytes(4), "type 2, which is not allowed here"),  # an answer to nothing
        (HELLO + bytes([1, 0, 0, 0, 5]) + b"x", "type 5 with 1 bytes; at most 0"),
        (HELLO + bytes([4, 0, 0, 0, 3]) + bytes(4), "an answer to nothing that was asked"),
        (HELLO + bytes([0, 0, 0, 0, 3]), "a frame without its number"),
        (HELLO + bytes([4, 2, 0, 0, 4]), "an answer to nothing|at most 516"),
        (HELLO + HELLO, "type 1, which is not allowed here"),
    ],
    ids=range(12),
)
def test_frames_that_are_turned_away(
    federation: Federation, caplog: pytest.LogCaptureFixture, hello: bytes, said: str
) -> None:
    async def scenario() -> None:
        async with running(federation, Limits(stall=1, idle=2, hello=5)) as started:
            reader, writer = await dial(started, 0)
            writer.write(hello)
            answered = list(frames(await rest(reader)))
            writer.close()
            if "516" not in said:
                assert answered[-1][0] == tcp_frames.BYE
                assert answered[-1][1][0] == tcp_frames.TURNED_AWAY

    asyncio.run(scenario())
    if "516" not in said:
        assert re.search(said, caplog.text), caplog.text


def test_a_server_of_another_version(federation: Federation) -> None:
    """The node says what to do, and does not try again."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(len(HELLO))
        writer.write(bytes([48, 0, 0, 0, 16]) + b"privcomp-tcp" + bytes([9, 0, 0, 0]) + bytes(32))
        await writer.drain()

    async def scenario() -> None:
        context = tls.server_context(
            federation.server / "tls.pem", federation.server / "tls.key", federation.server / "clients.pem"
        )
        listener = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
        with (
            NodeHome.open(federation.node(0)) as node,
            pytest.raises(RemoteError, match=r"version 9 .* speaks 1: install"),
        ):
            await join(node, "127.0.0.1", listener.sockets[0].getsockname()[1], lambda arrays: (arrays, 1, {}))
        listener.close()

    asyncio.run(scenario())


def test_a_message_that_is_too_large_for_a_node(federation: Federation) -> None:
    async def scenario() -> None:
        async with running(federation) as started:
            started.join(0, limits=Limits(message=5000))
            for k in range(1, 6):
                started.join(k)
            await started.run()
            with pytest.raises(RemoteError, match="takes at most 5000: raise"):
                await started.ended(0)
            assert started.reports[0].survivors == 5

    asyncio.run(scenario())


def test_answers_are_bounded_by_the_neighbours(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the clients: on a sparse graph a node has few neighbours. In a complete one it has all others."""
    seen: dict[str, int] = {}

    def limits(params: Params, stage: str, neighbours: int) -> tuple[int, int]:
        seen[stage] = neighbours
        return _answer_limits(params, stage, neighbours)

    monkeypatch.setattr(asyncio_tcp, "_answer_limits", limits)

    async def scenario() -> None:
        async with running(federation) as started:
            for k in range(5):
                started.join(k)
            await started.run(gather=2.0)
            assert started.reports[0].survivors == 5

    asyncio.run(scenario())
    assert (seen["share"], seen["unmask"]) == (4, 4)
    encoding = TASK.encoding(first_model(), clients=1000, clip=1.0, max_weight=10)
    sparse = RoundSpec.secure_sum(encoding, TASK, protocol="secaggplus", adversary="semi_honest").aggregation
    k = sparse.thresholds(1000).neighbours
    assert k < 100
    assert _answer_limits(sparse, "share", k) == (4096 + 4096 * k,) * 2
    assert _answer_limits(sparse, "unmask", k) == (4096 + 256 * k,) * 2


async def impostor(started: Running, k: int, answer: Callable[[asyncio.StreamWriter, bytes], None]) -> bytes:
    """A member that greets, and answers the first request as it likes. Returns what it heard after that."""
    reader, writer = await dial(started, k)
    writer.write(HELLO)
    welcome = await reader.readexactly(5 + 48)
    assert welcome[4] == tcp_frames.WELCOME
    size = int.from_bytes((await reader.readexactly(5))[:4], "little")
    request = await reader.readexactly(size)
    answer(writer, request[:4])
    try:
        return await rest(reader)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda w, n: w.write(b"\x00\x00\x01\x00\x02"), "type 2 with 65536 bytes; at most 8196"),
        (lambda w, n: w.write((b"\x04\x20\x00\x00\x02" + n + bytes(8192)) * 2), "more bytes than all answers"),
        (
            lambda w, n: w.write(b"\x05\x00\x00\x00\x02" + n + b"x\x04\x00\x00\x00\x03" + n),
            "party b'node-5': the message has 1 bytes",
        ),
        (
            lambda w, n: w.write(b"\x10\x00\x00\x00\x04" + n + b"Sly: \x1b[2J\r\n "),
            r"refuses stage 'advertise': Sly: \?",
        ),
        (lambda w, n: None, "no answer from 1 of 6"),
        (lambda w, n: w.write(b"\x00\x10"), "no answer from 1 of 6"),
    ],
    ids=range(6),
)
def test_a_member_that_answers_badly(
    federation: Federation, caplog: pytest.LogCaptureFixture, answer: Any, said: str
) -> None:
    """It is named; the round goes on without it."""

    async def scenario() -> None:
        async with running(federation, Limits(grace=1)) as started:
            for k in range(5):
                started.join(k)
            bad = asyncio.create_task(impostor(started, 5, answer))
            await started.run(deadlines=Deadlines(advertise=3))
            assert started.reports[0].survivors == 5
        await bad

    asyncio.run(scenario())
    assert re.search(said, caplog.text), caplog.text
    federation.check_means(first_model())


def test_an_upload_that_does_not_get_on_gives_its_place_away(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One upload is read at a time; the first one stops in the middle of a block."""
    write = tcp_frames.Channel.write
    stuck: list[bytes] = []

    async def slow(channel: tcp_frames.Channel, kind: int, *parts: bytes) -> None:
        if kind == tcp_frames.ANSWER and sum(map(len, parts)) > 10_000:
            stuck.append(channel._party)
            if channel._party == stuck[0]:
                await channel._put(
                    sum(map(len, parts)).to_bytes(4, "little") + bytes([kind]) + parts[0] + parts[1][:99]
                )
                await asyncio.sleep(3600)
        await write(channel, kind, *parts)

    monkeypatch.setattr(tcp_frames.Channel, "write", slow)

    async def scenario() -> None:
        async with running(federation, Limits(uploads=1, stall=1, rate=1 << 20, grace=1)) as started:
            for k in range(6):
                started.join(k)
            await started.run(deadlines=Deadlines.of(20, training=6))
            assert started.reports[0].survivors == 5
            started.nodes[federation.ids.index(stuck[0])].cancel()

    asyncio.run(scenario())
    assert "nothing, or too little, came" in caplog.text
    federation.check_means(first_model())


@pytest.mark.parametrize("way", ["garbage", "trickle"])
def test_a_member_cannot_keep_the_place_of_an_upload(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """Neither with something wrong and then silence, nor with small blocks, each just in time."""
    write = tcp_frames.Channel.write
    masking: list[bytes] = []

    async def slow(channel: tcp_frames.Channel, kind: int, *parts: bytes) -> None:
        if kind == tcp_frames.ANSWER and parts[1][3] == UploadBlock.TAG:
            if not masking:
                masking.append(channel._party)
                if way == "garbage":
                    await write(channel, kind, parts[0], b"x")
                    await asyncio.sleep(3600)
            if channel._party == masking[0]:
                await asyncio.sleep(0.5)
        await write(channel, kind, *parts)

    monkeypatch.setattr(tcp_frames.Channel, "write", slow)

    async def scenario() -> None:
        stall = 60 if way == "garbage" else 2
        async with running(federation, Limits(uploads=1, stall=stall, rate=1 << 20, grace=0)) as started:
            for k in range(6):
                started.join(k)
            await started.run(block_entries=64, deadlines=Deadlines.of(20, training=60))
            assert started.reports[0].survivors == 5
            assert started.reports[0].seconds < 20

    asyncio.run(scenario())
    assert ("the message has 1 bytes" if way == "garbage" else "2 s slower than 1048576 bytes") in caplog.text
    federation.check_means(first_model())


def test_a_server_that_is_behind_reads_no_more_than_it_can_take(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Blocks wait in the nodes, whose connections outlive all limits on transfers: the server is slow, not gone."""
    receive, taken, behind = RoundServer.receive, [0], [0]
    started_now: list[Running] = []

    def slow(server: RoundServer, data: bytes, sender: bytes | None = None) -> None:
        if data[3] == UploadBlock.TAG:
            read = sum(c.channel.received for c in list(started_now[0].server._connections.values()))
            behind.append(read - taken[0])
            time.sleep(0.05)
        taken[0] += 9 + len(data)
        receive(server, data, sender)

    connect = asyncio.open_connection

    async def narrow(*address: Any, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The kernel takes little, as it does on a long way: what is written waits in the node."""
        reader, writer = await connect(*address, **options)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 13)
        return reader, writer

    monkeypatch.setattr(asyncio, "open_connection", narrow)
    monkeypatch.setattr(RoundServer, "receive", slow)
    model = {"w": np.zeros(400_000, np.float32)}

    async def scenario() -> None:
        limits = Limits(uploads=1, queue=2, stall=1, ping=0.2, idle=3, grace=1)
        async with running(federation, limits) as started:
            started.server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 13)
            started_now.append(started)
            for k in range(6):
                started.join(k)
            await started.run(model, block_entries=1 << 14)
        assert started.reports[0].survivors == 6
        assert started.reports[0].seconds > 6  # twice the limits

    asyncio.run(scenario())
    assert "lost" not in caplog.text
    assert "not connected" not in caplog.text
    block = 9 + 200 + (1 << 14) * 35 // 8
    assert len(behind) > 100
    assert max(behind) < (2 + 2 + 2) * block + 6 * 10_000  # queue, readers, one in hand; small messages of all


@pytest.mark.parametrize("connections", [8, None])
def test_connections_that_say_nothing_do_not_lock_others_out(federation: Federation, connections: int | None) -> None:
    """Strangers who do not even begin a handshake take all places, again and again: the oldest lose theirs, and no
    node does, although all have the same address."""
    silent: list[asyncio.StreamWriter] = []

    async def connect(started: Running) -> None:
        silent.append((await asyncio.open_connection("127.0.0.1", started.server.port))[1])

    async def flood(started: Running) -> None:
        while True:
            await connect(started)
            await asyncio.sleep(0.5)

    async def scenario() -> None:
        async with running(federation, Limits(connections=connections, hello=60, grace=1)) as started:
            for _ in range(8 if connections else 300):
                await connect(started)
            for k in range(6):
                started.join(k, limits=Limits(hello=10))
            flooding = asyncio.create_task(flood(started))
            await started.run(wait=30, gather=30)
            flooding.cancel()
            assert started.reports[0].survivors == 6
            assert len(started.server._others) <= (6 if connections else 134)
            for writer in silent:
                writer.close()

    asyncio.run(scenario())


def test_a_member_that_does_not_greet(federation: Federation, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with running(federation, Limits(hello=1)) as started:
            reader, writer = await dial(started, 0)
            writer.write(HELLO[:20])
            assert await rest(reader) == b""
            writer.close()

    asyncio.run(scenario())
    assert "'node-0': the connection is lost: no greeting in 1 s" in caplog.text


def test_noise(federation: Federation) -> None:
    """Whatever a member of the roster sends, the server goes on serving the others."""
    draw = np.random.default_rng(5)

    async def scenario() -> None:
        async with running(federation, Limits(stall=0.3, idle=0.3, hello=5)) as started:
            for _ in range(40):
                reader, writer = await dial(started, 0)
                begin = HELLO if draw.integers(2) else b""
                noise = bytearray(draw.bytes(int(draw.integers(1, 400))))
                if draw.integers(2):  # a length that passes, and a type that exists
                    noise[:5] = int(draw.integers(0, 500)).to_bytes(4, "little") + bytes([draw.integers(0, 20)])
                writer.write(begin + noise)
                kinds = [kind for kind, _ in frames(await rest(reader))]
                assert set(kinds) <= {tcp_frames.WELCOME, tcp_frames.BYE}
                writer.close()
            for k in range(6):
                started.join(k)
            await started.run()
            assert started.reports[0].survivors == 6

    asyncio.run(scenario())


def test_a_side_that_is_gone_without_a_word_is_noticed(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Pings are what tells a node that trains for an hour from one whose cable was cut."""

    async def scenario() -> None:
        async with running(federation, Limits(ping=0.2, idle=1)) as started:
            started.join(0)
            reader, writer = await dial(started, 1)
            writer.write(HELLO)
            begun = time.monotonic()
            kinds = [kind for kind, _ in frames(await rest(reader))]
            assert 0.9 < time.monotonic() - begun < 10
            assert kinds[:2] == [tcp_frames.WELCOME, tcp_frames.PING]
            assert started.server.connected == {federation.ids[0]}  # which answers the pings
            writer.close()

    asyncio.run(scenario())
    assert "'node-1': the connection is lost: nothing, or too little, came for 1 s" in caplog.text
