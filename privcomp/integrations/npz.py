"""Models in NumPy's .npz files: named arrays, no objects, written atomically."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from errno import EISDIR
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privcomp.encoding import model_bytes
from privcomp.errors import LocalError, ParameterError

__all__ = ["check_place", "load_model", "save_model"]


def load_model(path: Path) -> dict[str, NDArray[Any]]:
    """Named arrays of a model, in the file's order.

    Raises:
        ParameterError: not there, no .npz file, an array of objects, or of a dtype that no model has.
    """
    try:
        stored = np.load(path, allow_pickle=False)
        if not isinstance(stored, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name")
        with stored as file:
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise ParameterError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ParameterError(f"{path} is no model: {error}; write it with numpy.savez(path, **arrays)") from None
    if not arrays:
        raise ParameterError(f"{path} holds no arrays")
    try:
        model_bytes(arrays)
    except ParameterError as error:
        raise ParameterError(f"{path}: {error}") from None
    return arrays


def check_place(path: Path) -> None:
    """See that a model can be written at a place, before there is one; nothing is left there.

    Raises:
        LocalError: it cannot.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
        new.touch()
        new.unlink()
    except OSError as error:
        raise LocalError(f"{path} cannot be written: {error.strerror}") from None


def save_model(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a model over an older one: a reader sees one or the other, whole.

    Raises:
        LocalError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        with open(new, "wb") as file:
            with zipfile.ZipFile(file, "w") as archive:  # as numpy.savez, for any name an array may have
                for name, array in arrays.items():
                    entry = io.BytesIO()
                    np.lib.format.write_array(entry, np.asarray(array), allow_pickle=False)
                    archive.writestr(f"{name}.npy", entry.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise LocalError(f"{path} cannot be written: {error.strerror}") from None
