"""Support vector machines: tasks of one size side by side, LV-HBA on all at once, and its rivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import lib.data
from lib import checks
from lib.constrained.lv_hba.core import State, Steps, penalty_weight
from lib.constrained.lv_hba.solver import LVHBA
from lib.constrained.lv_hba.study.loops import finite, follow, steps_of, times
from lib.constrained.lv_hba.svm import (
    WeightedSVM,
    _ridge,
    curvature,
    margins,
    signed_rows,
    validation_loss,
    weighted_svm,
)
from lib.problems.cleaning import CleaningTask, cleaning_task

#: Name -> sizes of training and validation part; the rest tests. Diabetes as in the paper, the others ours.
SIZES = {"diabetes": (500, 150), "breast cancer": (300, 120), "spam": (300, 150)}


@dataclass(frozen=True)
class Machines:
    """Several tasks of one size: the bilevel problem, test data, and which training labels are wrong."""

    svm: WeightedSVM
    Q_test: Tensor
    flipped: np.ndarray

    @property
    def start(self) -> Tensor:
        """Zeros of the shape of c, (B, N)."""
        return torch.zeros_like(self.svm.Q[..., 0])


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels 0, 1 of one of the data sets of `SIZES`.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import load
    >>> load("breast cancer")[0].shape
    (569, 30)
    """
    checks.choice("name", name, tuple(SIZES))
    if name == "breast cancer":
        X, y = lib.data.breast_cancer()[:2]
    elif name == "diabetes":
        X, y = lib.data.keel("pima")
    else:
        X, y = lib.data.keel_multiclass("spambase")[:2]
    return np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.int64)


def machines(name: str, share: float, seeds: Sequence[int], low: float = -6.0, high: float = 2.0) -> Machines:
    """Splits of a data set with wrong training labels, one task for each seed.

    Columns are centered, scaled to unit variance by the training part and divided by the root of their number: rows have
    length about 1.

    Parameters
    ----------
    name : str
        See `SIZES`.
    share : float
        Of wrong training labels (paper: 0.4; 0 without cleaning).
    seeds : sequence of int
        Of the splits, one for each task.
    low, high : float
        Bounds of the logarithms of the weights; may be negative.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import machines
    >>> machines("breast cancer", share=0.4, seeds=[0, 1]).start.shape
    torch.Size([2, 300])
    """
    X, y = load(name)
    share, low, high = checks.probability("share", share), checks.number("low", low), checks.number("high", high)
    given = checks.array("seeds", seeds, ndim=1, low=0)
    if (given != np.floor(given)).any():
        raise ValueError(f"seeds must hold integers, got {checks.shown(given)}")
    tasks = [_prepared(cleaning_task(X, y, *SIZES[name], share, int(seed))) for seed in given]
    parts = [np.stack([task[k] for task in tasks]) for k in range(7)]
    svm = weighted_svm(parts[0], parts[1], parts[2], parts[3], low, high)
    Q_test = signed_rows(torch.from_numpy(parts[4]), torch.from_numpy(parts[5]))
    return Machines(svm, Q_test, parts[6])


def _prepared(task: CleaningTask) -> tuple[np.ndarray, ...]:
    mean, spread = task.X.mean(axis=0), task.X.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0) * np.sqrt(task.X.shape[1])
    rows = [(part - mean) / scale for part in (task.X, task.X_val, task.X_test)]
    signs = [2.0 * labels - 1 for labels in (task.y, task.y_val, task.y_test)]
    return rows[0], signs[0], rows[1], signs[1], rows[2], signs[2], task.flipped


def accuracy(Q: Tensor, v: Tensor) -> Tensor:
    """Share of rows on the right side, shape (B,)."""
    return (margins(Q, v) > 0).double().mean(-1)


