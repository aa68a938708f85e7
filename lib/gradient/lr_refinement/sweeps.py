"""Many training runs in one stack of tensors: seeds x (schedules x learning rates), each run with rates of its own.

A stack has shape (S, R, ...): S seeds, which share their minibatches, and R runs per seed. Methods that are compared so see
the same data in the same order, and a sweep costs a few large tensor operations instead of many small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from lib.problems.logistic import LogisticRegression, SoftmaxRegression

from .refinement import refine_schedule
from .theory import SCHEDULES, Array


class StackResult(NamedTuple):
    """Last iterates, each (S, R, ...), and the gradient norms that were asked for, each (T, S, R)."""

    params: list[Tensor]
    norms: dict[str, Array]


def minibatch_rows(n: int, batch_size: int, n_steps: int, rng: np.random.Generator) -> Tensor:
    """Row numbers of each step's minibatch, shape (n_steps, batch_size): a new permutation per epoch, rests dropped.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.sweeps import minibatch_rows
    >>> minibatch_rows(6, 2, 3, np.random.default_rng(0)).flatten().sort().values.tolist()
    [0, 1, 2, 3, 4, 5]
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must be in 1..{n}, got {batch_size}")
    per_epoch = n // batch_size
    epochs = [rng.permutation(n)[: per_epoch * batch_size] for _ in range(-(-n_steps // per_epoch))]
    return torch.from_numpy(np.concatenate(epochs).reshape(-1, batch_size)[:n_steps])


def grid_rates(schedules: ArrayLike, rates: Sequence[float] | Array) -> Tensor:
    """Learning rates of every schedule at every peak, shape (T, S, n_schedules * n_rates), schedules outermost.

    Parameters
    ----------
    schedules : array_like, shape (T, S or 1, n_schedules)
        Factors; the S axis differs where a schedule was refined from a seed's own run.
    rates : sequence of float, shape (n_rates,), or array, shape (n_schedules, n_rates)
        Peak learning rates, of all schedules or of each.
    """
    factors = torch.as_tensor(np.asarray(schedules, dtype=np.float64))
    peaks = torch.as_tensor(np.asarray(rates, dtype=np.float64)).expand(factors.shape[2], -1)
    return (factors[..., None] * peaks).flatten(2)


def train_stack(
    gradient: Callable[[int, list[Tensor]], Sequence[Tensor]],
    start: Sequence[Tensor],
    eta: Tensor,
    optimizer: str = "sgd",
    momentum: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    record: Sequence[str] = (),
) -> StackResult:
    """Run ``sgd`` or ``adam`` (as torch defines them) on a stack of runs, step t with the rates ``eta[t]``.

    Parameters
    ----------
    gradient : callable
        ``gradient(t, params)``: gradients like `start` at step t.
    start : sequence of Tensor, each of shape (S, R, ...)
        Not changed.
    eta : Tensor, shape (T, S or 1, R)
        Learning rate of every run at every step; the last of them may be 0.
    optimizer : {"sgd", "adam"}
    momentum : float
        Of sgd (heavy ball, no damping).
    betas, eps : of adam
    record : sequence of {"l1", "l2"}
        Norms of each run's gradient to keep.

    Returns
    -------
    StackResult

    Raises
    ------
    ValueError
        For another optimizer or norm, or rates whose last axis is not R.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.lr_refinement.sweeps import train_stack
    >>> rates = torch.tensor([0.5, 1.0]).expand(1, 1, 2)
    >>> train_stack(lambda t, params: params, [torch.ones(1, 2, 1)], rates).params[0].flatten()
    tensor([0.5000, 0.0000])
    """
    if optimizer not in ("sgd", "adam"):
        raise ValueError(f"optimizer must be 'sgd' or 'adam', got {optimizer!r}")
    if unknown := set(record) - {"l1", "l2"}:
        raise ValueError(f"norms to record are 'l1' and 'l2', got {', '.join(sorted(unknown))}")
    params = [p.clone() for p in start]
    if eta.ndim != 3 or eta.shape[2] != params[0].shape[1]:
        raise ValueError(f"eta must have shape (T, S, {params[0].shape[1]}), got {tuple(eta.shape)}")
    eta = eta.to(params[0].dtype)
    first = [torch.zeros_like(p) for p in params]
    second = [torch.zeros_like(p) for p in params] if optimizer == "adam" else []
    norms: dict[str, list[Tensor]] = {name: [] for name in record}
    for t in range(len(eta)):
        grads = gradient(t, params)
        for name in record:
            norms[name].append(_stack_norm(grads, 2 if name == "l2" else 1))
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            rate = eta[t].reshape(*eta.shape[1:], *[1] * (p.ndim - 2))
            if optimizer == "sgd":
                p.addcmul_(first[i].mul_(momentum).add_(g) if momentum else g, rate, value=-1)
                continue
            first[i].lerp_(g, 1 - betas[0])
            second[i].mul_(betas[1]).addcmul_(g, g, value=1 - betas[1])
            root = (1 - betas[1] ** (t + 1)) ** 0.5  # both bias corrections go into the rate: fewer passes over memory
            direction = torch.div(first[i], second[i].sqrt().add_(eps * root))
            p.addcmul_(direction, rate, value=-root / (1 - betas[0] ** (t + 1)))
    return StackResult(params, {name: torch.stack(values).double().numpy() for name, values in norms.items()})


def _stack_norm(grads: Sequence[Tensor], order: int) -> Tensor:
    parts = [torch.linalg.vector_norm(g.flatten(2), order, dim=2) for g in grads]
    return torch.linalg.vector_norm(torch.stack(parts), order, dim=0)


class Task(NamedTuple):
    """What a stack trains: gradients per step, where each seed starts (S, 1, ...), and the scores of last iterates.

    ``scores(params)`` gives a mapping name -> (S, R), of which ``"loss"`` decides.
    """

    gradient: Callable[[int, list[Tensor]], Sequence[Tensor]]
    start: list[Tensor]
    scores: Callable[[list[Tensor]], dict[str, Tensor]]
    n_steps: int


def logistic_task(
    problem: LogisticRegression | SoftmaxRegression, epochs: int, batch_size: int, rngs: Sequence[np.random.Generator]
) -> Task:
    """A stack that fits a logistic regression from w = 0; the score is the ``"loss"`` over all rows.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.sweeps import logistic_task
    >>> from lib.problems.logistic import LogisticRegression, SoftmaxRegression
    >>> problem = LogisticRegression([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    >>> logistic_task(problem, epochs=5, batch_size=2, rngs=[np.random.default_rng(0)]).n_steps
    10
    """
    n = len(problem.y)
    n_steps = epochs * (n // batch_size)
    rows = torch.stack([minibatch_rows(n, batch_size, n_steps, rng) for rng in rngs], dim=1)
    start = [torch.zeros(len(rngs), 1, problem.dim, dtype=problem.X.dtype)]
    return Task(
        lambda t, params: [problem.gradient(params[0], rows[t])],
        start,
        lambda params: {"loss": problem.loss(params[0])},
        n_steps,
    )


class Comparison(NamedTuple):
    """Schedules compared, each at its own best peak rate.

    ``scores`` maps a name to (S, n_schedules), ``refined`` a schedule to its factors (T, S), ``norms`` "l1" and "l2" to the
    norms (T, S) of the linear-decay run that was refined.
    """

    names: list[str]
    scores: dict[str, Array]
    rates: Array
    interior: NDArray[np.bool_]
    refined: dict[str, Array]
    norms: dict[str, Array]

    def of(self, name: str, score: str = "loss") -> Array:
        """A schedule's scores, shape (S,)."""
        return self.scores[score][:, self.names.index(name)]


#: How a refined schedule comes from recorded norms: name -> (norm, power).
REFINEMENTS = {"refined l1": ("l1", 1.0), "refined l2": ("l2", 2.0)}


def compare_schedules(
    task: Task,
    grids: dict[str, Sequence[float]],
    optimizer: str = "sgd",
    tau: float = 0.1,
    chunk: int = 64,
    **settings: float,
) -> Comparison:
    """Sweep every schedule over its own grid of peak rates; refined ones come from the norms of the best linear-decay run.

    Parameters
    ----------
    task : Task
    grids : dict
        Schedule (of `SCHEDULES` or `REFINEMENTS`; "linear" among them) -> its peak learning rates.
    optimizer, **settings
        As in `train_stack`.
    tau : float
        Share of the run that the median filter spans (0.1 in the paper).
    chunk : int
        How many runs per seed a stack holds.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        For an unknown schedule, or no "linear" among them.
    """
    if unknown := set(grids) - set(SCHEDULES) - set(REFINEMENTS):
        raise ValueError(f"unknown schedules {sorted(unknown)}; allowed: {', '.join([*SCHEDULES, *REFINEMENTS])}")
    if "linear" not in grids:
        raise ValueError("refinement starts from the linear-decay run: 'linear' must be among the schedules")
    n_seeds = task.start[0].shape[0]
    factors = {name: np.tile(SCHEDULES[name](task.n_steps)[:, None], n_seeds) for name in grids if name in SCHEDULES}
    best = _sweep(task, factors, grids, optimizer, chunk, settings)
    linear = grid_rates(factors["linear"][:, :, None], [best["linear"][1]])
    run = train_stack(task.gradient, task.start, linear, optimizer, record=("l1", "l2"), **settings)  # type: ignore[arg-type]
    norms = {name: values[:, :, 0] for name, values in run.norms.items()}
    refined = {}
    for name in [name for name in grids if name in REFINEMENTS]:
        norm, power = REFINEMENTS[name]
        refined[name] = np.stack([refine_schedule(column, power, tau) for column in norms[norm].T], axis=1)
    best |= _sweep(task, refined, grids, optimizer, chunk, settings)
    scores = {key: np.stack([best[name][0][key] for name in grids], axis=1) for key in best["linear"][0]}
    rates, interior = (np.array([best[name][i] for name in grids]) for i in (1, 2))
    return Comparison(list(grids), scores, rates, interior, refined, norms)


def _sweep(
    task: Task,
    factors: dict[str, Array],
    grids: dict[str, Sequence[float]],
    optimizer: str,
    chunk: int,
    settings: dict[str, float],
) -> dict[str, tuple[dict[str, Array], float, bool]]:
    """Per schedule (T, S): its scores (S,) at its best peak rate, that rate, and whether it lies inside the grid.

    Runs of several schedules share a stack: small problems are bound by the number of operations, not by their size.
    """
    runs = [(name, rate) for name in factors for rate in grids[name]]
    parts = []
    for some in (runs[i : i + chunk] for i in range(0, len(runs), chunk)):
        eta = torch.from_numpy(np.stack([rate * factors[name] for name, rate in some], axis=2))
        start = [p.expand(-1, len(some), *p.shape[2:]) for p in task.start]
        parts.append(task.scores(train_stack(task.gradient, start, eta, optimizer, **settings).params))  # type: ignore[arg-type]
    best, first = {}, 0
    for name in factors:
        own = slice(first, first := first + len(grids[name]))
        best[name] = _best({key: torch.cat([part[key] for part in parts], dim=1)[:, own] for key in parts[0]}, grids[name])
    return best


def _best(scores: dict[str, Tensor], rates: Sequence[float]) -> tuple[dict[str, Array], float, bool]:
    """Of scores (S, n_rates): those at the rate of least mean loss (S,), that rate, and whether it is no end of the grid."""
    losses = np.nan_to_num(scores["loss"].double().numpy(), nan=np.inf, posinf=np.inf).mean(axis=0)
    k = int(losses.argmin())
    return {key: values[:, k].double().numpy() for key, values in scores.items()}, float(rates[k]), 0 < k < len(rates) - 1
