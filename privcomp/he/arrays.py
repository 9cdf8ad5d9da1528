"""Weighted means of named arrays by CKKS: three functions of bytes, for whatever framework carries them.

    client       serialise     arrays, weight  ->  bytes
    aggregator   aggregate     clients' bytes  ->  bytes, no key
    key holder   deserialise   bytes           ->  mean arrays, total weight

They fit where a framework has a filter or a mod: `serialise` behind local training, `aggregate` in the server's
aggregator, `deserialise` at the key holder, which passes the mean on. No framework is imported here.

The vector holds w x / 2^k for every entry x, and w / 2^k at its end, with 2^k >= max_weight: a clear weight would tell
how much data a client has. 2^-k is no finer than the grid, so weights are summed exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp.encoding import Layout
from privcomp.errors import EncodingError, ParameterError, RoundAborted
from privcomp.he.ckks import Aggregator, CkksParams, Decryptor, Encryptor, Session
from privcomp.keys import Identity

__all__ = ["aggregate", "array_params", "deserialise", "serialise"]


def array_params(
    layout: Layout,
    *,
    clients: int,
    limit: float,
    max_weight: int = 1,
    precision_bits: int = 24,
    min_clients: int = 2,
) -> CkksParams:
    """Parameters for means of arrays of this layout.

    Args:
        layout: names, dtypes and shapes.
        clients: the most clients in a mean.
        limit: largest absolute value of an entry.
        max_weight: largest weight, at most 2^precision_bits.
        precision_bits: grid of the weighted entries; the mean of n clients with total weight W is within
            n / (2 W) * 2^(k - precision_bits) of the exact one, 2^k >= max_weight.
        min_clients: the fewest.

    Raises:
        ParameterError: weights finer than the grid, or as `CkksParams.for_round`.

    Example:
        >>> layout = Layout((("w", "float32", (10, 10)), ("b", "float32", (10,))))
        >>> array_params(layout, clients=50, limit=1.0, max_weight=1000).length
        111
    """
    _divisor(max_weight, precision_bits)
    return CkksParams.for_round(
        length=layout.size + 1,
        clients=clients,
        magnitude=max(float(limit), 1.0),
        precision_bits=precision_bits,
        min_clients=min_clients,
    )


def serialise(
    encryptor: Encryptor,
    layout: Layout,
    arrays: Mapping[str, NDArray[Any]],
    weight: int,
    round_number: int,
    *,
    max_weight: int = 1,
) -> bytes:
    """A client's arrays, weighted and encrypted.

    Args:
        encryptor: the client's, with the params of `array_params`.
        layout: what the arrays must match.
        arrays: float32 or float64, by name.
        weight: 1..max_weight, such as the number of examples.
        round_number: the round.
        max_weight: as for `array_params`.

    Raises:
        EncodingError: arrays that do not match, NaN, a value beyond the limit, or a weight out of range.
        ParameterError: a max_weight for which the grid of the params is too coarse: weights would be rounded.
        StateError: the round has been answered.
    """
    divisor = _divisor(max_weight, encryptor.session.params.precision_bits)
    if type(weight) is not int or not 1 <= weight <= max_weight:
        raise EncodingError(f"the weight is {weight!r}; it must be an int in 1..{max_weight}")
    vector = np.empty(layout.size + 1, dtype=np.float64)
    vector[:-1] = layout.flatten(arrays)
    vector[-1] = 1.0
    vector *= weight / divisor
    return encryptor.encrypt(vector, round_number)


def aggregate(
    session: Session, public_key: bytes, identity: Identity, uploads: Iterable[bytes], round_number: int
) -> bytes:
    """The aggregator's sum of what clients sent. One upload that is refused refuses all: `Aggregator` lets you go on.

    Raises:
        CodecError, RemoteError: an upload is refused; the error names the client where it can.
        StateError: fewer than params.min_clients uploads.
    """
    aggregator = Aggregator(session, public_key, identity, round_number)
    for data in uploads:
        aggregator.add(data)
    return aggregator.total()


def deserialise(
    decryptor: Decryptor, layout: Layout, data: bytes, round_number: int, *, max_weight: int = 1
) -> tuple[dict[str, NDArray[Any]], int]:
    """The weighted mean at the key holder.

    Returns:
        The mean of each array in the layout's dtype, and the total weight.

    Raises:
        CodecError, RemoteError, StateError: as `Decryptor.decode`.
        ParameterError: as for `serialise`; nothing is opened.
        RoundAborted: also where the clients' weights add up to what honest ones cannot.
    """
    divisor = _divisor(max_weight, decryptor.session.params.precision_bits)
    opened = decryptor.decode(data, round_number)
    total = float(opened.values[-1]) * divisor
    count = len(opened.parties)
    if not total.is_integer() or not count <= total <= count * max_weight:
        raise RoundAborted(None, "decode", f"the weights of {count} clients are no integers in 1..{max_weight}")
    mean = opened.values[:-1] / opened.values[-1]
    return layout.unflatten(mean), int(total)


def _divisor(max_weight: int, precision_bits: int) -> int:
    if type(max_weight) is not int or not 1 <= max_weight <= 1 << precision_bits:
        raise ParameterError(f"max_weight is {max_weight!r}; it must be an int in 1..2^precision_bits")
    return 1 << (max_weight - 1).bit_length()
