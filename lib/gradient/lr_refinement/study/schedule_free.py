"""The rival of today: schedule-free SGD and AdamW (Defazio et al. 2024), on the same stacks as `sweeps`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lib import checks

from ..theory import Array
from .sweeps import Task


def _package() -> Any:
    try:
        import schedulefree
    except ImportError as error:
        raise ImportError("schedule-free optimizers need the package schedulefree: pip install schedulefree") from error
    return schedulefree


def train_schedule_free(task: Task, rates: Sequence[float], kind: str = "sgd", **settings: float) -> dict[str, Array]:
    """Train every seed of a task at every rate by the package's own optimizer; scores as in `Task`, each (S, n_rates).

    The optimizers act element by element, so the S runs of one rate form one parameter group.

    Parameters
    ----------
    task : Task
    rates : sequence of float
        Constant learning rates (the package's default warm-up: none).
    kind : {"sgd", "adamw"}
    **settings
        Passed on, e.g. ``momentum`` (sgd) or ``betas`` (adamw).

    Raises
    ------
    ImportError
        If the package schedulefree is missing.
    ValueError
        For another kind, or rates that are not positive.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import logistic_task, train_schedule_free
    >>> from lib.problems.logistic import LogisticRegression
    >>> problem = LogisticRegression([[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1])
    >>> task = logistic_task(problem, 2, 2, [np.random.default_rng(0)])
    >>> train_schedule_free(task, [0.1, 1.0])["loss"].shape
    (1, 2)
    """
    checks.choice("kind", kind, ["sgd", "adamw"])
    rates = checks.array("rates", rates, ndim=1, above=0).tolist()
    package = _package()
    make = package.SGDScheduleFree if kind == "sgd" else package.AdamWScheduleFree
    parts = []
    for rate in rates:
        params = [p.clone().requires_grad_() for p in task.start]
        optimizer = make(params, lr=float(rate), **settings)
        optimizer.train()
        for t in range(task.n_steps):
            for p, g in zip(params, task.gradient(t, params), strict=True):
                p.grad = g
            optimizer.step()
        optimizer.eval()
        with torch.no_grad():
            parts.append(task.scores([p.detach() for p in params]))
    return {key: np.concatenate([part[key].double().numpy() for part in parts], axis=1) for key in parts[0]}
