"""Parties of a computation over connections: what goes wrong is named within its deadline, and nobody hangs."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privcomp.codec import lp
from privcomp.errors import CodecError, LocalError, ParameterError, PrivcompError, RemoteError, RoundAborted
from privcomp.integrations import PartyHome
from privcomp.integrations import mpc as transport
from privcomp.integrations.mpc import Computation, Seat, connect, connect_insecure_tcp
from privcomp.integrations.mpc_config import RunConfig
from privcomp.integrations.mpc_link import ALIVE, DONE, SCRATCH, prefixed
from privcomp.mpc import Mpc, tensors
from privcomp.mpc.engine import Exchange
from privcomp.mpc.messages import FRAME_MAX, Greeting, Nonces, RoundHeader
from privcomp.mpc.security import Adversary

PATIENCE = 60.0
DEADLINE = 2.0
NAMES = (b"north", b"east", b"south")


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[PartyHome]:
    folder = tmp_path_factory.mktemp("parties")
    for name in NAMES:
        PartyHome.create(folder / name.decode(), name)
    return [PartyHome.open(folder / name.decode()) for name in NAMES]


class Parties:
    """Three listeners and what they agree on."""

    def __init__(self, homes: list[PartyHome], **options: Any) -> None:
        self.homes = homes
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in homes]
        seats = tuple(
            Seat(home.id, "127.0.0.1", listener.getsockname()[1], home.certificate.read_bytes())
            for home, listener in zip(homes, self.listeners, strict=True)
        )
        defaults = {"program": b"test", "deadline": DEADLINE, "wait": 6.0}
        self.computation = Computation("rep3", seats, **{**defaults, **options})

    def secure(self, me: int, computation: Computation | None = None, home: PartyHome | None = None) -> Any:
        return connect(computation or self.computation, home or self.homes[me], listener=self.listeners[me])

    def plain(self, me: int, computation: Computation | None = None) -> Any:
        return connect_insecure_tcp(computation or self.computation, me, listener=self.listeners[me])


@pytest.fixture
def parties(homes: list[PartyHome]) -> Iterator[Parties]:
    made = Parties(homes)
    yield made
    for listener in made.listeners:
        listener.close()


async def run(context: Any, program: Callable[[Any], Awaitable[Any]]) -> Any:
    async with context as connection:
        return await connection.run(program)


def together(*works: Awaitable[Any]) -> list[Any]:
    """Results, or errors, of several parties in one loop; all of them end."""

    async def main() -> list[Any]:
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*works, return_exceptions=True)

    return asyncio.run(main())


def check(errors: list[Any], kind: type[PrivcompError] = RemoteError, *texts: str) -> None:
    for error in errors:
        assert isinstance(error, kind), repr(error)
        for text in texts:
            assert text in str(error), str(error)


async def product(mpc: Any) -> Any:
    x = await mpc.input(0, np.arange(1000, dtype=np.uint64) if mpc.me == 0 else None, (1000,))
    return await mpc.open(await mpc.mul(x, x))


def ring(size: int, rounds: int, label: str = "ring") -> Callable[[Any], Awaitable[Any]]:
    """Every party sends `size` bytes to both others in every round."""

    async def program(mpc: Any) -> int:
        data = np.full(size, mpc.me, np.uint8)
        total = 0
        others = [peer for peer in range(mpc.n) if peer != mpc.me]
        for _ in range(rounds):
            got = await Exchange(f"{label} {size}", dict.fromkeys(others, data), dict.fromkeys(others, size))
            assert all((np.frombuffer(got[peer], np.uint8) == peer).all() for peer in others)
            total += sum(map(len, got.values()))
        return total

    return program


# ---- what goes right


@pytest.mark.parametrize("secure", [True, False])
def test_a_program_over_connections(parties: Parties, secure: bool) -> None:
    side = parties.secure if secure else parties.plain
    outcomes = together(*(run(side(me), product) for me in range(3)))
    for outcome in outcomes:
        assert (outcome.result == np.arange(1000, dtype=np.uint64) ** 2).all()
        assert outcome.cost.operations["mul"].sent == 8000
        assert outcome.cost.bytes > 8000


async def products(mpc: Any) -> Any:
    x = await mpc.input(0, np.arange(1000, dtype=np.uint64) if mpc.me == 0 else None, (1000,))
    return [await mpc.open(await mpc.mul(x, x)) for _ in range(3)]


def test_two_parties_and_a_dealer(parties: Parties) -> None:
    dealt = replace(parties.computation, protocol="spdz2k-insecure-dealer", insecure_dealer=True)
    first, second, dealer = together(*(run(parties.secure(me, dealt), products) for me in range(3)))
    for outcome in (first, second):
        assert all((opened == np.arange(1000, dtype=np.uint64) ** 2).all() for opened in outcome.result)
    assert dealer.result == [None] * 3
    assert dealer.cost.operations["offline"].sent > 3 * 64 * 1000
    assert first.cost.operations["offline"].sent == 0


def test_a_dealer_that_was_not_agreed_to(parties: Parties) -> None:
    dealt = replace(parties.computation, protocol="spdz2k-insecure-dealer")
    check(together(*(run(parties.plain(me, dealt), products) for me in range(3))), PrivcompError, "insecure_dealer")


def test_a_configuration_allows_a_dealer(homes: list[PartyHome], tmp_path: Path) -> None:
    seats = "".join(
        f'[[party]]\nid = "{home.id.decode()}"\naddress = "{7501 + i}"\ncertificate = "{home.certificate}"\n'
        for i, home in enumerate(homes)
    )
    (tmp_path / "run.py").write_text("async def run(mpc): ...\n")
    for said, allowed in (("", False), ("insecure_dealer = false", False), ("insecure_dealer = true", True)):
        (tmp_path / "run.toml").write_text(
            f'protocol = "spdz2k-insecure-dealer"\nprogram = "run.py:run"\n{said}\n{seats}'
        )
        assert RunConfig.read(tmp_path / "run.toml").computation.insecure_dealer is allowed
    for wrong in ("insecure_dealer = 1", "deadline = true", 'insecure_dealer = "true"'):
        (tmp_path / "run.toml").write_text(
            f'protocol = "spdz2k-insecure-dealer"\nprogram = "run.py:run"\n{wrong}\n{seats}'
        )
        with pytest.raises(ParameterError, match="wrong type"):
            RunConfig.read(tmp_path / "run.toml")


@pytest.mark.parametrize("secure", [True, False])
def test_large_frames_in_all_directions_at_once(parties: Parties, secure: bool) -> None:
    """Six transfers of 8 MB, none of which fits into a socket: who sends first and reads later would wait for ever."""
    side = parties.secure if secure else parties.plain
    outcomes = together(*(run(side(me), ring(8 * 10**6, 1)) for me in range(3)))
    assert [outcome.result for outcome in outcomes] == [16 * 10**6] * 3


def test_sizes_around_what_is_read_at_once(parties: Parties) -> None:
    async def program(mpc: Any) -> None:
        for size in (0, 1, 7, 8, SCRATCH - 200, SCRATCH - 1, SCRATCH, SCRATCH + 8, 3 * SCRATCH + 5):
            await ring(size, 2)(mpc)

    check_all = together(*(run(parties.secure(me), program) for me in range(3)))
    assert [outcome.result for outcome in check_all] == [None] * 3


def test_a_session_that_was_agreed_on_before(parties: Parties) -> None:
    session = parties.computation.session(bytes(range(16)))
    other = parties.computation.session(bytes(16))
    contexts = [
        connect(parties.computation, home, session, listener=listener)
        for home, listener in zip(parties.homes, parties.listeners, strict=True)
    ]
    assert all((o.result == np.arange(1000) ** 2).all() for o in together(*(run(c, product) for c in contexts)))
    again = Parties(parties.homes, wait=2.0)
    contexts = [
        connect(again.computation, home, which, listener=listener)
        for home, which, listener in zip(again.homes, (session, session, other), again.listeners, strict=True)
    ]
    check(together(*(run(c, product) for c in contexts)), RemoteError)


def test_sync_call_beside_a_running_loop(parties: Parties) -> None:
    """As in a notebook: each party blocks a thread of its own, in which a loop runs already."""
    for listener in parties.listeners:
        listener.close()
    results: dict[int, Any] = {}

    def party(me: int) -> None:
        async def cell() -> None:
            results[me] = transport.run_party(parties.computation, parties.homes[me], product).result

        asyncio.run(cell())

    threads = [threading.Thread(target=party, args=(me,)) for me in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert all((results[me] == np.arange(1000) ** 2).all() for me in range(3))


def test_ctrl_c_beside_a_running_loop(parties: Parties) -> None:
    """As in a notebook: the thread that computes stops, too, before anything more is opened."""
    for listener in parties.listeners:
        listener.close()
    errors: dict[int, Any] = {}
    rounds = [0]

    async def endless(mpc: Any) -> None:
        while True:
            await Exchange("around", {(mpc.me + 1) % 3: b"x"}, {(mpc.me - 1) % 3: 1})
            rounds[0] += 1
            time.sleep(0.01)

    def other(me: int) -> None:
        try:
            transport.run_party(parties.computation, parties.homes[me], endless)
        except PrivcompError as error:
            errors[me] = error

    async def cell() -> None:
        transport.run_party(parties.computation, parties.homes[0], endless)

    def interrupt() -> None:
        while rounds[0] < 10:
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threads = [threading.Thread(target=other, args=(me,)) for me in (1, 2)] + [threading.Thread(target=interrupt)]
    for thread in threads:
        thread.start()
    loop = asyncio.new_event_loop()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # what is started in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt), contextlib.closing(loop):
            loop.run_until_complete(cell())
    finally:
        signal.signal(signal.SIGINT, before)
    for thread in threads:
        thread.join(PATIENCE)
    check([errors[1], errors[2]], RoundAborted, "north", "stopped by its operator")
    assert not any(thread.name == "privcomp-mpc" for thread in threading.enumerate())


def test_demands_that_nobody_understands(parties: Parties) -> None:
    """They would be compared with nothing, and hold for every protocol."""
    for wrong in ({"adversary": "malicious"}, {"corruptions": "2"}, {"corruptions": True}, {"deadline": "5"}):
        with pytest.raises(ParameterError, match=next(iter(wrong))):
            replace(parties.computation, **wrong)


@pytest.mark.parametrize("secure", [True, False])
def test_a_program_that_waits_as_it_is_ended_hangs_nobody(parties: Parties, secure: bool) -> None:
    async def program(mpc: Any) -> Any:
        x = await mpc.input(0, np.ones(3, np.uint64) if mpc.me == 0 else None, (3,))
        try:
            if mpc.me == 2:
                raise LocalError("this one fails")
            return await mpc.open(await mpc.mul(x, x))
        finally:
            if mpc.me != 2:
                await mpc.open(x)

    side = parties.secure if secure else parties.plain
    began = time.monotonic()
    errors = together(*(run(side(me), program) for me in range(3)))
    check(errors, PrivcompError)
    check(errors[:2], RoundAborted, "south")
    assert time.monotonic() - began < DEADLINE


def test_who_waits_for_a_party_that_receives_much_waits_longer(homes: list[PartyHome]) -> None:
    """North's input travels to east alone, for twice the deadline, as it may; south goes ahead and waits for east.
    North has its result first, and does not leave before east has what it sent."""
    parties = Parties(homes, deadline=1.0, rate=20_000)
    behind_relay = replace(parties.computation.seats[0], port=0)

    async def relayed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        north = await asyncio.open_connection("127.0.0.1", parties.computation.seats[0].port)

        async def pump(source: asyncio.StreamReader, to: asyncio.StreamWriter, pause: float) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(2000):
                    to.write(data)
                    await asyncio.sleep(pause)
            to.close()

        await asyncio.gather(pump(reader, north[1], 0.0), pump(north[0], writer, 0.05))

    async def program(mpc: Any) -> Any:
        x = await mpc.input(0, np.arange(10_000, dtype=np.uint64) if mpc.me == 0 else None, (10_000,))
        return await mpc.open(x.map(lambda part: part[-1:]))

    async def main() -> list[Any]:
        relay = await asyncio.start_server(relayed, "127.0.0.1", 0)
        seat = replace(behind_relay, port=relay.sockets[0].getsockname()[1])
        east = replace(parties.computation, seats=(seat, *parties.computation.seats[1:]))
        async with relay, asyncio.timeout(PATIENCE):
            works = (run(parties.plain(me, east if me == 1 else None), program) for me in range(3))
            return await asyncio.gather(*works, return_exceptions=True)

    began = time.monotonic()
    assert [getattr(outcome, "result", outcome) for outcome in asyncio.run(main())] == [9999] * 3
    assert time.monotonic() - began > 2.0


def test_a_peer_without_frames_for_this_party_may_live_long(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around a ring nobody gets a frame from the next one, only signs of life: as many as the clock asks for."""
    monkeypatch.setattr(transport, "_SIGNS_MAX", 4)
    slow = replace(parties.computation, deadline=0.8)

    async def program(mpc: Any) -> int:
        for _ in range(60):
            await Exchange("around", {(mpc.me + 1) % 3: b"x"}, {(mpc.me - 1) % 3: 1})
            time.sleep(0.03)
        return 1

    outcomes = together(*(run(parties.plain(me, slow), program) for me in range(3)))
    assert [getattr(outcome, "result", outcome) for outcome in outcomes] == [1, 1, 1]


