"""The simulation has teeth: a client without one of its rules is caught.

Each case takes a check away from the real client and shows that the oracle, or a request that had to be refused, tells.
"""

from __future__ import annotations

from typing import Any

import pytest

from privcomp.journal import Entry, MemoryJournal
from privcomp.keys import Identity
from privcomp.secagg import Client, Server
from privcomp.secagg.rules import Rules
from privcomp.simulation import STRATEGIES, Cast, Coins, LyingServer, Oracle, Report, Setting, run_session
from privcomp.simulation import oracle as oracle_module
from privcomp.simulation.faults import CrashingJournal
from privcomp.simulation.oracle import fewest


def play(strategy: str, cast: Cast, seed: int) -> list[str]:
    server, report = LyingServer(cast, Coins(seed, "teeth")), Report()
    STRATEGIES[strategy](server, Coins(seed, "teeth", "strategy"))
    server.finish(report)
    return report.failures


def caught(strategy: str, cast: Cast, text: str, tries: int = 30) -> bool:
    return any(text in failure for seed in range(tries) for failure in play(strategy, cast, seed))


def no_quorum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rules, "quorum", lambda *_: None)


def no_model_rule(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rules, "model", lambda *_, **__: None)
    patch.setattr(Client, "_close_older", lambda *_: None)


def no_survivor_rule(patch: pytest.MonkeyPatch) -> None:
    def survivors(_: Rules, directory: Any, me: int, u2: bytes, u: bytes, stage: str) -> frozenset[int]:
        found: frozenset[int] = directory.members(u, stage)
        return found

    patch.setattr(Rules, "survivors", survivors)


def no_announcement_rule(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rules, "announcement", lambda *_: None)


def no_threshold_rule(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rules, "thresholds", lambda *_: None)


def forgetful_journal(patch: pytest.MonkeyPatch) -> None:
    """After a restart nobody remembers what was signed and answered."""
    write = MemoryJournal._write

    def lossy(self: MemoryJournal, entry: Entry, secrets: bytes | None) -> None:
        if entry.stage < 3:
            write(self, entry, secrets)

    patch.setattr(CrashingJournal, "_write", lossy)
    patch.setattr(MemoryJournal, "erase", lambda *_: None)
    no_quorum(patch)


ISOLATED = "the server isolates"
WENT_ALONG = "a client went along with"
CASES = [
    (no_model_rule, "abort_and_retry", Cast(5, 0, 0), ISOLATED),
    (no_model_rule, "two_rounds", Cast(7, 1, 1), ISOLATED),
    (no_quorum, "split_u", Cast(11, 0, 0), ISOLATED),
    (no_quorum, "quorums", Cast(5, 0, 0), WENT_ALONG),
    (no_survivor_rule, "forged_survivors", Cast(5, 1, 1), WENT_ALONG),
    (no_announcement_rule, "downgrade", Cast(5, 1, 1), WENT_ALONG),
    (forgetful_journal, "repeated_consistency", Cast(5, 0, 0), WENT_ALONG),
    (forgetful_journal, "repeated_unmask", Cast(6, 0, 0), "released both kinds"),
]


@pytest.mark.parametrize(("without", "strategy", "cast", "text"), CASES)
def test_a_client_without_a_rule_is_caught(
    without: Any, strategy: str, cast: Cast, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not caught(strategy, cast, "", tries=2)
    without(monkeypatch)
    assert caught(strategy, cast, text)


def test_a_wrong_sum_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    combine = Server._removed

    def off_by_one(self: Server, s: int, *arguments: Any) -> Any:
        total = combine(self, s, *arguments)
        total.flat[0] ^= 1
        return total

    monkeypatch.setattr(Server, "_removed", off_by_one)
    assert any("WRONG SUM" in text for index in range(6) for text in run_session(1, index).failures)


def test_a_client_that_gives_up_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round within the tolerance that does not complete, because clients refuse what they need not."""
    original = Rules.survivors

    def picky(self: Rules, directory: Any, me: int, u2: bytes, u: bytes, stage: str) -> frozenset[int]:
        found = original(self, directory, me, u2, u, stage)
        self._policy.require(len(found) == directory.n, "a lost client", "nobody lost")
        return found

    monkeypatch.setattr(Rules, "survivors", picky)
    assert any("honest server was refused" in text for index in range(12) for text in run_session(1, index).failures)


def test_a_secret_on_the_wire_is_caught() -> None:
    oracle, secret = Oracle(), Identity.from_seed(bytes(32)).seed_bytes()[:16] + b"0123456789abcdef"
    oracle.wire(b"head" + secret + b"tail")
    assert oracle.leaked([secret])
    assert not oracle.leaked([secret[::-1]])


def test_the_elimination_finds_the_smallest_sum() -> None:
    def row(client: bytes, **masks: int) -> oracle_module.Row:
        values: oracle_module.Row = {("x", client, b"m"): 1}
        return values | {("s", *name.encode().partition(b"_")[::2], b"v"): sign for name, sign in masks.items()}

    a, b, c = row(b"a", a_b=1, a_c=1), row(b"b", a_b=-1, b_c=1), row(b"c", a_c=-1, b_c=-1)
    assert fewest([a, b, c])[:2] == (3, (b"a", b"b", b"c"))
    assert fewest([a, b])[0] > 3
    assert fewest([a, b, c, row(b"d")])[0] == 1


def test_settings_cover_everything() -> None:
    drawn = [Setting.draw(Coins(1, k)) for k in range(400)]
    assert {s.n for s in drawn} == set(range(3, 13))
    assert {(s.protocol, s.adversary) for s in drawn} == {
        ("bonawitz", "malicious"),
        ("bonawitz", "semi_honest"),
        ("secaggplus", "semi_honest"),
    }
    for name in ("hybrid", "federated", "sparse", "authenticated"):
        assert {getattr(s, name) for s in drawn} == {True, False}
    assert any(not segment.is_ring for s in drawn for segment in s.segments)
