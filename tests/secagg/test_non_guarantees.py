"""What secure aggregation does *not* promise, each shown to happen, so that nobody relies on the opposite."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import privcomp.secagg.client as client_module
from privcomp.errors import RemoteError, RoundAborted
from privcomp.journal import MemoryJournal
from privcomp.policy import DEFAULT_PURPOSES
from privcomp.secagg import SEMI_HONEST, Segment
from privcomp.secagg.context import segment_seeds
from tests.secagg.harness import World, decode


def test_non_guarantee_a_client_that_masks_something_else_spoils_the_sum_unnamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong masks under a valid signature: the sum is wrong and nobody is named (only proofs would change that)."""
    world = World(5, segments=(Segment.ring(32, 5),))
    round = world.round().run_to("mask")
    with monkeypatch.context() as patch:
        patch.setattr(client_module, "segment_seeds", lambda *args: segment_seeds(*args) ^ np.uint8(1))
        for message in world[0].receive(round.request(0)):
            round.server.receive(message)
    del round.requests[world[0].id]
    round.run_to("unmask")
    round.collect()
    result = round.server.result()
    assert world[0].id in result.survivors
    assert not result.faulty
    with pytest.raises(AssertionError):
        round.check(result)


def test_non_guarantee_a_client_that_lies_about_its_input_is_believed() -> None:
    """Any vector is a legitimate input here: ranges and norms need proofs."""
    world = World(5)
    world[0].vectors = (np.full(5, 0xFFFFFFFF, dtype=np.uint32),)
    assert world[0].id in world.round().finish().survivors


def test_non_guarantee_a_slightly_changed_model_evades_rule_6() -> None:
    """One bit of the model differs, the update does not: the difference is client 5's update. Only DP bounds this."""
    world = World(6)
    with_victim = world.round(1, model=b"model, version 1").finish()
    without = world.round(2, model=b"model, version 2", among=range(5)).finish()
    difference = with_victim.sums[0] - without.sums[0]
    assert (difference == world[5].vectors[0]).all()


def test_non_guarantee_a_changed_statistics_request_evades_rule_6() -> None:
    """In a statistics round the model bytes are the server's request: one more blank is another request with the same
    answers, and the difference of the two sums is client 5's. Rule 6 counts hashes; only DP, or a node that answers a
    list of known requests, bounds this.
    """
    statistics = "statistics"
    assert statistics in DEFAULT_PURPOSES
    world = World(6)
    with_victim = world.round(1, purpose=statistics, model=b'{"statistic": "mean"}').finish()
    without = world.round(2, purpose=statistics, model=b'{"statistic":  "mean"}', among=range(5)).finish()
    assert (with_victim.sums[0] - without.sums[0] == world[5].vectors[0]).all()


def test_non_guarantee_one_crafted_model_for_everybody_is_aggregated() -> None:
    """A model that makes updates leak (gradient suppression) is a model: consistent, hashed, trained on."""
    assert len(World(5).round(model=b"crafted so that only one client's gradient is not zero").finish().survivors) == 5


def test_non_guarantee_a_client_that_always_drops_denies_service() -> None:
    """n = 4, c = 1 tolerates no loss: whoever stays away after stage 1 ends every round, typed and without a leak."""
    world = World(4, corrupt=1)
    for number in range(1, 4):
        round = world.round(number, model=b"model %d" % number)
        with pytest.raises(RoundAborted, match="nothing was opened"):
            round.finish({3: "mask"})


def test_non_guarantee_a_bundle_that_does_not_open_denies_service() -> None:
    """A colluder that deals garbage is named by every recipient, but no honest client masks beside it."""
    world = World(5)
    round = world.round().run_to("share")
    honest = decode(world[4].receive(round.request(4))[0])
    garbage = tuple(type(b)(b.peer, bytes(len(b.sealed)), b.ciphertext, b.pair) for b in honest.bundles)
    round.server.receive(round.resign(4, _with(honest, bundles=garbage), "share"))
    del round.requests[world[4].id]
    round.run_to("mask")
    for i in range(4):
        with pytest.raises(RemoteError, match="cannot be opened") as caught:
            world[i].receive(round.request(i))
        assert caught.value.party == world[4].id
    with pytest.raises(RoundAborted):
        round.server.advance()


def _with(message: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(message, **changes)


def test_non_guarantee_a_whole_machine_rolled_back_inside_one_round() -> None:
    """Journal *and* secrets restored together from one moment: the client cannot know what it has sent since.

    Here it answers for two survivor sets and hands out both shares of client 5.
    """
    world = World(6, adversary=SEMI_HONEST)
    round = world.round().run_to("unmask")
    node = world[0]
    assert isinstance(node.journal, MemoryJournal)
    kept = ("_entries", "_index", "_answers", "_round_secrets")
    backup = {name: copy.copy(getattr(node.journal, name)) for name in kept}
    first = decode(node.receive(round.request(0))[0])
    for name in kept:
        setattr(node.journal, name, backup[name])
    node.restart()
    second = decode(node.receive(round.unmask_request(range(5)))[0])
    victim = round.server.directory.place[world[5].id]
    kinds = [{s.owner: s.kind for s in answer.shares}[victim] for answer in (first, second)]
    assert kinds == [0, 1]


def test_non_guarantee_an_old_backup_across_rounds_is_harmless_for_keys_but_forgets_models() -> None:
    """A backup of yesterday draws fresh keys in every new round; what it answered since, it does not know."""
    world = World(5)
    node = world[0]
    assert isinstance(node.journal, MemoryJournal)
    kept = ("_entries", "_index", "_answers", "_round_secrets")
    world.round(1, model=b"model 1").finish()
    backup = {name: copy.copy(getattr(node.journal, name)) for name in kept}
    second = world.round(2, model=b"model 2")
    second.finish()
    used = decode(second.sent["advertise", node.id][0])
    for name in kept:
        setattr(node.journal, name, copy.copy(backup[name]))
    node.restart()
    fresh = decode(node.receive(second.server.announcement)[0])
    assert {fresh.channel_key, fresh.mask_key}.isdisjoint({used.channel_key, used.mask_key})


def test_non_guarantee_membership_and_sizes_are_public() -> None:
    """Who took part, who was lost, and how long the vector is, the server sees."""
    result = World(6).round().finish({2: "mask"})
    assert len(result.survivors) == 5
    assert len(result.u2) == 6