# ---- what is refused before the first round


def test_another_program(parties: Parties) -> None:
    odd = replace(parties.computation, program=b"another")
    errors = together(
        run(parties.secure(0), product), run(parties.secure(1), product), run(parties.secure(2, odd), product)
    )
    check(errors)
    assert any("runs another computation" in str(error) and error.party == b"south" for error in errors[:2])
    assert "runs another computation" in str(errors[2])


def test_another_order_of_parties(parties: Parties) -> None:
    north, east, south = parties.computation.seats
    odd = replace(parties.computation, seats=(north, south, east))
    errors = together(run(parties.secure(0), product), run(parties.secure(1, odd), product))
    check(errors, RemoteError, "runs another computation")


def test_a_certificate_of_somebody_else(parties: Parties, tmp_path: Path) -> None:
    """South's key is not the one that the others know: they do not take it for south, and it cannot join."""
    PartyHome.create(tmp_path / "south", b"south")
    stranger = PartyHome.open(tmp_path / "south")
    seats = list(parties.computation.seats)
    seats[2] = replace(seats[2], certificate=stranger.certificate.read_bytes())
    odd = replace(parties.computation, seats=tuple(seats), wait=2.0)
    usual = replace(parties.computation, wait=2.0)
    errors = together(
        run(parties.secure(0, usual), product),
        run(parties.secure(1, usual), product),
        run(parties.secure(2, odd, stranger), product),
    )
    check(errors)
    assert {error.party for error in errors[:2]} == {b"south"}


