"""Attacks that ask again: for more, for something else, in another session, after a crash, with less caution."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privcomp.errors import CodecError, JournalError, ParameterError, PolicyError, RemoteError, StateError
from privcomp.integrations.file_journal import FileJournal
from privcomp.journal import MemoryJournal
from privcomp.keys import Identity
from privcomp.policy import Policy
from privcomp.secagg import MALICIOUS, SECAGGPLUS, SEMI_HONEST, Client, Finished, Params, Segment
from privcomp.secagg.context import KIND_B, KIND_ROOT
from privcomp.secagg.params import VERSION
from tests.secagg.harness import MODEL, OTHER_PURPOSE, TRAINING, Node, World, decode, edit, forge, refused

# ---- 1: both shares of one peer ----


def kinds(messages: list[bytes]) -> dict[int, int]:
    """Owner -> kind of the share that an unmask answer releases."""
    (answer,) = (decode(message) for message in messages)
    found = {share.owner: share.kind for share in answer.shares}
    assert len(found) == len(answer.shares)
    return found


def test_attack_01_both_shares_of_one_peer_in_one_request() -> None:
    """A request names a set U; the answer has one share per peer: of b inside of U, of the mask root outside."""
    world = World(6, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask", {5: "mask"})
    place = {i: round.server.directory.place[world[i].id] for i in range(6)}
    answer = kinds(world[0].receive(round.request(0)))
    assert answer == {place[i]: KIND_B for i in (1, 2, 3, 4)} | {place[5]: KIND_ROOT}
    round.finish({5: "mask"})


def test_attack_01_both_shares_of_one_peer_in_two_requests() -> None:
    """First with the peer inside of U, then outside: the second one is refused; a repeat gets the same bytes."""
    world = World(6, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask")
    first = world[0].receive(round.request(0))
    for survivors in (range(5), [0, 2, 3, 4, 5]):
        with refused(world[0], JournalError, "answered for another request"):
            world[0].receive(round.unmask_request(survivors))
    assert world[0].receive(round.request(0)) == first
    round.finish()


def test_attack_01_both_shares_of_one_peer_after_a_restart(tmp_path: Path) -> None:
    """The journal on disk remembers what a new process does not."""
    world = World(
        6, adversary=SEMI_HONEST, journal=lambda party, public: FileJournal.create(tmp_path / party.decode(), public)
    )
    round = world.round().run_to("unmask")
    first = world[0].receive(round.request(0))
    for _ in range(2):
        world[0].journal.close()  # type: ignore[attr-defined]
        world[0].journal = FileJournal(tmp_path / world[0].id.decode(), world[0].identity.public)
        world[0].restart()
        with refused(world[0], JournalError, "answered for another request"):
            world[0].receive(round.unmask_request(range(5)))
        assert world[0].receive(round.request(0)) == first
    round.finish()


def test_attack_01_both_shares_of_one_peer_from_a_copy_of_the_state() -> None:
    """Neither a used state, nor a copy of it that was made before, answers for another U."""
    world = World(6, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask")
    node, other = world[0], round.unmask_request(range(5))
    used, copied = node.state, node.client.restore(round.server.context.digest)
    node.receive(round.request(0))
    with refused(node, StateError, "used already"):
        node.client.unmask(used, other)  # type: ignore[arg-type]
    with refused(node, JournalError, "in the journal already"):
        node.client.unmask(copied, other)  # type: ignore[arg-type]
    round.finish()


# ---- 6: replays of another round ----


def test_attack_06_replay_of_another_round_s_messages_to_the_server() -> None:
    """Keys, bundles, masked inputs, signatures and shares of round 1 are nothing in round 2."""
    world = World(5)
    old = world.round(1)
    old.finish()
    new = world.round(2, model=b"the next model")
    while new.stage != "done":
        for party in world.ids:
            for message in old.sent[new.stage, party]:
                with pytest.raises(RemoteError, match="belongs to another round") as caught:
                    new.server.receive(message, party)
                assert caught.value.party == party
                # With the round's digest written over it, the signature is over something else.
                moved = edit(message, round_digest=new.server.context.digest)
                if "payload" in dir(decode(message)):
                    continue  # a block alone is not signed: its upload's last message is
                with pytest.raises(RemoteError):
                    new.server.receive(moved, party)
        if new.stage == "unmask":
            break
        new.step()
    new.finish()


def test_attack_06_replay_of_another_round_s_requests_to_a_client() -> None:
    """Old keys and old bundles do not pass for new ones; an old request gets the old bytes or nothing."""
    world = World(5)
    old = world.round(1).run_to("share")
    old_list = old.request(0)
    old.run_to("mask")
    old_bundles = decode(old.request(0)).bundles
    old.finish()
    new = world.round(2, model=b"the next model").run_to("share")
    with refused(world[0], RemoteError, "own entry is missing from the key list, or was changed"):
        world[0].receive(edit(old_list, round_digest=new.server.context.digest))
    mixed = (decode(new.request(0)).entries[0], *decode(old_list).entries[1:])
    with refused(world[0], RemoteError, "belongs to another round"):
        world[0].receive(edit(new.request(0), entries=mixed))
    new.run_to("mask")
    with refused(world[0], RemoteError, "cannot be opened"):
        world[0].receive(edit(new.request(0), bundles=old_bundles))
    sent_then = list(world[0].client.receive(None, old_list)[1])
    assert sent_then == old.sent["share", world[0].id]
    new.finish()


def test_attack_06_replay_within_a_round_changes_nothing() -> None:
    """Every message twice, requests and answers: one sum, exact."""
    world = World(5, segments=(Segment.ring(20, 200),), block_entries=64)
    round = world.round()
    while True:
        for party, request in round.requests.items():
            first = round.nodes[party].receive(request)
            assert round.nodes[party].receive(request) == first
            for message in (*first, *first, *reversed(first)):
                round.server.receive(message, party)
        if round.stage == "unmask":
            break
        round.requests = dict(round.server.advance())
    round.check(round.server.result())
    # A late message of a closed stage is refused once it is not a verbatim repeat.
    with pytest.raises(RemoteError, match="second, different message"):
        round.server.receive(edit(round.nodes[world.ids[0]].receive(round.server.announcement)[0], b_hash=bytes(32)))


# ---- 22: downgrade ----


def downgrades() -> list[tuple[str, dict[str, Any], Policy, str]]:
    """(what is asked for, changed params, policy of the node, text of the refusal)."""
    default = Policy(corrupt=1)
    return [
        ("semi-honest", {"adversary": SEMI_HONEST}, default, "trusts the server"),
        ("older version", {"version": VERSION - 1}, default, f"version {VERSION - 1}"),
        ("newer version", {"version": VERSION + 1}, default, f"version {VERSION + 1}"),
        ("smaller t", {"threshold": 3}, default, "least allowed is 5"),
        ("t below the policy's", {}, Policy(corrupt=1, threshold_min=6), "threshold"),
        ("smaller c", {"corrupt": 0}, default, "c = 0 corrupt clients; allowed: at least 1"),
        ("larger n", {"clients": 9}, Policy(corrupt=1, clients_max=8), r"up to 9 clients; allowed: 3\.\.8"),
        (
            "other protocol",
            {"protocol": SECAGGPLUS, "adversary": SEMI_HONEST},
            Policy(protocols=("bonawitz",), adversary=SEMI_HONEST),
            "protocol 'secaggplus'",
        ),
        ("unknown protocol", {"protocol": "plain"}, default, "protocol 'plain'"),
        ("unknown adversary", {"adversary": "none"}, default, "adversary 'none'"),
        ("other cipher", {"cipher": 1}, Policy(corrupt=1, ciphers=(2,)), "cipher 1"),
        ("unknown cipher", {"cipher": 3}, default, "cipher 3"),
        ("no ML-KEM", {}, Policy(corrupt=1, require_hybrid=True), "X25519 alone"),
        ("longer vector", {}, Policy(corrupt=1, entries_max=4), "4 entries"),
        ("larger attachment", {"attachment_bytes": 65}, Policy(corrupt=1, attachment_max=64), "64 bytes"),
        ("fewer honest survivors", {"honest_survivors": 1}, default, "one honest addend"),
    ]


@pytest.mark.parametrize(("changes", "policy", "text"), [pytest.param(*row[1:], id=row[0]) for row in downgrades()])
def test_attack_22_downgrade(changes: dict[str, Any], policy: Policy, text: str) -> None:
    """What the run config asks for is measured against the node's policy; nothing is signed or journaled below it."""
    world = World(7, corrupt=1)
    honest = world.round()
    announce = decode(honest.server.announcement)
    world[0].restart(policy=policy)
    request = replace(announce, params=forge(Params, world.params, **changes).to_bytes()).to_bytes()
    if "t below" in text or text == "threshold":  # t follows from n: known with the key list
        honest.run_to("share")
        request = honest.request(0)
    with refused(world[0], PolicyError, text):
        world[0].receive(request)
    world[0].restart(policy=Policy(corrupt=1))
    honest.finish()