@dataclass(frozen=True)
class Run:
    """What a method ends with, and what it went through.

    Attributes
    ----------
    c : Tensor, shape (B, N)
        Logarithms of the learned weights.
    v : Tensor, shape (B, d + 1)
        The machine that the method itself ends with.
    trace : dict
        ``k``; arrays of shape (times, B): ``val``, ``test`` (loss per sample), ``accuracy``, each of the method's own machine,
        and, with ``solved_`` in front, of the machine trained to the end with the weights of that moment.
    """

    c: Tensor
    v: Tensor
    trace: dict[str, np.ndarray]


class _Trace:
    def __init__(self, task: Machines) -> None:
        self.task, self.rows = task, []  # type: ignore[var-annotated]

    def add(self, k: int, c: Tensor, v: Tensor) -> None:
        row: dict[str, Any] = {"k": k}
        for name, machine in (("", v), ("solved_", self.task.svm.trained(c))):
            row[name + "val"] = _mean_loss(self.task.svm.Q_val, machine)
            row[name + "test"] = _mean_loss(self.task.Q_test, machine)
            row[name + "accuracy"] = accuracy(self.task.Q_test, machine).numpy()
        self.rows.append(row)

    def done(self, c: Tensor, v: Tensor) -> Run:
        return Run(c, v, {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]})


def _mean_loss(Q: Tensor, v: Tensor) -> np.ndarray:
    return (validation_loss(Q, v)[0] / Q.shape[-2]).numpy()


def _task(task: Any) -> Machines:
    if not isinstance(task, Machines):
        raise TypeError(f"task must be made by machines, got {checks.shown(task)}")
    return task


def run_lvhba(task: Machines, c: Any, solver: LVHBA, n_records: int = 10, frozen: bool = False) -> Run:
    """LV-HBA on all tasks at once, each with the scale of its own constraints.

    Parameters
    ----------
    task : Machines
    c : array_like, shape (B, N)
        Start of the logarithms; may be negative. The machine starts as their exact solution.
    solver : LVHBA
        Steps, constants and number of iterations.
    n_records : int
        Times at which losses are recorded.
    frozen : bool
        Leave c where it is.

    Examples
    --------
    >>> from lib.constrained.lv_hba import LVHBA
    >>> from lib.constrained.lv_hba.study import machines, run_lvhba
    >>> task = machines("breast cancer", share=0.4, seeds=[0])
    >>> run_lvhba(task, task.start - 1, LVHBA(max_iter=5), n_records=1).c.shape
    torch.Size([1, 300])
    """
    x = _logs(task, c)
    n_records, frozen = checks.integer("n_records", n_records, low=1), checks.boolean("frozen", frozen)
    if not isinstance(solver, LVHBA):
        raise TypeError(f"solver must be an LVHBA, got {checks.shown(solver)}")
    trace = _Trace(task)
    steps = steps_of(solver, _scale(task, solver), alpha_x=0.0 if frozen else solver.alpha_x)
    return _followed(task, x, steps, solver.c0, solver, times(solver.max_iter, n_records), trace)


def _scale(task: Machines, solver: LVHBA) -> Any:
    """Norm of the constraints' slopes, [-Q, -1]: one for each task."""
    norm = torch.linalg.matrix_norm(task.svm.Q, ord=2)
    return norm.square().add(1).sqrt()[..., None] if solver.scale_constraints else 1.0


def _followed(task: Machines, x: Tensor, steps: Steps, c0: Any, solver: LVHBA, when: list[int], trace: _Trace) -> Run:
    svm = task.svm
    y = svm.solved(x)
    trace.add(0, x, svm.split(y)[0])

    def visit(_: State, new: State, __: Any) -> None:
        if not finite(new):
            raise FloatingPointError("the iterates left all bounds: smaller steps are needed")
        trace.add(new.k, new.x, svm.split(new.y)[0])

    s = follow(svm.problem(), x, y, steps, lambda k: c0 * penalty_weight(k, 1.0, solver.p), solver.max_iter, visit, when)
    return trace.done(s.x, svm.split(s.y)[0])