def test_a_party_in_the_name_of_another(parties: Parties) -> None:
    """East dials north with a certificate for south that it has issued itself."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from privcomp.integrations import tls
    from privcomp.integrations.home import _pem, _read_identity

    folder = parties.homes[1].folder
    key = Ed25519PrivateKey.generate()
    forged = tls.transport_certificate(_read_identity(folder, "party"), b"south", key.public_key(), both=True)
    (folder / "forged.pem").write_bytes(forged)
    (folder / "forged.key").write_bytes(_pem(key))
    peers = parties.homes[0].certificate.read_text()
    _, client = tls.party_contexts(folder / "forged.pem", folder / "forged.key", peers)

    async def forger() -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", parties.computation.seats[0].port, ssl=client, server_hostname=""
        )
        with contextlib.suppress(OSError):
            assert await reader.read() == b""
        writer.close()

    usual = replace(parties.computation, wait=1.5)
    errors = together(run(parties.secure(0, usual), product), forger())
    check(errors[:1], RemoteError, "did not come", "a connection from 127.0.0.1 was refused")
    assert errors[1] is None


def test_who_does_not_come_is_named(parties: Parties) -> None:
    short = replace(parties.computation, wait=1.0)
    errors = together(run(parties.secure(0, short), product), run(parties.secure(1, short), product))
    check(errors, RemoteError, "did not come within 1 s", "south")


def test_strangers_do_not_stop_the_parties(parties: Parties) -> None:
    """A port scanner, somebody who talks nonsense, and many who say nothing."""
    address = ("127.0.0.1", parties.computation.seats[0].port)
    silent = [socket.create_connection(address) for _ in range(40)]
    with socket.create_connection(address) as loud:
        loud.sendall(b"GET / HTTP/1.1\r\n\r\n")
        outcomes = together(*(run(parties.secure(me), product) for me in range(3)))
    for each in silent:
        each.close()
    assert all((outcome.result == np.arange(1000) ** 2).all() for outcome in outcomes)


def test_strangers_who_keep_coming_do_not_stop_the_parties(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hundreds a second come while a party takes its time to show who it is."""
    real = transport._Setup._secured

    async def slowly(self: Any, connection: socket.socket, side: int) -> socket.socket:
        if side == 0:
            await asyncio.sleep(0.3)
        return await real(self, connection, side)

    monkeypatch.setattr(transport._Setup, "_secured", slowly)
    patient = replace(parties.computation, wait=5.0)
    came = 0

    async def crowd(others: asyncio.Task[Any]) -> None:
        nonlocal came
        addresses = [("127.0.0.1", seat.port) for seat in parties.computation.seats[:2]]
        silent: list[socket.socket] = []
        while not others.done():
            for address in 2 * addresses:
                stranger = socket.socket()
                stranger.setblocking(False)
                stranger.connect_ex(address)
                silent.append(stranger)
                came += 1
            for each in silent[:-150]:
                each.close()
            del silent[:-150]
            await asyncio.sleep(0.005)
        for each in silent:
            each.close()

    async def main() -> list[Any]:
        runs = asyncio.gather(*(run(parties.secure(me, patient), product) for me in range(3)), return_exceptions=True)
        connected = asyncio.ensure_future(runs)
        await crowd(connected)  # type: ignore[arg-type]
        return await connected

    outcomes = asyncio.run(main())
    assert all((outcome.result == np.arange(1000) ** 2).all() for outcome in outcomes)
    assert came > 40


