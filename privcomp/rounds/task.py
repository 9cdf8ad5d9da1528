"""What one round asks of every node, in terms of named arrays and metrics: the layer that framework adapters share.

An update round ("update") sums the change of a model; an evaluation round ("metrics") sums metrics on a model. In both
the weight, the number of examples, rides inside the masked vector, and so do the metrics: nothing about one node is in
the clear.

The vector of an update is

    new - received      every float array that is not `kept`, in the model's order
    metrics             each mapped from its public range [lo, hi] to the encoding's range [-clip, clip]

and its weighted mean gives the next model and the weighted means of the metrics.

**No refusal depends on a bound that the server chose.** A node that refused a metric above `hi`, or a weight above
`max_weight`, would answer a question about itself by its silence, and a server that lets rounds end before their sum
could bisect the value. So a metric beyond its range and a change beyond the clip count as the range's end (and in the
masked clip count), a weight above `max_weight` counts as `max_weight`, and the node's own log says so.
"""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from privcomp.codec import F64, Blob, Codec, Message, Seq, Text, Tup
from privcomp.dp import DistributedPlan, PrivateMean
from privcomp.encoding import Decoded, FixedPoint, Layout, Way, model_bytes, parse_model
from privcomp.errors import CodecError, EncodingError, ParameterError

__all__ = ["Encoding", "Task"]

#: Floats <-> bounded integers: plain, or with noise.
Encoding = FixedPoint | DistributedPlan

_log = logging.getLogger("privcomp.rounds")

Arrays = Mapping[str, NDArray[Any]]

_KINDS: Final = ("update", "metrics")
_PURPOSES: Final = {"update": "training", "metrics": "evaluation"}
#: An empty array of this name makes an evaluation of a model another request than the training on it: a node counts
#: the releases per request (rule 6), and what an evaluation releases are metrics, never an update.
_MARKER: Final = "privcomp:evaluation"