def _singles(task: Machines, x: Tensor, n: int) -> list[tuple[Machines, Tensor]]:
    """Each task alone, and its c n times: shape (n, N), for n settings on the same rows."""
    svm, rows = task.svm, zip(task.svm.Q, task.svm.Q_val, task.Q_test, task.flipped, x, strict=True)
    return [
        (Machines(WeightedSVM(Q, Q_val, svm.low, svm.high), Q_test, flipped), c.expand(n, -1))
        for Q, Q_val, Q_test, flipped, c in rows
    ]


def _mean_end(runs: Sequence[Run]) -> np.ndarray:
    return np.mean([run.trace["solved_test"][-1] for run in runs], axis=0)


def tune_lvhba(task: Machines, c: Any, solver: LVHBA, settings: Sequence[Sequence[float]]) -> np.ndarray:
    """Test loss per sample of the machine trained with the learned weights, shape (settings,): mean over tasks.

    For tasks that are used for nothing else: validation data are what the weights are fitted to.

    Parameters
    ----------
    task : Machines
    c : array_like, shape (B, N)
        Start of the logarithms; may be negative.
    solver : LVHBA
    settings : sequence of (c0, alpha_x)
        All are run at once.

    Examples
    --------
    >>> from lib.constrained.lv_hba import LVHBA
    >>> from lib.constrained.lv_hba.study import machines, tune_lvhba
    >>> task = machines("breast cancer", share=0.4, seeds=[0])
    >>> tune_lvhba(task, task.start - 1, LVHBA(max_iter=3), [(1.0, 1.0), (2.0, 1.0)]).shape
    (2,)
    """
    x, table = _logs(task, c), torch.from_numpy(checks.array("settings", settings, shape=(None, 2), above=0))
    c0, alpha_x = table.T[..., None]
    runs = []
    for one, c in _singles(task, x, len(table)):
        steps = steps_of(solver, _scale(one, solver), alpha_x=alpha_x)
        runs.append(_followed(one, c, steps, c0, solver, [solver.max_iter], _Trace(one)))
    return _mean_end(runs)


def innermost(losses: Any, slack: float = 0.002) -> tuple[int, ...]:
    """Of all settings of a grid within `slack` of the lowest loss, the one farthest from the edges; the first of several.

    Where the optimum is flat, last digits decide nothing.

    Parameters
    ----------
    losses : array_like
        One axis for each quantity that is tuned; may be negative.
    slack : float

    Returns
    -------
    tuple of int
        The place in the grid, one index for each axis.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import innermost
    >>> innermost([0.301, 0.3, 0.301, 0.4])
    (1,)
    """
    table, slack = checks.array("losses", losses), checks.positive("slack", slack)
    places = np.indices(table.shape)
    sizes = np.array(table.shape).reshape(-1, *[1] * table.ndim)
    depth = np.minimum(places, sizes - 1 - places).min(axis=0)
    best = np.where(table <= table.min() + slack, depth, -1).argmax()
    return tuple(int(k) for k in np.unravel_index(best, table.shape))


def _logs(task: Machines, c: Any) -> Tensor:
    shape = tuple(_task(task).start.shape)
    return torch.as_tensor(checks.array("c", c, shape=shape), dtype=torch.float64).clamp(task.svm.low, task.svm.high)


def implicit_gradient(svm: WeightedSVM, c: Tensor, v: Tensor) -> Tensor:
    """Exact gradient in c of the upper level, the lower level being solved at v: through the Hessian in d + 1 variables.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.lv_hba import train_svm, weighted_svm
    >>> from lib.constrained.lv_hba.study import implicit_gradient
    >>> svm = weighted_svm([[1.0], [-1.0]], [1.0, -1.0], X_val=[[0.5]], y_val=[1.0])
    >>> c = torch.zeros(2, dtype=torch.float64)
    >>> implicit_gradient(svm, c, train_svm([[1.0], [-1.0]], [1.0, -1.0], c)).shape
    torch.Size([2])
    """
    if not isinstance(svm, WeightedSVM):
        raise TypeError(f"svm must be made by weighted_svm, got {checks.shown(svm)}")
    c, v = checks.tensor("c", c), checks.tensor("v", v)
    short = (1 - margins(svm.Q, v)).clamp(min=0)
    hessian = curvature(svm.Q, c.exp() * (short > 0), svm.pairs) + torch.diag_embed(_ridge(v))
    q = torch.linalg.solve(hessian, validation_loss(svm.Q_val, v)[1])
    return margins(svm.Q, q) * c.exp() * short


