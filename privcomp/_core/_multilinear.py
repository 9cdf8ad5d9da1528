"""Multilinear polynomials modulo the order of a group, with NumPy in and out.

A table is u64 (n, 4), one value a row in the core's own form; a scalar here is a Python integer below the order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from privcomp._core._buffers import check_array, pointer
from privcomp._core._groups import SCALAR_BYTES, _group
from privcomp._core._privcomp import ffi, lib
from privcomp.errors import ParameterError
from privcomp.typing import I64Array, U8Array, U64Array

MULTILINEAR_MAX: int = lib.PRIVCOMP_MULTILINEAR_MAX
_LAST_LAYERS = 3  # how far above the leaves a layer can be computed from them


def _check(status: int) -> None:
    if status == lib.PRIVCOMP_E_ZERO:
        raise ParameterError("a denominator is 0")
    if status == lib.PRIVCOMP_E_CANONICAL:
        raise ParameterError("a scalar is not below the group's order")
    if status != lib.PRIVCOMP_OK:
        raise ParameterError(f"the core refused the sizes of tables or points (code {status})")


def _table(name: str, table: U64Array, n: int | None = None, *, write: bool = False) -> int:
    check_array(name, table, ("uint64",), (n, 4), write=write)
    return int(table.shape[0])


def _vector(name: str, x: I64Array, n: int | None = None) -> int:
    check_array(name, x, ("int64",), (n,))
    return int(x.size)


def _scalars(values: Sequence[int]) -> bytes:
    try:
        return b"".join(value.to_bytes(SCALAR_BYTES, "little") for value in values)
    except OverflowError:
        raise ParameterError("a scalar is not in [0, 2^256)") from None


def _variables(n: int) -> int:
    if not 0 <= n <= MULTILINEAR_MAX:
        raise ParameterError(f"{n} variables; allowed is [0, {MULTILINEAR_MAX}]")
    return n


def _scratch(variables: int) -> U64Array:
    return np.empty(lib.privcomp_multilinear_scratch(_variables(variables)), np.uint64)


def _out(n: int) -> U8Array:
    return np.empty((n, SCALAR_BYTES), np.uint8)


def _ints(out: U8Array) -> tuple[int, ...]:
    return tuple(int.from_bytes(row.tobytes(), "little") for row in out)


def table_load(group: int, scalars: U8Array) -> U64Array:
    """A table of scalars, u8 (n, 32)."""
    check_array("scalars", scalars, ("uint8",), (None, SCALAR_BYTES))
    table = np.empty((scalars.shape[0], 4), np.uint64)
    _check(lib.privcomp_multilinear_load(pointer(table, write=True), pointer(scalars), len(table), _group(group)))
    return table


def table_store(group: int, table: U64Array) -> U8Array:
    """The values of a table, u8 (n, 32)."""
    out = _out(_table("table", table))
    _check(lib.privcomp_multilinear_store(pointer(out, write=True), pointer(table), len(out), _group(group)))
    return out


def table_scale(group: int, table: U64Array, factor: int) -> None:
    """table *= factor."""
    n = _table("table", table, write=True)
    _check(lib.privcomp_multilinear_scale(pointer(table, write=True), n, _scalars([factor]), _group(group)))


def table_fold(group: int, tables: U64Array, count: int, half: int, s: int) -> None:
    """Bind the highest variable of `count` tables, one after another in u64 (count * stride, 4), to s."""
    n = _table("tables", tables, write=True)
    stride = n // max(count, 1)
    if count < 1 or half < 1 or n != count * stride or stride < 2 * half:
        raise ParameterError(f"{n} values are not {count} tables of at least {2 * half}")
    _check(
        lib.privcomp_multilinear_fold(pointer(tables, write=True), count, stride, half, _scalars([s]), _group(group))
    )


def table_eq(group: int, point: Sequence[int], cut: int, below: int, above: int) -> U64Array:
    """The table of eq(point, y), times `below` for y < cut and times `above` for the others."""
    n = _variables(len(point))
    table, scratch = np.empty((1 << n, 4), np.uint64), _scratch(n)
    cut = min(max(cut, 0), 1 << n)
    _check(
        lib.privcomp_multilinear_eq(
            pointer(table, write=True), _scalars(point), n, cut, _scalars([below]), _scalars([above]),
            _group(group), pointer(scratch, write=True),
        )
    )  # fmt: skip
    return table


def table_combine(group: int, table: U64Array, coefficients: Sequence[int], x: I64Array, *, added: bool) -> None:
    """table[y] (+)= the sum over k of coefficients[k] * x[k * len(table) + y], x being 0 beyond its end."""
    size, d = _table("table", table, write=True), _vector("x", x)
    _check(
        lib.privcomp_multilinear_combine(
            pointer(table, write=True), _scalars(coefficients), len(coefficients), pointer(x), d, size, int(added),
            _group(group),
        )
    )  # fmt: skip


def eq_dot(group: int, point: Sequence[int], x: I64Array, first: int, last: int) -> int:
    """The sum over first <= y < last of eq(point, y) * x[y], x being 0 beyond its end."""
    d, n, out = _vector("x", x), _variables(len(point)), _out(1)
    if not 0 <= first <= last <= 1 << n:
        raise ParameterError(f"places {first} to {last} of {1 << n}")
    scratch = _scratch(n)
    _check(
        lib.privcomp_multilinear_dot(
            pointer(out, write=True), pointer(x), d, first, last, _scalars(point), n, _group(group),
            pointer(scratch, write=True),
        )
    )  # fmt: skip
    return _ints(out)[0]


def table_dot(group: int, table: U64Array, x: I64Array) -> int:
    """The sum of table[i] * x[i]."""
    n, out = _table("table", table), _out(1)
    _vector("x", x, n)
    _check(lib.privcomp_multilinear_dot_table(pointer(out, write=True), pointer(table), pointer(x), n, _group(group)))
    return _ints(out)[0]


def dot_i64(group: int, x: I64Array, y: I64Array) -> int:
    """The sum of x[i] * y[i] modulo the order; |x| < 2^31, at most 2^32 of them."""
    n, out = _vector("x", x), _out(1)
    _vector("y", y, n)
    _check(lib.privcomp_multilinear_dot_i64(pointer(out, write=True), pointer(x), pointer(y), n, _group(group)))
    return _ints(out)[0]


def product_round(group: int, a: U64Array, g: U64Array, half: int) -> tuple[int, ...]:
    """h(0) and the coefficient of X^2 of the sum over y < half of a(X, y) g(X, y)."""
    out = _out(2)
    if half < 0 or _table("a", a) < 2 * half or _table("g", g) < 2 * half:
        raise ParameterError(f"tables of less than {2 * half} values")
    _check(lib.privcomp_sumcheck_product(pointer(out, write=True), pointer(a), pointer(g), half, _group(group)))
    return _ints(out)


def fraction_layer(group: int, out: U64Array, x: I64Array, variables: int, layer: int, shift: int) -> None:
    """Layer `layer` of the tree over 1 / (shift + x[j]), j < 2^variables: out[: 2^layer] = p, then q."""
    _variables(variables)
    if not 0 <= layer < variables <= layer + _LAST_LAYERS:
        raise ParameterError(f"layer {layer} of {variables}")
    d = _vector("x", x)
    _table("out", out, 2 << layer, write=True)
    _check(
        lib.privcomp_fraction_layer(
            pointer(out, write=True), pointer(x), d, variables, layer, _scalars([shift]), _group(group)
        )
    )


def fraction_up(group: int, out: U64Array, below: U64Array, layer: int) -> None:
    """out = layer `layer`, from the one below it."""
    if not 0 <= layer < MULTILINEAR_MAX:
        raise ParameterError(f"layer {layer}; allowed is [0, {MULTILINEAR_MAX - 1}]")
    _table("out", out, 2 << layer, write=True)
    _table("below", below, 4 << layer)
    _check(lib.privcomp_fraction_up(pointer(out, write=True), pointer(below), layer, _group(group)))


def fraction_mix(group: int, tables: U64Array, factor: int) -> None:
    """p1 += factor * q1 in the tables p0, p1, q0, q1."""
    n = _table("tables", tables, write=True)
    if n % 4:
        raise ParameterError(f"{n} values are not four tables")
    _check(lib.privcomp_fraction_mix(pointer(tables, write=True), n // 4, _scalars([factor]), _group(group)))


def fraction_round(group: int, tables: U64Array, point: Sequence[int], factor: int | None = None) -> tuple[int, ...]:
    """h(0) and the coefficient of X^2 for mixed tables, or (with a factor) for the q0 and q1 of leaves."""
    n, b, out = _table("tables", tables), _variables(len(point)), _out(2)
    count = 4 if factor is None else 2
    stride = n // count
    if n % count or stride < 2 << b:
        raise ParameterError(f"{n} values are not {count} tables of at least {2 << b}")
    scratch, mixing = _scratch(b), ffi.NULL if factor is None else _scalars([factor])
    _check(
        lib.privcomp_fraction_round(
            pointer(out, write=True), pointer(tables), stride, b, _scalars(point), mixing, _group(group),
            pointer(scratch, write=True),
        )
    )  # fmt: skip
    return _ints(out)


def _first(variables: int, layer: int) -> None:
    _variables(variables)
    if not 1 <= layer < variables <= layer + 2:
        raise ParameterError(f"layer {layer} of {variables}")


def fraction_first_round(
    group: int, x: I64Array, variables: int, layer: int, shift: int, factor: int, point: Sequence[int]
) -> tuple[int, ...]:
    """The first round of the sumcheck of a layer, from the leaves themselves; `point` has layer - 1 variables."""
    _first(variables, layer)
    if len(point) != layer - 1:
        raise ParameterError(f"a point of {len(point)} variables in the first round of layer {layer}")
    d, out, scratch = _vector("x", x), _out(2), _scratch(layer - 1)
    _check(
        lib.privcomp_fraction_first_round(
            pointer(out, write=True), pointer(x), d, variables, layer, _scalars([shift]), _scalars([factor]),
            _scalars(point), _group(group), pointer(scratch, write=True),
        )
    )  # fmt: skip
    return _ints(out)


def fraction_first_fold(
    group: int, tables: U64Array, x: I64Array, variables: int, layer: int, shift: int, factor: int, s: int
) -> None:
    """The mixed tables (of leaves: q0 and q1) after that round, its variable bound to s."""
    _first(variables, layer)
    d = _vector("x", x)
    _table("tables", tables, (2 if layer + 1 == variables else 4) << (layer - 1), write=True)
    _check(
        lib.privcomp_fraction_first_fold(
            pointer(tables, write=True), pointer(x), d, variables, layer, _scalars([shift]), _scalars([factor]),
            _scalars([s]), _group(group),
        )
    )  # fmt: skip


def reciprocals(group: int, count: int, size: int, alpha: int) -> U64Array:
    """The table of 1 / (alpha + t) for t < count, 0 up to size; ParameterError if there is a pole."""
    if not 0 <= count <= size:
        raise ParameterError(f"{count} of {size} values")
    table = np.empty((size, 4), np.uint64)
    _check(lib.privcomp_reciprocals(pointer(table, write=True), count, size, _scalars([alpha]), _group(group)))
    return table


def reciprocal_sum(group: int, count: int, alpha: int, point: Sequence[int]) -> int:
    """The sum over t < count of eq(point, t) / (alpha + t); ParameterError if there is a pole."""
    n, out = _variables(len(point)), _out(1)
    if not 0 <= count <= 1 << n:
        raise ParameterError(f"{count} of {1 << n} values")
    scratch = _scratch(n)
    _check(
        lib.privcomp_reciprocal_sum(
            pointer(out, write=True), count, n, _scalars([alpha]), _scalars(point), _group(group),
            pointer(scratch, write=True),
        )
    )  # fmt: skip
    return _ints(out)[0]
