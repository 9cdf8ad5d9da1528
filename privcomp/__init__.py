"""privcomp: federated learning in which nobody sees one client's update.

Importing this package imports nothing else; take what you need from its rooms, for example `privcomp.secagg`.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
