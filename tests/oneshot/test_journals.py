"""Roles on journals in files, and the committee in a policy file."""

from __future__ import annotations

from pathlib import Path

import pytest

from privcomp.errors import JournalError, ParameterError
from privcomp.integrations.file_journal import FileJournal
from privcomp.policy import CommitteePolicy, Policy
from tests.oneshot.harness import World, refused


def test_a_round_on_file_journals_with_every_process_restarted_between_stages(tmp_path: Path) -> None:
    folders: dict[bytes, Path] = {}

    def create(public: bytes) -> FileJournal:
        folders[public] = tmp_path / public.hex()[:16]
        return FileJournal.create(folders[public], public)

    world = World(n=4, c=4, packing=1, journal=create)
    round = world.round()

    def reopen() -> None:
        for node in (*world.clients, *world.members):
            node.journal.close()  # type: ignore[attr-defined]
            node.journal = FileJournal(folders[node.identity.public], node.identity.public)
            node.restart()

    for stage in ("upload", "accept", "vote", "answer"):
        round.run_to(stage)
        reopen()
        for node in world.members:
            for request in round.server.catch_up(node.id)[:-1]:
                node.receive(request)
    aggregate = round.finish()
    assert len(aggregate.survivors) == 4
    reopen()
    node = world.members[0]
    with refused(node, JournalError, "signed or answered another set"):
        node.receive(round.proposal(round.survivors(range(3))))
    secrets = [path for folder in folders.values() for path in (folder / "secrets").iterdir()]
    assert not secrets
    for node in (*world.clients, *world.members):
        node.journal.close()  # type: ignore[attr-defined]


def test_a_client_keeps_the_uploads_of_its_newest_rounds(tmp_path: Path) -> None:
    """Otherwise megabytes a round stay on its disk. That an older one was sent stays written down."""

    def create(public: bytes) -> FileJournal:
        return FileJournal.create(tmp_path / public.hex()[:16], public)

    world = World(n=3, c=4, packing=1, length=40_000, journal=create, policy={"open_rounds_max": 2})
    node = world.clients[0]
    answers = tmp_path / node.identity.public.hex()[:16] / "answers"
    sent: list[tuple[bytes, list[bytes]]] = []
    for number in range(1, 6):
        round = world.round(number, model=b"model %d" % number)
        round.run_to("upload")
        request = round.requests[node.id]
        round.finish()
        sent.append((request, round.sent["upload", node.id]))
        assert len([path for path in answers.iterdir() if path.stat().st_size > 1 << 16]) == min(number, 2)
    for request, messages in sent[-2:]:
        assert node.receive(request) == messages
    for request, _ in sent[:-2]:
        with refused(node, JournalError, "the stored answer is gone"):
            node.receive(request)
    for each in (*world.clients, *world.members):
        each.journal.close()  # type: ignore[attr-defined]


def test_a_policy_file_names_the_committee() -> None:
    text = f"""
        protocols = ["oneshot"]
        [committee]
        members = [["hospital-ä", "{"11" * 32}"], ["hospital-b", "{"22" * 32}"]]
        privacy_min = 2
        key_holder = ["broker", "{"33" * 32}"]
        beacon = "beac"
        security_min = 130
        survivors_min = 20
    """
    policy = Policy.from_toml(text).committee
    assert policy.members == (("hospital-ä".encode(), b"\x11" * 32), (b"hospital-b", b"\x22" * 32))
    assert (policy.privacy_min, policy.beacon, policy.security_min, policy.survivors_min) == (2, b"\xbe\xac", 130.0, 20)
    assert policy.key_holder == (b"broker", b"\x33" * 32)
    assert Policy().committee == CommitteePolicy() == CommitteePolicy((), None, None, b"")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("privacy = 2", "unknown key 'privacy'"),
        ("privacy_min = 0", "let every single member read every key"),
        ('privacy_min = "2"', "must be a whole number"),
        ("security_min = 100", "at least 128"),
        ("survivors_min = 1", "a single client's update"),
        ('members = [["a", "11"]]', "32 bytes"),
        ('members = ["a"]', "committee"),
        ('beacon = "xyz"', "committee"),
        ("bits_max = 0", "at least 1"),
    ],
)
def test_a_policy_file_with_a_mistake_is_refused(line: str, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        Policy.from_toml(f"[committee]\n{line}\n")
    with pytest.raises(ParameterError):
        Policy.from_toml("committee = 3\n")
