"""The wire format: strict, canonical, bounded."""

from __future__ import annotations

import hashlib
import math
import pickle
import struct
import tracemalloc
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privcomp.codec import (
    F64,
    I64,
    U8,
    U16,
    U32,
    U64,
    Blob,
    Bool,
    Codec,
    Fixed,
    Message,
    Nested,
    Opt,
    Reader,
    Seq,
    Text,
    Tup,
    decode_any,
    digest,
    lp,
)
from privcomp.errors import CodecError, LocalError, ParameterError

Fields = tuple[tuple[str, Codec[Any]], ...]


@dataclass(frozen=True)
class Inner(Message):
    TAG: ClassVar[int] = 65000
    FIELDS: ClassVar[Fields] = (("name", Text(40)), ("key", Fixed(4)))
    name: str
    key: bytes


@dataclass(frozen=True)
class Every(Message):
    """One field of every kind."""

    TAG: ClassVar[int] = 65001
    FIELDS: ClassVar[Fields] = (
        ("u8", U8),
        ("u16", U16),
        ("u32", U32),
        ("u64", U64),
        ("i64", I64),
        ("f64", F64),
        ("flag", Bool),
        ("fixed", Fixed(5)),
        ("blob", Blob(5000)),
        ("text", Text(100)),
        ("ids", Seq(Blob(64), 100, increasing=True)),
        ("pairs", Seq(Tup(U16, Opt(Fixed(2))), 100)),
        ("inner", Nested(Inner)),
        ("inners", Seq(Nested(Inner), 10)),
        ("maybe", Opt(Seq(U8, 10))),
    )
    u8: int
    u16: int
    u32: int
    u64: int
    i64: int
    f64: float
    flag: bool
    fixed: bytes
    blob: bytes
    text: str
    ids: tuple[bytes, ...]
    pairs: tuple[tuple[int, bytes | None], ...]
    inner: Inner
    inners: tuple[Inner, ...]
    maybe: tuple[int, ...] | None


@dataclass(frozen=True)
class Counts(Message):
    TAG: ClassVar[int] = 65002
    FIELDS: ClassVar[Fields] = (("ids", Seq(Blob(64), 2**32 - 1)),)
    ids: tuple[bytes, ...]


@dataclass(frozen=True)
class Bytes(Message):
    TAG: ClassVar[int] = 65003
    FIELDS: ClassVar[Fields] = (("data", Blob(2**32 - 1)),)
    data: bytes


@dataclass(frozen=True)
class Ordered(Message):
    """A message that refuses some combinations itself."""

    TAG: ClassVar[int] = 65004
    FIELDS: ClassVar[Fields] = (("low", U8), ("high", U8))
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ParameterError("low must not exceed high")


MAX = 1 << 20

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
inners = st.builds(Inner, name=texts.filter(lambda s: len(s.encode()) <= 40), key=st.binary(min_size=4, max_size=4))
everys = st.builds(
    Every,
    u8=st.integers(0, 2**8 - 1),
    u16=st.integers(0, 2**16 - 1),
    u32=st.integers(0, 2**32 - 1),
    u64=st.integers(0, 2**64 - 1),
    i64=st.integers(-(2**63), 2**63 - 1),
    f64=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    fixed=st.binary(min_size=5, max_size=5),
    blob=st.binary(max_size=200),
    text=texts,
    ids=st.sets(st.binary(max_size=64), max_size=8).map(lambda ids: tuple(sorted(ids))),
    pairs=st.lists(st.tuples(st.integers(0, 2**16 - 1), st.none() | st.binary(min_size=2, max_size=2)), max_size=8).map(
        tuple
    ),
    inner=inners,
    inners=st.lists(inners, max_size=4).map(tuple),
    maybe=st.none() | st.lists(st.integers(0, 255), max_size=10).map(tuple),
)

SAMPLE = Every(
    1, 2, 3, 2**63, -5, -0.0, True, b"fixed", b"blob" * 20, "grüße", (b"a", b"b"), ((1, None), (2, b"xy")),
    Inner("n", b"keys"), (Inner("", b"\0\0\0\0"),), (1, 2, 3),
)  # fmt: skip


@given(everys)
def test_round_trip(message: Every) -> None:
    data = message.to_bytes()
    again = Every.from_bytes(data, max_bytes=MAX)
    assert again == message
    assert again.to_bytes() == data
    assert math.copysign(1, again.f64) == math.copysign(1, message.f64)


def test_encoding_is_the_documented_one() -> None:
    assert Inner("é", b"abcd").to_bytes() == b"PC\x01" + struct.pack("<HI", 65000, 2) + "é".encode() + b"abcd"
    assert Ordered(1, 2).to_bytes() == bytes.fromhex("504301ecfd0102")


def test_every_truncation_is_refused() -> None:
    data = SAMPLE.to_bytes()
    for stop in range(len(data)):
        with pytest.raises(CodecError):
            Every.from_bytes(data[:stop], max_bytes=MAX)


