"""Exact samplers of integer noise.

Every law here is sampled exactly: no float decides, no tail is cut off, and the streams are freshly seeded for each
call. What ends in `_var` takes time that depends on what it draws. docs/samplers.md has the proofs.
"""

from privcomp.samplers.bernoulli import bernoulli_exp_var
from privcomp.samplers.gaussian import DiscreteGaussian
from privcomp.samplers.laplace import DiscreteLaplace

__all__ = ["DiscreteGaussian", "DiscreteLaplace", "bernoulli_exp_var"]
