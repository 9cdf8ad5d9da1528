"""Our messages as Flower's records: one ArrayRecord of bytes, which Flower cuts into chunks and sends only once."""

from __future__ import annotations

from typing import Final

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from privcomp.errors import CodecError, LocalError
from privcomp.integrations.flower.messages import Extras, Parcel

__all__ = ["KEY", "extras_of", "from_content", "raw", "restored", "to_content"]

#: The only record of a message of ours.
KEY: Final = "privcomp"
_STYPE: Final = "privcomp.parcel"
_KINDS: Final[dict[str, type[ConfigRecord] | type[MetricRecord]]] = {"config": ConfigRecord, "metric": MetricRecord}


def raw(data: bytes) -> Array:
    """Bytes as an Array."""
    return Array("uint8", (len(data),), _STYPE, data)


def to_content(parcel: Parcel, shared: Array | None = None) -> RecordDict:
    """A parcel as the content of a message.

    Args:
        parcel: what is sent.
        shared: bytes that parcels to other nodes contain, too (the model): an Array of their own, so that Flower, which
            knows objects by their hash, stores and sends them once.
    """
    data = parcel.to_bytes()
    at = data.find(shared.data) if shared is not None and shared.data else -1
    pieces = [raw(data)]
    if shared is not None and at >= 0:
        pieces = [raw(data[:at]), shared, raw(data[at + len(shared.data) :])]
    return RecordDict({KEY: ArrayRecord({str(k): piece for k, piece in enumerate(pieces)})})


def from_content(content: RecordDict) -> Parcel:
    """The parcel in a message.

    Raises:
        CodecError: there is none, there is something beside it, or it is not one.
    """
    records = content.array_records
    if list(content) != [KEY] or KEY not in records:
        raise CodecError(
            f"a message with the records {', '.join(map(repr, content)) or '(none)'} where the only one should be "
            f"{KEY!r}: one side runs without secure aggregation (mods=[secagg_mod] at the node, SecAggGrid at the "
            "server)"
        )
    pieces = list(records[KEY].values())
    if any(piece.stype != _STYPE for piece in pieces):
        raise CodecError("a message whose arrays are not ours")
    data = b"".join(piece.data for piece in pieces)
    return Parcel.from_bytes(data, max_bytes=len(data))


def extras_of(content: RecordDict, weight: str) -> tuple[ArrayRecord, Extras]:
    """Split what a strategy sends into its arrays and the rest.

    Raises:
        LocalError: not exactly one ArrayRecord.
    """
    arrays = list(content.array_records.items())
    if len(arrays) != 1:
        raise LocalError(
            f"the strategy sends {len(arrays)} ArrayRecords; secure aggregation works with exactly one (the model)"
        )
    records = []
    for kind, found in (("config", content.config_records), ("metric", content.metric_records)):
        records += [(name, kind, record.deflate()) for name, record in found.items()]
    name, model = arrays[0]
    return model, Extras(name, weight, tuple(records))


def restored(extras: Extras, arrays: ArrayRecord) -> RecordDict:
    """What the strategy sent, as the app expects it.

    Raises:
        CodecError: a record that is none.
    """
    content = RecordDict({extras.arrays: arrays})
    for name, kind, data in extras.records:
        if kind not in _KINDS or name in content:
            raise CodecError(f"the record {name!r} is of kind {kind!r}, or comes twice")
        try:
            content[name] = _KINDS[kind].inflate(data)
        except Exception as error:  # noqa: BLE001 (Flower's parsers raise what they like)
            raise CodecError(f"the record {name!r} cannot be read ({type(error).__name__})") from None
    return content
