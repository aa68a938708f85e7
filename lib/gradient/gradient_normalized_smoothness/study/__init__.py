"""What only the chapter's experiments use: the paper's instances, rivals, and how both are measured."""

from __future__ import annotations

from .instances import ChebyshevChain, DenseHessian, Instance, chebyshev, linear_residual, logistic, rosenbrock, soft_maximum
from .protocols import (
    first_below,
    gamma_map,
    gap_at,
    gaps,
    lemma_violations,
    power,
    remaining_gap,
    remaining_run,
    solve,
    tuned,
)
from .real import Softmax, flip, flip_by_rule, mnist_images, rule_of_two
from .rivals import (
    cubic_newton,
    cubic_step,
    fast_gradient_method,
    gradient_method,
    largest_gamma,
    published_search,
    scipy_newton,
    super_universal_newton,
)

__all__ = [
    "ChebyshevChain",
    "DenseHessian",
    "Instance",
    "Softmax",
    "chebyshev",
    "cubic_newton",
    "cubic_step",
    "fast_gradient_method",
    "first_below",
    "flip",
    "flip_by_rule",
    "gamma_map",
    "gap_at",
    "gaps",
    "gradient_method",
    "largest_gamma",
    "lemma_violations",
    "linear_residual",
    "logistic",
    "mnist_images",
    "power",
    "published_search",
    "remaining_gap",
    "remaining_run",
    "rosenbrock",
    "rule_of_two",
    "scipy_newton",
    "soft_maximum",
    "solve",
    "super_universal_newton",
    "tuned",
]
