"""Attacks on what travels: masks that are not masks, sizes that lie, and what travels beside the masked vector."""

from __future__ import annotations

import threading
import tracemalloc
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from privcomp._core import AES128_CTR, CHACHA20
from privcomp.codec import Message
from privcomp.errors import BufferTypeError, CodecError, EncodingError, LocalError, ParameterError
from privcomp.secagg import Params, Segment
from privcomp.secagg import messages as m
from privcomp.secagg.context import masked_blocks, segment_seeds
from tests.secagg.harness import ELL, World, decode, refused, residue

# ---- 14: contributions (floats and weights: tests/test_encoding.py) ----

GOOD = np.arange(5, dtype=np.int64)


@pytest.mark.parametrize(
    "vectors",
    [
        (GOOD.astype(np.float64),),
        (GOOD.astype(np.float16),),
        (GOOD.astype(np.int32),),
        (GOOD.astype(">i8"),),
        (GOOD.astype(object),),
        (GOOD.astype(bool),),
        (GOOD[:4],),
        (GOOD[:0],),
        (GOOD.reshape(1, 5),),
        (np.int64(3),),
        (GOOD, GOOD),
        (),
    ],
    ids=lambda v: f"{len(v)}x{getattr(v[0], 'dtype', '?')}{getattr(v[0], 'shape', '')}" if v else "none",
)
def test_attack_14_contributions_of_another_shape_or_type(vectors: tuple[Any, ...]) -> None:
    """Refused before anything is sent; the right vector goes through afterwards."""
    world = World(4)
    round = world.round().run_to("mask")
    original, world[0].vectors = world[0].vectors, vectors
    with refused(world[0], EncodingError, "vectors for 1 announced segments|a vector of dtype|NumPy arrays are needed"):
        world[0].receive(round.request(0))
    world[0].vectors = original
    round.finish()


def test_attack_14_strided_and_read_only_vectors_are_taken_as_they_are() -> None:
    """Inputs are read, never written, whatever their layout; negative numbers are residues."""
    world = World(4)
    wide = np.arange(-10, 10, dtype=np.int64)
    wide.setflags(write=False)
    for i, view in enumerate((wide[::4], wide[::-4], wide[3:8])):
        world[i].vectors = (view,)
    before = wide.copy()
    world.round().finish()
    assert (wide == before).all()


@pytest.mark.parametrize("bad", [ELL, ELL + 1, 2**256 - 1])
def test_attack_14_residues_beyond_the_prime(bad: int) -> None:
    """A residue of a prime segment is canonical, else nothing is sent and nothing lost."""
    world = World(4, segments=(Segment.prime(ELL, 2),))
    round = world.round().run_to("mask")
    original = world[0].vectors
    world[0].vectors = (np.array([list(bytes(32)), list(bad.to_bytes(32, "little"))], dtype=np.uint8),)
    with refused(world[0], LocalError, "."):
        world[0].receive(round.request(0))
    world[0].vectors = original
    round.finish()


def test_attack_30_attachment_that_was_not_announced() -> None:
    """Bytes beside the masked vector are limited to the announced size; the default is none."""
    world = World(4)
    round = world.round().run_to("mask")
    world[0].attachment = b'{"loss": 0.25, "num_examples": 1713}'
    with refused(world[0], EncodingError, "an attachment of 36 bytes; announced are 0"):
        world[0].receive(round.request(0))
    world[0].attachment = b""
    round.finish()


# ---- 15 and 16: sizes that lie, pickles ----

SERVER_TO_CLIENT = (m.Announce, m.KeyList, m.MaskRequest, m.ConsistencyRequest, m.UnmaskRequest)
CLIENT_TO_SERVER = (m.Advertise, m.BundleMessage, m.UploadBlock, m.UploadEnd, m.UnmaskResponse)


