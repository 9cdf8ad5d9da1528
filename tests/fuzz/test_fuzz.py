"""A short run of every fuzz target; `python -m tests.fuzz` runs them for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.codec import Message
from tests.fuzz.mutate import inputs
from tests.fuzz.targets import Finding, message_classes, targets

RUNS = {
    "messages": 3000,
    "roster": 3000,
    "sealed": 2000,
    "leaves": 3000,
    "frames": 3000,
    "journal": 3000,
    "ledger": 300,
    "norm": 100,
}


@pytest.mark.parametrize("name", sorted(targets()))
def test_target(name: str) -> None:
    target = targets()[name]
    for data in inputs(1, target.corpus, RUNS[name]):
        target.check(data)


@pytest.mark.assurance
@pytest.mark.parametrize("name", sorted(targets()))
def test_target_for_long(name: str) -> None:
    target = targets()[name]
    for data in inputs(2, target.corpus, 100 * RUNS[name]):
        target.check(data)


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    for target in targets().values():
        if target.name not in ("ledger", "norm"):
            target.check(data)


def test_inputs_follow_from_the_seed() -> None:
    corpus = targets()["roster"].corpus
    assert list(inputs(5, corpus, 50)) == list(inputs(5, corpus, 50))
    assert list(inputs(5, corpus, 50)) != list(inputs(6, corpus, 50))


def test_every_message_has_its_own_tag() -> None:
    assert len(message_classes()) >= 5


def test_a_lax_parser_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = targets()["messages"].corpus[0]
    monkeypatch.setattr(Message, "to_bytes", lambda self: b"other")
    with pytest.raises(Finding, match="does not write"):
        targets()["messages"].check(data)