def test_every_single_bit_flip_is_refused_or_is_another_message() -> None:
    big = Every(**{**SAMPLE.__dict__, "blob": bytes(3800)})
    for message in (SAMPLE, big):
        data = message.to_bytes()
        assert len(data) <= 4096
        accepted = 0
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit >> 3] ^= 1 << (bit & 7)
            try:
                other = Every.from_bytes(bytes(flipped), max_bytes=MAX)
            except CodecError:
                continue
            accepted += 1
            assert other != message or math.copysign(1, other.f64) != math.copysign(1, message.f64)
            assert other.to_bytes() == bytes(flipped)
        assert accepted  # payload bits are free


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_canonical(body: bytes) -> None:
    for cls in (Every, Inner, Counts, Ordered):
        data = b"PC\x01" + struct.pack("<H", cls.TAG) + body
        try:
            message = cls.from_bytes(data, max_bytes=MAX)
        except CodecError:
            continue
        assert message.to_bytes() == data


def test_attack_15_a_count_of_2_to_the_32_allocates_nothing() -> None:
    message = b"PC\x01" + struct.pack("<HI", Counts.TAG, 2**32 - 1) + b"\0\0\0"
    assert len(message) == 12
    Counts.from_bytes(Counts((b"warm",)).to_bytes(), max_bytes=100)
    tracemalloc.start()
    try:
        with pytest.raises(CodecError, match="4294967295 elements"):
            Counts.from_bytes(message, max_bytes=100)
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("cls", "data"),
    [
        (Bytes, Bytes(bytes(5_000_000)).to_bytes()),
        (Counts, Counts((b"",) * 10_000).to_bytes()),
        (Counts, Counts((b"",) * 1_000_000).to_bytes()),
        (Counts, Counts((b"abcdefgh",) * 300_000).to_bytes()),
        (Counts, Counts((bytes(64),) * 50_000).to_bytes()),
        (Counts, Counts((bytes(64),) * 3).to_bytes()[:-1]),
        (Every, Every(**{**SAMPLE.__dict__, "text": "a" * 96 + "😀"}).to_bytes()),
    ],
    ids=["blob", "few-empty", "many-empty", "ids", "keys", "truncated", "wide-text"],
)
def test_peak_allocation_is_bounded(cls: type[Message], data: bytes) -> None:
    """At most twice the input plus 1 MiB, also where that means that the message is refused."""
    tracemalloc.start()
    try:
        try:
            message: Message | None = cls.from_bytes(data, max_bytes=1 << 30)
        except CodecError:
            message = None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2 * len(data) + (1 << 20)
    if message is not None:
        assert message.to_bytes() == data


def test_ten_thousand_ids_still_decode() -> None:
    message = Counts(tuple(b"hospital-%05d" % i for i in range(10_000)))
    assert Counts.from_bytes(message.to_bytes(), max_bytes=MAX) == message


RAN: list[int] = []


def _run() -> None:
    RAN.append(1)


