"""Random one-shot rounds, with all faults and a lying server; and that the simulation has teeth."""

from __future__ import annotations

from typing import Any

import pytest

from privcomp.journal import Entry, MemoryJournal
from privcomp.oneshot import Member, Server
from privcomp.oneshot.keyshares import Sharing
from privcomp.oneshot.rules import ACCEPT, ANSWER, CLOSE, VOTE, Rules
from privcomp.simulation.coins import Coins
from privcomp.simulation.oneshot import OneshotSetting, oneshot_campaign, run_lying_oneshot, run_oneshot


@pytest.mark.parametrize("part", range(4))
def test_rounds_end_with_the_exact_sum_or_a_typed_abort_and_nothing_leaks(part: int) -> None:
    report = oneshot_campaign(25, seed=20_26, part=part)
    print(report)
    assert not report.failures, "\n".join(report.failures)
    assert report.rounds + report.lying >= 25


@pytest.mark.assurance
@pytest.mark.parametrize("part", range(100, 116))
def test_two_thousand_rounds(part: int) -> None:
    report = oneshot_campaign(125, seed=20_26, part=part)
    assert not report.failures, "\n".join(report.failures)
    assert report.share_within >= 0.5, str(report)


def test_the_same_seed_gives_the_same_trace() -> None:
    first, second = run_oneshot(5, 1), run_oneshot(5, 1)
    assert first.digest == second.digest
    assert first.digest != run_oneshot(5, 2).digest


def test_settings_cover_everything() -> None:
    drawn = [OneshotSetting.draw(Coins(1, k)) for k in range(200)]
    assert {s.n for s in drawn} == {4, 5, 6, 7}
    assert {s.c for s in drawn} == {1, 4, 5, 6}
    assert {s.adversary for s in drawn} == {"malicious", "semi_honest"}
    assert {s.restarts for s in drawn} == {True, False}


# ---- teeth ----


def no_certificate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Member, "_quorum", lambda *_: None)


def no_model_rule(patch: pytest.MonkeyPatch) -> None:
    """One vote per (session, round) is kept, one per (model, committee) is not."""

    def opens(self: Rules, context: Any, own: bytes, hashed: bytes, stage: int) -> Entry | None:
        return self.repeated(context.announce.session, context.announce.round, own, hashed, stage)

    patch.setattr(Rules, "opens", opens)


def no_upload_rule(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rules, "upload", lambda *_: None)


def no_announcement_rule(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rules, "announcement", lambda *_: None)


def no_size_rule(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Member, "_survivors", lambda *_: None)


def forgetful_journal(patch: pytest.MonkeyPatch) -> None:
    """Votes, answers and closes are forgotten."""
    write = MemoryJournal._write

    def lossy(self: MemoryJournal, entry: Entry, secrets: bytes | None) -> None:
        if entry.stage not in (VOTE, ANSWER, CLOSE):
            write(self, entry, secrets)
        elif entry.stage == VOTE and secrets is not None:
            last = next(e for e in reversed(self.entries()) if e.round_digest == entry.round_digest)
            self._round_secrets[entry.round_digest] = (last.hash, secrets)

    patch.setattr(MemoryJournal, "_write", lossy)
    patch.setattr(MemoryJournal, "erase", lambda *_: None)
    pop = Member._answer

    def kept(self: Member, given: Any, *arguments: Any) -> Any:
        out = pop(self, given, *arguments)
        self._given[given.context.digest] = given
        return out

    patch.setattr(Member, "_answer", kept)


#: (what is left out, probability of a lie in an announcement, where a run that shows it was found: tried first).
CASES = [
    (no_certificate, 0.1, 6),
    (no_model_rule, 0.1, 34),
    (no_upload_rule, 0.1, 11),
    (no_announcement_rule, 0.9, 7),
    (no_size_rule, 0.1, 0),
    (forgetful_journal, 0.1, 34),
]


@pytest.mark.parametrize(("without", "lies", "first"), CASES)
def test_roles_without_a_rule_are_caught(
    without: Any, lies: float, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not run_lying_oneshot(3, first, lies).failures
    without(monkeypatch)
    for index in (first, *range(600)):
        if any("the server isolates" in failure for failure in run_lying_oneshot(3, index, lies).failures):
            print(without.__name__, index)
            return
    raise AssertionError(f"{without.__name__} was not noticed")


def test_a_wrong_sum_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Server.result

    def off_by_one(self: Server) -> Any:
        found = result(self)
        found.sums[0][0] += 1
        return found

    monkeypatch.setattr(Server, "result", off_by_one)
    assert any("WRONG SUM" in text for index in range(6) for text in run_oneshot(1, index).failures)


def test_a_member_that_gives_up_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A round within the tolerance that does not complete, because shares are refused that are good."""
    monkeypatch.setattr(Sharing, "check", lambda *_, **__: None)
    assert any("within the tolerance" in text for index in range(12) for text in run_oneshot(1, index).failures)
    assert ACCEPT not in (VOTE, ANSWER)