def test_a_process_without_file_descriptors_waits_for_some(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    real = asyncio.selector_events.BaseSelectorEventLoop.sock_accept
    left = [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED]

    async def accept(loop: Any, listener: socket.socket) -> Any:
        if left:
            raise OSError(left.pop(), "nothing to accept with")
        return await real(loop, listener)

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_accept", accept)
    outcomes = together(*(run(parties.secure(me), product) for me in range(3)))
    assert all((outcome.result == np.arange(1000) ** 2).all() for outcome in outcomes)
    assert not left


def test_a_demand_that_the_protocol_does_not_meet(parties: Parties) -> None:
    strict = replace(parties.computation, adversary=Adversary.MALICIOUS)
    errors = together(*(run(parties.secure(me, strict), product) for me in range(3)))
    check([error for error in errors if not isinstance(error, RemoteError)], ParameterError, "malicious")
    assert any(isinstance(error, ParameterError) for error in errors)


def test_plain_connections_stay_on_this_machine(parties: Parties) -> None:
    seats = (*parties.computation.seats[:2], replace(parties.computation.seats[2], host="192.0.2.1"))
    away = replace(parties.computation, seats=seats)
    check(together(run(connect_insecure_tcp(away, 0), product)), ParameterError, "192.0.2.1")


def test_parameters() -> None:
    seats = tuple(Seat(name, "127.0.0.1", 1) for name in NAMES)
    for options in ({"deadline": 0}, {"wait": float("inf")}, {"rate": -1}, {"protocol": "rep9"}):
        with pytest.raises(ParameterError):
            Computation(**{"protocol": "rep3", "seats": seats, "program": b"", **options})  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="occurs twice"):
        Computation("rep3", (seats[0], seats[0], seats[1]), b"")
    with pytest.raises(ParameterError, match="65536"):
        Seat(b"x", "127.0.0.1", 65536)
    with pytest.raises(ParameterError, match="none of the parties"):
        Computation("rep3", seats, b"").index(b"west")


