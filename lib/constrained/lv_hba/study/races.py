"""LV-HBA and E-AiPOD on the toys: several settings and several starts or draws at once, equal numbers of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.constrained.lv_hba.core import State
from lib.constrained.lv_hba.solver import LVHBA
from lib.constrained.lv_hba.study.loops import follow, steps_of, times
from lib.constrained.lv_hba.study.toys import Affine, Merely, authors_start, times_vector

#: Gradients of F and f in one iteration of LV-HBA: f in y at theta, f in x at the new theta, f and F at (x, y).
PER_ITERATION = 4


@dataclass(frozen=True)
class ToyRun:
    """What a method goes through on a toy.

    Attributes
    ----------
    gradients : array, shape (times,)
        Gradients of F and f so far.
    c : array, shape (times, settings)
        Penalty weight, where there is one.
    upper, score, gap, residual : arrays, shape (times, settings, B)
        F at (x, y); relative error of x on the first toy, F with the lower level solved exactly on the second, infinity where a
        run has left all bounds; the lower level above its optimum; length of the moves, per unit of step, times c.
    x, y : Tensor, shapes (settings, B, n) and (settings, B, m)
    """

    gradients: np.ndarray
    c: np.ndarray
    upper: np.ndarray
    score: np.ndarray
    gap: np.ndarray
    residual: np.ndarray
    x: Tensor
    y: Tensor


def _toy(toy: Any) -> Merely | Affine:
    if not isinstance(toy, Merely | Affine):
        raise TypeError(f"toy must be merely_convex_toy or affine_toy, got {checks.shown(toy)}")
    return toy


def toy_starts(toy: Merely | Affine, n: int, seed: int | np.random.Generator, size: float = 3.0) -> tuple[Tensor, Tensor]:
    """Feasible starts, shapes (n, ...): normal numbers of standard deviation `size`, projected.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import merely_convex_toy, toy_starts
    >>> toy_starts(merely_convex_toy(5), n=3, seed=0)[1].shape
    torch.Size([3, 10])
    """
    n, size = checks.integer("n", n, low=1), checks.positive("size", size)
    rng, (wide, high) = checks.generator("seed", seed), _toy(toy).sizes
    drawn = torch.from_numpy(size * rng.normal(size=(n, wide + high)))
    return toy.project(drawn[:, :wide], drawn[:, wide:])


def race_lvhba(
    toy: Merely | Affine, start: tuple[Tensor, Tensor], solver: LVHBA, settings: Sequence[Sequence[float]], n_records: int = 40
) -> ToyRun:
    """LV-HBA with several settings from the same starts.

    Parameters
    ----------
    toy : Merely or Affine
    start : pair of Tensor
    solver : LVHBA
        Iterations and constants.
    settings : sequence of (c0, p) or (c0, p, alpha, beta, eta)
        Replace those of the solver.
    n_records : int

    Examples
    --------
    >>> from lib.constrained.lv_hba import LVHBA
    >>> from lib.constrained.lv_hba.study import merely_convex_toy, race_lvhba, toy_starts
    >>> toy = merely_convex_toy(5)
    >>> race_lvhba(toy, toy_starts(toy, n=3, seed=0), LVHBA(max_iter=20), [(1.0, 0.3)], n_records=2).score.shape
    (2, 1, 3)
    """
    table = torch.from_numpy(checks.array("settings", settings, ndim=2, low=0))
    if table.shape[1] not in (2, 5):
        raise ValueError(f"settings must have 2 or 5 columns, got {table.shape[1]}")
    if not bool((table[:, 0] > 0).all() and (table[:, 1] < 0.5).all() and (table[:, 2:] > 0).all()):
        raise ValueError("settings must hold c0 and steps above 0 and p below 1/2")
    n_records = checks.integer("n_records", n_records, low=1)
    if not isinstance(solver, LVHBA):
        raise TypeError(f"solver must be an LVHBA, got {checks.shown(solver)}")
    c0, p, *own = (column[:, None, None] for column in table.T)
    x, y = (part.expand(len(table), *part.shape) for part in start)
    changes = dict(zip(("alpha", "beta", "eta"), own, strict=True)) | {"alpha_x": own[0]} if own else {}
    steps = steps_of(solver, _toy(toy).scale if solver.scale_constraints else 1.0, **changes)
    rows: list[tuple[Any, ...]] = []

    def visit(s: State, new: State, c: Any) -> None:
        moves = [(new.x - s.x) / steps.alpha_x, (new.y - s.y) / steps.alpha, (new.z - s.z) / steps.beta]
        residual = c[..., 0] * torch.cat(moves, dim=-1).norm(dim=-1)
        rows.append((PER_ITERATION * new.k, c[:, 0, 0], *_seen(toy, new.x, new.y), residual))

    when = times(solver.max_iter, n_records)
    s = follow(toy.problem(), x, y, steps, lambda k: c0 * (k + 1) ** p, solver.max_iter, visit, when)
    return _toy_run(rows, s.x, s.y)


def _toy_run(rows: list[tuple[Any, ...]], x: Tensor, y: Tensor) -> ToyRun:
    gradients, c, upper, score, gap, residual = (
        np.stack([np.asarray(p) for p in column]) for column in zip(*rows, strict=True)
    )
    return ToyRun(gradients, c, upper, np.where(np.isfinite(score), score, np.inf), gap, residual, x, y)


def _seen(toy: Merely | Affine, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return toy.upper(x, y), toy.score(x), toy.gap(x, y)


def sensitivity(A: Tensor, H: Tensor, f_yy: Tensor, f_yx: Tensor) -> Tensor:
    """How the solution of the lower level moves with x on ``A y + H x = 0``: of least length where there are several.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.lv_hba.study import sensitivity
    >>> one = torch.ones(1, 1, dtype=torch.float64)
    >>> sensitivity(one, one, one, -one).tolist()
    [[-1.0]]
    """
    A, H, f_yy, f_yx = (checks.tensor(n, v) for n, v in {"A": A, "H": H, "f_yy": f_yy, "f_yx": f_yx}.items())
    pinv = torch.linalg.pinv(A)
    inside = torch.eye(A.shape[-1], dtype=A.dtype) - pinv @ A
    curved = torch.linalg.pinv(inside @ f_yy @ inside, hermitian=True, rtol=1e-10)
    return -pinv @ H - curved @ (f_yx - f_yy @ pinv @ H)


def race_aipod(
    toy: Merely | Affine,
    start: tuple[Tensor, Tensor],
    rates: Sequence[float],
    n_gradients: int,
    beta: float = 0.5,
    lower_steps: int = 5,
    upper_steps: int = 2,
    n_records: int = 40,
) -> ToyRun:
    """A form of E-AiPOD: some projected steps of the lower level, then some of the upper level along the implicit gradient.

    The matrix that the implicit gradient needs is made once, free of charge.

    Parameters
    ----------
    toy : Merely or Affine
    start : pair of Tensor
    rates : sequence of float
        Steps in x; all are run from the same starts.
    n_gradients : int
        Budget in gradients of F and f.
    beta : float
        Step of the lower level, below 2 over its steepness.
    lower_steps, upper_steps : int
        In each round (authors' script: 5, 2).
    n_records : int

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import merely_convex_toy, race_aipod, toy_starts
    >>> toy = merely_convex_toy(5)
    >>> race_aipod(toy, toy_starts(toy, n=3, seed=0), rates=[0.1], n_gradients=70, n_records=2).score.shape
    (2, 1, 3)
    """
    alpha = torch.from_numpy(checks.array("rates", rates, ndim=1, above=0))[:, None, None]
    n_gradients, beta = checks.integer("n_gradients", n_gradients, low=1), checks.number("beta", beta, above=0, below=2)
    lower_steps = checks.integer("lower_steps", lower_steps, low=1, high=1000)
    upper_steps = checks.integer("upper_steps", upper_steps, low=1, high=1000)
    A, H, f_yy, f_yx, onto_x = _toy(toy).parts()
    pinv, react = torch.linalg.pinv(A), sensitivity(A, H, f_yy, f_yx).mT
    x, y = (part.expand(len(alpha), *part.shape) for part in start)
    price = lower_steps + upper_steps
    rounds = max(n_gradients // price, 1)
    when, rows = set(times(rounds, checks.integer("n_records", n_records, low=1))), []
    for k in range(1, rounds + 1):
        offset = times_vector(H, x)
        for _ in range(lower_steps):
            y = y - beta * toy.lower_slopes(x, y)[1]
            y = y - times_vector(pinv, times_vector(A, y) + offset)
        for _ in range(upper_steps):
            in_x, in_y = toy.upper_slopes(x, y)
            x = times_vector(onto_x, x - alpha * (in_x + times_vector(react, in_y)))
        if k in when:
            rows.append((price * k, alpha[:, 0, 0] * 0, *_seen(toy, x, y), x[..., 0] * 0))
    return _toy_run(rows, x, y)


def stability_map(toy: Merely, etas: Sequence[float], slopes: Sequence[float], solver: LVHBA) -> np.ndarray:
    """Relative error of x after `solver`'s iterations, for each norm of the constraint's slope and each step, the same for all.

    Parameters
    ----------
    toy : Merely
    etas, slopes : sequence of float
    solver : LVHBA

    Returns
    -------
    array, shape (slopes, etas)
        Infinity where the iterates left all bounds.

    Examples
    --------
    >>> from lib.constrained.lv_hba import LVHBA
    >>> from lib.constrained.lv_hba.study import merely_convex_toy, stability_map
    >>> stability_map(merely_convex_toy(3), etas=[0.1, 0.2], slopes=[1.0], solver=LVHBA(max_iter=10)).shape
    (1, 2)
    """
    wide, long = (torch.from_numpy(checks.array(n, v, ndim=1, above=0)) for n, v in {"slopes": slopes, "etas": etas}.items())
    eta, slope = long.repeat(len(wide))[:, None], wide.repeat_interleave(len(long))[:, None]
    if not isinstance(toy, Merely):
        raise TypeError(f"toy must be a merely_convex_toy, got {checks.shown(toy)}")
    if not isinstance(solver, LVHBA):
        raise TypeError(f"solver must be an LVHBA, got {checks.shown(solver)}")
    x, y = (part.expand(len(eta), -1) for part in authors_start(toy, 1.0))
    steps = steps_of(solver, toy.scale / slope, alpha=eta, alpha_x=eta, beta=eta, eta=eta)
    weight = lambda k: solver.c0 * (k + 1) ** solver.p  # noqa: E731
    s = follow(toy.problem(), x, y, steps, weight, solver.max_iter, lambda *_: None, [])
    found = toy.score(s.x).numpy()
    return np.where(np.isfinite(found), found, np.inf).reshape(len(wide), len(long))
