"""Pedersen commitments to scalars and short vectors, constant time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from privcomp.algebra import RISTRETTO255, Group, Point, Points, Scalar, Scalars
from privcomp.commitments.generators import Generators
from privcomp.errors import ParameterError, RemoteError

__all__ = ["Pedersen"]


@dataclass(frozen=True)
class Pedersen:
    """Commitments sum of v_b Gamma_b + r H to vectors of n scalars.

    Perfectly hiding for a uniform r that is used once; binding under the discrete-logarithm assumption. Commitments and
    blindings add up: commit(v, r) + commit(w, s) = commit(v + w, r + s).

    Source: Pedersen, "Non-interactive and information-theoretic secure verifiable secret sharing", CRYPTO '91.

    >>> pedersen = Pedersen.derive(2)
    >>> values = pedersen.group.scalars([3, 4])
    >>> commitment, blinding = pedersen.commit(values)
    >>> pedersen.check(commitment, values, blinding)
    """

    bases: Points
    blinding: Point

    @classmethod
    def derive(cls, n: int = 1, group: Group = RISTRETTO255) -> Pedersen:
        """For vectors of n scalars, over generators that nobody chose."""
        generators = Generators.derive(group, n)
        return cls(generators.columns, generators.blinding)

    @property
    def group(self) -> Group:
        """The group of the commitments."""
        return self.bases.group

    def commit(self, values: Scalars, rng: Callable[[int], bytes] = os.urandom) -> tuple[Point, Scalar]:
        """A commitment to (n,) scalars and its fresh blinding."""
        blinding = self.group.random_scalars(1, rng)[0]
        return self.commit_with(values, blinding), blinding

    def commit_with(self, values: Scalars, blinding: Scalar) -> Point:
        """The commitment under a blinding of one's own: uniform and never used again, or nothing is hidden.

        Raises:
            ParameterError: not n values, or of another group.
        """
        if len(values) != len(self.bases):
            raise ParameterError(f"{len(values)} values; this commitment takes {len(self.bases)}")
        if len(blinding) != 1:
            raise ParameterError(f"{len(blinding)} blindings; a commitment has one")
        return self.bases.msm(values) + self.blinding * blinding[0]

    def check(self, commitment: Point, values: Scalars, blinding: Scalar) -> None:
        """Check an opening.

        Raises:
            RemoteError: it opens something else.
            ParameterError: as `commit_with`.
        """
        if len(commitment) != 1:
            raise ParameterError(f"{len(commitment)} elements; a commitment is one")
        if self.commit_with(values, blinding) != commitment[0]:
            raise RemoteError(None, "opening", "the opening does not belong to the commitment")