def declaring(cls: type[Message]) -> list[bytes]:
    """Short messages that declare 2^32 - 1 items or bytes in one of their variable fields, and then end."""
    found, body = [], b"PC\x01" + cls.TAG.to_bytes(2, "little")
    for _, codec in cls.FIELDS:
        if type(codec).__name__ in ("Seq", "Blob", "Text"):
            found.append(body + b"\xff\xff\xff\xff")
            body += bytes(4)
        else:
            body += bytes(codec.min_size)
    return found


@pytest.mark.parametrize("cls", [*SERVER_TO_CLIENT, *CLIENT_TO_SERVER], ids=lambda cls: cls.__name__)
def test_attack_15_a_short_message_that_declares_2_to_the_32_items(cls: type[Message]) -> None:
    """The declared size is compared with what is there before anything is allocated."""
    world = World(4)
    round = world.round().run_to("mask")
    messages = declaring(cls)
    assert messages
    for data in messages:
        tracemalloc.start()
        if cls in SERVER_TO_CLIENT:
            with refused(world[0], CodecError, "."):
                world[0].receive(data)
        else:
            with pytest.raises(CodecError):
                round.server.receive(data, world[0].id)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 18
    round.finish()


PICKLE = b"\x80\x04\x8c\x08builtins\x8c\x05print\x93\x8c\x05pwned\x85R."