@dataclass(frozen=True)
class Task(Message):
    """One round's question, the same for all nodes; part of the round digest (`RoundSpec.task`).

    Args:
        kind: "update" (purpose "training") or "metrics" (purpose "evaluation").
        metrics: (name, lo, hi) each: summed inside the vector; a value beyond its range is clipped and counted.
        kept: names of arrays that stay as the server sent them, with wildcards as in "*.num_batches_tracked": integer
            counters, or what a node must not share.
        binding: at most 32 bytes: a digest of what else the node is given (a framework's configuration, say). As part
            of the round digest it is the same at all nodes of a round, so none is asked another question than the rest.

    Raises:
        ParameterError: an unknown kind, a range that is empty or not finite, a name that comes twice, nothing to sum.

    >>> task = Task("update", metrics=(("loss", 0.0, 10.0),))
    >>> model = {"w": np.zeros(3, np.float32)}
    >>> encoding = task.encoding(model, clients=10, clip=1.0, max_weight=100)
    >>> values = task.values(model, {"w": np.full(3, 0.5, np.float32)}, {"loss": 10.0}, encoding)
    >>> values.tolist() == [0.5, 0.5, 0.5, encoding.clip_limit]
    True
    """

    TAG: ClassVar[int] = 0x41
    FIELDS: ClassVar[tuple[tuple[str, Codec[Any]], ...]] = (
        ("kind", Text(16)),
        ("metrics", Seq(Tup(Text(256), F64, F64), 256)),
        ("kept", Seq(Text(256), 256)),
        ("binding", Blob(32)),
    )

    kind: str
    metrics: tuple[tuple[str, float, float], ...] = ()
    kept: tuple[str, ...] = ()
    binding: bytes = b""

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ParameterError(f"task: kind {self.kind!r}: allowed are {', '.join(map(repr, _KINDS))}")
        try:
            ranges = tuple((str(name), float(low), float(high)) for name, low, high in self.metrics)
        except (TypeError, ValueError):
            raise ParameterError("task: metrics are (name, lo, hi) each, with numbers lo and hi") from None
        object.__setattr__(self, "metrics", ranges)
        names = [name for name, _, _ in self.metrics]
        if len(set(names)) != len(names) or len(set(self.kept)) != len(self.kept):
            raise ParameterError("task: a metric or a kept array is named twice")
        for name, low, high in self.metrics:
            if not (math.isfinite(low) and math.isfinite(high) and low < high and math.isfinite(high - low)):
                raise ParameterError(f"task: metric {name!r} needs a finite range lo < hi, not [{low}, {high}]")
        if self.kind == "metrics" and not self.metrics:
            raise ParameterError("task: an evaluation needs at least one metric with its range")

    @property
    def purpose(self) -> str:
        """The purpose under which a round with this task is announced."""
        return _PURPOSES[self.kind]

    # ---- the request: model bytes ----

    def request(self, arrays: Arrays) -> bytes:
        """The bytes that the server announces by hash and sends: the model, marked if it is to be evaluated.

        Raises:
            ParameterError: a dtype that no model has, or a name that is reserved.
        """
        if _MARKER in arrays:
            raise ParameterError(f"the name {_MARKER!r} is reserved")
        if self.kind == "metrics":
            arrays = {**arrays, _MARKER: np.empty(0, dtype=np.uint8)}
        return model_bytes(arrays)

    def parse(self, model: bytes) -> dict[str, NDArray[Any]]:
        """The named arrays of a request, read-only.

        Raises:
            CodecError: no model, one that was asked for under the other kind, or one whose mark is not the one of
                `request`: a second spelling would be a second request on the same model.
        """
        arrays = parse_model(model)
        last = next(reversed(arrays), None)
        mark = arrays.pop(_MARKER, None)
        if mark is not None and (last != _MARKER or mark.shape != (0,) or mark.dtype != np.uint8):
            raise CodecError(f"the request's {_MARKER!r} is not the empty array at its end: not answered")
        if (mark is not None) != (self.kind == "metrics"):
            raise CodecError("the request mixes training and evaluation; this node does not answer it")
        return arrays

    # ---- the vector ----

    def layout(self, arrays: Arrays) -> Layout | None:
        """The arrays that are averaged, or None where there are none (an evaluation).

        Raises:
            EncodingError: an integer array that is not kept.
            ParameterError: a kept array that the model does not have, or nothing is left to average.
        """
        if self.kind == "metrics":
            return None
        for pattern in self.kept:
            if not any(fnmatchcase(name, pattern) for name in arrays):
                raise ParameterError(f"task: the model has no array {pattern!r} to keep; it has {', '.join(arrays)}")
        kept = {name for name in arrays for pattern in self.kept if fnmatchcase(name, pattern)}
        averaged = {name: array for name, array in arrays.items() if name not in kept}
        for name, array in averaged.items():
            if not np.issubdtype(array.dtype, np.floating):
                raise EncodingError(
                    f"array {name!r} is {array.dtype.name}: integers (counters of a BatchNorm, say) have no mean; "
                    "name it in `kept`, and it stays as the server sent it"
                )
        if not averaged:
            raise ParameterError("task: all arrays are kept, nothing is left to average")
        return Layout.of(averaged)

    def entries(self, arrays: Arrays) -> int:
        """Length of the vector of one node."""
        layout = self.layout(arrays)
        return (layout.size if layout is not None else 0) + len(self.metrics)

    def encoding(
        self,
        arrays: Arrays,
        *,
        clients: int,
        clip: float,
        max_weight: int,
        bits: int = 16,
        way: Way = "exact",
        max_error: float | None = None,
    ) -> FixedPoint:
        """An encoding for this task on this model.

        Args:
            arrays: the model.
            clients: most clients of a round.
            clip: largest absolute change of an entry that is not clipped.
            max_weight: largest number of examples of a node.
            bits, way, max_error: as for `FixedPoint`.
        """
        return FixedPoint.for_range(
            clip,
            bits=bits,
            clients=clients,
            entries=self.entries(arrays),
            way=way,
            max_weight=max_weight,
            max_error=max_error,
        )

    def values(
        self, arrays: Arrays, new: Arrays, metrics: Mapping[str, float], encoding: Encoding
    ) -> NDArray[np.float64]:
        """One node's vector, float64 of shape (entries,).

        Args:
            arrays: the model as received.
            new: the trained model with the same names, dtypes and shapes (not looked at in an evaluation).
            metrics: at least the metrics of the task; others are ignored.
            encoding: the round's.

        Raises:
            EncodingError: names, dtypes or shapes that differ from the model's, a metric that is missing or no finite
                number, an encoding of another length. (NaN in an array is refused by the encoding.)
        """
        layout = self.layout(arrays)
        out = np.empty(self.entries(arrays), dtype=np.float64)
        if encoding.entries != out.size:
            raise EncodingError(
                f"the round's encoding has {encoding.entries} entries, this model and task have {out.size}: "
                "the server announced a round for another model"
            )
        at = 0
        if layout is not None:
            extra = sorted(map(repr, new.keys() - arrays.keys()))
            if extra:
                raise EncodingError(f"the trained model has arrays that the server did not send: {', '.join(extra)}")
            trained = {name: new[name] for name, _, _ in layout.arrays if name in new}
            received = {name: arrays[name] for name, _, _ in layout.arrays}
            for after, before in zip(layout.flat_views(trained), layout.flat_views(received), strict=True):
                # In float64: the difference of two float32 values is exact there, or nearly so.
                np.subtract(after, before, out=out[at : at + after.size], dtype=np.float64)
                at += after.size
        for name, low, high in self.metrics:
            if name not in metrics:
                raise EncodingError(f"the round sums the metric {name!r}, which this node did not return")
            value = _number(name, metrics[name])
            if low <= value <= high:
                out[at] = ((value - low) / (high - low) * 2 - 1) * encoding.clip_limit
            else:
                _log.warning("metric %r is beyond its announced range [%g, %g]: it is clipped", name, low, high)
                out[at] = math.copysign(2 * encoding.clip_limit, value - low)  # which the encoding clips and counts
            at += 1
        return out

    def weight(self, weight: Any, encoding: Encoding) -> int:
        """One node's weight as the round takes it: at most the encoding's `max_weight`; 1 under a plan, whatever it is.

        Args:
            weight: the number of examples, a whole number of at least 1.
            encoding: the round's.

        Raises:
            EncodingError: not a whole number, or below 1.
        """
        if isinstance(encoding, DistributedPlan):
            return 1  # every update counts once: not even a refusal may depend on the weight
        if isinstance(weight, (float, np.floating)) and float(weight).is_integer():
            weight = int(weight)
        try:
            number = operator.index(weight) if not isinstance(weight, (bool, np.bool_)) else 0
        except TypeError:
            raise EncodingError(f"the weight is a {type(weight).__name__}; it must be a whole number") from None
        if number < 1:
            raise EncodingError("the weight must be a whole number of at least 1")
        if number > encoding.max_weight:
            _log.warning("the weight is above the round's max_weight = %d and counts as that", encoding.max_weight)
        return min(number, encoding.max_weight)

    def result(
        self, arrays: Arrays, decoded: Decoded | PrivateMean, encoding: Encoding
    ) -> tuple[dict[str, NDArray[Any]], dict[str, float]]:
        """The next model and the weighted means of the metrics.

        Args:
            arrays: the model that was announced.
            decoded: what the round gave.
            encoding: the round's.

        Returns:
            (arrays in the model's order and dtypes, metrics); in an evaluation the arrays are unchanged.
        """
        layout = self.layout(arrays)
        out = {name: np.array(array) for name, array in arrays.items()}
        size = 0
        if layout is not None:
            size = layout.size
            at = 0
            for name, dtype, shape in layout.arrays:
                count = math.prod(shape)
                mean = decoded.mean[at : at + count].reshape(shape)
                out[name] = (arrays[name].astype(np.float64) + mean).astype(dtype)
                at += count
        means = {}
        for (name, low, high), value in zip(self.metrics, decoded.mean[size:].tolist(), strict=True):
            means[name] = low + (value / encoding.clip_limit + 1) / 2 * (high - low)
        return out, means


def _number(name: str, value: Any) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise EncodingError(f"metric {name!r} is a {type(value).__name__}; it must be a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise EncodingError(f"metric {name!r} is not finite")
    return number
