"""Uploads: who sent them, for which round, and that nothing was changed on the way."""

from __future__ import annotations

import hashlib
import hmac
import random
import struct
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.poly1305 import Poly1305
from hypothesis import given
from hypothesis import strategies as st

from privcomp.codec import lp
from privcomp.errors import CodecError, ParameterError, RemoteError
from privcomp.he import (
    Aggregator,
    Encryptor,
    KeyedReceiver,
    KeyedSender,
    RlweParams,
    RosterReceiver,
    Secret,
    SigningSender,
)
from privcomp.he.messages import UploadHeader
from privcomp.he.upload import write_upload
from privcomp.keys import Identity, Roster, hkdf, verify
from tests.fuzz.mutate import mutate
from tests.he.rounds import CONTEXT

PARAMS = RlweParams.for_round(16, 16)
LENGTH = 33
VALUES = np.arange(LENGTH, dtype=np.int64)
IDENTITIES = {f"client-{i}".encode(): Identity.from_seed(bytes([i]) * 32) for i in range(3)}
ROSTER = Roster.of({party: identity.public for party, identity in IDENTITIES.items()})
KEYS = {party: hashlib.sha256(party).digest() for party in IDENTITIES}


def sender(kind: str, party: bytes = b"client-1") -> SigningSender | KeyedSender:
    return SigningSender(party, IDENTITIES[party]) if kind == "signature" else KeyedSender(party, KEYS[party])


def aggregator(kind: str, params: RlweParams = PARAMS, context: bytes = CONTEXT, length: int = LENGTH) -> Aggregator:
    receiver = RosterReceiver(ROSTER) if kind == "signature" else KeyedReceiver(KEYS)
    return Aggregator(params, context, length, receiver=receiver)


def upload(kind: str, params: RlweParams = PARAMS, context: bytes = CONTEXT, length: int = LENGTH) -> bytes:
    encryptor = Encryptor(params, context, length, sender=sender(kind))
    return encryptor.encrypt(np.resize(VALUES, length), Secret.draw(params))


def parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """header, payload, tag."""
    (size,) = struct.unpack_from("<H", data)
    payload = PARAMS.ciphertext_bytes(LENGTH)
    return data[2 : 2 + size], data[2 + size : 2 + size + payload], data[2 + size + payload :]


both = pytest.mark.parametrize("kind", ["signature", "mac"])


@both
def test_the_tag_is_what_the_text_says(kind: str) -> None:
    header, payload, tag = parts(upload(kind))
    if kind == "signature":
        digest = hashlib.sha256(payload).digest()
        assert verify(IDENTITIES[b"client-1"].public, tag, "privcomp/he/upload", header, digest)
    else:
        keys = hkdf(KEYS[b"client-1"], header, label="privcomp/he/upload/mac-keys", length=64)
        inner = Poly1305.generate_tag(keys[:32], payload)
        assert tag == hmac.new(keys[32:], lp(header, inner), hashlib.sha256).digest()
    parsed = UploadHeader.from_bytes(header, max_bytes=256)
    assert (parsed.party, parsed.context, parsed.params) == (b"client-1", CONTEXT, PARAMS.digest)
    assert (parsed.length, parsed.clients, parsed.weight) == (LENGTH, PARAMS.clients, PARAMS.weight)
    assert parsed.payload_bytes == len(payload)


@both
@given(cuts=st.lists(st.integers(0, 700), max_size=8))
def test_blocks_of_any_size(kind: str, cuts: list[int]) -> None:
    data = UPLOADS[kind]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    blocks = [data[a:b] for a, b in pairwise(edges)]
    whole, pieces = aggregator(kind), aggregator(kind)
    assert whole.add(data) == pieces.add(iter(blocks)) == pieces.parties[0] == b"client-1"
    assert np.array_equal(whole.total, pieces.total)


UPLOADS = {kind: upload(kind) for kind in ("signature", "mac")}


def test_a_reader_of_blocks_stops_at_what_is_due() -> None:
    """An endless sender is refused at the header, or as soon as there is a byte too many; nothing is kept for it."""

    def endless(start: bytes) -> Iterator[bytes]:
        yield start
        while True:
            yield bytes(1 << 16)

    data = UPLOADS["mac"]
    tracemalloc.start()
    try:
        for start in (b"", b"\xff", data[:50], data, data[:-1]):
            with pytest.raises(CodecError):
                aggregator("mac").add(endless(start))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# ---- another round


@both
def test_an_upload_for_another_round_is_refused(kind: str) -> None:
    here = aggregator(kind)
    for data, text in (
        (upload(kind, context=bytes(32)), "another round"),
        (upload(kind, params=RlweParams.for_round(16, 64)), "other parameters|another parameters"),
        (upload(kind, params=RlweParams("P1", 16, 15, 1, 4)), "another parameters"),
        (upload(kind, params=RlweParams("P1", 12, 16, 2, 4)), "another parameters"),
        (upload(kind, length=LENGTH + 1), "another length"),
    ):
        with pytest.raises(RemoteError, match=text) as caught:
            here.add(data, b"client-1")
        assert (caught.value.party, caught.value.stage) == (b"client-1", "he-upload")
    assert here.count == 0
    assert not here.total.any()