def test_a_connection_runs_once(parties: Parties) -> None:
    async def twice(context: Any) -> None:
        async with context as connection:
            await connection.run(product)
            with pytest.raises(LocalError, match="runs one program"):
                await connection.run(product)

    assert together(*(twice(parties.secure(me)) for me in range(3))) == [None] * 3


# ---- what happens between rounds


def test_desynchronised_programs(parties: Parties) -> None:
    works = [ring(64, 5), ring(64, 5), ring(64, 5, "another")]
    errors = together(*(run(parties.secure(me), work) for me, work in enumerate(works)))
    check(errors, RemoteError)
    assert any("begun other operations" in str(error) for error in errors)


def test_a_program_that_ends_early(parties: Parties) -> None:
    async def nothing(mpc: Any) -> None:
        return None

    outcomes = together(*(run(parties.secure(me), work) for me, work in enumerate((nothing, ring(8, 1), ring(8, 1)))))
    assert outcomes[0].result is None
    check(outcomes[1:], RemoteError)
    assert any("its program has returned" in str(error) and error.party == b"north" for error in outcomes[1:])


def test_an_objection_comes_after_the_others_have_their_results(parties: Parties) -> None:
    async def program(mpc: Mpc) -> Any:
        lie = np.array([1 << 40], np.uint64) if mpc.me == 0 else None
        x = mpc.wrap(await mpc.backend.input(0, lie, (1,)), bound=8)
        found = await mpc.open(x, to=2)
        return None if found is None else int(found[0])

    outcomes = together(*(run(parties.plain(me), tensors(program)) for me in range(3)))
    assert [outcome.result for outcome in outcomes[:2]] == [None, None]
    check(outcomes[2:], RemoteError, "beyond its bound")


def test_a_program_that_fails(parties: Parties) -> None:
    async def failing(mpc: Any) -> None:
        await ring(8, 2)(mpc)
        if mpc.me == 1:
            raise ZeroDivisionError("17 is secret")
        await ring(8, 2)(mpc)

    errors = together(*(run(parties.secure(me), failing) for me in range(3)))
    assert isinstance(errors[1], ZeroDivisionError)
    check([errors[0], errors[2]], RoundAborted, "gave up: ZeroDivisionError", "east")
    assert all("17" not in str(errors[i]) for i in (0, 2))


def test_a_cancelled_party_tells_the_others(parties: Parties) -> None:
    begun = []

    async def endless(mpc: Any) -> None:
        await ring(1000, 3)(mpc)
        begun.append(mpc.me)
        await ring(1000, 10**9)(mpc)

    async def main() -> list[Any]:
        tasks = [asyncio.create_task(run(parties.secure(me), endless)) for me in range(3)]
        while len(begun) < 3:
            await asyncio.sleep(0.01)
        tasks[1].cancel()
        async with asyncio.timeout(PATIENCE):
            return await asyncio.gather(*tasks, return_exceptions=True)

    errors = asyncio.run(main())
    assert isinstance(errors[1], asyncio.CancelledError)
    check([errors[0], errors[2]], RemoteError, "east")
    assert any("stopped by its operator" in str(error) for error in errors)