def test_attack_16_a_pickle_payload_never_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle is no message for client or server; as model or attachment it is bytes and stays bytes."""
    world = World(4, attachment_bytes=64)
    world[1].attachment = PICKLE
    round = world.round(model=PICKLE)
    with refused(world[0], CodecError, "no privcomp message"):
        world[0].receive(PICKLE)
    with pytest.raises(CodecError, match="no privcomp message"):
        round.server.receive(PICKLE, world[0].id)
    round.finish()
    assert capsys.readouterr().out == ""


# ---- 17: mask expansion ----


def mask(secret: bytes, bits: int, entries: int, cipher: int = AES128_CTR) -> np.ndarray[Any, Any]:
    """The mask of one secret over a zero vector, unpacked."""
    from privcomp._core import unpack

    params = Params("bonawitz", "malicious", (Segment.ring(bits, entries),), 0, 3, cipher=cipher, block_entries=1 << 16)
    zeros = np.zeros(entries, dtype=np.uint64)
    seeds = [segment_seeds(params, [secret], 0)]
    payload = b"".join(block for _, _, block in masked_blocks(params, (zeros,), seeds, np.array([False])))
    return unpack(payload, entries, bits, np.uint32 if bits <= 32 else np.uint64)


@pytest.mark.parametrize("cipher", [AES128_CTR, CHACHA20], ids=["AES-128-CTR", "ChaCha20"])
def test_attack_17_every_bit_of_the_seed_counts(cipher: int) -> None:
    """Secrets that differ in one of their 256 bits give unrelated masks, and so do the seeds themselves."""
    entries = 64
    base = bytes(range(32))
    reference = mask(base, 32, entries, cipher)
    params = Params("bonawitz", "malicious", (Segment.ring(32, entries),), 0, 3, cipher=cipher)
    seed = segment_seeds(params, [base], 0)
    zeros = np.zeros(entries, dtype=np.uint32)
    differing = 0
    for bit in range(256):
        other = bytearray(base)
        other[bit // 8] ^= 1 << bit % 8
        changed = mask(bytes(other), 32, entries, cipher) ^ reference
        assert np.count_nonzero(changed) >= entries - 2
        differing += int(np.unpackbits(changed.view(np.uint8)).sum())
        flipped = seed.copy()
        flipped[0, bit // 8 % seed.shape[1]] ^= 1 << bit % 8
        ((_, _, payload),) = masked_blocks(params, (zeros,), [flipped], np.array([False]))
        assert payload != reference.tobytes()
    expected = 256 * entries * 16
    assert abs(differing - expected) < 6 * (256 * entries * 32 / 4) ** 0.5


@pytest.mark.parametrize("bits", [1, 2, 7, 8, 10])
def test_attack_17_every_residue_occurs(bits: int) -> None:
    """Masks are uniform over all residues, the largest included (Flower's stop one short)."""
    count = np.bincount(mask(b"\1" * 32, bits, 200 << bits).astype(np.int64), minlength=1 << bits)
    assert len(count) == 1 << bits
    assert count.min() > 0
    chi2 = ((count - 200.0) ** 2 / 200.0).sum()
    freedom = (1 << bits) - 1
    assert chi2 < freedom + 6 * (2 * freedom) ** 0.5 + 20


def test_attack_17_lanes_are_uniform_below_the_prime() -> None:
    """Masks of a prime segment: 512 bits of stream per entry, so that the bias mod l is below 2^-256."""
    params = Params("bonawitz", "malicious", (Segment.prime(ELL, 2000),), 0, 3)
    seeds = [segment_seeds(params, [b"\1" * 32], 0)]
    zeros = np.zeros((2000, 32), dtype=np.uint8)
    ((_, _, payload),) = masked_blocks(params, (zeros,), seeds, np.array([False]))
    values = [residue(row) for row in np.frombuffer(payload, dtype=np.uint8).reshape(-1, 32)]
    assert max(values) < ELL
    assert max(values) > ELL - ELL // 200
    assert len({value % 16 for value in values}) == 16
    quarters = np.bincount([4 * value // ELL for value in values], minlength=4)
    assert abs(quarters - 500).max() < 130


def test_attack_17_segments_and_rounds_have_unrelated_streams() -> None:
    """Two segments of one upload, and one secret under two ciphers, never share a keystream."""
    params = Params("bonawitz", "malicious", (Segment.ring(32, 64), Segment.ring(32, 64)), 0, 3)
    secret = [b"\1" * 32]
    assert bytes(segment_seeds(params, secret, 0)) != bytes(segment_seeds(params, secret, 1))
    assert not np.array_equal(mask(secret[0], 32, 64), mask(secret[0], 32, 64, CHACHA20))


# ---- 29: sizes that overflow, arrays that change ----


@pytest.mark.parametrize("length", [0, -1, (1 << 40) + 1, 1 << 62, 1 << 64])
def test_attack_29_segment_lengths_that_overflow(length: int) -> None:
    """n * d and counts near 2^64 are refused by the parameters, from whatever side they come."""
    with pytest.raises(ParameterError):
        Segment.ring(32, length)


def test_attack_29_block_counts_that_overflow() -> None:
    """A block index is 32 bits: a segment of more blocks is refused."""
    with pytest.raises(ParameterError, match="2\\^32 blocks or more"):
        Params("bonawitz", "malicious", (Segment.ring(32, 1 << 40),), 0, 3, block_entries=64)


def test_attack_29_announced_sizes_are_bounded_by_the_policy() -> None:
    """A server cannot make a client allocate or compute without limit: the policy bounds the vector."""
    world = World(4)
    announce = decode(world.round().server.announcement)
    huge = replace(world.params, segments=(Segment.ring(64, 1 << 40),)).to_bytes()
    with refused(world[0], LocalError, "a longer vector"):
        world[0].receive(replace(announce, params=huge).to_bytes())
    many = replace(world.params, segments=tuple(Segment.ring(8, 1 << 27) for _ in range(33))).to_bytes()
    with refused(world[0], LocalError, "a longer vector"):
        world[0].receive(replace(announce, params=many).to_bytes())


def test_attack_29_an_array_that_another_thread_changes_during_the_call() -> None:
    """What was journaled is what is sent: the bytes agree with the signed root and with every repeat."""
    entries = 1 << 16
    world = World(4, segments=(Segment.ring(24, entries),), block_entries=1024)
    round = world.round().run_to("mask")
    vector = np.zeros(entries, dtype=np.int64)
    world[0].vectors = (vector,)
    stop = threading.Event()

    def scribble() -> None:
        value = 0
        while not stop.is_set():
            value = (value + 1) % 1000
            vector[:] = value

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        sent = world[0].receive(round.request(0))
    finally:
        stop.set()
        thread.join()
    assert world[0].receive(round.request(0)) == sent
    for message in sent:
        round.server.receive(message)
    assert world[0].id not in round.server.refused
    assert world[0].id not in round.server.pending


# ---- 30: nothing beside the masked vector ----

CLIENT_MAY_SEND = {
    m.Advertise: {
        "round_digest",
        "id",
        "identity",
        "channel_key",
        "mask_key",
        "channel_kem",
        "mask_kem",
        "b_hash",
        "root_hash",
        "signature",
    },
    m.BundleMessage: {"round_digest", "id", "list_hash", "bundles", "signature"},
    m.UploadBlock: {"round_digest", "id", "segment", "index", "payload"},
    m.UploadEnd: {"round_digest", "id", "list_hash", "u2_digest", "peers", "root", "attachment", "signature"},
    m.ConsistencySignature: {"round_digest", "id", "signature"},
    m.UnmaskResponse: {"round_digest", "id", "list_hash", "u_digest", "shares", "signature"},
}


def test_attack_30_nothing_but_the_masked_vector_leaves_the_client() -> None:
    """The whole wire of a round, message by message: no field carries a metric, a count, a seed, a share in clear."""
    world = World(4, segments=(Segment.ring(32, 400),), block_entries=64)
    for node in world.nodes:
        node.vectors = (np.full(400, 0x5EC2E7, dtype=np.int64),)
    round = world.round().run_to("unmask")
    secrets = {node.id: node.secrets for node in world.nodes}
    round.finish()
    plain = (0x5EC2E7).to_bytes(4, "little")
    for node in world.nodes:
        sent = [message for (_, party), messages in round.sent.items() if party == node.id for message in messages]
        for data in sent:
            message = decode(data)
            assert {field.name for field in fields(message)} == CLIENT_MAY_SEND[type(message)]
        wire = b"".join(sent)
        s = secrets[node.id]
        for secret in (s.b, s.root, s.channel, node.identity.seed_bytes()):
            assert secret not in wire
        assert plain * 2 not in wire
        dealt = b"".join(message for message in round.sent["share", node.id])
        assert all(pair.b not in dealt and pair.root not in dealt for pair in s.pairs)


def test_attack_30_sizes_do_not_depend_on_the_update() -> None:
    """Two clients, one with zeros, one with large numbers, send messages of the same sizes."""
    world = World(4, segments=(Segment.ring(20, 100),), block_entries=64)
    world[0].vectors, world[1].vectors = (np.zeros(100, dtype=np.int64),), (np.full(100, 99_999, dtype=np.int64),)
    round = world.round()
    round.finish()
    sizes = [
        [
            len(message)
            for stage in ("advertise", "share", "mask", "consistency", "unmask")
            for message in round.sent[stage, world[i].id]
        ]
        for i in (0, 1)
    ]
    assert sizes[0] == sizes[1]


def test_attack_30_no_state_or_message_of_the_server_s_shows_a_client_s_input() -> None:
    """A colluding majority without the victim's secrets sees a uniform upload: equal inputs give unrelated bytes."""
    world = World(5, segments=(Segment.ring(8, 4096),))
    for node in world.nodes:
        node.vectors = (np.zeros(4096, dtype=np.int64),)
    round = world.round().run_to("consistency")
    payloads = [np.frombuffer(decode(round.sent["mask", node.id][0]).payload, dtype=np.uint8) for node in world.nodes]
    for a in range(5):
        count = np.bincount(payloads[a], minlength=256)
        assert count.min() > 0
        assert ((count - 16.0) ** 2 / 16.0).sum() < 255 + 6 * 510**0.5
        for b in range(a):
            assert np.count_nonzero(payloads[a] == payloads[b]) < 60


def test_a_message_is_bytes_and_errors_are_typed() -> None:
    """Anything else than bytes is the caller's mistake, not the peer's."""
    world = World(4)
    round = world.round()
    for wrong in (bytearray(round.request(0)), memoryview(round.request(0)), "text", None):
        with pytest.raises((ParameterError, BufferTypeError)):
            world[0].client.receive(None, wrong)  # type: ignore[arg-type]
    round.finish()
