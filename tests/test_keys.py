"""Identities, rosters, key agreement, key derivation and sealing, against public vectors and attacks."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given
from hypothesis import strategies as st

from privcomp import keys
from privcomp.codec import Message, lp
from privcomp.errors import CodecError, ParameterError, RemoteError
from privcomp.keys import (
    Identity,
    Roster,
    SignedRoster,
    check_id,
    constant_time_equal,
    hkdf,
    mlkem_decapsulate,
    mlkem_encapsulate,
    mlkem_public,
    open_sealed,
    seal,
    verify,
    x25519,
    x25519_check_public,
    x25519_public,
)

P25519 = 2**255 - 19


def wycheproof(vectors: Path, name: str) -> list[dict[str, Any]]:
    loaded = json.loads((vectors / "wycheproof" / f"{name}_test.json").read_text())
    cases = [case for group in loaded["testGroups"] for case in group["tests"]]
    assert len(cases) == loaded["numberOfTests"]
    return cases


def pyca_cases(path: Path) -> list[dict[str, str]]:
    """Blocks of `NAME = value` lines, one block per COUNT."""
    blocks: list[dict[str, str]] = []
    for line in path.read_text().splitlines():
        matched = re.fullmatch(r"(\w+)\s*=\s*(.*)", line.strip())
        if not matched:
            continue
        if matched[1] == "COUNT":
            blocks.append({})
        elif blocks:
            blocks[-1][matched[1]] = matched[2]
    return blocks


# ---- public vectors


def test_x25519_wycheproof(vectors: Path) -> None:
    refused = 0
    for case in wycheproof(vectors, "x25519"):
        private, public, shared = (bytes.fromhex(case[key]) for key in ("private", "public", "shared"))
        if shared == bytes(32):
            refused += 1
            with pytest.raises(ParameterError, match="all zero"):
                x25519(private, public)
            with pytest.raises(ParameterError):
                x25519_check_public(public)
        else:
            assert x25519(private, public) == shared, case["tcId"]
        if "NonCanonicalPublic" in case["flags"]:
            with pytest.raises(ParameterError):
                x25519_check_public(public)
    assert refused == 31


def test_x25519_rfc7748(vectors: Path) -> None:
    cases = pyca_cases(vectors / "pyca" / "asymmetric__X25519__rfc7748.txt")
    assert cases
    for case in cases:
        scalar, u, expected = (bytes.fromhex(case[key]) for key in ("INPUT_SCALAR", "INPUT_U", "OUTPUT_U"))
        assert x25519(scalar, u) == expected


def test_x25519_rfc7748_thousand_iterations() -> None:
    k = u = (9).to_bytes(32, "little")
    for _ in range(1000):
        k, u = x25519(k, u), k
    assert k.hex() == "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"


def test_hkdf_wycheproof(vectors: Path) -> None:
    for case in wycheproof(vectors, "hkdf_sha256"):
        ikm, salt, info, okm = (bytes.fromhex(case[key]) for key in ("ikm", "salt", "info", "okm"))
        if case["result"] == "valid":
            assert keys._hkdf_sha256(ikm, salt, info, case["size"]) == okm, case["tcId"]
        else:
            with pytest.raises(ValueError, match=r"(?i)length|derive"):
                keys._hkdf_sha256(ikm, salt, info, case["size"])


def test_hkdf_rfc5869(vectors: Path) -> None:
    cases = pyca_cases(vectors / "pyca" / "KDF__rfc-5869-HKDF-SHA256.txt")
    assert len(cases) >= 3
    for case in cases:
        ikm, salt, info, okm = (bytes.fromhex(case.get(key, "")) for key in ("IKM", "salt", "info", "OKM"))
        assert keys._hkdf_sha256(ikm, salt, info, int(case["L"])) == okm


def test_chacha20_poly1305_wycheproof(vectors: Path) -> None:
    for case in wycheproof(vectors, "chacha20_poly1305"):
        key, iv, aad, msg, ct, tag = (bytes.fromhex(case[name]) for name in ("key", "iv", "aad", "msg", "ct", "tag"))
        if case["result"] == "valid":
            assert keys._aead_encrypt(key, iv, msg, aad) == ct + tag, case["tcId"]
            assert keys._aead_decrypt(key, iv, ct + tag, aad) == msg
        else:
            with pytest.raises((InvalidTag, ValueError)):
                keys._aead_decrypt(key, iv, ct + tag, aad)


# ---- key derivation


def reference_hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 written out, with an empty salt."""
    prk = hmac.digest(bytes(32), secret, "sha256")
    out = block = b""
    counter = 1
    while len(out) < length:
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        out += block
        counter += 1
    return out[:length]