@pytest.mark.parametrize("secure", [True, False])
def test_who_is_not_connected_to_all_is_not_taken_for_who_is_missing(parties: Parties, secure: bool) -> None:
    """South comes to north and not to east: north, connected to both, waits for east until east gives south up."""
    slow = replace(parties.computation, deadline=1.0, wait=3.0)
    side = parties.secure if secure else parties.plain
    seats = slow.seats
    elsewhere = socket.create_server(("127.0.0.1", 0))  # where nobody answers for east
    astray = replace(slow, wait=30.0, seats=(seats[0], replace(seats[1], port=elsewhere.getsockname()[1]), seats[2]))
    south = asyncio.wait_for(run(side(2, astray), product), 5.0)
    errors = together(run(side(0, slow), product), run(side(1, slow), product), south)
    elsewhere.close()
    check(errors[:2], RemoteError, "south")
    assert errors[1].party == b"south"
    assert isinstance(errors[0], RoundAborted)
    assert "east" in str(errors[0])
    assert "did not come within 3 s" in str(errors[0])


class Evil:
    """South, over plain TCP, by hand: it greets as it should, and then does what a test says."""

    def __init__(self, parties: Parties) -> None:
        self.parties = parties
        self.computation = parties.computation
        self.sockets: list[socket.socket] = []
        self.told: set[int] = set()

    async def act(self, deed: Callable[[Evil], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        nonces = {2: bytes(32)}
        for peer in range(2):
            connection = socket.socket()
            connection.setblocking(False)
            await loop.sock_connect(connection, ("127.0.0.1", self.computation.seats[peer].port))
            greeting = Greeting(self.computation.agreement, 2, peer, self.nonce(peer))
            await loop.sock_sendall(connection, prefixed(greeting.to_bytes()))
            size = int.from_bytes(await self.exactly(connection, 2), "little")
            nonces[peer] = Greeting.from_bytes(await self.exactly(connection, size), max_bytes=FRAME_MAX).nonce
            self.sockets.append(connection)
        from privcomp.codec import digest

        self.session = self.computation.session(digest(transport._NONCE, *(nonces[i] for i in range(3))))
        try:
            await deed(self)
        finally:
            for connection in self.sockets:
                connection.close()

    async def head(self, peer: int) -> bytes:
        return await self.exactly(
            self.sockets[peer], int.from_bytes(await self.exactly(self.sockets[peer], 2), "little")
        )

    def nonce(self, peer: int) -> bytes:
        """Its part of the session's nonce, as it tells a peer."""
        return bytes(32)

    async def exactly(self, connection: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = await asyncio.get_running_loop().sock_recv(connection, size - len(data))
            assert piece
            data += piece
        return data

    async def send(self, peer: int, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sockets[peer], data)

    async def right_header(self, peer: int) -> RoundHeader:
        """What an honest south would send: every field is in what the others send to it."""
        data = await self.head(peer)
        if peer not in self.told:
            self.told.add(peer)
            assert Nonces.from_bytes(data, max_bytes=FRAME_MAX).sender == peer
            data = await self.head(peer)
        seen = RoundHeader.from_bytes(data, max_bytes=FRAME_MAX)
        return replace(seen, sender=2, receiver=peer)

    async def hold(self) -> None:
        """Read nothing, say nothing."""
        await asyncio.sleep(DEADLINE)

    async def drain(self) -> None:
        """Read until the others have closed."""
        loop = asyncio.get_running_loop()
        for connection in self.sockets:
            while await loop.sock_recv(connection, 1 << 16):
                pass


def suffer(homes: list[PartyHome], deed: Callable[[Evil], Awaitable[None]], size: int = 64) -> list[Any]:
    """What north and east say about it."""
    parties = Parties(homes)
    began = time.monotonic()
    ended: list[float] = []

    async def timed(me: int) -> Any:
        try:
            return await run(parties.plain(me), both(size))
        finally:
            ended.append(time.monotonic() - began)

    async def evil() -> None:
        with contextlib.suppress(OSError):
            await Evil(parties).act(deed)

    errors = together(timed(0), timed(1), evil())
    for listener in parties.listeners:
        listener.close()
    assert errors[2] is None, errors[2]
    assert max(ended) < DEADLINE + 5, ended
    check(errors[:2], RemoteError, "south")
    assert any(error.party == b"south" for error in errors[:2])
    return errors[:2]


def both(size: int) -> Callable[[Any], Awaitable[Any]]:
    return ring(size, 2)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs begin at once: no keys are agreed on, so that the first round is the test's."""
    from privcomp.mpc.rep3 import Rep3

    async def nothing(self: Any, rng: Any) -> None:
        return None

    monkeypatch.setattr(Rep3, "setup", nothing)


@pytest.mark.usefixtures("started")
class TestEvil:
    def test_an_honest_twin_is_accepted(self, homes: list[PartyHome]) -> None:
        """The tests below send one wrong thing each: without it, these rounds go through."""
        parties = Parties(homes)

        async def honest(evil: Evil) -> None:
            for _ in range(2):
                for peer in range(2):
                    header = await evil.right_header(peer)
                    await evil.exactly(evil.sockets[peer], 64)
                    await evil.send(peer, prefixed(header.to_bytes()) + bytes([2]) * 64)
            for peer in range(2):
                await evil.send(peer, DONE)

        outcomes = together(*(run(parties.plain(me), both(64)) for me in range(2)), Evil(parties).act(honest))
        assert [outcome.result for outcome in outcomes[:2]] == [256, 256]

    def test_frames_in_small_pieces(self, homes: list[PartyHome]) -> None:
        parties = Parties(homes)

        async def dripping(evil: Evil) -> None:
            for _ in range(2):
                for peer in range(2):
                    header = await evil.right_header(peer)
                    await evil.exactly(evil.sockets[peer], 64)
                    for byte in ALIVE + prefixed(header.to_bytes()) + bytes([2]) * 64:
                        await evil.send(peer, bytes([byte]))
                        await asyncio.sleep(0)

        outcomes = together(*(run(parties.plain(me), both(64)) for me in range(2)), Evil(parties).act(dripping))
        assert [outcome.result for outcome in outcomes[:2]] == [256, 256]

    def test_two_nonces_have_nobody_honest_named(self, homes: list[PartyHome]) -> None:
        """North and east end up in different sessions: each of them sees frames of the other that it has to refuse."""

        class TwoFaced(Evil):
            def nonce(self, peer: int) -> bytes:
                return bytes([peer]) * 32

        parties = Parties(homes)
        works = run(parties.plain(0), both(64)), run(parties.plain(1), both(64)), TwoFaced(parties).act(Evil.drain)
        errors = together(*works)[:2]
        check(errors, RemoteError, "south")
        assert all(error.party is None or isinstance(error, RoundAborted) for error in errors)
        assert any("different nonces" in str(error) for error in errors)

    def test_a_header_that_is_too_long(self, homes: list[PartyHome]) -> None:
        async def deed(evil: Evil) -> None:
            for peer in range(2):
                await evil.send(peer, (FRAME_MAX + 1).to_bytes(2, "little") + bytes(FRAME_MAX + 1))
            await evil.drain()

        errors = suffer(homes, deed)
        assert any(isinstance(error, CodecError) and "longest" in str(error) for error in errors)

    def test_garbage(self, homes: list[PartyHome]) -> None:
        async def deed(evil: Evil) -> None:
            for peer in range(2):
                await evil.send(peer, b"\x60\x00" + b"garbage " * 1000)
            await evil.drain()

        suffer(homes, deed)

    @pytest.mark.parametrize(
        "change",
        [
            {"length": 72},
            {"length": 1 << 60},
            {"round": 1},
            {"session": bytes(32)},
            {"schedule": bytes(32)},
            {"sender": 0},
            {"receiver": 2},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_a_header_that_is_wrong(self, homes: list[PartyHome], change: dict[str, Any]) -> None:
        """Refused by itself: its payload is never sent."""

        async def deed(evil: Evil) -> None:
            for peer in range(2):
                header = await evil.right_header(peer)
                await evil.send(peer, prefixed(replace(header, **change).to_bytes()))
            await evil.drain()

        suffer(homes, deed)

    @pytest.mark.parametrize("cut", [1, 30, 100])
    def test_a_truncated_frame_and_a_close(self, homes: list[PartyHome], cut: int) -> None:
        async def deed(evil: Evil) -> None:
            for peer in range(2):
                header = await evil.right_header(peer)
                await evil.exactly(evil.sockets[peer], 64)
                await evil.send(peer, (prefixed(header.to_bytes()) + bytes(64))[:-cut])

        errors = suffer(homes, deed)
        assert any("connection to it broke" in str(error) for error in errors)

    def test_silence(self, homes: list[PartyHome]) -> None:
        """South reads, and says nothing, not even that it lives."""

        async def deed(evil: Evil) -> None:
            await evil.drain()

        errors = suffer(homes, deed)
        assert any("sent nothing" in str(error) for error in errors)

    def test_signs_of_life_and_nothing_else(self, homes: list[PartyHome]) -> None:
        async def deed(evil: Evil) -> None:
            for _ in range(int(10 * (DEADLINE + 1))):
                for peer in range(2):
                    await evil.send(peer, ALIVE)
                await asyncio.sleep(0.1)

        errors = suffer(homes, deed)
        assert any("not whole" in str(error) for error in errors)

    def test_a_flood_of_signs_of_life(self, homes: list[PartyHome]) -> None:
        async def deed(evil: Evil) -> None:
            for peer in range(2):
                await evil.send(peer, ALIVE * 20000)
            await evil.drain()

        errors = suffer(homes, deed)
        assert any("more signs of life" in str(error) for error in errors)

    def test_who_reads_nothing(self, homes: list[PartyHome]) -> None:
        """South takes nothing of 32 MB: its peers do not wait for ever, and what it owes them is not there either."""
        errors = suffer(homes, Evil.hold, 32 << 20)
        assert any("nothing" in str(error) for error in errors)

    def test_memory_is_not_taken_for_what_nobody_wants(self, homes: list[PartyHome]) -> None:
        """South sends what north will want later, if ever: it stays in the sockets, and south waits."""
        parties = Parties(homes)
        sent = [0]

        async def deed(evil: Evil) -> None:
            header = RoundHeader(bytes(32), 2, 0, 7, bytes(32), 1 << 30).to_bytes()
            loop = asyncio.get_running_loop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await loop.sock_sendall(evil.sockets[0], prefixed(header))
                    while True:
                        await loop.sock_sendall(evil.sockets[0], bytes(1 << 16))
                        sent[0] += 1 << 16
            await evil.drain()

        async def chain(mpc: Any) -> None:
            await Exchange("first", {}, {2: 8} if mpc.me == 1 else {})
            await Exchange("second", {0: b"8 bytes."} if mpc.me == 1 else {}, {1: 8} if mpc.me == 0 else {})

        errors = together(run(parties.plain(0), chain), run(parties.plain(1), chain), Evil(parties).act(deed))
        check(errors[:2], RemoteError, "south")
        assert sent[0] < 16 << 20  # what the kernel keeps for two sockets

    def test_who_waits_is_not_taken_for_who_is_waited_for(self, homes: list[PartyHome]) -> None:
        """North waits for south, who is silent, and east for north: both name south."""
        parties = Parties(homes)

        async def chain(mpc: Any) -> None:
            await Exchange("first", {}, {2: 8} if mpc.me == 0 else {})
            await Exchange("second", {1: b"8 bytes."} if mpc.me == 0 else {}, {0: 8} if mpc.me == 1 else {})

        errors = together(run(parties.plain(0), chain), run(parties.plain(1), chain), Evil(parties).act(Evil.drain))
        check(errors[:2], RemoteError, "south", "sent nothing")
        assert isinstance(errors[1], RoundAborted)

    def test_who_has_a_long_deadline_lives_for_those_who_have_a_short_one(
        self, homes: list[PartyHome], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """North waits three seconds for south, as it may, and east for north."""
        monkeypatch.setattr(transport, "_SIGNS_MAX", 12)
        parties = Parties(homes)
        north, east = (replace(parties.computation, deadline=deadline) for deadline in (40.0, 4.0))

        async def chain(mpc: Any) -> int:
            await Exchange("first", {}, {2: 8} if mpc.me == 0 else {})
            await Exchange("second", {1: b"8 bytes."} if mpc.me == 0 else {}, {0: 8} if mpc.me == 1 else {})
            return 1

        async def late(evil: Evil) -> None:
            schedule = hashlib.sha256(hashlib.sha256(evil.session.digest).digest())
            schedule.update(lp(bytes(8), b"first"))
            header = RoundHeader(evil.session.digest, 2, 0, 0, schedule.digest(), 8)
            for _ in range(30):
                await evil.send(0, ALIVE)
                await asyncio.sleep(0.1)
            await evil.send(0, prefixed(header.to_bytes()) + bytes(8) + DONE)

        works = run(parties.plain(0, north), chain), run(parties.plain(1, east), chain), Evil(parties).act(late)
        assert [getattr(outcome, "result", outcome) for outcome in together(*works)] == [1, 1, None]

    @pytest.mark.parametrize("drips", [True, False])
    def test_of_several_late_ones_who_waits_is_not_named(self, homes: list[PartyHome], drips: bool) -> None:
        """East waits for a large frame of south, and may for long; north for both of them. South is alive."""
        parties = Parties(homes)

        async def chain(mpc: Any) -> None:
            await Exchange("first", {}, {2: 8 << 20} if mpc.me == 1 else {})
            wants = {1: 8, 2: 8} if mpc.me == 0 else {}
            await Exchange("second", {0: b"8 bytes."} if mpc.me == 1 else {}, wants)

        async def alive(evil: Evil) -> None:
            schedule = hashlib.sha256(evil.session.digest).digest()
            for round_, label in enumerate((b"first", b"second")):
                running = hashlib.sha256(schedule)
                running.update(lp(round_.to_bytes(8, "little"), label))
                schedule = running.digest()
            if drips:
                header = RoundHeader(evil.session.digest, 2, 0, 1, schedule, 8)
                await evil.send(0, prefixed(header.to_bytes()))
            for piece in range(30):
                await evil.send(1, ALIVE)
                if not drips:
                    await evil.send(0, ALIVE)
                elif piece % 5 == 4:
                    await evil.send(0, b"x")
                await asyncio.sleep(0.1)
            await evil.drain()

        errors = together(run(parties.plain(0), chain), run(parties.plain(1), chain), Evil(parties).act(alive))
        check(errors[:2], RemoteError, "south")
        assert errors[0].party == (b"south" if drips else None)