def run_implicit(task: Machines, c: Any, max_iter: int = 150, lr: float = 0.1, n_records: int = 10) -> Run:
    """Implicit differentiation: the lower level solved exactly at each step, Adam on c.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import machines, run_implicit
    >>> task = machines("breast cancer", share=0.4, seeds=[0])
    >>> run_implicit(task, task.start - 1, max_iter=3, n_records=1).c.shape
    torch.Size([1, 300])
    """
    x, lr = _logs(task, c), checks.positive("lr", lr)
    max_iter, n_records = checks.integer("max_iter", max_iter, low=1), checks.integer("n_records", n_records, low=1)
    return _descended(task, x, max_iter, lr, times(max_iter, n_records))


def tune_implicit(task: Machines, c: Any, rates: Sequence[float], max_iter: int = 150) -> np.ndarray:
    """Test loss per sample for each learning rate, shape (rates,): mean over tasks; see `tune_lvhba`.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import machines, tune_implicit
    >>> task = machines("breast cancer", share=0.4, seeds=[0])
    >>> tune_implicit(task, task.start - 1, rates=[0.1, 0.3], max_iter=3).shape
    (2,)
    """
    x, table = _logs(task, c), torch.from_numpy(checks.array("rates", rates, ndim=1, above=0))
    max_iter = checks.integer("max_iter", max_iter, low=1)
    singles = _singles(task, x, len(table))
    return _mean_end([_descended(one, c, max_iter, table[:, None], [max_iter]) for one, c in singles])


def _descended(task: Machines, x: Tensor, n: int, lr: Any, when: list[int]) -> Run:
    trace, svm = _Trace(task), task.svm
    v, first, second = svm.trained(x), torch.zeros_like(x), torch.zeros_like(x)
    trace.add(0, x, v)
    for k in range(1, n + 1):
        g = implicit_gradient(svm, x, v)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g  # Adam's averages
        x = x - lr * (first / (1 - 0.9**k)) / ((second / (1 - 0.999**k)).sqrt() + 1e-8)
        x = x.clamp(svm.low, svm.high)
        v = svm.trained(x, v)
        if k in when:
            trace.add(k, x, v)
    return trace.done(x, v)


def run_grid(task: Machines, n_values: int = 14) -> Run:
    """Grid search over one weight for all samples, between the bounds: the lowest validation loss wins.

    Examples
    --------
    >>> from lib.constrained.lv_hba.study import machines, run_grid
    >>> task = machines("breast cancer", share=0.4, seeds=[0])
    >>> run_grid(task, n_values=3).trace["accuracy"].shape
    (1, 1)
    """
    svm, ones = _task(task).svm, torch.ones_like(task.start)
    best, kept, machine = None, ones, None
    for value in np.linspace(svm.low, svm.high, checks.integer("n_values", n_values, low=1)).tolist():
        v = svm.trained(value * ones)
        loss = validation_loss(svm.Q_val, v)[0]
        better = torch.ones_like(loss, dtype=torch.bool) if best is None else loss < best - 1e-9
        kept = torch.where(better[..., None], value * ones, kept)
        machine = v if machine is None else torch.where(better[..., None], v, machine)
        best = loss if best is None else torch.where(better, loss, best)
    trace = _Trace(task)
    assert machine is not None
    trace.add(0, kept, machine)
    return trace.done(kept, machine)