@pytest.mark.parametrize("change", [{"purpose": "debugging"}, {"roster_hash": bytes(32)}, {"roster_hash": b"\1" * 32}])
def test_attack_22_other_purpose_or_roster(change: dict[str, Any]) -> None:
    """Purposes are a closed list, and the roster is the one that the node holds."""
    world = World(5)
    honest = world.round()
    with refused(world[0], PolicyError, "purpose 'debugging'" if "purpose" in change else "another roster"):
        world[0].receive(replace(decode(honest.server.announcement), **change).to_bytes())
    honest.finish()


def test_attack_22_malicious_mode_needs_a_roster() -> None:
    """Without a roster nobody can count signatures: the session is semi-honest, if the node allows it."""
    world = World(5)
    without = World(5, with_roster=False)
    with pytest.raises(ParameterError, match="needs a roster"):
        without.round()
    alone = Node(
        b"client-000",
        Identity.from_seed(bytes(32)),
        Policy(),
        None,
        MemoryJournal(Identity.from_seed(bytes(32)).public),
    )
    with refused(alone, PolicyError, "malicious-server session without a roster"):
        alone.receive(world.round().server.announcement)
    open_world = World(5, with_roster=False, adversary=SEMI_HONEST)
    with refused(alone, PolicyError, "trusts the server"):
        alone.receive(open_world.round().server.announcement)
    open_world.round().finish()
    pinned = Policy(corrupt=0, roster_hash=bytes(32))
    with pytest.raises(PolicyError, match="not the one that this node's policy pins"):
        Client(world[0].id, world[0].identity, pinned, world[0].journal, world.roster)


