"""The federated demo: real data, hospitals that drop out, and a server that sees masked vectors only.

`run_demo(options, secure_sum, progress)` is the whole job; it learns nothing about the hospitals' rows except through
`secure_sum`, which the caller builds from `privcomp.rounds`. Needs the extra `demo` (scikit-learn, matplotlib).
"""

from __future__ import annotations

from privcomp.demo.data import Federation, Site, Table, federate, load
from privcomp.demo.report import Report
from privcomp.demo.train import DemoOptions, Progress, SecureResult, SecureSum, run_demo

__all__ = [
    "DemoOptions",
    "Federation",
    "Progress",
    "Report",
    "SecureResult",
    "SecureSum",
    "Site",
    "Table",
    "federate",
    "load",
    "run_demo",
]
