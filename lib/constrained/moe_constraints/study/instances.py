"""Test problems: matched weights, initial vorticities, and the classical rival."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import splu

from lib import checks
from lib.constrained.moe_constraints import solver
from lib.constrained.moe_constraints.pde import DiffusionSorption

__all__ = ["implicit_euler", "least_squares_fields", "matched_weights", "vorticities"]

#: The paper's grid, its points for each solve, and the rows of initial and boundary values there.
PAPER_POINTS, PAPER_SAMPLED, PAPER_FIXED = 101 * 1024, 20_000, 1024 + 2 * 100


def matched_weights(n_t: int, n_x: int, points: int) -> tuple[float, float]:
    """Weights of the equation's rows, in the solve and in the loss, that keep the balance of the paper's grid.

    In a solve the squares of the rows add up: what counts is points over conditions. In the loss it is the square root of
    the number of points.

    Parameters
    ----------
    n_t, n_x : int
        The grid.
    points : int
        Where the equation enters one solve.

    Examples
    --------
    >>> from lib.constrained.moe_constraints.study import matched_weights
    >>> [round(weight, 2) for weight in matched_weights(32, 32, 1024)]
    [1.22, 10.05]
    """
    n_t, n_x = checks.integer("n_t", n_t, low=3), checks.integer("n_x", n_x, low=3)
    points = checks.integer("points", points, low=1)
    balance = (PAPER_SAMPLED / PAPER_FIXED) / (points / (n_x + 2 * (n_t - 1)))
    return balance**0.5, (PAPER_POINTS / (n_t * n_x)) ** 0.5


def vorticities(n: int, count: int, seed: Any = 0, length: float = 0.8) -> np.ndarray:
    """Gaussian random fields without mean on the periodic unit square, of a kernel exp(-2 sin(pi d)^2 / length^2) an axis.

    Parameters
    ----------
    n, count : int
        Points along a side, and how many fields.
    seed : int or numpy.random.Generator
    length : float
        Paper: 0.8.

    Returns
    -------
    array, shape (count, n, n)

    Examples
    --------
    >>> from lib.constrained.moe_constraints.study import vorticities
    >>> vorticities(8, 2, seed=0).shape
    (2, 8, 8)
    """
    n, count = checks.integer("n", n, low=3), checks.integer("count", count, low=1)
    length, rng = checks.positive("length", length), checks.generator("seed", seed)
    row = np.exp(-2 * np.sin(np.pi * np.arange(n) / n) ** 2 / length**2)
    spectrum = np.fft.fft(row).real.clip(min=0)
    spectrum = np.sqrt(spectrum[:, None] * spectrum[None])
    fields = np.fft.ifft2(np.fft.fft2(rng.standard_normal((count, n, n))) * spectrum).real
    return fields - fields.mean(axis=(1, 2), keepdims=True)


def implicit_euler(pde: DiffusionSorption, condition: Any, newton: int = 6) -> np.ndarray:
    """The classical rival on the same grid: implicit Euler in time, central differences in space, Newton's method, all at once.

    Parameters
    ----------
    pde : DiffusionSorption
    condition : array_like, shape (B,)
    newton : int
        Newton steps for each time step.

    Returns
    -------
    array, shape (B, n_t, n_x)

    Examples
    --------
    >>> from lib.constrained.moe_constraints import DiffusionSorption
    >>> from lib.constrained.moe_constraints.study import implicit_euler
    >>> implicit_euler(DiffusionSorption(n_t=8, n_x=16), [0.1]).shape
    (1, 8, 16)
    """
    if not isinstance(pde, DiffusionSorption):
        raise TypeError(f"pde must be a DiffusionSorption, got {checks.shown(pde)}")
    start = pde.check_condition(condition).numpy()
    newton = checks.integer("newton", newton, low=1)
    (n_t, n_x), ratio = pde.shape, pde.D / pde.dx
    u = np.repeat(start[:, None], n_x, axis=1)
    states = [u.copy()]
    u[:, 0] = 1.0
    for _ in range(n_t - 1):
        before = u.copy()
        for _ in range(newton):
            u = u - _newton_step(pde, u, before, ratio)
        states.append(u.copy())
    return np.stack(states, axis=1)


def _newton_step(pde: DiffusionSorption, u: np.ndarray, before: np.ndarray, ratio: float) -> np.ndarray:
    """Solve the tridiagonal Newton systems of a time step, stacked into one band."""
    q = pde.D / pde.R(torch.from_numpy(u)).numpy()
    q_slope = -(q**2) / pde.D * pde.R_slope(torch.from_numpy(u)).numpy()
    c, u_xx = pde.dt / pde.dx**2, np.zeros_like(u)
    u_xx[:, 1:-1] = np.diff(u, 2)
    r = u - before - c * q * u_xx
    r[:, 0], r[:, -1] = u[:, 0] - 1, u[:, -1] - ratio * (u[:, -1] - u[:, -2])
    middle = 1 + 2 * c * q - c * q_slope * u_xx
    side = -c * q
    band = np.zeros((3, *u.shape))
    band[1], band[0, :, 1:], band[2, :, :-1] = middle, side[:, :-1], side[:, 1:]
    band[1, :, 0], band[0, :, 1], band[1, :, -1], band[2, :, -2] = 1, 0, 1 - ratio, ratio
    return scipy.linalg.solve_banded((1, 1), band.reshape(3, -1), r.ravel()).reshape(u.shape)


def least_squares_fields(pde: DiffusionSorption, condition: Any, tol: float = 1e-6, max_iter: int = 50) -> np.ndarray:
    """The least-squares fields of all: (4) with one basis function for each point, so that no basis is in the way.

    The rows are those of one global solve; as each touches few points, its steps (5) are sparse.

    Parameters
    ----------
    pde : DiffusionSorption
    condition : array_like, shape (B,)
    tol : float
        A step that lowers the cost by less than this share ends a solve; so does a thousandfold damping, as R has a kink
        at 0, and where the best field touches 0 no small step need gain.
    max_iter : int
        Most steps.

    Returns
    -------
    array, shape (B, n_t, n_x)

    Raises
    ------
    RuntimeError
        If a solve has not ended after `max_iter` steps.

    Examples
    --------
    >>> from lib.constrained.moe_constraints import DiffusionSorption
    >>> from lib.constrained.moe_constraints.study import least_squares_fields
    >>> least_squares_fields(DiffusionSorption(n_t=8, n_x=16), [0.1]).shape
    (1, 8, 16)
    """
    if not isinstance(pde, DiffusionSorption):
        raise TypeError(f"pde must be a DiffusionSorption, got {checks.shown(pde)}")
    conditions, n = pde.check_condition(condition), pde.shape[0] * pde.shape[1]
    tol, max_iter = checks.number("tol", tol, low=0), checks.integer("max_iter", max_iter, low=1)
    points = torch.eye(n, dtype=torch.float64).reshape(1, *pde.shape, n)
    operators = [sp.csr_array(T.reshape(n, n).numpy()) for T in pde.operators(points)]
    fields = []
    for value in conditions:
        fixed, target = (part[0].numpy() for part in pde.conditions(points, value[None]))
        below = sp.vstack([sp.csr_array(fixed), pde.ridge * sp.eye_array(n)], format="csr")
        goal = np.concatenate([target, np.zeros(n)])
        fields.append(_sparse_solve(pde, operators, below, goal, tol, max_iter).reshape(pde.shape))
    return np.stack(fields)


def _sparse_solve(pde: Any, operators: list[Any], below: Any, goal: np.ndarray, tol: float, max_iter: int) -> np.ndarray:
    """Levenberg and Marquardt's method on sparse rows, damped as the batched solver."""

    def rows(x: np.ndarray) -> tuple[np.ndarray, Any]:
        z = torch.from_numpy(np.stack([T @ x for T in operators]))
        slopes = pde.weight * pde.law_slopes(z).numpy()
        law = sum(sp.diags_array(slope) @ T for slope, T in zip(slopes, operators, strict=True))
        r = np.concatenate([pde.weight * pde.law(z).numpy(), below @ x - goal])
        return r, sp.vstack([law, below], format="csc")

    x, lam = np.full(operators[0].shape[1], pde.start), solver.DAMPING
    r, J = rows(x)
    for _ in range(max_iter):
        JtJ = J.T @ J
        trial = x - splu(sp.csc_array(JtJ + lam * sp.diags_array(JtJ.diagonal()))).solve(J.T @ r)  # (5)
        r_new, J_new = rows(trial)
        gain = 1 - (r_new @ r_new) / (r @ r)
        if gain > 0:
            x, r, J = trial, r_new, J_new
        if (0 <= gain < tol and lam < 1) or lam > 1e3:
            return x
        lam *= solver.SHRINK if gain > 0 else solver.GROW
    raise RuntimeError(f"the least-squares field was not found in {max_iter} steps")
