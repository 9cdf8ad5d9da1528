"""Exact samplers of integer noise.

No float decides, and the streams are freshly seeded for each call. Laws in closed form (Gaussian, Laplace) are sampled
exactly, without an end to their tails; tabulated ones (Skellam, binomial) to within 2^-170 of total variation. What
ends in `_var` takes time that depends on what it draws. docs/samplers.md and docs/samplers-tables.md have the proofs.
"""

from privcomp.samplers.bernoulli import bernoulli_exp_var
from privcomp.samplers.binomial import Binomial
from privcomp.samplers.gaussian import DiscreteGaussian
from privcomp.samplers.laplace import DiscreteLaplace
from privcomp.samplers.skellam import Skellam

__all__ = ["Binomial", "DiscreteGaussian", "DiscreteLaplace", "Skellam", "bernoulli_exp_var"]
