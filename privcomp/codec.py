"""The one wire format: strict, canonical, little endian.

A message is a frozen dataclass that names its fields explicitly::

    b"PC" || version u8 || tag u16 || field || field || ...

There is exactly one byte string for a value and at most one value for a byte string: fixed-width integers, explicit
counts and lengths, no padding, no optional trailing fields, no leftovers. Hence accepted bytes re-encode to the same
bytes, and a signature or hash over bytes is one over the value.

Decoding never trusts a count: `count * (least size of one element)` must fit into the bytes that are left before
anything is allocated. The Python objects that a sequence would create are charged to a budget as well, so that the peak
allocation of a decode stays below twice the input plus 1 MiB whatever the sender writes.
"""

from __future__ import annotations

import hashlib
import inspect
import struct
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from privcomp.errors import CodecError, ParameterError

__all__ = [
    "F64",
    "HEADER_BYTES",
    "I64",
    "U8",
    "U16",
    "U32",
    "U64",
    "VERSION",
    "Blob",
    "Bool",
    "Codec",
    "Fixed",
    "Message",
    "Nested",
    "Opt",
    "Reader",
    "Seq",
    "Text",
    "Tup",
    "decode_any",
    "digest",
    "lp",
]

VERSION: Final = 1
HEADER_BYTES: Final = 5
_MAGIC: Final = b"PC"
_SLACK: Final = 1 << 20  # bytes of Python objects that a decode may create beyond a copy of its input
_BYTES_OVERHEAD: Final = 48  # sizeof(b"") == 33, rounded up to the allocator's granularity of 16
_LIST_SLOT: Final = 16  # a list slot while it is filled and the slot of the tuple that replaces it

T = TypeVar("T")