class PicklePayload:
    """Calls `_run` when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (_run, ())


def test_attack_16_a_pickle_payload_never_runs() -> None:
    pickle.loads(pickle.dumps(PicklePayload()))
    assert RAN.pop() == 1, "the payload is live"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        payload = pickle.dumps(PicklePayload(), protocol)
        with pytest.raises(CodecError):
            decode_any(payload, {Every.TAG: Every})
        for cls in (Every, Bytes, Counts, Inner):
            for data in (payload, b"PC\x01" + struct.pack("<H", cls.TAG) + payload):
                with pytest.raises(CodecError):
                    cls.from_bytes(data, max_bytes=MAX)
        # As the content of a field it is only bytes.
        assert Bytes.from_bytes(Bytes(payload).to_bytes(), max_bytes=MAX).data == payload
    assert not RAN


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"", "header"),
        (b"PC\x01", "header"),
        (b"QC\x01\xec\xfd\x01\x02", "no privcomp message"),
        (b"PC\x02\xec\xfd\x01\x02", "format version 2"),
        (b"PC\x01\xed\xfd\x01\x02", "tag 65005"),
        (b"PC\x01\xec\xfd\x01", "truncated"),
        (b"PC\x01\xec\xfd\x01\x02\x03", "left over"),
        (b"PC\x01\xec\xfd\x03\x02", "low must not exceed"),
        (bytes(101), "at most 100"),
    ],
)
def test_refusals_say_what_was_seen(data: bytes, seen: str) -> None:
    with pytest.raises(CodecError, match=seen):
        Ordered.from_bytes(data, max_bytes=100)


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (Bool, b"\x02"),
        (Opt(U8), b"\x02\x00"),
        (F64, struct.pack("<d", math.nan)),
        (F64, struct.pack("<d", math.inf)),
        (F64, struct.pack("<d", -math.inf)),
        (Text(9), struct.pack("<I", 1) + b"\xff"),
        (Text(9), struct.pack("<I", 2) + b"\xc0\x80"),  # overlong NUL
        (Text(9), struct.pack("<I", 3) + b"\xed\xa0\x80"),  # surrogate
        (Text(2), struct.pack("<I", 3) + b"abc"),
        (Blob(2), struct.pack("<I", 3) + b"abc"),
        (Seq(U8, 2), struct.pack("<I", 3) + b"abc"),
        (Seq(U8, 5, increasing=True), struct.pack("<I", 2) + b"aa"),
        (Seq(U8, 5, increasing=True), struct.pack("<I", 2) + b"ba"),
    ],
)
def test_non_canonical_values_are_refused(codec: Codec[Any], data: bytes) -> None:
    with pytest.raises(CodecError):
        codec.decode_from(Reader(data))


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (U8, 256),
        (U8, -1),
        (U8, True),
        (U8, 1.0),
        (U16, 2**16),
        (U32, 2**32),
        (U64, 2**64),
        (I64, 2**63),
        (I64, -(2**63) - 1),
        (F64, math.nan),
        (F64, -math.inf),
        (F64, 1),
        (Bool, 1),
        (Bool, None),
        (Fixed(3), b"ab"),
        (Fixed(3), bytearray(3)),
        (Fixed(3), None),
        (Blob(3), b"abcd"),
        (Blob(3), "abc"),
        (Blob(3), memoryview(b"a")),
        (Text(3), "äöü"),
        (Text(3), b"abc"),
        (Text(9), "\ud800"),
        (Seq(U8, 2), (1, 2, 3)),
        (Seq(U8, 2), [1, 2]),
        (Seq(U8, 2), (1, 256)),
        (Seq(U8, 5, increasing=True), (2, 1)),
        (Seq(U8, 5, increasing=True), (1, 1)),
        (Seq(U8, 5, increasing=True), (1, "a")),
        (Tup(U8, U8), (1,)),
        (Tup(U8, U8), [1, 2]),
        (Nested(Inner), Ordered(1, 2)),
        (Nested(Inner), None),
        (Opt(U8), 256),
    ],
)
def test_encoding_validates(codec: Codec[Any], value: object) -> None:
    with pytest.raises(ParameterError) as caught:
        codec.encode_into(value, bytearray())
    assert isinstance(caught.value, LocalError)


def test_errors_never_show_a_value() -> None:
    with pytest.raises(ParameterError) as caught:
        Inner("n", b"secret").to_bytes()
    assert "secret" not in str(caught.value)
    assert "Inner.key" in str(caught.value)
    with pytest.raises(ParameterError) as caught:
        Ordered(0, 123456789).to_bytes()
    assert "123456789" not in str(caught.value)


def test_only_bytes_are_decoded() -> None:
    with pytest.raises(ParameterError):
        Ordered.from_bytes(bytearray(Ordered(1, 2).to_bytes()), max_bytes=100)  # type: ignore[arg-type]


def test_an_element_without_bytes_cannot_be_counted() -> None:
    with pytest.raises(ParameterError):
        Seq(Fixed(0), 10)
    with pytest.raises(ParameterError):
        Seq(Tup(), 10)


def test_fields_must_match_the_dataclass() -> None:
    with pytest.raises(ParameterError, match="FIELDS"):

        class Wrong(Message):
            TAG: ClassVar[int] = 1
            FIELDS: ClassVar[Fields] = (("a", U8), ("b", U8))
            b: int
            a: int

    with pytest.raises(ParameterError, match="TAG"):

        class Far(Message):
            TAG: ClassVar[int] = 65536
            FIELDS: ClassVar[Fields] = ()


def test_decode_any_picks_the_class() -> None:
    registry: dict[int, type[Message]] = {Ordered.TAG: Ordered, Inner.TAG: Inner}
    assert decode_any(Ordered(1, 2).to_bytes(), registry) == Ordered(1, 2)
    assert decode_any(Inner("", b"1234").to_bytes(), registry, max_bytes=13) == Inner("", b"1234")
    with pytest.raises(CodecError, match="tag 65001"):
        decode_any(SAMPLE.to_bytes(), registry)
    with pytest.raises(CodecError, match="at most 12"):
        decode_any(Inner("", b"1234").to_bytes(), registry, max_bytes=12)


def test_an_error_can_be_attributed() -> None:
    with pytest.raises(CodecError) as caught:
        Ordered.from_bytes(b"", max_bytes=9)
    named = caught.value.by(b"alice", "share")
    assert (named.party, named.stage) == (b"alice", "share")


@given(st.lists(st.binary(max_size=12), max_size=5), st.lists(st.binary(max_size=12), max_size=5))
def test_length_prefixing_is_injective(a: list[bytes], b: list[bytes]) -> None:
    assert (lp(*a) == lp(*b)) == (a == b)


def test_digest_is_the_documented_one() -> None:
    assert digest("x", b"ab") == hashlib.sha256(lp(b"x") + lp(b"ab")).digest()
    assert digest("x", b"ab") != digest("x", b"a", b"b")
