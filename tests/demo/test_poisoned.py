"""The demo with servers and poisoners: rules on shares are the plain rules, and stand what the mean does not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from privcomp.cli import demo as command
from privcomp.cli import main
from privcomp.demo import DemoOptions
from privcomp.demo.model import Standardiser, initial
from privcomp.demo.poison import ATTACKS, STRENGTH, attack_of, plain_rule, poisoners, quantise
from privcomp.demo.poison_report import PoisonReport
from privcomp.demo.poison_run import LEAKING, PoisonOptions, Study, _Setting, width_for
from privcomp.demo.servers import Servers
from privcomp.errors import JournalError, ParameterError
from privcomp.mpc.robust import (
    RULES,
    FLTrust,
    Krum,
    Mean,
    Median,
    MultiKrum,
    NormClip,
    NormFilter,
    Release,
    Rule,
    TrimmedMean,
)
from tests.reference import robust as slow

CLIENTS, ENTRIES, WIDTH = 12, 7, 16
NAMED = Release(leaks="one update")


def updates(clients: int = CLIENTS, seed: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.integers(-400, 400, (clients, ENTRIES)) + np.array([700, -500, 300, 0, 600, 800, -700])
    x[3] *= -30
    x[5] = (1 << (WIDTH - 1)) - 1
    return x


def rules(x: np.ndarray) -> list[tuple[Rule, Release]]:
    return [
        (Mean(), Release()),
        (NormClip(2500), Release()),
        (NormFilter(2500), Release()),
        (FLTrust(x[:3].sum(axis=0)), Release()),
        (Krum(2), NAMED),
        (MultiKrum(2), Release(least=3, colluders=2)),
        (TrimmedMean(2), Release(least=3, colluders=2)),
        (Median(), NAMED),
    ]


def test_plain_rules_are_the_slow_ones() -> None:
    x = updates()
    n, limit = CLIENTS, 2500
    mean, clip, filtered, trust, krum, multi, trimmed, median = (
        plain_rule(rule, x, WIDTH, release).mean for rule, release in rules(x)
    )
    assert np.array_equal(mean, x.sum(axis=0) / n)
    assert np.allclose(clip, slow.norm_clip(x, limit) / n)
    total, count = slow.norm_filter(x, limit)
    assert np.array_equal(filtered, total / count)
    assert np.allclose(trust, slow.fltrust(x, x[:3].sum(axis=0)))
    assert np.array_equal(krum, slow.multi_krum(x, 2, 1))
    assert np.array_equal(multi, slow.multi_krum(x, 2, n - 2) / (n - 2))
    assert np.array_equal(trimmed, slow.trimmed_sum(x, 2) / (n - 4))
    assert np.array_equal(median, slow.trimmed_sum(x, 5) / 2)


def test_a_gate_that_stays_closed_opens_nothing() -> None:
    x = updates()
    x[1:] = 30000
    for rule in (NormFilter(2500), NormClip(1), FLTrust(-np.ones(ENTRIES, np.int64))):
        heavy = x if not isinstance(rule, NormClip) else np.vstack([x[:1] * 0, x[1:]])
        assert plain_rule(rule, heavy, WIDTH, Release()).mean is None


@pytest.mark.parametrize("servers", [3, 4])
def test_every_rule_on_shares_is_the_plain_rule(servers: int) -> None:
    x = updates()
    federation = Servers(CLIENTS, servers)
    chosen = rules(x) if servers == 3 else rules(x)[5:6]
    for rule, release in chosen:
        opened = federation.aggregate(rule, release, dict(enumerate(x)), WIDTH, model=rule.name.encode())
        plain = plain_rule(rule, x, WIDTH, release)
        assert opened.mean is not None
        assert plain.mean is not None
        assert np.abs(opened.mean - plain.mean).max() <= plain.error
        assert opened.clients == CLIENTS
        assert opened.refusal is None


@pytest.mark.parametrize("rule", [TrimmedMean(3), Median()], ids=lambda rule: rule.name)
def test_order_rules_of_more_hospitals_than_are_sorted(rule: Rule) -> None:
    x = updates(23)
    there = {i if i < 7 else i + 1: row for i, row in enumerate(x)}
    opened = Servers(24, 3).aggregate(rule, NAMED, there, WIDTH, model=b"m")
    assert np.array_equal(opened.mean, plain_rule(rule, x, WIDTH, NAMED).mean)
    trim = 3 if isinstance(rule, TrimmedMean) else 11
    assert np.array_equal(opened.mean, slow.trimmed_sum(x, trim) / (23 - 2 * trim))


def test_a_closed_gate_is_told() -> None:
    x = updates()
    x[1:] = 30000
    federation = Servers(CLIENTS, 3, reentries=1)
    opened = federation.aggregate(NormFilter(2500), Release(), dict(enumerate(x)), WIDTH, model=b"m")
    assert opened.mean is None
    assert opened.refusal is not None
    assert "too few" in opened.refusal
    # Nothing was opened, so the hospitals may go on with the same model; once, here.
    again = federation.aggregate(Mean(), Release(), dict(enumerate(x)), WIDTH, model=b"m")
    assert np.array_equal(again.mean, x.sum(axis=0) / CLIENTS)
    with pytest.raises(JournalError, match="second aggregate"):
        federation.aggregate(Mean(), Release(), dict(enumerate(x)), WIDTH, model=b"m")


@pytest.mark.parametrize(("clients", "poisoned", "entries"), [(45, 5, 31), (45, 5, 650), (900, 90, 5000), (5, 1, 2)])
def test_the_width_keeps_every_bound(clients: int, poisoned: int, entries: int) -> None:
    width = width_for(clients, poisoned, entries, 20)
    for rule in (Mean(), MultiKrum(poisoned), Krum(poisoned), NormFilter(1 << 20), NormClip(1 << 20)):
        rule.check(clients, entries, width)
    if width < 20:
        with pytest.raises(ParameterError):
            MultiKrum(poisoned).check(clients, entries, width + 1)


def test_attacks() -> None:
    assert [attack_of("mixed", i) for i in range(4)] == ["sign_flip", "scaling", "label_flip", "sign_flip"]
    assert all(attack_of(attack, 2) == attack for attack in ATTACKS[1:])
    assert len(set(poisoners(50, 5, 0))) == 5
    assert poisoners(50, 5, 0) != poisoners(50, 5, 1)
    assert quantise(np.array([1e9, -1e9, 0.26]), 0.5, 8).tolist() == [127, -127, 1]


@pytest.mark.parametrize("attack", ATTACKS[1:])
def test_poisoners_send_what_the_attack_says_and_nobody_else_does(attack: str) -> None:
    study = Study(DemoOptions(clients=24), PoisonOptions(rules=(), poison=3, attack=attack))
    bad = poisoners(24, 3, 0)
    standardise = Standardiser.of(study.federation.test_x)
    clean, poisoned = (_Setting(kind, bad, standardise, np.ones(2)) for kind in ("clean", "poisoned"))
    model = initial(study.features, study.classes)
    limit = (1 << (study.width - 1)) - 1
    for hospital in range(24):
        honest = study.update(hospital, clean, model)
        sent = study.update(hospital, poisoned, model)
        assert np.abs(sent).max() <= limit
        if hospital not in bad:
            assert np.array_equal(sent, honest)
            continue
        assert float(sent @ honest) < 0
        if attack == "sign_flip":
            assert np.abs(sent - np.clip(-STRENGTH * honest, -limit, limit)).max() <= STRENGTH
        elif attack == "scaling":
            assert np.linalg.norm(sent) > 10 * np.linalg.norm(honest)
        else:
            assert 0.5 < np.linalg.norm(sent) / np.linalg.norm(honest) < 2


def test_poisoners_are_never_lost_and_others_change() -> None:
    study = Study(DemoOptions(clients=24), PoisonOptions(rules=(), poison=3, dropout=0.25))
    bad = poisoners(24, 3, 0)
    rounds = [study.survivors(bad, number) for number in range(4)]
    assert all(len(there) == study.present == 18 for there in rounds)
    assert all(set(bad) <= set(there) for there in rounds)
    assert len({tuple(there) for there in rounds}) > 1


@pytest.fixture(scope="module")
def report() -> PoisonReport:
    options = DemoOptions(clients=24, rounds=2, seed=0)
    poison = PoisonOptions(rules=("multi_krum", "trimmed_mean"), poison=3)
    return Study(options, poison).run()


def test_multi_krum_stands_what_the_mean_does_not(report: PoisonReport) -> None:
    assert report.within_bounds
    assert report.mean_loss >= 0.1
    assert report.loss("multi_krum") <= 0.02
    assert report.loss("trimmed_mean") <= 0.02
    for name in ("multi_krum", "trimmed_mean"):
        rule = report.rule(name)
        assert rule.difference == 0
        assert rule.within
        # The same updates and the same aggregates: the same models.
        assert rule.shared == rule.plain


def test_the_report_says_what_was_opened(report: PoisonReport) -> None:
    text = " ".join(report.text().split())
    for words in ("the sum of the updates of 18 clients", "krum refused", "--leaks one-update"):
        assert words in text
    assert not report.rule("krum").shared
    found = json.loads(report.json())
    assert found["rules"]["multi_krum"]["shared"]["poisoned"]["accuracy"] > 0.9
    assert found["within_bounds"] is True
    assert len(found["poisoners"]) == 3


def test_a_named_leak_is_allowed() -> None:
    for name in LEAKING:
        with pytest.raises(ParameterError, match="--leaks one-update"):
            Study(DemoOptions(clients=24), PoisonOptions(rules=(name,), poison=2))
        study = Study(DemoOptions(clients=24), PoisonOptions(rules=(name,), poison=2, leaks="one update"))
        assert not study.release(name).gated
        assert study.release("norm_filter").gated


def test_the_command_writes_report_and_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["--clients", "12", "--rounds", "1", "--servers", "4", "--poison", "2", "--attack", "scaling"]
    assert main(["demo", "--out", str(out), "--quiet", "--json", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["protocol"] == "rep4"
    assert found["chosen"] == ["multi_krum"]
    assert json.loads((out / "report.json").read_text("utf-8")) == found
    assert (out / "curves.png").stat().st_size > 1000
    assert not (out / "ledger").exists()


def test_the_commands_choices_are_the_librarys() -> None:
    assert tuple(RULES) == command._RULES
    assert ATTACKS == command._ATTACKS


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--poison", "5"], "needs --servers"),
        (["--rule", "median"], "needs --servers"),
        (["--attack", "mixed"], "needs --servers"),
        (["--leaks", "one-update"], "needs --servers"),
        (["--servers", "3", "--poison", "0"], "1 or more"),
        (["--servers", "3", "--poison", "22"], "n >= 2f + 3"),
        (["--servers", "3", "--rule", "krum"], "--leaks one-update"),
        (["--servers", "3", "--rule", "median"], "--leaks one-update"),
        (["--servers", "3", "--epsilon", "8"], "--epsilon belongs"),
        (["--servers", "3", "--protocol", "ckks"], "--protocol belongs"),
        (["--servers", "3", "--hybrid"], "--hybrid belongs"),
        (["--servers", "3", "--adversary", "malicious"], "take --servers 4"),
        (["--servers", "3", "--dropout", "0.95"], "0..0.9"),
        (["--servers", "3", "--clients", "6", "--dropout", "0.3"], "--poison 1: of 4"),
    ],
)
def test_what_does_not_go_together(
    arguments: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--out", str(tmp_path / "out"), *arguments]) != 0
    assert text in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_table_without_public_ranges_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("a,b,y\n" + "".join(f"{i},{i * i},{i % 2}\n" for i in range(200)), encoding="utf-8")
    with pytest.raises(ParameterError, match="--ranges"):
        Study(DemoOptions(csv=path, label="y", clients=12), PoisonOptions(poison=2))


@pytest.mark.assurance
@pytest.mark.parametrize("seed", range(4))
def test_fifty_hospitals_stand_five_poisoners(seed: int) -> None:
    """Sixteen rounds: the plain mean loses at least 10 points; multi-Krum on shares stays within 2 of the clean run."""
    found = Study(DemoOptions(seed=seed), PoisonOptions(rules=("multi_krum",), poison=5)).run()
    assert found.within_bounds
    assert found.mean_loss >= 0.1
    assert found.loss("multi_krum") <= 0.02
    assert found.rule("multi_krum").shared == found.rule("multi_krum").plain


@pytest.mark.assurance
def test_all_rules_on_shares_stand_five_poisoners() -> None:
    found = Study(DemoOptions(), PoisonOptions(rules=tuple(RULES), poison=5, leaks="one update")).run()
    assert found.within_bounds
    for name in RULES:
        if name != "mean":
            assert found.loss(name) <= 0.05
    assert found.rule("mean").shared["poisoned"].accuracy <= 0.9
