"""The check that a published sum is the sum of the committed updates."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Final

import numpy as np

from privcomp.attest.attestation import Attestation
from privcomp.commitments.hyrax import Opening, RowCommitment
from privcomp.errors import CodecError, ParameterError, RemoteError
from privcomp.typing import I64Array
from privcomp.zk import norm
from privcomp.zk.norm import NormStatement

__all__ = ["check_sum"]

STAGE: Final = "sum"


def check_sum(
    statements: Sequence[NormStatement],
    survivors: Sequence[bytes],
    attestations: Mapping[bytes, Attestation],
    total: I64Array,
    blindings: bytes,
    rng: Callable[[int], bytes] = os.urandom,
) -> None:
    """Check that `total` is, as a vector of integers, the sum of what the survivors committed to.

    The attestations themselves are not checked here: see `check_attestations`.

    With n survivors whose entries are proven to lie in [lo, hi] (the bounds of the parts added up), the sum lies in
    [n lo, n hi]. That is checked for `total`, whose equality with the sum modulo the group's order ell is one of
    integers then, as n (hi - lo) < n 2^25 < ell.

    Args:
        statements: of the round.
        survivors: ids in the sum.
        attestations: id -> its attestation, of exactly the survivors.
        total: int64 (d,), the published sum.
        blindings: the published sum of their blindings, 32 canonical bytes a row.
        rng: entropy of the verifier, fresh for every check: whoever foresees it can publish a false sum.

    Raises:
        RemoteError: (stage "sum") it is another sum. A false one passes with probability 2^-128.
        ParameterError: `total` is not an int64 array of length d.
    """
    whole = statements[0]
    if type(total) is not np.ndarray or total.dtype != np.dtype(np.int64) or total.shape != (whole.d,):
        raise ParameterError(f"the sum must be a native int64 array of shape ({whole.d},)")
    n = len(survivors)
    if not n or len(set(survivors)) != n or set(survivors) != attestations.keys():
        raise RemoteError(None, STAGE, "the survivors are not distinct, or not those whose attestations are given")
    lo, hi = n * sum(s.lo for s in statements), n * sum(s.hi for s in statements)
    if int(total.min()) < lo or int(total.max()) > hi:
        raise RemoteError(None, STAGE, f"an entry of the sum is outside [{lo}, {hi}], which {n} survivors cannot reach")
    try:
        opening = Opening(whole.group.decode_scalars(blindings, whole.rows))
    except CodecError as error:
        raise RemoteError(None, STAGE, f"the summed blindings are not canonical: {error.message}") from None
    committed = reduce(RowCommitment.__add__, _rows(statements, survivors, attestations))
    try:
        norm.scheme(whole).check(committed, total, opening, rng)
    except RemoteError:
        raise RemoteError(
            None,
            STAGE,
            "the sum is not that of the committed updates: the server changed it, or a client aggregated another "
            "update than it committed to; discard this round",
        ) from None


def _rows(
    statements: Sequence[NormStatement], survivors: Sequence[bytes], attestations: Mapping[bytes, Attestation]
) -> Iterator[RowCommitment]:
    for client in survivors:
        parts = attestations[client].parts
        if len(parts) != len(statements):
            raise RemoteError(client, STAGE, f"{len(parts)} parts where {len(statements)} are stated")
        for statement, part in zip(statements, parts, strict=True):
            try:
                yield norm.decode_commitment(statement, part.rows)
            except CodecError as error:
                raise error.by(client, STAGE) from None
