"""Measurements: kernels by pytest-benchmark (test_*.py), protocols beside their peers by `python -m bench`."""

import os as _os

# Single-threaded on both sides; NumPy reads this when it is loaded.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    _os.environ.setdefault(_name, "1")
