"""Seconds of several ways to run the same sequence, measured side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lib import checks
from lib.online.sor_bandit.sequence import SupportsBandit, run_sequence


class Timing(NamedTuple):
    """Iterations of a sequence, and the seconds of its solves and of its policy."""

    iterations: int
    solving: float
    learning: float

    @property
    def seconds(self) -> float:
        """Both together."""
        return self.solving + self.learning


def time_together(
    problems: Callable[[], Iterable[Any]],
    ways: Mapping[str, tuple[SupportsBandit, Callable[..., Any]]],
    grid: ArrayLike,
    n_rounds: int,
    *,
    block: int = 25,
) -> dict[str, Timing]:
    """Run every way through its own copy of a sequence, a few systems at a time in turn, so that all meet the same load.

    Parameters
    ----------
    problems : callable
        ``problems()`` makes the sequence, an iterator as for `run_sequence`.
    ways : mapping
        Name -> (policy, solver).
    grid : array, shape (d,)
    n_rounds : int
        Number of systems.
    block : int
        Systems before the next way has its turn, default 25.

    Returns
    -------
    dict
        Name -> `Timing`.

    Raises
    ------
    ValueError, RuntimeError
        As `run_sequence`.

    Examples
    --------
    >>> from lib.online.sor_bandit import FixedArm, ssor_pcg
    >>> from lib.online.sor_bandit.study import HeatEquation2D, time_together
    >>> ways = {"first": (FixedArm(2, 0), ssor_pcg), "second": (FixedArm(2, 1), ssor_pcg)}
    >>> time_together(lambda: HeatEquation2D(5), ways, [1.0, 1.5], 10)["first"].iterations > 0
    True
    """
    checks.function("problems", problems)
    n_rounds, block = checks.integer("n_rounds", n_rounds, low=1), checks.integer("block", block, low=1)
    sequences = {name: problems() for name in ways}
    told = {name: np.zeros(3) for name in ways}
    for first in range(0, n_rounds, block):
        for name, (policy, solver) in ways.items():
            rounds = min(block, n_rounds - first)
            out = run_sequence(sequences[name], policy, grid, solver, n_rounds=rounds, timings=True)
            told[name] += [out[key].sum() for key in ("costs", "solver_seconds", "learner_seconds")]
    return {name: Timing(int(costs), solving, learning) for name, (costs, solving, learning) in told.items()}


def cost_ratios(told: Mapping[str, Timing]) -> dict[str, float]:
    """What the ledger keeps of a race in seconds between ``chebcb``, ``tsallis``, a ``constant`` and plain ``cg``.

    Parameters
    ----------
    told : mapping
        These four names -> `Timing`. The constant and plain CG have nothing to learn: only their solves count.

    Returns
    -------
    dict
        ``iterations`` and ``constant`` (seconds) of ChebCB over the constant, ``tsallis``, the seconds of Tsallis-INF over it,
        ``cg``, the seconds of ChebCB over plain CG, ``learner``, its seconds of learning over those of its solves.

    Raises
    ------
    KeyError
        If a name is missing.

    Examples
    --------
    >>> from lib.online.sor_bandit.study import Timing, cost_ratios
    >>> cost_ratios({"chebcb": Timing(8, 2.0, 1.0), "tsallis": Timing(9, 4.0, 0.0), "constant": Timing(16, 6.0, 0.0),
    ...              "cg": Timing(40, 1.5, 0.0)})["constant"]
    0.5
    """
    chebcb, constant = told["chebcb"], told["constant"]
    return {
        "iterations": chebcb.iterations / constant.iterations,
        "constant": chebcb.seconds / constant.solving,
        "tsallis": told["tsallis"].seconds / constant.solving,
        "cg": chebcb.seconds / told["cg"].solving,
        "learner": chebcb.learning / chebcb.solving,
    }