class Reader:
    """A cursor over received bytes; every read is checked against the bytes that are left.

    Args:
        data: the received bytes.
        expansion: Python objects may take `expansion * len(data) + 1 MiB` beyond the copied payload.
    """

    __slots__ = ("budget", "data", "end", "pos")

    def __init__(self, data: bytes, *, expansion: int = 1) -> None:
        self.data = data
        self.pos = 0
        self.end = len(data)
        self.budget = expansion * len(data) + _SLACK

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            CodecError: fewer bytes are left.
        """
        start = self.pos
        stop = start + count
        if stop > self.end:
            raise self.truncated(count)
        self.pos = stop
        return self.data[start:stop]

    def truncated(self, needed: int) -> CodecError:
        """The error for a read of `needed` bytes beyond the end."""
        return CodecError(
            f"truncated: {needed} bytes are needed at offset {self.pos}, {self.end - self.pos} are left; "
            "ask the sender for the whole message"
        )

    def charge(self, amount: int) -> None:
        """Charge `amount` bytes of Python objects to the allocation budget.

        Raises:
            CodecError: the message would expand beyond its budget.
        """
        self.budget -= amount
        if self.budget < 0:
            raise CodecError(
                f"a message of {self.end} bytes would take more than its memory budget once decoded; "
                "send small elements packed into one blob"
            )


class Codec(ABC, Generic[T]):
    """How one field is written and read.

    Attributes:
        min_size: least number of bytes of an encoded value.
        overhead: bytes of Python objects that a decoded value takes at most beyond a copy of its encoding
            (what a sequence charges per element before it allocates).
    """

    min_size: int
    overhead: int

    @abstractmethod
    def encode_into(self, value: T, out: bytearray) -> None:
        """Append the encoding of `value` to `out`; ParameterError where it is not a value of this field."""

    @abstractmethod
    def decode_from(self, reader: Reader) -> T:
        """Read one value; CodecError where the bytes are not canonical."""


def _kind(value: object) -> str:
    # Types and sizes only: a field may hold a secret, and an error text ends up in log files.
    if isinstance(value, (bytes, str, tuple)):
        return f"{type(value).__name__} of length {len(value)}"
    if type(value) is int:
        return f"{'a negative' if value < 0 else 'an'} int of {value.bit_length()} bits"
    return f"a {type(value).__name__}"


class _Int(Codec[int]):
    def __init__(self, name: str, fmt: str, low: int, high: int) -> None:
        self._name = name
        self._struct = struct.Struct(fmt)
        self._low = low
        self._high = high
        self.min_size = self._struct.size
        self.overhead = 32

    def __repr__(self) -> str:
        return self._name

    def encode_into(self, value: int, out: bytearray) -> None:
        if type(value) is not int or not self._low <= value <= self._high:
            raise ParameterError(
                f"{self._name} takes an int from {self._low} to {self._high}, not {_kind(value)}; "
                "convert NumPy integers with int()"
            )
        out += self._struct.pack(value)

    def decode_from(self, reader: Reader) -> int:
        start = reader.pos
        stop = start + self.min_size
        if stop > reader.end:
            raise reader.truncated(self.min_size)
        reader.pos = stop
        value: int = self._struct.unpack_from(reader.data, start)[0]
        return value


U8: Final[Codec[int]] = _Int("U8", "<B", 0, 2**8 - 1)
U16: Final[Codec[int]] = _Int("U16", "<H", 0, 2**16 - 1)
U32: Final[Codec[int]] = _Int("U32", "<I", 0, 2**32 - 1)
U64: Final[Codec[int]] = _Int("U64", "<Q", 0, 2**64 - 1)
I64: Final[Codec[int]] = _Int("I64", "<q", -(2**63), 2**63 - 1)

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_LENGTHS = tuple(_U64.pack(length) for length in range(256))
_F64 = struct.Struct("<d")


class _F64Codec(Codec[float]):
    min_size = 8
    overhead = 32

    def __repr__(self) -> str:
        return "F64"

    def encode_into(self, value: float, out: bytearray) -> None:
        # v - v is NaN, thus unequal to 0, exactly for NaN and the infinities.
        if type(value) is not float or value - value != 0.0:
            raise ParameterError(f"F64 takes a finite float, not {_kind(value)} that is not finite or no float")
        out += _F64.pack(value)

    def decode_from(self, reader: Reader) -> float:
        value: float = _F64.unpack(reader.take(8))[0]
        if value - value != 0.0:
            raise CodecError("a float is NaN or infinite; only finite numbers are allowed")
        return value


class _BoolCodec(Codec[bool]):
    min_size = 1
    overhead = 0

    def __repr__(self) -> str:
        return "Bool"

    def encode_into(self, value: bool, out: bytearray) -> None:
        if value is not True and value is not False:
            raise ParameterError(f"Bool takes True or False, not {_kind(value)}")
        out.append(value)

    def decode_from(self, reader: Reader) -> bool:
        byte = reader.take(1)
        if byte == b"\x00":
            return False
        if byte == b"\x01":
            return True
        raise CodecError(f"a truth value is encoded as {byte[0]}; only 0 and 1 are allowed")


F64: Final[Codec[float]] = _F64Codec()
Bool: Final[Codec[bool]] = _BoolCodec()


def _checked_limit(value: int, what: str) -> int:
    if type(value) is not int or not 0 <= value < 2**32:
        raise ParameterError(f"{what} is {value!r}; it must be an int from 0 to 2^32 - 1")
    return value


class Fixed(Codec[bytes]):
    """Exactly `size` bytes, without a length."""

    def __init__(self, size: int) -> None:
        self.size = self.min_size = _checked_limit(size, "size of Fixed")
        self.overhead = _BYTES_OVERHEAD

    def __repr__(self) -> str:
        return f"Fixed({self.size})"

    def encode_into(self, value: bytes, out: bytearray) -> None:
        if type(value) is not bytes or len(value) != self.size:
            raise ParameterError(f"{self!r} takes exactly {self.size} bytes, not {_kind(value)}")
        out += value

    def decode_from(self, reader: Reader) -> bytes:
        return reader.take(self.size)


class Blob(Codec[bytes]):
    """At most `max_len` bytes after a u32 length."""

    def __init__(self, max_len: int) -> None:
        self.max_len = _checked_limit(max_len, "max_len of Blob")
        self.min_size = 4
        self.overhead = _BYTES_OVERHEAD

    def __repr__(self) -> str:
        return f"Blob({self.max_len})"

    def encode_into(self, value: bytes, out: bytearray) -> None:
        if type(value) is not bytes or len(value) > self.max_len:
            raise ParameterError(f"{self!r} takes at most {self.max_len} bytes, not {_kind(value)}")
        out += _U32.pack(len(value))
        out += value

    def decode_from(self, reader: Reader) -> bytes:
        return reader.take(_length(reader, self.max_len))


def _length(reader: Reader, limit: int) -> int:
    start = reader.pos
    if start + 4 > reader.end:
        raise reader.truncated(4)
    reader.pos = start + 4
    length: int = _U32.unpack_from(reader.data, start)[0]
    if length > limit:
        raise CodecError(f"a length of {length} is declared; at most {limit} is allowed here")
    return length


class Text(Codec[str]):
    """UTF-8 text of at most `max_len` bytes after a u32 length; code points as they are, never normalised."""

    def __init__(self, max_len: int) -> None:
        self.max_len = _checked_limit(max_len, "max_len of Text")
        self.min_size = 4
        self.overhead = 96

    def __repr__(self) -> str:
        return f"Text({self.max_len})"

    def encode_into(self, value: str, out: bytearray) -> None:
        if type(value) is not str:
            raise ParameterError(f"{self!r} takes a str, not {_kind(value)}")
        try:
            data = value.encode("utf-8")
        except UnicodeEncodeError:
            raise ParameterError(f"{self!r} takes valid Unicode; the text contains a lone surrogate") from None
        if len(data) > self.max_len:
            raise ParameterError(f"{self!r} takes at most {self.max_len} bytes of UTF-8, not {len(data)}")
        out += _U32.pack(len(data))
        out += data

    def decode_from(self, reader: Reader) -> str:
        length = _length(reader, self.max_len)
        # One wide character makes Python store every character of the string in four bytes.
        reader.charge(4 * length)
        try:
            return reader.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise CodecError("a text is not valid UTF-8") from None


class Seq(Codec[tuple[T, ...]]):
    """At most `max_count` elements after a u32 count; a tuple in Python.

    Args:
        elem: codec of one element, of at least one byte.
        max_count: largest count that is allowed.
        increasing: elements must be strictly increasing (a set has one encoding, and holds nothing twice).
    """

    def __init__(self, elem: Codec[T], max_count: int, *, increasing: bool = False) -> None:
        self.max_count = _checked_limit(max_count, "max_count of Seq")
        if elem.min_size < 1:
            raise ParameterError(
                f"Seq({elem!r}): an element may take no bytes, so a count could not be checked against the input"
            )
        self.elem = elem
        self.increasing = increasing
        self.min_size = 4
        self.overhead = 64

    def __repr__(self) -> str:
        return f"Seq({self.elem!r}, {self.max_count}{', increasing=True' if self.increasing else ''})"

    def encode_into(self, value: tuple[T, ...], out: bytearray) -> None:
        if type(value) is not tuple or len(value) > self.max_count:
            raise ParameterError(f"{self!r} takes a tuple of at most {self.max_count} elements, not {_kind(value)}")
        if self.increasing and not _is_increasing(value):
            raise ParameterError(f"{self!r}: the elements are not strictly increasing; pass tuple(sorted(set(...)))")
        out += _U32.pack(len(value))
        encode = self.elem.encode_into
        for item in value:
            encode(item, out)

    def decode_from(self, reader: Reader) -> tuple[T, ...]:
        count = _length(reader, self.max_count)
        if count * self.elem.min_size > reader.end - reader.pos:
            raise CodecError(
                f"{count} elements of at least {self.elem.min_size} bytes are declared, "
                f"{reader.end - reader.pos} bytes are left"
            )
        reader.charge(count * (self.elem.overhead + _LIST_SLOT))
        decode = self.elem.decode_from
        value = tuple([decode(reader) for _ in range(count)])
        if self.increasing and not _is_increasing(value):
            raise CodecError("the elements of a set are not strictly increasing (unsorted, or one comes twice)")
        return value


def _is_increasing(value: tuple[Any, ...]) -> bool:
    try:
        return all(a < b for a, b in pairwise(value))
    except TypeError:
        raise ParameterError("the elements cannot be ordered: all must be of the field's type") from None


class Opt(Codec[T | None]):
    """One byte 0 for None, or 1 and the value."""

    def __init__(self, elem: Codec[T]) -> None:
        self.elem = elem
        self.min_size = 1
        self.overhead = elem.overhead

    def __repr__(self) -> str:
        return f"Opt({self.elem!r})"

    def encode_into(self, value: T | None, out: bytearray) -> None:
        if value is None:
            out.append(0)
        else:
            out.append(1)
            self.elem.encode_into(value, out)

    def decode_from(self, reader: Reader) -> T | None:
        return self.elem.decode_from(reader) if Bool.decode_from(reader) else None


class Tup(Codec[tuple[Any, ...]]):
    """A fixed number of values one after the other; a tuple in Python."""

    def __init__(self, *elems: Codec[Any]) -> None:
        self.elems = elems
        self.min_size = sum(elem.min_size for elem in elems)
        self.overhead = 48 + sum(elem.overhead + 8 for elem in elems)

    def __repr__(self) -> str:
        return f"Tup({', '.join(map(repr, self.elems))})"

    def encode_into(self, value: tuple[Any, ...], out: bytearray) -> None:
        if type(value) is not tuple or len(value) != len(self.elems):
            raise ParameterError(f"{self!r} takes a tuple of {len(self.elems)} values, not {_kind(value)}")
        for elem, item in zip(self.elems, value, strict=True):
            elem.encode_into(item, out)

    def decode_from(self, reader: Reader) -> tuple[Any, ...]:
        return tuple([elem.decode_from(reader) for elem in self.elems])


class Message:
    """Base of all messages: a frozen dataclass with a `TAG` and its `FIELDS` in the order of the dataclass.

    Attributes named with a leading underscore are not part of the message. A `__post_init__` may refuse combinations of
    values with ParameterError; while decoding that becomes a CodecError.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Ping(Message):
        ...     TAG: ClassVar[int] = 65535
        ...     FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (("round", U64), ("ids", Seq(Blob(64), 10)))
        ...     round: int
        ...     ids: tuple[bytes, ...]
        >>> data = Ping(7, (b"a", b"bc")).to_bytes()
        >>> data.hex()
        '504301ffff0700000000000000020000000100000061020000006263'
        >>> Ping.from_bytes(data, max_bytes=100)
        Ping(round=7, ids=(b'a', b'bc'))
        >>> Ping.from_bytes(data[:-1], max_bytes=100)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        privcomp.errors.CodecError: decode: Ping.ids: truncated: ...
    """

    TAG: ClassVar[int]
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]]
    EXPANSION: ClassVar[int] = 1  # see Reader; more only for files of our own

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "FIELDS" not in cls.__dict__:
            return
        if type(cls.TAG) is not int or not 0 <= cls.TAG < 2**16:
            raise ParameterError(f"{cls.__name__}.TAG is {cls.TAG!r}; it must be an int from 0 to 65535")
        # The dataclass decorator has not run yet: its fields are the annotations that are no class variables.
        declared = [
            name
            for name, kind in inspect.get_annotations(cls).items()
            if not name.startswith("_") and "ClassVar" not in str(kind)
        ]
        named = [name for name, _ in cls.FIELDS]
        if declared != named:
            raise ParameterError(f"{cls.__name__}: FIELDS name {named}, the dataclass declares {declared}")

    def to_bytes(self) -> bytes:
        """Return the canonical encoding.

        Raises:
            ParameterError: a field holds a value of the wrong type, range or length.
        """
        out = bytearray(_header(type(self).TAG))
        self._encode_fields(out)
        return bytes(out)

    @classmethod
    def prefix(cls) -> bytes:
        """The bytes with which every message of this class begins: magic, version, tag."""
        return bytes(_header(cls.TAG))

    @classmethod
    def from_bytes(cls, data: bytes, *, max_bytes: int) -> Self:
        """Decode one message of this class.

        Args:
            data: the received bytes.
            max_bytes: longest message that is accepted here.

        Returns:
            The message; its `to_bytes()` equals `data`.

        Raises:
            CodecError: wrong magic, version or tag, truncated, leftover, oversize or non-canonical bytes.
        """
        if _tag(data, max_bytes) != cls.TAG:
            raise CodecError(
                f"the message carries tag {_tag(data, max_bytes)}, expected is {cls.TAG} ({cls.__name__}); "
                "it belongs to another stage"
            )
        reader = Reader(data, expansion=cls.EXPANSION)
        reader.pos = HEADER_BYTES
        message = cls._decode_fields(reader)
        if reader.pos != reader.end:
            raise CodecError(f"{cls.__name__}: {reader.end - reader.pos} bytes are left over; none are allowed")
        return message

    def _encode_fields(self, out: bytearray) -> None:
        name = ""
        try:
            for name, codec in self.FIELDS:
                codec.encode_into(getattr(self, name), out)
        except ParameterError as error:
            raise ParameterError(f"{type(self).__name__}.{name}: {error}") from None

    @classmethod
    def _decode_fields(cls, reader: Reader) -> Self:
        name = ""
        values = []
        try:
            for name, codec in cls.FIELDS:  # noqa: B007 (the error names the field)
                values.append(codec.decode_from(reader))
        except CodecError as error:
            raise CodecError(f"{cls.__name__}.{name}: {error.message}") from None
        try:
            return cls(*values)
        except ParameterError as error:
            raise CodecError(f"{cls.__name__}: {error}") from None


class Nested(Codec[Any]):
    """The fields of another message class in place, without its header."""

    def __init__(self, cls: type[Message]) -> None:
        self.cls = cls
        self.min_size = sum(codec.min_size for _, codec in cls.FIELDS)
        # An instance with its dict: 56 + 104 bytes for up to five fields, some 20 for each further one.
        self.overhead = 160 + sum(codec.overhead + 24 for _, codec in cls.FIELDS)

    def __repr__(self) -> str:
        return f"Nested({self.cls.__name__})"

    def encode_into(self, value: Any, out: bytearray) -> None:
        if type(value) is not self.cls:
            raise ParameterError(f"{self!r} takes a {self.cls.__name__}, not {_kind(value)}")
        value._encode_fields(out)

    def decode_from(self, reader: Reader) -> Any:
        return self.cls._decode_fields(reader)


def _header(tag: int) -> bytes:
    return _MAGIC + struct.pack("<BH", VERSION, tag)


def _tag(data: bytes, max_bytes: int) -> int:
    if type(data) is not bytes:
        raise ParameterError(f"a message is decoded from bytes, not from a {type(data).__name__}; pass bytes(data)")
    if len(data) > max_bytes:
        raise CodecError(f"the message has {len(data)} bytes, at most {max_bytes} are accepted here")
    if len(data) < HEADER_BYTES:
        raise CodecError(f"the message has {len(data)} bytes, its header alone takes {HEADER_BYTES}")
    if data[:2] != _MAGIC:
        raise CodecError("the bytes do not begin with 'PC': this is no privcomp message")
    if data[2] != VERSION:
        raise CodecError(f"the message has format version {data[2]}, this library speaks {VERSION}; use one release")
    return data[3] | data[4] << 8


def decode_any(data: bytes, registry: Mapping[int, type[Message]], *, max_bytes: int | None = None) -> Message:
    """Decode a message of whichever class of `registry` its tag names.

    Args:
        data: the received bytes.
        registry: tag -> message class.
        max_bytes: longest message that is accepted; None where the transport has already bounded it.

    Raises:
        CodecError: the tag is not in the registry, or as `Message.from_bytes`.
    """
    limit = len(data) if max_bytes is None else max_bytes
    tag = _tag(data, limit)
    cls = registry.get(tag)
    if cls is None:
        raise CodecError(f"the message carries tag {tag}, accepted here are {sorted(registry)}")
    return cls.from_bytes(data, max_bytes=limit)


def lp(*parts: bytes) -> bytes:
    """Concatenate parts, each behind its length as 8 little-endian bytes: injective in the list of parts.

    Example:
        >>> lp(b"ab", b"").hex()
        '020000000000000061620000000000000000'
        >>> lp(b"a", b"b") == lp(b"ab")
        False
    """
    return b"".join([(_LENGTHS[len(part)] if len(part) < 256 else _U64.pack(len(part))) + part for part in parts])


def digest(label: str, *parts: bytes) -> bytes:
    """SHA-256 of the label and the parts, each length-prefixed: SHA-256(lp(label, *parts)).

    Args:
        label: what the digest is for; other labels give unrelated digests.
        parts: the hashed values.

    Returns:
        32 bytes.
    """
    return hashlib.sha256(lp(label.encode("utf-8"), *parts)).digest()
