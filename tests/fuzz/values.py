"""Random valid messages of any class, drawn from what its `FIELDS` declare."""

from __future__ import annotations

import random
from typing import Any

from privcomp.codec import F64, Blob, Bool, Codec, Fixed, Message, Nested, Opt, Seq, Text, Tup
from privcomp.errors import ParameterError


def value_of(codec: Codec[Any], rng: random.Random) -> Any:
    """A random value that `codec` encodes."""
    match codec:
        case Fixed():
            return rng.randbytes(codec.size)
        case Blob():
            return rng.randbytes(rng.randrange(min(codec.max_len, 40) + 1))
        case Text():
            return "".join(rng.choice("abcé😀") for _ in range(rng.randrange(min(codec.max_len // 4, 8) + 1)))
        case Opt():
            return value_of(codec.elem, rng) if rng.random() < 0.5 else None
        case Tup():
            return tuple(value_of(elem, rng) for elem in codec.elems)
        case Nested():
            return message_of(codec.cls, rng)
        case Seq():
            values = [value_of(codec.elem, rng) for _ in range(rng.randrange(min(codec.max_count, 4) + 1))]
            return tuple(sorted(set(values))) if codec.increasing else tuple(values)
    if codec is Bool:
        return rng.random() < 0.5
    if codec is F64:
        return rng.choice((0.0, -0.0, 1.5, rng.uniform(-1e300, 1e300)))
    # An integer: of every width, and small ones more often, since many fields are counts.
    out = bytearray()
    for bits in rng.sample((1, 2, 4, 7, 8, 16, 31, 32, 63, 64), 10):
        value = rng.getrandbits(bits)
        try:
            codec.encode_into(value, out)
        except ParameterError:
            continue
        return value
    raise AssertionError(f"no value of {codec!r} is known")


# Whether a class was ever drawn. One that ties its fields to each other refuses every draw, and stands inside others,
# which would be drawn again for it: 200 times 200 draws.
_drawn: dict[type[Message], bool] = {}


def message_of(cls: type[Message], rng: random.Random, tries: int = 200) -> Any:
    """A random message of `cls`; ParameterError if it refused all of `tries` draws, and at once if it did before."""
    if not _drawn.get(cls, True):
        raise ParameterError(f"{cls.__name__} refuses random values")
    for attempt in range(tries):
        try:
            found = cls(*(value_of(codec, rng) for _, codec in cls.FIELDS))
        except ParameterError:
            if attempt + 1 == tries:
                _drawn.setdefault(cls, False)
                raise
        else:
            _drawn[cls] = True
            return found
    raise AssertionError("tries must be positive")
