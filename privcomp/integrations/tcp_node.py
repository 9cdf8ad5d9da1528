"""The node of a federation over TCP: connects, answers, comes back; see `privcomp.integrations.asyncio_tcp`."""

from __future__ import annotations

import asyncio
import logging
import queue
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from privcomp.errors import LocalError, PrivcompError, RemoteError
from privcomp.integrations import tls
from privcomp.integrations.home import NodeHome
from privcomp.integrations.tcp_frames import (
    ANSWER,
    BYE,
    CHUNK,
    DONE,
    FINISHED,
    HELLO,
    MAX_NOTE,
    NUMBER,
    PING,
    PONG,
    REFUSED,
    REQUEST,
    STOPPING,
    WELCOME,
    Channel,
    Closed,
    Limits,
    Tap,
    certificate,
    explained,
    farewell,
    greeted,
    greeting,
)
from privcomp.rounds import RoundSpec

__all__ = ["Update", "join"]

_log = logging.getLogger("privcomp.tcp")
_T = TypeVar("_T")

#: What a node tells the server about a refusal: the class and one of these, never what it saw.
_REASONS: Final = {
    "BudgetError": "the node's privacy budget does not allow another release",
    "PolicyError": "the node's policy does not allow this",
    "JournalError": "the node's journal does not allow another answer",
    "LedgerError": "the ledger is not the one that the node follows",
    "EncodingError": "the node's update cannot be encoded",
    "StateError": "the node is not in this round or stage",
}

Arrays = dict[str, NDArray[Any]]
#: update(arrays) -> (new arrays, weight, metrics): what a node computes. The arrays are its own, it may change them.
Update = Callable[[Arrays], tuple[Mapping[str, NDArray[Any]], int, Mapping[str, float]]]


