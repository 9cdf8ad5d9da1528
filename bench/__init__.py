"""Measurements: kernels by pytest-benchmark (test_*.py), protocols beside their peers by `python -m bench`."""
