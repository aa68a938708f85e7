"""The workflow that makes one robust policy: a specialist for every level first, then one policy close to all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib import checks
from lib.online.learned_active_learning.hardness import draw_class
from lib.online.learned_active_learning.mapo import MAPO
from lib.online.learned_active_learning.problem import BanditProblem

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Workflow:
    """What the workflow made.

    Attributes
    ----------
    levels : list of float
        Complexities, rising.
    specialists : list of policies
        One for each level.
    values : array, shape (K,)
        The largest loss of each specialist on its level's instances: what the levels are worth.
    robust : policy
        The one policy.
    gaps : array, shape (K,)
        The robust policy's largest loss minus value on the instances that each level adds.
    thetas, level_of : array, shapes (M, n) and (M,)
        The instances at the start, and the lowest level that each belongs to.
    runs : list of MAPO
        The trainings: of the specialists, then of the robust policy.
    """

    levels: list[float]
    specialists: list[Any]
    values: Array
    robust: Any
    gaps: Array
    thetas: Array
    level_of: NDArray[np.int64]
    runs: list[MAPO]


def learn_robust(
    problem: BanditProblem, budget: int, levels: Sequence[float], particles: int = 60, seed: Any = None, **options: Any
) -> Workflow:
    """Learn a specialist for each level, then one policy that is close to all of them.

    Parameters
    ----------
    problem : BanditProblem
        Queries, hypotheses and loss.
    budget : int
        Number of queries that are asked.
    levels : sequence of float
        Complexities, rising.
    particles : int
        Instances drawn for each level, at most 10000; a level's class also has those of the lower ones.
    seed : int or Generator, optional
        Of instances, weights and episodes.
    **options
        Of `MAPO`.

    Returns
    -------
    Workflow

    Examples
    --------
    >>> from lib.online.learned_active_learning import learn_robust, thresholds
    >>> made = learn_robust(thresholds(1), 3, [4.0, 16.0], particles=4, seed=0, iterations=30, hidden=4)
    >>> made.values.round(1).tolist()
    [0.2, 0.3]
    """
    rising = checks.array("levels", levels, ndim=1, above=0)
    if (np.diff(rising) <= 0).any():
        raise ValueError(f"levels must rise, got {rising.tolist()}")
    particles = checks.integer("particles", particles, low=1, high=10_000)
    rng = checks.generator("seed", seed)
    draws = [draw_class(problem, float(r), particles, rng) for r in rising]
    thetas, level_of = np.concatenate(draws), np.repeat(np.arange(len(rising)), particles)
    limits, runs = rising[level_of], []
    for k in range(len(rising)):  # stage 1: (4)
        mine = level_of <= k
        runs.append(MAPO(problem, budget, thetas[mine], limits[mine], seed=rng, **options).run())
    values = np.array([run.instance_losses().max() for run in runs])
    last = MAPO(problem, budget, thetas, limits, values[level_of], runs[-1].policy, seed=rng, **options).run()  # stage 2: (5)
    excess = last.instance_losses() - last.offsets
    gaps = np.array([excess[level_of == k].max() for k in range(len(rising))])
    specialists = [run.answer() for run in runs]
    return Workflow(rising.tolist(), specialists, values, last.answer(), gaps, thetas, level_of, [*runs, last])
