"""Many training runs in one stack of tensors: seeds x (schedules x learning rates), each run with rates of its own.

A stack has shape (S, R, ...): S seeds, which share their minibatches, and R runs per seed. Methods that are compared so see
the same data in the same order, and a sweep costs a few large tensor operations instead of many small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lib import checks
from lib.problems.logistic import LogisticRegression, SoftmaxRegression

from ..theory import Array


class StackResult(NamedTuple):
    """Last iterates, each (S, R, ...), and the gradient norms that were asked for, each (T, S, R)."""

    params: list[Tensor]
    norms: dict[str, Array]


def minibatch_rows(n: int, batch_size: int, n_steps: int, rng: np.random.Generator) -> Tensor:
    """Row numbers of each step's minibatch, shape (n_steps, batch_size): a new permutation per epoch, rests dropped.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import minibatch_rows
    >>> minibatch_rows(6, 2, 3, np.random.default_rng(0)).flatten().sort().values.tolist()
    [0, 1, 2, 3, 4, 5]
    """
    n = checks.integer("n", n, low=1)
    batch_size = checks.integer("batch_size", batch_size, low=1, high=n)
    n_steps = checks.integer("n_steps", n_steps, low=1)
    rng = checks.generator("rng", rng)
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

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import grid_rates
    >>> grid_rates(np.array([[[1.0, 10.0]]]), [1.0, 2.0]).flatten().tolist()
    [1.0, 2.0, 10.0, 20.0]
    """
    factors = torch.from_numpy(checks.array("schedules", schedules, ndim=3, low=0).astype(np.float64))
    peaks = torch.from_numpy(checks.array("rates", rates, ndim=(1, 2), low=0).astype(np.float64)).expand(factors.shape[2], -1)
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
    >>> from lib.gradient.lr_refinement.study import train_stack
    >>> rates = torch.tensor([[[0.5, 1.0]]])
    >>> train_stack(lambda t, params: params, [torch.ones(1, 2, 1)], rates).params[0].flatten()
    tensor([0.5000, 0.0000])
    """
    checks.function("gradient", gradient)
    checks.choice("optimizer", optimizer, ["sgd", "adam"])
    for name in record:
        checks.choice("record", name, ["l1", "l2"])
    checks.tensor("eta", eta)
    momentum = checks.number("momentum", momentum, low=0, below=1)
    betas = tuple(checks.number("betas", beta, low=0, below=1) for beta in betas)  # type: ignore[assignment]
    eps = checks.positive("eps", eps)
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
    >>> from lib.gradient.lr_refinement.study import logistic_task
    >>> from lib.problems.logistic import LogisticRegression
    >>> problem = LogisticRegression([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    >>> logistic_task(problem, epochs=5, batch_size=2, rngs=[np.random.default_rng(0)]).n_steps
    10
    """
    n, epochs = len(problem.y), checks.integer("epochs", epochs, low=1)
    batch_size = checks.integer("batch_size", batch_size, low=1, high=n)
    n_steps = epochs * (n // batch_size)
    rows = torch.stack([minibatch_rows(n, batch_size, n_steps, rng) for rng in rngs], dim=1)
    start = [torch.zeros(len(rngs), 1, problem.dim, dtype=problem.X.dtype)]
    return Task(
        lambda t, params: [problem.gradient(params[0], rows[t])],
        start,
        lambda params: {"loss": problem.loss(params[0])},
        n_steps,
    )
