"""Elements and vectors modulo something: word-size prime fields, and the rings modulo a power of two."""

from privcomp.algebra.fields import GOLDILOCKS, M61, PrimeField
from privcomp.algebra.ring import Ring

__all__ = ["GOLDILOCKS", "M61", "PrimeField", "Ring"]