# ---- 23: rollback, two processes, two different answers ----


class Rollback:
    """A MemoryJournal's two halves, as an attacker (or a backup) restores one of them."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.journal = journal
        self.saved = (
            list(journal._entries),
            dict(journal._index),
            dict(journal._answers),
            dict(journal._round_secrets),
        )

    def journal_alone(self) -> None:
        self.journal._entries, self.journal._index = list(self.saved[0]), dict(self.saved[1])

    def secrets_alone(self) -> None:
        self.journal._round_secrets = dict(self.saved[3])


@pytest.mark.parametrize("half", ["journal_alone", "secrets_alone"])
@pytest.mark.parametrize("stage", ["share", "mask", "consistency", "unmask"])
def test_attack_23_rollback_of_secrets_or_journal_alone(half: str, stage: str) -> None:
    """One half restored from before the last answer no longer fits the other: the client sits the round out."""
    world = World(6)
    round = world.round().run_to(stage)
    node = world[0]
    assert isinstance(node.journal, MemoryJournal)
    before = Rollback(node.journal)
    round.step()
    if (stage, half) == ("unmask", "journal_alone"):
        # The round is over and its secrets are gone: nothing is left with which it could be answered again.
        before.journal_alone()
        node.restart()
        with pytest.raises(JournalError, match="this round is over for this client"):
            node.receive(round.unmask_request(range(5)))
        return
    getattr(before, half)()
    node.restart()
    request = round.unmask_request(range(6)) if stage in ("consistency", "unmask") else round.request(0)
    if half == "secrets_alone" and stage == "unmask":
        request = round.unmask_request(range(5))
    with pytest.raises(JournalError):
        node.receive(request)


def test_attack_23_journal_rolled_back_to_before_the_round() -> None:
    """With the round's secrets still there, a journal that does not know the round was rolled back: no second start."""
    world = World(6)
    round = world.round()
    node = world[0]
    assert isinstance(node.journal, MemoryJournal)
    before = Rollback(node.journal)
    round.run_to("consistency")
    before.journal_alone()
    node.restart()
    with refused(node, JournalError, "do not match"):
        node.receive(round.server.announcement)