@both
@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"engine": "ckks"}, "way to encrypt"),
        ({"context": bytes(32)}, "round"),
        ({"params": bytes(32)}, "parameters"),
        ({"length": LENGTH - 1}, "length"),
        ({"clients": 17}, "budget of clients"),
        ({"weight": 2}, "largest weight"),
        ({"payload_bytes": 1 << 40}, "size of the payload"),
        ({"party": b"client-9"}, "not among those"),
        ({"party": b"client-2"}, "does not verify"),
    ],
)
def test_a_header_that_was_changed_and_signed_again_is_refused(kind: str, change: dict[str, object], text: str) -> None:
    """By a client of the round, under its own name or another's."""
    header, payload, _ = parts(UPLOADS[kind])
    changed = replace(UploadHeader.from_bytes(header, max_bytes=256), **change)  # type: ignore[arg-type]
    author = sender(kind)
    head = changed.to_bytes()
    state = author.start(head)
    state.update(payload)
    data = struct.pack("<H", len(head)) + head + payload + author.tag(head, state.digest())
    with pytest.raises(RemoteError, match=text):
        aggregator(kind).add(data)


def test_one_kind_of_tag_does_not_pass_for_the_other() -> None:
    for made, due in (("signature", "mac"), ("mac", "signature")):
        with pytest.raises(RemoteError, match="tag kind"):
            aggregator(due).add(UPLOADS[made])
    header = UploadHeader.from_bytes(parts(UPLOADS["mac"])[0], max_bytes=256)
    with pytest.raises(ParameterError, match="another sender"):
        list(write_upload(header, [], sender("signature")))
    with pytest.raises(ParameterError, match="tag kind 3"):
        replace(header, tag_kind=3)


@both
def test_whose_upload_it_is(kind: str) -> None:
    data = UPLOADS[kind]
    with pytest.raises(RemoteError, match="send your own") as caught:
        aggregator(kind).add(data, b"client-2")
    assert caught.value.party == b"client-2"
    # A header that does not verify accuses nobody: party is the transport's, or None.
    broken = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(RemoteError, match="does not verify") as caught:
        aggregator(kind).add(broken)
    assert caught.value.party is None
    others = {"signature": RosterReceiver(Roster.of({b"x": IDENTITIES[b"client-1"].public}))}
    receiver = others.get(kind, KeyedReceiver({b"x": KEYS[b"client-1"]}))
    with pytest.raises(RemoteError, match="not among those"):
        Aggregator(PARAMS, CONTEXT, LENGTH, receiver=receiver).add(data)


def test_keys_of_macs() -> None:
    for key in (bytes(31), bytearray(32), "x" * 32):
        with pytest.raises(ParameterError, match="32 secret bytes"):
            KeyedSender(b"a", key)  # type: ignore[arg-type]
        with pytest.raises(ParameterError, match="32 secret bytes"):
            KeyedReceiver({b"a": key})  # type: ignore[dict-item]
    with pytest.raises(ParameterError, match="same MAC key"):
        KeyedReceiver({b"a": bytes(32), b"b": bytes(32)})
    with pytest.raises(ParameterError, match="1 to 64 bytes"):
        SigningSender(b"", IDENTITIES[b"client-1"])
    shown = repr(KeyedSender(b"a", b"\x5a" * 32)) + repr(KeyedReceiver({b"a": b"\x5a" * 32}))
    assert "ZZ" not in shown
    assert shown.count("redacted") == 2


def test_only_immutable_bytes_are_taken() -> None:
    """What was authenticated must not change before it is added."""
    data = UPLOADS["mac"]
    for bad in ([bytearray(data)], [data[:10], memoryview(data)[10:]], ["x"], [1]):
        with pytest.raises(ParameterError, match="iterable of bytes"):
            aggregator("mac").add(bad)  # type: ignore[arg-type]


def test_a_payload_of_another_size_than_the_header_says_is_not_sent() -> None:
    header = UploadHeader.from_bytes(parts(UPLOADS["mac"])[0], max_bytes=256)
    for payload in ([], [bytes(5)], [bytes(header.payload_bytes), b"x"]):
        with pytest.raises(ParameterError, match="payload_bytes"):
            list(write_upload(header, payload, sender("mac")))


# ---- mutations


def none_accepted(kind: str, seed: int, runs: int) -> None:
    data, other = UPLOADS[kind], upload(kind, context=bytes(32))
    here = aggregator(kind)
    rng = random.Random(seed)
    tried = 0
    while tried < runs:
        mutated = mutate(rng, (data, other))
        if mutated == data:
            continue
        tried += 1
        with pytest.raises(RemoteError):
            here.add(mutated if tried % 2 else [mutated[: tried % 97], mutated[tried % 97 :]])
    assert here.count == 0
    assert not here.total.any()
    here.add(data)


@both
def test_no_mutation_is_accepted(kind: str) -> None:
    none_accepted(kind, 1, 2_000)


@both
@pytest.mark.assurance
def test_no_mutation_is_accepted_for_long(kind: str) -> None:
    none_accepted(kind, 2, 100_000)


@both
def test_no_bit_can_be_flipped(kind: str) -> None:
    data = UPLOADS[kind]
    here = aggregator(kind)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RemoteError):
            here.add(bytes(changed))
    assert here.count == 0


@both
def test_no_prefix_and_nothing_longer_is_accepted(kind: str) -> None:
    data = UPLOADS[kind]
    for cut in range(len(data)):
        with pytest.raises(CodecError):
            aggregator(kind).add(data[:cut])
    for tail in (b"\0", data):
        with pytest.raises(CodecError):
            aggregator(kind).add(data + tail)


def test_a_ciphertext_is_malleable_without_a_tag() -> None:
    """Why there is one: adding 1 to the lowest residue passes as a ciphertext."""
    _, payload, _ = parts(UPLOADS["mac"])
    changed = (int.from_bytes(payload, "little") + 1).to_bytes(len(payload), "little")
    here = aggregator("mac")
    here.add_payload(changed)
    assert here.count == 1
