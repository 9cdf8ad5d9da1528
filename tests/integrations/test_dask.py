"""The server's unmasking on a Dask cluster: a scheduler and two workers as processes of their own, over mutual TLS."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from privcomp.errors import ExecutorError
from privcomp.secagg import SEMI_HONEST, Segment
from tests.secagg.harness import ELL, Round, World

distributed = pytest.importorskip("distributed", reason="Dask is not installed (requirements of the embeddings)")

SEGMENTS = (Segment.ring(26, 300_000), Segment.ring(50, 1_000), Segment.prime(ELL, 500))
PATIENCE = 60.0


def write_certificates(folder: Path) -> dict[str, str]:
    """A certificate authority of this test alone, and one certificate that all parties of the cluster use."""
    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("test authority", "cluster")]
    paths = {}
    for k, file in enumerate(("ca", "cert")):
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[k])
            .issuer_name(names[0])
            .public_key(keys[k].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=k == 0, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
        )
        paths[file] = str(folder / f"{file}.pem")
        certificate = builder.sign(keys[0], hashes.SHA256())
        Path(paths[file]).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths["key"] = str(folder / "key.pem")
    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    Path(paths["key"]).write_bytes(private)
    return paths


class Cluster:
    """A scheduler and two workers without nannies: who is killed stays dead."""

    def __init__(self, folder: Path) -> None:
        paths = write_certificates(folder)
        self.processes: list[subprocess.Popen[bytes]] = []
        self._folder = folder
        self._tls = ["--tls-ca-file", paths["ca"], "--tls-cert", paths["cert"], "--tls-key", paths["key"]]
        self._file = folder / "scheduler.json"
        self._run("scheduler", "--host", "tls://127.0.0.1", "--port", "0", "--scheduler-file", str(self._file))
        self.security = distributed.Security(
            tls_ca_file=paths["ca"],
            tls_client_cert=paths["cert"],
            tls_client_key=paths["key"],
            require_encryption=True,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._file.exists() or not self._file.read_text():
            assert time.monotonic() < deadline, "the scheduler did not start"
            time.sleep(0.05)
        self.address: str = json.loads(self._file.read_text())["address"]
        for name in ("one", "two"):
            self._run("worker", self.address, "--name", name, "--nthreads", "1", "--no-nanny")

    def _run(self, *arguments: str) -> None:
        log = open(self._folder / f"{len(self.processes)}.log", "wb")  # noqa: SIM115 (the child's)
        with log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "dask", *arguments, *self._tls, "--no-dashboard"],
                    cwd=self._folder,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s"},
                )
            )

    def stop(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    running = Cluster(tmp_path_factory.mktemp("dask"))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Any]:
    with distributed.Client(cluster.address, security=cluster.security, timeout=PATIENCE) as connected:
        connected.wait_for_workers(sum(process.poll() is None for process in cluster.processes[1:]), timeout=PATIENCE)
        yield connected


@pytest.fixture(scope="module")
def round() -> Round:
    """A round up to the last answer: 20 survivors, 10 lost after stage 1 leave 20 + 10 * 20 masks to take out."""
    world = World(30, adversary=SEMI_HONEST, segments=SEGMENTS)
    lost = dict.fromkeys(range(0, 30, 3), "mask")
    round = world.round().run_to("unmask", lost)
    round.collect()
    return round


def sums_of(round: Round, executor: Executor | None) -> list[bytes]:
    round.server.executor = executor
    return [total.tobytes() for total in round.server.result().sums]


class Garbling(Executor):
    """Hands every unit to Dask without its last byte."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.attempts: list[int] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        job, attempt = args
        self.attempts.append(attempt)
        return self.inner.submit(fn, job[:-1], attempt, **kwargs)


def test_workers_that_cannot_do_the_work_are_a_typed_error(client: Any, round: Round) -> None:
    """Dask remembers a failed call by its arguments: a retry is another call, and after three the error is told."""
    garbling = Garbling(client.get_executor())
    with pytest.raises(ExecutorError, match=r"failed 3 times .*CodecError: .*truncated"):
        sums_of(round, garbling)
    assert set(garbling.attempts) == {1, 2, 3}
    assert sums_of(round, client.get_executor()) == sums_of(round, None)


def test_a_cluster_that_was_closed_leaves_the_work_to_this_process(cluster: Cluster, round: Round) -> None:
    with distributed.Client(cluster.address, security=cluster.security, timeout=PATIENCE) as client:
        executor = client.get_executor()
        executor.shutdown()
    assert sums_of(round, executor) == sums_of(round, None)


def test_nobody_without_a_certificate_gets_in(cluster: Cluster) -> None:
    host = cluster.address.removeprefix("tls://")
    with pytest.raises(OSError, match=r"Timed out|reset|closed"):
        distributed.Client(f"tcp://{host}", timeout=2)


class Watched(Executor):
    """Hands units to Dask and kills a worker as soon as the first one is back."""

    def __init__(self, inner: Executor, victim: subprocess.Popen[bytes]) -> None:
        self.inner = inner
        self.victim = victim
        self.futures: list[Future[Any]] = []
        self.under_way: int | None = None

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = self.inner.submit(fn, *args, **kwargs)
        self.futures.append(future)
        future.add_done_callback(self._kill)
        return future

    def _kill(self, _: Future[Any]) -> None:
        if self.under_way is None:
            self.under_way = sum(not future.done() for future in self.futures)
            os.kill(self.victim.pid, signal.SIGKILL)


def test_the_sum_on_a_cluster_is_the_sum_in_this_process_though_a_worker_is_killed(
    cluster: Cluster, client: Any, round: Round
) -> None:
    assert cluster.address.startswith("tls://")
    workers = client.scheduler_info()["workers"]
    assert len(workers) == 2
    assert all(address.startswith("tls://") for address in workers)
    pids = set(client.run(os.getpid).values())
    assert pids == {process.pid for process in cluster.processes[1:]}

    here = sums_of(round, None)
    survivors = [node for i, node in enumerate(round.world.nodes) if i % 3]
    plain = sum(node.vectors[0].astype(np.uint64) for node in survivors) % (1 << 26)
    assert here[0] == plain.astype(np.uint32).tobytes()

    executor = client.get_executor(pure=False)  # every unit is computed, none is remembered
    assert sums_of(round, executor) == here

    watched = Watched(executor, cluster.processes[1])
    assert sums_of(round, watched) == here
    assert watched.under_way, "the worker was to be killed in the middle"
    assert cluster.processes[1].wait(10) == -signal.SIGKILL
    deadline = time.monotonic() + PATIENCE
    while len(client.scheduler_info()["workers"]) > 1:
        assert time.monotonic() < deadline, "the scheduler has not noticed"
        time.sleep(0.1)
    assert sums_of(round, executor) == here  # the other worker goes on
    assert cluster.processes[2].poll() is None