def test_attack_23_two_inputs_under_the_same_masks() -> None:
    """One masked input per round: another U2 is refused, another update under the same request gives the old bytes."""
    world = World(7)
    round = world.round().run_to("mask")
    node, request = world[0], round.request(0)
    sent = node.receive(request)
    original = node.vectors
    node.vectors = world.draw()
    assert node.receive(request) == sent
    node.restart()
    assert node.receive(request) == sent
    fewer = decode(request)
    with refused(node, JournalError, "answered for another request"):
        node.receive(replace(fewer, u2=round.bits(range(6)), bundles=fewer.bundles[:5]).to_bytes())
    node.vectors = original
    round.finish()


def test_attack_23_two_inputs_from_a_used_state_or_a_copy() -> None:
    """Calling the step itself with a used state or a copy of it does not mask twice."""
    world = World(5)
    round = world.round().run_to("mask")
    node, request = world[0], round.request(0)
    used, copied = node.state, node.client.restore(round.server.context.digest)
    node.receive(request)
    with refused(node, StateError, "used already"):
        node.client.mask(used, request, node.contribute)  # type: ignore[arg-type]
    with refused(node, JournalError, "in the journal already"):
        node.client.mask(copied, request, node.contribute)  # type: ignore[arg-type]
    round.finish()


def test_attack_23_two_bundles() -> None:
    """Shares are dealt once: a second key list in the round is refused, the same one gets the same bytes."""
    world = World(6)
    round = world.round().run_to("share")
    node, request = world[0], round.request(0)
    sent = node.receive(request)
    shorter = edit(request, entries=lambda entries: entries[:5])
    for _ in range(2):
        with refused(node, JournalError, "answered for another request"):
            node.receive(shorter)
        assert node.receive(request) == sent
        node.restart()
    round.finish()


def test_attack_23_two_announcements_of_one_round() -> None:
    """The same (session, round) with other parameters is refused; verbatim, it gets the same keys."""
    world = World(5)
    round = world.round()
    sent = world[0].receive(round.request(0))
    other = world.round(params=replace(world.params, cipher=2))
    with refused(world[0], JournalError, "announced with other parameters"):
        world[0].receive(other.request(0))
    world[0].restart()
    assert world[0].receive(round.request(0)) == sent
    round.finish()


# ---- 24: the same model again ----


def test_attack_24_abort_and_retry_without_one_client() -> None:
    """A finished round, then one more without client 5 on the same model: the difference is client 5's update."""
    world = World(6)
    world.round(1).finish()
    again = world.round(2, among=range(5))
    for i in range(5):
        with refused(world[i], JournalError, r"answered 1 round\(s\) on this very model"):
            world[i].receive(again.request(i))
    world.round(3, model=b"the next model").finish()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"session": b"\1" * 32}, id="another session"),
        pytest.param({"purpose": OTHER_PURPOSE}, id="another purpose"),
        pytest.param({"session": b"\2" * 32, "purpose": OTHER_PURPOSE}, id="another session and purpose"),
    ],
)
def test_attack_24_the_same_model_in_another_session_or_purpose(options: dict[str, Any]) -> None:
    """The rule counts model hashes, not sessions or purposes."""
    world = World(6)
    world.round(1).finish()
    with refused(world[0], JournalError, "on this very model"):
        world[0].receive(world.round(2, **options).request(0))
    with refused(world[0], JournalError, "older rounds are closed"):
        world[0].receive(world.round(1, session=b"\3" * 32).request(0))
    world.round(2, model=b"the next model").finish()


ERASURE = pytest.mark.parametrize("erased", [True, False], ids=["secrets erased", "erasure lost to a crash"])


def _closed(erased: bool, patch: pytest.MonkeyPatch) -> str:
    """The refusal of a closed round: its secrets are gone; where a crash kept them, rule 6 itself refuses."""
    if not erased:
        patch.setattr(Client, "_close_older", lambda *_: None)
    return "this round is over for this client" if erased else "masked in round 2: older rounds are closed"