@given(st.binary(min_size=32, max_size=80), st.lists(st.binary(max_size=40), max_size=4), st.integers(1, 200))
def test_hkdf_is_rfc5869_over_length_prefixed_info(secret: bytes, info: list[bytes], length: int) -> None:
    assert hkdf(secret, *info, length=length, label="l") == reference_hkdf(secret, lp(b"l", *info), length)


def test_hkdf_refuses_weak_secrets_and_long_outputs() -> None:
    assert len(hkdf(bytes(32), length=8160, label="x")) == 8160
    for secret, length in ((bytes(31), 32), (bytes(32), 0), (bytes(32), 8161)):
        with pytest.raises(ParameterError):
            hkdf(secret, length=length, label="x")


def test_mask_seeds_have_the_cipher_s_length() -> None:
    from privcomp._core import SEED_BYTES
    from privcomp.xof import mask_seeds

    for cipher, size in SEED_BYTES.items():
        seed = mask_seeds(bytes(32), "self", b"round", cipher=cipher)
        assert seed == hkdf(bytes(32), b"round", length=size, label="self")
    with pytest.raises(ParameterError):
        mask_seeds(bytes(32), "self", cipher=99)


# ---- key agreement


def test_attack_08_low_order_points_are_refused() -> None:
    private = os.urandom(32)
    low = [
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        P25519 - 1,
    ]
    every = {value + k * P25519 for value in low for k in (0, 1) if value + k * P25519 < 2**255}
    for value in every:
        for top in (0, 1 << 255):
            public = (value | top).to_bytes(32, "little")
            with pytest.raises(ParameterError, match="all zero"):
                x25519(private, public)
            with pytest.raises(ParameterError):
                x25519_check_public(public)


def test_one_x25519_key_has_one_encoding() -> None:
    public = x25519_public(os.urandom(32))
    assert x25519_check_public(public) == public
    same = bytes([*public[:31], public[31] | 0x80])
    private = os.urandom(32)
    assert x25519(private, same) == x25519(private, public)
    with pytest.raises(ParameterError, match="canonical"):
        x25519_check_public(same)


def test_x25519_agrees_and_checks_lengths() -> None:
    a, b = os.urandom(32), os.urandom(32)
    assert x25519(a, x25519_public(b)) == x25519(b, x25519_public(a))
    for private, public in ((bytes(31), bytes(32)), (bytes(32), bytes(33)), (bytearray(32), bytes(32))):
        with pytest.raises(ParameterError):
            x25519(private, public)  # type: ignore[arg-type]


def test_mlkem_agrees_and_checks() -> None:
    seed = os.urandom(64)
    public = mlkem_public(seed)
    assert mlkem_public(seed) == public
    secret, ciphertext = mlkem_encapsulate(public)
    assert (len(public), len(secret), len(ciphertext)) == (1184, 32, 1088)
    assert mlkem_decapsulate(seed, ciphertext) == secret
    changed = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    assert mlkem_decapsulate(seed, changed) != secret
    for call in (
        lambda: mlkem_public(bytes(63)),
        lambda: mlkem_encapsulate(public[:-1]),
        lambda: mlkem_encapsulate(b"\xff" * 1184),
        lambda: mlkem_decapsulate(seed, ciphertext[:-1]),
        lambda: mlkem_decapsulate(seed[:-1], ciphertext),
    ):
        with pytest.raises(ParameterError):
            call()


# ---- sealing


def key_and_nonce(key: bytes, blob: bytes, *ad: bytes, label: str) -> bytes:
    """What the cipher was run with: derived from the salt, as `open_sealed` does it."""
    return b"".join(keys._aead_keys(key, blob[:32], ad, label)[:2])


def test_attack_10_key_and_nonce_never_repeat() -> None:
    key = bytes(32)
    seen = {key_and_nonce(key, seal(key, b"same", b"a", label="x"), b"a", label="x") for _ in range(100_000)}
    assert len(seen) == 100_000


def test_attack_10_after_a_fork() -> None:
    key = bytes(32)
    seen: list[bytes] = []
    for _ in range(4):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(write, b"".join(seal(key, b"same", label="x")[:32] for _ in range(100)))
                status = 0
            finally:
                os._exit(status)
        os.close(write)
        with open(read, "rb") as pipe:
            salts = pipe.read()
        assert os.waitpid(child, 0)[1] == 0
        seen += [salts[i : i + 32] for i in range(0, len(salts), 32)]
        seen += [seal(key, b"same", label="x")[:32] for _ in range(100)]
    assert len(seen) == len({key_and_nonce(key, salt, label="x") for salt in seen}) == 800


