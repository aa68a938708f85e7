"""The problem: make a function of a network's output large, under constraints that become part of the output."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.backprop_free.directional_attacks.attack import PGD_STEPS, directional_attack

Array = NDArray[np.float64]
Outputs = tuple[torch.Tensor, torch.Tensor]


class SurrogateProblem:
    """Maximize ``f(phi(x))`` subject to ``constraints(x, phi(x)) <= 0``, a squared penalty in place of the constraints.

    The network's output y is extended by ``z = relu(penalty_scale * constraints)``; the objective becomes ``f(y) - |z|^2``.

    Parameters
    ----------
    phi : callable
        The network: tensor (n,) to tensor (m,), differentiable by torch. It gets copies.
    f : callable
        Tensor (m,) to a scalar tensor, differentiable by torch unless `grad_f` is given.
    grad_f : callable, optional
        Tensor (m,) to tensor (m,); default by automatic differentiation.
    constraints : callable, optional
        ``constraints(x, y)``, tensors (n,) and (m,) to (p,); met where no entry is positive.
    penalty_scale : float
        Multiplies the constraints' values: the penalty's weight is its square.
    n : int, optional
        Number of variables, where a start of another length is to be refused.
    dtype : torch.dtype
        float64 (default) or float32, in which the network computes.

    Attributes
    ----------
    n_eval, n_grad : int
        Evaluations of the objective, and passes forward and backward through the network, so far.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import SurrogateProblem
    >>> problem = SurrogateProblem(lambda x: x**2, lambda y: y.sum(), constraints=lambda x, y: y - 1, n=2)
    >>> problem.value([1.0, 2.0]), problem.n_eval
    (-4.0, 1)
    """

    def __init__(
        self, phi: Callable[..., Any], f: Callable[..., Any], grad_f: Callable[..., Any] | None = None,
        constraints: Callable[..., Any] | None = None, penalty_scale: float = 1.0, *, n: int | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:  # fmt: skip
        self.phi, self.f = checks.function("phi", phi), checks.function("f", f)
        self.grad_f = None if grad_f is None else checks.function("grad_f", grad_f)
        self.constraints = None if constraints is None else checks.function("constraints", constraints)
        self.penalty_scale = checks.positive("penalty_scale", penalty_scale)
        self.n = None if n is None else checks.integer("n", n, low=1)
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"dtype must be torch.float32 or torch.float64, got {dtype}")
        self.dtype = dtype
        self.n_eval = self.n_grad = 0

    def tensor(self, x: ArrayLike) -> torch.Tensor:
        """The point as a fresh tensor; a wrong length, NaN and infinity are refused."""
        values = checks.array("x", x, shape=(self.n,))
        return torch.tensor(values, dtype=self.dtype)

    def parts(self, x: torch.Tensor) -> Outputs:
        """The network's outputs y, and z: by how much each constraint is missed, scaled."""
        y = self.phi(x)
        if not isinstance(y, torch.Tensor) or y.ndim != 1:
            raise ValueError(f"phi(x) must be a tensor of one dimension, got {checks.shown(y)}")
        if self.constraints is None:
            return y, y.new_zeros(0)
        c = self.constraints(x, y)
        if not isinstance(c, torch.Tensor) or c.ndim != 1 or not len(c):
            raise ValueError(f"constraints(x, y) must be a tensor of one dimension with entries, got {checks.shown(c)}")
        return y, torch.relu(self.penalty_scale * c)  # (1)

    def extended(self, x: torch.Tensor) -> torch.Tensor:
        """The network with the constraints as further outputs, shape (m + p,): what is attacked."""
        return torch.cat(self.parts(x))

    def outputs(self, x: ArrayLike) -> Outputs:
        """(y, z) at x: one evaluation."""
        self.n_eval += 1
        with torch.no_grad():
            y, z = self.parts(self.tensor(x))
        return y.clone(), z.clone()

    def score(self, outputs: Outputs) -> float:
        """The objective with its penalty, at these outputs."""
        y, z = outputs[0].clone(), outputs[1]
        with torch.no_grad():
            return float(self._objective(y) - (z * z).sum())  # (2)

    def _objective(self, y: torch.Tensor) -> Any:
        """f(y), which has to be one number."""
        value = self.f(y)
        if isinstance(value, torch.Tensor) and value.numel() != 1:
            raise ValueError(f"f(y) must be one number, got shape {tuple(value.shape)}")
        return value

    def direction(self, outputs: Outputs) -> torch.Tensor:
        """The gradient of the objective with its penalty, in (y, z): where an attack is to push them."""
        y, z = outputs[0].clone(), outputs[1]
        if self.grad_f is not None:
            slope = torch.as_tensor(self.grad_f(y.clone()), dtype=self.dtype)
            if slope.shape != y.shape:
                raise ValueError(f"grad_f(y) must have shape {tuple(y.shape)}, got {tuple(slope.shape)}")
        else:
            y.requires_grad_(True)
            with torch.enable_grad():
                value = self._objective(y)
            if not isinstance(value, torch.Tensor):
                raise TypeError(f"f(y) must be a tensor where grad_f is not given, got {checks.shown(value)}")
            slope = torch.autograd.grad(value, y)[0] if value.requires_grad else torch.zeros_like(y)
        return torch.cat([slope.detach(), -2 * z])  # (3)

    def value(self, x: ArrayLike) -> float:
        """The objective with its penalty at x: one evaluation."""
        return self.score(self.outputs(x))

    def gradient(self, x: ArrayLike) -> tuple[float, Array]:
        """The objective and its gradient in x, through the network: one pass forward and backward; for rivals."""
        self.n_grad += 1
        at = self.tensor(x).requires_grad_(True)
        with torch.enable_grad():
            y, z = self.parts(at)
            value = self.f(y) - (z * z).sum()
        (slope,) = torch.autograd.grad(value, at)
        return float(value.detach()), slope.double().numpy().copy()

    def attack(self, x: ArrayLike, direction: torch.Tensor, radius: float, *, method: str = "fgsm",
               **options: Any) -> Array:  # fmt: skip
        """`directional_attack` of the extended network at x, as an array; its passes are counted."""
        self.n_grad += 1 if method == "fgsm" else int(options.get("steps", PGD_STEPS))
        move = directional_attack(self.extended, self.tensor(x), direction, radius, method=method, **options)
        return move.double().numpy()

    def violation(self, outputs: Outputs) -> float:
        """The largest positive value of a constraint, without its scale; zero where all are met."""
        return float(outputs[1].max()) / self.penalty_scale if len(outputs[1]) else 0.0

    def fresh(self) -> SurrogateProblem:
        """A copy whose counters stand at zero."""
        made = copy.copy(self)
        made.n_eval = made.n_grad = 0
        return made