@ERASURE
def test_attack_24_two_rounds_on_one_model_both_brought_to_the_last_stage(
    erased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody masks and signs in two rounds before the server asks either to be opened.

    Masking in the newer round closes the older one for ever, so that each model hash has one answered survivor set.
    """
    closed = _closed(erased, monkeypatch)
    world = World(6)
    first = world.round(1).run_to("unmask")
    second = world.round(2, among=range(5)).run_to("unmask")
    for i in range(5):
        assert (first.server.context.digest in world[i].journal.open_rounds()) is not erased
        with refused(world[i], JournalError, closed):
            world[i].receive(first.request(i))
    # Client 5 alone may still answer round 1; t are needed.
    world[5].receive(first.request(5))
    with pytest.raises(RemoteError, match="shares of"):
        first.server.result()
    second.finish()
    for i in range(5):
        with refused(world[i], JournalError, closed):
            world[i].receive(first.request(i))


def test_attack_24_two_rounds_the_older_one_answered_first() -> None:
    """Begun in both, answered in the older one: the newer one is not masked any more."""
    world = World(6)
    first = world.round(1).run_to("unmask")
    second = world.round(2).run_to("mask")
    first.finish()
    for i in range(6):
        with refused(world[i], JournalError, "on this very model"):
            world[i].receive(second.request(i))


@ERASURE
def test_attack_24_a_round_that_went_back(erased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Round numbers grow per model: an older number is not masked after a newer one."""
    closed = _closed(erased, monkeypatch)
    world = World(5)
    old = world.round(1).run_to("mask")
    world.round(2).run_to("consistency")
    with refused(world[0], JournalError, closed):
        world[0].receive(old.request(0))
    with refused(world[0], JournalError, "older rounds are closed"):
        world[0].receive(world.round(2, session=b"\1" * 32).request(0))


def test_attack_24_a_stalled_round_is_finished_by_the_same_survivor_set() -> None:
    """Allowed: the same U again, with other signatures of its quorum, gets the same bytes, also after a restart."""
    world = World(6)
    round = world.round().run_to("unmask")
    first = world[0].receive(round.request(0))
    message = decode(round.request(0))
    other_quorum = replace(message, quorum=message.quorum[1:]).to_bytes()
    assert world[0].receive(other_quorum) == first
    world[0].restart()
    assert world[0].receive(other_quorum) == first
    round.finish()


@pytest.mark.parametrize(("gamma", "delta"), [(499_999, 499_999), (350_000, 350_000), (1, 500_000)])
def test_announced_fractions_that_would_cost_unbounded_work_are_refused_at_once(gamma: int, delta: int) -> None:
    """An unsigned announcement cannot keep a client busy: gamma + delta beyond one half is refused unread."""
    world = World(5)
    announce = decode(world.round().server.announcement)
    params = forge(
        Params,
        world.params,
        protocol="secaggplus",
        adversary=SEMI_HONEST,
        clients=1 << 20,
        gamma_ppm=gamma,
        delta_ppm=delta,
    )
    start = time.process_time()
    with refused(world[0], PolicyError, "must not exceed one half"):
        world[0].receive(replace(announce, params=params.to_bytes()).to_bytes())
    assert time.process_time() - start < 1


def test_attack_22_a_pinned_roster_and_no_roster() -> None:
    """A policy that pins a roster is not met by having none."""
    node = World(5)[0]
    policy = Policy(adversary=SEMI_HONEST, roster_hash=b"\1" * 32)
    for roster in (None, node.roster):
        with pytest.raises(PolicyError, match="not the one that this node's policy pins"):
            Client(node.id, node.identity, policy, node.journal, roster)
    assert node.roster is not None
    pinned = replace(policy, roster_hash=node.roster.hash)
    Client(node.id, node.identity, pinned, node.journal, node.roster)


@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("adversary", [SEMI_HONEST, MALICIOUS])
def test_a_finished_round_holds_no_secret(hybrid: bool, adversary: str) -> None:
    """After the answer neither the state nor the journal has anything that opens a bundle or a mask."""
    world = World(5, hybrid=hybrid, adversary=adversary)
    round = world.round().run_to("unmask")
    held = [
        {getattr(node.secrets, name) for name in ("channel", "channel_kem", "root", "b")} - {b""}
        for node in world.nodes
    ]
    round.finish()
    for node, secrets in zip(world.nodes, held, strict=True):
        assert isinstance(node.state, Finished)
        kept = node.secrets.to_bytes()
        assert not any(secret in kept for secret in secrets)
        assert (node.secrets.held, node.secrets.pairs) == ((), ())
        assert not node.journal.open_rounds()


def test_a_step_that_failed_after_its_entry_is_answered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry is written, what follows fails: the repeat sends the stored answer and the next stage goes on."""
    world = World(5)
    round = world.round()
    node = world[0]

    def fails(*_: Any) -> Any:
        raise JournalError("the disk is full")

    for stage in ("advertise", "share", "mask", "consistency"):
        round.run_to(stage)
        with monkeypatch.context() as patch:
            patch.setattr(node.journal, "answer", fails)
            with pytest.raises(JournalError, match="the disk is full"):
                node.receive(round.request(0))
    assert world[0].id in round.finish().survivors


def test_attack_24_reentries_are_counted_per_purpose() -> None:
    """A node may grant more releases on one model, for a named purpose and a number of times."""
    policy = Policy(corrupt=0, same_model_reentries=((OTHER_PURPOSE, 1),))
    world = World(5, policy=policy)
    world.round(1).finish()
    with refused(world[0], JournalError, "on this very model"):
        world[0].receive(world.round(2).request(0))
    world.round(3, purpose=OTHER_PURPOSE).finish()
    for purpose in (TRAINING, OTHER_PURPOSE):
        with refused(world[0], JournalError, "on this very model"):
            world[0].receive(world.round(4, purpose=purpose).request(0))


def test_attack_12_subset_difference_on_the_same_model() -> None:
    """S and S without i on one model: refused by whoever answered the first, so fewer than t + 1 are left to ask."""
    world = World(7)
    world.round(1).finish({6: "share"})
    again = world.round(2, among=range(5))
    answered = 0
    for i in range(5):
        try:
            world[i].receive(again.request(i))
            answered += 1
        except JournalError:
            pass
    assert answered == 0


# ---- 34: a server that restarts ----


def test_attack_34_server_restarts_and_announces_a_finished_round_again() -> None:
    """The same announcement gets the same keys; from there on only the finished round's own requests are answered."""
    world = World(5)
    finished = world.round(1)
    finished.finish()
    again = world.round(1)
    assert again.server.context.digest == finished.server.context.digest
    for i in range(4):
        assert world[i].receive(again.request(i)) == finished.sent["advertise", world[i].id]
        again.server.receive(world[i].receive(again.request(i))[0])
    again.requests = dict(again.server.advance())
    for i in range(4):
        with refused(world[i], JournalError, "answered for another request"):
            world[i].receive(again.request(i))


def test_attack_34_server_that_lost_its_memory_finishes_the_round() -> None:
    """With everybody there again the requests are the same bytes, so are the answers, and the sum is the same."""
    world = World(5)
    lost = world.round(1).run_to("unmask")
    again = world.round(1)
    first = again.finish()
    assert (first.survivors, lost.server.u_bitmap) == (tuple(world.ids), again.server.u_bitmap)


# ---- the order of stages, and garbage ----


def test_requests_out_of_order_are_refused() -> None:
    """A stage that does not follow is refused, and the round goes on."""
    world = World(5)
    round = world.round()
    with refused(world[0], StateError, "not in; begin with stage 0"):
        world[0].receive(edit(World(5).round().run_to("share").request(0), round_digest=round.server.context.digest))
    round.run_to("share")
    ahead = World(5).round().run_to("unmask")
    digest = round.server.context.digest
    with refused(world[0], RemoteError, "does not follow Advertised"):
        world[0].receive(edit(ahead.request(0), round_digest=digest))
    round.run_to("mask")
    with refused(world[0], RemoteError, "does not follow Shared"):
        world[0].receive(round.unmask_request(range(5)) if round.server.u2_bitmap else b"")
    round.finish()


def test_garbage_is_refused_by_name() -> None:
    """What is no message is the server's fault, and costs nothing."""
    world = World(5)
    round = world.round().run_to("share")
    for junk in (b"", b"PC", bytes(100), round.request(0)[:-1], round.request(0) + b"\0"):
        with refused(world[0], CodecError, ".") as caught:
            world[0].receive(junk)
        assert caught.value.party == b"server"  # type: ignore[attr-defined]
    round.finish()


def test_states_and_clients_show_no_secret() -> None:
    """repr() of everything that a log might print."""
    world = World(4, adversary=MALICIOUS)
    round = world.round().run_to("consistency")
    secrets = world[0].secrets
    shown = repr((world[0].state, secrets, world[0].client, secrets.pairs, copy.copy(world[0].contribute(MODEL))))
    for secret in (secrets.root, secrets.b, secrets.channel):
        assert secret.hex() not in shown
        assert repr(secret)[2:20] not in shown
    assert "redacted" in shown
    round.finish()