def test_attack_10_after_a_restored_state() -> None:
    """A restored generator repeats its output; the salt covers the plaintext and the context, so the pair does not."""
    key = bytes(32)
    restored: Callable[[int], bytes] = lambda size: bytes(size)  # noqa: E731
    blobs = [
        (seal(key, b"plain %d" % i, b"to %d" % j, label="x", rng=restored), (b"to %d" % j,))
        for i in range(30)
        for j in range(30)
    ]
    assert len({key_and_nonce(key, blob, *ad, label="x") for blob, ad in blobs}) == 900
    assert seal(key, b"p", label="x", rng=restored) == seal(key, b"p", label="x", rng=restored)


@given(st.binary(max_size=100), st.lists(st.binary(max_size=9), max_size=3))
def test_seal_round_trip(plaintext: bytes, ad: list[bytes]) -> None:
    key = os.urandom(32)
    blob = seal(key, plaintext, *ad, label="l")
    assert len(blob) == len(plaintext) + keys.SEAL_OVERHEAD_BYTES
    assert open_sealed(key, blob, *ad, label="l") == plaintext


def test_attack_09_changed_sealed_values_are_refused() -> None:
    key = os.urandom(32)
    blob = seal(key, b"share", b"alice", b"bob", label="l")
    for bit in range(8 * len(blob)):
        changed = bytearray(blob)
        changed[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(CodecError):
            open_sealed(key, bytes(changed), b"alice", b"bob", label="l")
    for stop in range(len(blob)):
        with pytest.raises(CodecError):
            open_sealed(key, blob[:stop], b"alice", b"bob", label="l")
    for ad in ((b"alice", b"carol"), (b"bob", b"alice"), (b"alicebob",), (b"alice", b"bob", b"")):
        with pytest.raises(CodecError, match="authenticate"):
            open_sealed(key, blob, *ad, label="l")
    with pytest.raises(CodecError):
        open_sealed(key, blob, b"alice", b"bob", label="m")
    with pytest.raises(CodecError):
        open_sealed(os.urandom(32), blob, b"alice", b"bob", label="l")


def test_seal_checks_key_and_entropy() -> None:
    with pytest.raises(ParameterError):
        seal(bytes(16), b"", label="x")
    with pytest.raises(ParameterError):
        open_sealed(bytes(16), bytes(100), label="x")
    with pytest.raises(ParameterError, match="rng"):
        seal(bytes(32), b"", label="x", rng=lambda size: b"")


# ---- identities


def test_identity_rfc8032() -> None:
    """RFC 8032 section 7.1, test 1: the key; the message format is ours."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    identity = Identity.from_seed(seed)
    assert identity.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert identity.seed_bytes() == seed


def test_signatures_bind_label_and_parts() -> None:
    identity = Identity.generate()
    signature = identity.sign("stage", b"ab", b"c")
    assert verify(identity.public, signature, "stage", b"ab", b"c")
    assert not verify(identity.public, signature, "stage", b"a", b"bc")
    assert not verify(identity.public, signature, "stage", b"abc")
    assert not verify(identity.public, signature, "other", b"ab", b"c")
    assert not verify(Identity.generate().public, signature, "stage", b"ab", b"c")
    for bit in range(512):
        changed = bytearray(signature)
        changed[bit >> 3] ^= 1 << (bit & 7)
        assert not verify(identity.public, bytes(changed), "stage", b"ab", b"c")
    assert not verify(identity.public, signature[:-1], "stage", b"ab", b"c")
    assert not verify(identity.public[:-1], signature, "stage", b"ab", b"c")
    assert not verify(b"\xff" * 32, signature, "stage", b"ab", b"c")


def test_an_identity_shows_no_secret_and_does_not_travel() -> None:
    seed = os.urandom(32)
    identity = Identity.from_seed(seed)
    assert seed.hex()[:8] not in repr(identity).replace(identity.public.hex()[:8], "")
    with pytest.raises(ParameterError):
        pickle.dumps(identity)
    with pytest.raises(ParameterError):
        copy.deepcopy(identity)
    with pytest.raises(ParameterError) as caught:
        Identity.from_seed(seed + b"x")
    assert seed.hex()[:8] not in str(caught.value)
    assert Identity.generate(lambda size: seed[:size]).public == identity.public


def test_constant_time_equal() -> None:
    assert constant_time_equal(b"ab", b"ab")
    assert not constant_time_equal(b"ab", b"ac")
    assert not constant_time_equal(b"ab", b"abc")


# ---- rosters


def publics(count: int) -> list[bytes]:
    return [Identity.from_seed(hashlib.sha256(bytes([i])).digest()).public for i in range(count)]


def test_roster_round_trip_and_hash() -> None:
    first, second, third = publics(3)
    roster = Roster.of({b"b": first, b"a": second})
    assert roster.ids == (b"a", b"b")
    assert roster.public(b"b") == first
    assert b"a" in roster
    assert b"c" not in roster
    assert len(roster) == 2
    again = Roster.from_bytes(roster.to_bytes())
    assert again == roster
    assert again.hash == roster.hash
    assert Roster.of({b"b": first, b"a": third}).hash != roster.hash
    with pytest.raises(ParameterError, match="does not name"):
        roster.public(b"c")


def test_a_roster_of_fifty_thousand_decodes() -> None:
    entries = tuple((b"%06d" % i, hashlib.sha256(b"%d" % i).digest()[:31] + b"\0") for i in range(50_000))
    roster = Roster(entries)
    assert Roster.from_bytes(roster.to_bytes()) == roster


def test_attack_07_duplicate_ids_and_keys_are_refused() -> None:
    first, second = publics(2)
    for entries, seen in (
        (((b"a", first), (b"a", second)), "twice"),
        (((b"b", first), (b"a", second)), "out of order"),
        (((b"a", first), (b"b", first)), "same public key"),
        (((b"", first),), "1 to 64"),
        (((bytes(65), first),), "1 to 64"),
        (((b"a", first[:-1]),), "exactly 32"),
        (((b"a", first, b"x"),), "tuple"),
        ([(b"a", first)], "tuple"),
    ):
        with pytest.raises(ParameterError, match=seen):
            Roster(entries)  # type: ignore[arg-type]


def test_attack_07_duplicates_in_received_bytes_are_refused() -> None:
    class Loose(Message):
        TAG = Roster.TAG
        FIELDS = Roster.FIELDS
        entries: Any

        def __init__(self, entries: Any) -> None:
            self.entries = entries

    first, second = publics(2)
    for entries in (((b"a", first), (b"a", second)), ((b"b", first), (b"a", second)), ((b"a", first), (b"b", first))):
        with pytest.raises(CodecError):
            Roster.from_bytes(Loose(entries).to_bytes())


def test_attack_28_ids_are_compared_exactly() -> None:
    names = ["Klinik", "Κlinik", "Klinik ", "klinik", "Klinik\0", "Klini", "é", "e\u0301", "ﬁ", "fi", "\u212b", "Å"]
    ids = [name.encode() for name in names]
    roster = Roster.of(dict(zip(ids, publics(len(ids)), strict=True)))
    assert len(roster) == len(names)
    assert Roster.from_bytes(roster.to_bytes()).ids == tuple(sorted(ids))
    for party in ids:
        assert roster.public(party) == dict(roster.entries)[party]
    # A prefix of an id is another id in every context.
    identity = Identity.from_seed(bytes(32))
    assert identity.sign("x", b"hospital-1", b"2") != identity.sign("x", b"hospital-12", b"")
    assert hkdf(bytes(32), b"hospital-1", b"2", label="x") != hkdf(bytes(32), b"hospital-12", b"", label="x")
    for wrong in ("Klinik", b"", bytes(65), None, bytearray(b"a")):
        with pytest.raises(ParameterError):
            check_id(wrong)  # type: ignore[arg-type]


def test_low_order_identities_are_refused() -> None:
    """Under a torsion point as key, fixed signatures verify for many messages."""
    order8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
    for y in (0, 1, P25519 - 1, order8, P25519 - order8, P25519, P25519 + 1):
        for sign in (0, 1 << 255):
            public = (y | sign).to_bytes(32, "little")
            with pytest.raises(ParameterError, match="low order"):
                Roster.of({b"a": public})
    identity_point = (1).to_bytes(32, "little")
    forged = identity_point + bytes(32)
    assert verify(identity_point, forged, "any", b"thing"), "the library accepts it: the roster has to refuse the key"


def test_signed_roster() -> None:
    operator, stranger = Identity.generate(), Identity.generate()
    roster = Roster.of({b"a": publics(1)[0]})
    signed = SignedRoster.from_bytes(roster.sign(operator).to_bytes())
    assert signed.verify(operator.public) == roster
    with pytest.raises(RemoteError, match="names operator"):
        signed.verify(stranger.public)
    other = SignedRoster(Roster.of({b"b": publics(1)[0]}), signed.operator, signed.signature)
    with pytest.raises(RemoteError, match="does not verify"):
        other.verify(operator.public)
    with pytest.raises(RemoteError, match="does not verify"):
        SignedRoster(roster, stranger.public, signed.signature).verify(stranger.public)
