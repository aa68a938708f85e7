"""Multipliers of constraints on rewards, and the controller of the divergence, which is a multiplier itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import checks

#: What a constraint says of a value: at least, exactly, at most its threshold.
KINDS = ("inequality", "equality", "upper")


class LagrangeMultipliers(nn.Module):
    """One multiplier for each reward: it weighs the reward's advantage, and moves with the constraint's violation.

    ============ ============== ================== ===========================================
    kind         constraint     squashed           advantage, squashed
    ============ ============== ================== ===========================================
    "inequality" v_i >= theta_i sigmoid, 0 to 1    (N - sum lambda) A_0 + sum lambda_i A_i
    "equality"   v_i = theta_i  tanh, -1 to 1      the same
    "upper"      v_i <= theta_i sigmoid, 0 to 1    A_0 + sum (1 - lambda_i) A_i
    ============ ============== ================== ===========================================

    Not squashed, the advantage is A_0 + sum mu_i A_i, and mu_i is kept at or above zero unless the kind is "equality"; for
    "upper" it is A_0 + sum (1 - mu_i) A_i. The paper's mixture of "upper" is not known: this one is the Lagrangian of its
    problem.

    Parameters
    ----------
    thresholds : array_like, shape (N,)
        theta, any finite numbers.
    kind : {"inequality", "equality", "upper"}
    lr, momentum : float
        Of stochastic gradient descent; the paper's 0.1 and 0.1.
    squash : bool
        Whether multipliers are sigmoids or hyperbolic tangents of the parameters (the paper's), or the parameters.
    max_grad : float
        Norm to which the gradient of all multipliers together is clipped; 0.5 in the paper, infinity for no clipping.
    seed : int or Generator
        Of the start: one draw for all multipliers, deviation 0.01; 0.5 where they are not squashed.

    Attributes
    ----------
    mu : Parameter, shape (N,), float64
        Before squashing.
    thresholds, velocity : buffers, shape (N,), float64

    Raises
    ------
    TypeError, ValueError
        For settings out of range, values or advantages of a wrong shape.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import LagrangeMultipliers
    >>> multipliers = LagrangeMultipliers([0.7, 0.1], kind="inequality", seed=0)
    >>> before = multipliers.weights()
    >>> multipliers.update([0.5, 0.3])
    >>> (multipliers.weights() > before).tolist()
    [True, False]
    """

    mu: nn.Parameter
    thresholds: Tensor
    velocity: Tensor

    def __init__(
        self, thresholds: Any, kind: str = "inequality", lr: float = 0.1, momentum: float = 0.1, squash: bool = True,
        max_grad: float = 0.5, seed: Any = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        wanted = torch.as_tensor(checks.array("thresholds", thresholds, ndim=1).astype(np.float64))
        self.kind, self.squash = checks.choice("kind", kind, KINDS), checks.boolean("squash", squash)
        self.lr, self.momentum = checks.number("lr", lr, low=0), checks.number("momentum", momentum, low=0, below=1)
        self.max_grad = checks.number("max_grad", max_grad, above=0, inf=True)
        start = 0.01 * float(checks.generator("seed", seed).standard_normal()) if squash else 0.5
        self.mu = nn.Parameter(torch.full_like(wanted, start))
        self.register_buffer("thresholds", wanted)
        self.register_buffer("velocity", torch.zeros_like(wanted))

    def _squashed(self) -> Tensor:
        if not self.squash:
            return self.mu
        return torch.tanh(self.mu) if self.kind == "equality" else torch.sigmoid(self.mu)

    @torch.no_grad()
    def weights(self) -> Tensor:
        """lambda, shape (N,): the multipliers after squashing."""
        return self._squashed().clone()

    def coefficients(self) -> tuple[Tensor, Tensor]:
        """What weighs the advantage of the divergence, a scalar, and those of the rewards, shape (N,)."""
        weights = self.weights()
        if self.kind == "upper":
            return torch.ones((), dtype=weights.dtype), 1 - weights  # (5)
        if not self.squash:
            return torch.ones((), dtype=weights.dtype), weights  # (6)
        return len(weights) - weights.sum(), weights  # (2)

    def mix(self, adv0: Tensor, advs: Tensor) -> Tensor:
        """Advantage of the Lagrangian, shape S, from those of the divergence, shape S, and of the rewards, shape S and N."""
        adv0, advs = checks.tensor("adv0", adv0), checks.tensor("advs", advs)
        if advs.shape != (*adv0.shape, len(self.mu)):
            raise ValueError(f"advs must have shape {(*adv0.shape, len(self.mu))}, got {tuple(advs.shape)}")
        first, rest = self.coefficients()
        return first.to(advs) * adv0 + advs @ rest.to(advs)  # (2)

    def update(self, values: Any) -> None:
        """One step of gradient descent on the multipliers' loss, from estimated values of the rewards, shape (N,)."""
        given = torch.as_tensor(checks.array("values", values, shape=(len(self.mu),)).astype(np.float64))
        violation = given.to(self.mu.device) - self.thresholds
        sign = -1.0 if self.kind == "upper" else 1.0
        loss = sign * (self._squashed() * violation).sum()  # (3)
        (gradient,) = torch.autograd.grad(loss, self.mu)
        gradient = gradient * min(1.0, self.max_grad / max(float(gradient.norm()), 1e-300))  # (3)
        with torch.no_grad():
            self.velocity.copy_(self.momentum * self.velocity + gradient)  # (3)
            self.mu.sub_(self.lr * self.velocity)  # (3)
            if not self.squash and self.kind != "equality":
                self.mu.clamp_(min=0.0)  # (6)

    def set_thresholds(self, thresholds: Any) -> None:
        """Replace the thresholds, shape (N,), and keep the multipliers."""
        given = checks.array("thresholds", thresholds, shape=(len(self.mu),)).astype(np.float64)
        self.thresholds.copy_(torch.as_tensor(given))


class KLController:
    """Coefficient of the divergence from the base policy: fixed, or drawn towards a divergence that is wanted.

    Parameters
    ----------
    beta : float
        Coefficient at the start; 0.2 in the paper.
    target : float, optional
        Divergence that is wanted, of a token; none keeps the coefficient.
    rate, limit : float
        How fast it moves, and how large a relative error counts; the paper's 0.1 and 0.2.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import KLController
    >>> controller = KLController(beta=0.2, target=0.1)
    >>> round(controller.step(0.2), 6)
    0.204
    """

    def __init__(self, beta: float = 0.2, target: float | None = None, rate: float = 0.1, limit: float = 0.2) -> None:
        self.beta = checks.number("beta", beta, low=0)
        self.target = None if target is None else checks.positive("target", target)
        self.rate, self.limit = checks.number("rate", rate, low=0), checks.positive("limit", limit)
        if self.rate * self.limit >= 1:
            raise ValueError(f"rate times limit must be below 1, or beta turns negative, got {self.rate * self.limit:g}")

    def step(self, kl: float) -> float:
        """Move the coefficient after an iteration with divergence `kl`, and return it; an estimate may be negative."""
        kl = checks.number("kl", kl)
        if self.target is not None:
            error = (kl - self.target) / self.target  # (7)
            self.beta *= 1 + self.rate * min(max(error, -self.limit), self.limit)  # (7)
        return self.beta