class _Worker:
    """One thread for the node's role, which is not made for two. A daemon: a training that runs does not hold up the
    end of the process (the journal is consistent at every moment)."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="privcomp-node", daemon=True).start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    async def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Run in the thread; a caller that is cancelled leaves it running, and the next call waits for it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()

        def settle(result: _T | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]

        def job() -> None:
            result, failed = None, None
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 (handed over to the caller)
                failed = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(settle, result, failed)

        self._jobs.put(job)
        return await future

    def close(self) -> None:
        """End the thread after its present job."""
        self._jobs.put(None)


async def join(
    home: NodeHome,
    host: str,
    port: int,
    update: Update,
    *,
    limits: Limits | None = None,
    patience: float | None = None,
    tap: Tap | None = None,
) -> str:
    """Take part in a server's rounds until it says that the training is over.

    A connection that is lost is made again, after 0.5 to 30 seconds. So is one to a wrong server, or that is cut before
    its welcome, once this call was welcome: anybody on the network can cause these. What this node refuses is logged
    here; the server learns the kind of the error only.

    Args:
        home: the node's folder, after `NodeHome.trust`.
        host, port: the server's.
        update: called with the model's arrays in every round that reaches stage 2, in a thread.
        limits: what the server is granted.
        patience: seconds without a server after which to give up; None: never.
        tap: sees the plaintext of the connection; for transcripts.

    Returns:
        The server's last words.

    Raises:
        LocalError: the folder has no roster or server, or patience is at its end.
        RemoteError: another server or no welcome at the first time, another version, or the server turns this node
            away.
    """
    return await _Node(home, host, port, update, limits if limits is not None else Limits(), patience, tap).run()


class _Node:
    def __init__(
        self,
        home: NodeHome,
        host: str,
        port: int,
        update: Update,
        limits: Limits,
        patience: float | None,
        tap: Tap | None,
    ) -> None:
        if home.policy.ledger_key is None or not home.server_certificate.exists():
            raise LocalError(f"{home.folder} does not know its server: run `privcomp keys trust` first")
        self._home = home
        self._ledger_key: bytes = home.policy.ledger_key
        self._host, self._port = host, port
        self._updates = {"training": _local_update(update)}
        self._limits = limits
        self._patience = patience
        self._tap = tap
        self._tls = tls.client_context(home.tls_certificate, home.tls_key, home.server_certificate)
        self._role = home.client()
        self._request: tuple[int, bytes] | None = None
        self._secured = self._welcomed = False

    async def run(self) -> str:
        failures, unwelcome, since, before = 0, 0, time.monotonic(), False
        self._arrived = asyncio.Event()
        self._worker = _Worker()
        try:
            while True:
                self._secured = self._welcomed = False
                try:
                    await self._connect()
                except Closed as closed:
                    if closed.code == FINISHED:
                        return str(closed)
                    if closed.code != STOPPING:
                        raise RemoteError(tls.SERVER, "tcp", f"the server turned this node away: {closed}") from None
                    problem = str(closed)
                except ssl.SSLCertVerificationError as error:
                    problem = _untrusted(self._host, error)
                    if not before:
                        raise RemoteError(tls.SERVER, "tls", problem) from None
                    _log.error("%s; this node was connected to it before and tries again", problem)
                except OSError as error:
                    problem = explained(error)
                    # With TLS 1.3 a node whose certificate is refused learns it when it reads for the first time.
                    unwelcome = unwelcome + 1 if self._secured else 0
                if self._welcomed:
                    failures, unwelcome, since, before = 0, 0, time.monotonic(), True
                if unwelcome >= 4:
                    ended = (
                        f"{self._host}:{self._port} ends every connection before its welcome ({problem}): is this "
                        "node's certificate in its roster? Its log says more"
                    )
                    # Anybody on the way can cut connections: no reason to end a node whose set-up is known to work.
                    if not before:
                        raise RemoteError(tls.SERVER, "tls", ended)
                    _log.error("%s; this node tries again", ended)
                if self._patience is not None and time.monotonic() - since > self._patience:
                    raise LocalError(f"no server at {self._host}:{self._port} for {self._patience:.0f} s: {problem}")
                delay = min(30.0, 0.5 * 2**failures) * (0.5 + secrets.randbelow(1 << 16) / (1 << 17))
                failures += 1
                _log.info("not connected to %s:%d (%s); again in %.1f s", self._host, self._port, problem, delay)
                await asyncio.sleep(delay)
        finally:
            self._worker.close()

    async def _connect(self) -> None:
        """One connection, until it is lost (OSError) or ended by the server (Closed)."""
        async with asyncio.timeout(2 * self._limits.hello):
            reader, writer = await asyncio.open_connection(
                self._host,
                self._port,
                limit=CHUNK,
                ssl=self._tls,
                ssl_handshake_timeout=self._limits.hello,
                ssl_shutdown_timeout=self._limits.hello,
            )
        self._secured = True
        channel = Channel(reader, writer, self._home.id, self._limits, self._tap, patient=True)
        try:
            tls.check_server(certificate(writer), self._ledger_key)
            chain = self._role.chain
            await channel.write(HELLO, greeting(chain.head if chain is not None else bytes(32)))
            kind, body = await channel.read({WELCOME: MAX_NOTE, BYE: 1 + MAX_NOTE}, self._limits.hello)
            if kind == BYE:
                raise farewell(body)
            greeted(body, tls.SERVER, "server")
            self._welcomed = True
            _log.info("connected to %s:%d", self._host, self._port)
            self._request = None
            self._arrived.clear()
            tasks = [asyncio.create_task(self._listen(channel)), asyncio.create_task(self._answer(channel))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait(tasks[:1], timeout=1)  # the server's last words may still be on the way
            finally:
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
            # What the server said last counts more than the write that failed because of it.
            failures = [
                r for r in results if isinstance(r, BaseException) and not isinstance(r, asyncio.CancelledError)
            ]
            raise failures[0]
        finally:
            channel.abort()

    async def _listen(self, channel: Channel) -> None:
        allowed = {REQUEST: (1 << 32) - 1, PING: 0, BYE: 1 + MAX_NOTE}
        while True:
            kind, size = await channel.header(lambda: allowed, self._limits.idle)
            if size > 4 + self._limits.message:
                raise RemoteError(
                    tls.SERVER,
                    "tcp",
                    f"a message of {size} bytes; this node takes at most {self._limits.message}: raise Limits.message "
                    "(--max-message) if the model is that large",
                )
            body = await channel.body(size)
            if kind == BYE:
                raise farewell(body)
            if kind == PING:
                channel.nudge(PONG)  # never waits: a server that is behind must still be heard
            elif len(body) < 4:
                raise RemoteError(tls.SERVER, "tcp", "a request without its number")
            else:
                # A newer request makes older ones void: their stage is closed.
                self._request = NUMBER.unpack_from(body)[0], body[4:]
                self._arrived.set()

    async def _answer(self, channel: Channel) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._request is None:
                continue
            number, message = self._request
            packed = NUMBER.pack(number)
            try:
                answers = iter(await self._worker.call(self._role.receive, message, self._updates))
                while not self._arrived.is_set():
                    answer = await self._worker.call(next, answers, None)
                    if answer is None:
                        await channel.write(DONE, packed)
                        break
                    await channel.write(ANSWER, packed, answer)
            except PrivcompError as error:
                kind = type(error).__name__
                _log.warning("refused: %s: %s", kind, error, exc_info=error.__cause__)
                reason = _REASONS.get(kind, "the node cannot answer")
                await channel.write(REFUSED, packed, f"{kind}: {reason}".encode())


def _local_update(update: Update) -> Callable[[bytes, RoundSpec], tuple[NDArray[np.float64], int]]:
    """The user's function as the role calls it."""

    def compute(model: bytes, spec: RoundSpec) -> tuple[NDArray[np.float64], int]:
        if spec.task is None:
            raise LocalError("the server announced a round without a task; this node does not know what to compute")
        arrays = spec.task.parse(model)
        try:
            result: Any = update({name: np.array(array) for name, array in arrays.items()})
        except PrivcompError:
            raise
        except Exception as error:  # the user's own code
            raise LocalError(f"the update function failed: {type(error).__name__}: {error}") from error
        if not isinstance(result, tuple) or len(result) != 3:
            raise LocalError(
                f"the update function returned a {type(result).__name__}; it must return (new arrays, weight, metrics)"
            )
        new, weight, metrics = result
        if not isinstance(new, Mapping) or not isinstance(metrics, Mapping):
            raise LocalError(
                f"the update function returned a {type(new).__name__} and metrics in a {type(metrics).__name__}; both "
                "must be mappings: name -> array, name -> number"
            )
        return spec.task.values(arrays, new, metrics, spec.encoding), spec.task.weight(weight, spec.encoding)

    return compute


def _untrusted(host: str, error: ssl.SSLCertVerificationError) -> str:
    if "ostname" in error.verify_message or "IP address" in error.verify_message:
        return (
            f"the server's certificate is not for {host!r} ({error.verify_message}); connect to a name that it has, or "
            "renew it with `privcomp keys server FOLDER --renew --host ...`"
        )
    return (
        f"the server at {host!r} is not the one that this node pins ({error.verify_message}); check the address, and "
        "with the operator whether its key changed"
    )
