"""The exact augmented Lagrangian, its gradient, and the matrices and bounds of one Newton step: pure functions of arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.constrained.sketched_sqp.problem import EqualityProblem

Array = NDArray[np.float64]


class Point(NamedTuple):
    """A primal-dual point with first derivatives: x (n,), lam (m,), f, c (m,), g = grad f (n,), Jacobian G (m, n)."""

    x: Array
    lam: Array
    f: float
    c: Array
    g: Array
    G: Array

    @property
    def slope(self) -> Array:
        """Gradient of the Lagrangian in x, shape (n,)."""
        return self.g + self.G.T @ self.lam

    @property
    def kkt(self) -> Array:
        """Gradient of the Lagrangian in x and lam, shape (n + m,): zero at a KKT point."""
        return np.concatenate([self.slope, self.c])


def merit(at: Point, eta1: float, eta2: float) -> float:
    """Value of the exact augmented Lagrangian."""
    slope = at.slope
    return float(at.f + at.lam @ at.c + eta1 / 2 * (at.c @ at.c) + eta2 / 2 * (slope @ slope))  # (1)


def merit_gradient(at: Point, H: Array, eta1: float, eta2: float) -> Array:
    """Its gradient in x and lam, shape (n + m,); H is the Hessian of the Lagrangian in x."""
    slope = at.slope
    in_x = slope + eta2 * (H @ slope) + eta1 * (at.G.T @ at.c)  # (2)
    in_lam = at.c + eta2 * (at.G @ slope)  # (2)
    return np.concatenate([in_x, in_lam])


def exact_augmented_lagrangian(
    problem: EqualityProblem, x: ArrayLike, lam: ArrayLike, eta1: float = 1.0, eta2: float = 0.1
) -> tuple[float, Array]:
    """Value and gradient of ``L + eta1/2 ||c||^2 + eta2/2 ||grad_x L||^2``, L = f + lam'c.

    Parameters
    ----------
    problem : EqualityProblem
        With n variables and m constraints.
    x : array_like, shape (n,)
        Variables.
    lam : array_like, shape (m,)
        Multipliers.
    eta1, eta2 : float
        Penalties of the constraints and of the dual gradient (the paper starts at 1 and 0.1).

    Returns
    -------
    value : float
    gradient : ndarray, shape (n + m,)

    Examples
    --------
    >>> from lib.constrained.sketched_sqp import EqualityProblem, exact_augmented_lagrangian
    >>> circle = EqualityProblem(lambda x: x[0], lambda x: [x[0] ** 2 + x[1] ** 2 - 1], [2.0, 0.0])
    >>> value, gradient = exact_augmented_lagrangian(circle, [-1.0, 0.0], [0.5])
    >>> print(value, abs(gradient).max())
    -1.0 0.0
    """
    if not isinstance(problem, EqualityProblem):
        raise TypeError(f"problem must be an EqualityProblem, got {checks.shown(problem)}")
    z = checks.array("x", x, shape=(problem.n,)).astype(float)
    y = checks.array("lam", lam, shape=(problem.m,)).astype(float)
    eta1, eta2 = checks.positive("eta1", eta1), checks.positive("eta2", eta2)
    at = Point(z, y, *problem.first_order(z))
    return merit(at, eta1, eta2), merit_gradient(at, problem.lag_hess(z, y), eta1, eta2)


def kkt_matrix(B: Array, G: Array) -> Array:
    """The symmetric matrix [[B, G'], [G, 0]] of the Newton system, shape (n + m, n + m)."""
    m = len(G)
    return np.block([[B, G.T], [G, np.zeros((m, m))]])  # (3)


def modified_hessian(H: Array, G: Array, xi_B: float, eps_H: float) -> Array:
    """H, or H shifted by ``xi_B + ||H||_F`` where its smallest curvature on the null space of G is below eps_H."""
    m, n = G.shape
    if m == n:
        return H
    Z = np.linalg.qr(G.T, mode="complete")[0][:, m:]
    if np.linalg.eigvalsh(Z.T @ H @ Z)[0] >= eps_H:
        return H
    return H + (xi_B + np.linalg.norm(H)) * np.eye(n)


def bounds(B: Array, H: Array, G: Array, xi_B: float, xi_G: float) -> tuple[float, float]:
    """Psi, a bound of the inverse of the KKT matrix, and Upsilon, one of G and H; xi_G is the least eigenvalue of G G'."""
    psi = 20 * max(float(np.linalg.norm(B)) ** 2, 1.0) / (min(xi_G, 1.0) * min(xi_B, 1.0))  # (5)
    upsilon = max(float(np.linalg.norm(G)), float(np.linalg.norm(H)), 1.0)  # (5)
    return psi, upsilon


def descends(decrease: float, eta2: float, kkt: float) -> bool:
    """Whether a slope along a direction is that of a certified descent; kkt is the norm of the KKT residual."""
    return decrease <= -eta2 / 2 * kkt**2  # (7)


def falls_enough(fall: float, alpha: float, beta: float, decrease: float) -> bool:
    """Armijo's rule: whether the merit function falls by a share beta of what its slope predicts."""
    return fall >= -alpha * beta * decrease  # (9)


def trial_delta(eta1: float, eta2: float, beta: float, psi: float, upsilon: float) -> float:
    """The accuracy at which a residual cannot spoil the descent."""
    return (0.5 - beta) * eta2 / ((1 + eta1 + eta2) * upsilon**2 * psi**2)  # (6)
