"""What a node allows: strict defaults, and a file in which a typing error cannot weaken anything."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from privcomp.errors import ParameterError, PolicyError
from privcomp.policy import DEFAULT_PURPOSES, Policy


def test_defaults_are_the_strict_ones() -> None:
    policy = Policy()
    assert policy.adversary == "malicious"
    assert policy.honest_survivors_min == 3
    assert policy.same_model_reentries == ()
    assert policy.purposes == DEFAULT_PURPOSES
    assert all(policy.reentries(purpose) == 0 for purpose in policy.purposes)


@pytest.mark.parametrize(
    ("roster", "c"), [(1, 0), (3, 0), (4, 1), (6, 1), (7, 2), (10, 3), (12, 3), (13, 4), (50, 16), (1000, 333)]
)
def test_default_corrupt_is_a_third_of_the_roster(roster: int, c: int) -> None:
    """ceil(|roster| / 3) - 1 against a malicious server; an explicit number wins, zero included."""
    assert Policy().corrupt_for("malicious", roster) == c
    assert Policy().corrupt_for("semi_honest", roster) == 0
    assert Policy(corrupt=5).corrupt_for("malicious", roster) == 5
    assert Policy(corrupt=0).corrupt_for("malicious", roster) == 0
    # A third of the roster still leaves a threshold: 2t > n + c with t <= n - 1.
    if roster >= 5:
        assert (roster + c) // 2 + 1 <= roster - 1


@pytest.mark.parametrize(
    "bad",
    [
        {"adversary": "none"},
        {"corrupt": -1},
        {"honest_survivors_min": 1},
        {"honest_survivors_min": 0},
        {"threshold_min": 1},
        {"clients_min": 2},
        {"clients_min": 10, "clients_max": 9},
        {"gamma_ppm": 500_000},
        {"delta_ppm": 500_000},
        {"gamma_ppm": -1},
        {"same_model_reentries": (("training", -1),)},
        {"roster_hash": b"short"},
        {"ledger_key": bytes(33)},
        {"code_hashes": (bytes(31),)},
    ],
    ids=lambda bad: ",".join(f"{k}={v}" for k, v in bad.items()),
)
def test_limits_that_protect_nobody_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=r"polic|gamma|roster|ledger|code"):
        Policy(**bad)


def test_require_says_what_was_seen_and_what_is_allowed() -> None:
    Policy().require(True, "anything", "anything")
    with pytest.raises(PolicyError, match="refused by this node's policy: t = 2; allowed: at least 5"):
        Policy().require(False, "t = 2", "at least 5")


def test_default_file_is_the_default_policy() -> None:
    """The commented file that a node starts from says exactly what the code says, for every key."""
    text = Policy.default_toml()
    assert Policy.from_toml(text) == Policy()
    assert Policy.from_toml("") == Policy()
    for field in fields(Policy):
        assert field.name.removesuffix("_ppm") in text


def test_a_policy_file_is_read() -> None:
    policy = Policy.from_toml(
        """
        protocols = ["bonawitz"]
        corrupt = 4
        gamma = 0.1
        delta = 0.25
        honest_survivors_min = 10
        require_hybrid = true
        roster_hash = "{}"
        code_hashes = ["{}"]
        [same_model_reentries]
        statistics = 2
        """.format("ab" * 32, "CD" * 32)
    )
    assert policy.protocols == ("bonawitz",)
    assert (policy.corrupt, policy.gamma_ppm, policy.delta_ppm) == (4, 100_000, 250_000)
    assert policy.roster_hash == b"\xab" * 32
    assert policy.code_hashes == (b"\xcd" * 32,)
    assert (policy.reentries("statistics"), policy.reentries("training")) == (2, 0)


@pytest.mark.parametrize(
    "text",
    [
        "adversary = ",
        "honest_survivor_min = 10",
        "gamma_ppm = 3",
        'honest_survivors_min = "10"',
        "honest_survivors_min = 2.5",
        "honest_survivors_min = true",
        'protocols = "bonawitz"',
        "require_hybrid = 1",
        'gamma = "much"',
        "gamma = inf",
        "delta = -inf",
        "gamma = nan",
        "gamma = 0.3\ndelta = 0.3",
        "open_rounds_max = 0",
        'roster_hash = "xyz"',
        'roster_hash = "abcd"',
        "roster_hash = 3",
        'code_hashes = "abcd"',
        'code_hashes = ["abcd"]',
        'code_hashes = ["xyz"]',
        "code_hashes = [3]",
        "same_model_reentries = 1",
        "honest_survivors_min = 1",
        'corrupt = "3"',
        "corrupt = 1.5",
        "corrupt = true",
        "protocols = [1]",
        "purposes = [[]]",
        "[same_model_reentries]\ntraining = -1",
        "[same_model_reentries]\ntraining = 1.5",
    ],
)
def test_a_mistake_in_a_policy_file_is_an_error_and_never_a_weaker_policy(text: str) -> None:
    with pytest.raises(ParameterError, match=r"polic|roster_hash|code_hashes"):
        Policy.from_toml(text)


@pytest.mark.parametrize("value", [np.int64(50_000), 50_000.0, float("nan"), True, "1", None], ids=repr)
@pytest.mark.parametrize("name", ["gamma_ppm", "clients_min", "honest_survivors_min", "entries_max"])
def test_limits_are_whole_numbers(name: str, value: object) -> None:
    """A NaN would pass every comparison, and NumPy's integers wrap in the conditions of committees."""
    with pytest.raises(ParameterError, match=f"{name} is .*; it must be an integer"):
        Policy(**{name: value})  # type: ignore[arg-type]
