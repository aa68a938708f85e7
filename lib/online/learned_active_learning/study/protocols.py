"""How policies are compared: worst losses per level, gaps to the specialists, tuned rivals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib import checks
from lib.online.learned_active_learning.attack import worst_case
from lib.online.learned_active_learning.hardness import draw_class
from lib.online.learned_active_learning.lattice import Lattice
from lib.online.learned_active_learning.study.rivals import SoftBinarySearch, Uniform

Array = NDArray[np.float64]
#: Assumed shares of wrong answers that soft binary search is tried with.
NOISES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.45)


def heuristics(problem: Any, noises: Sequence[float] = NOISES) -> dict[str, Any]:
    """Policies without training: random queries, and soft binary search for each assumed noise.

    Parameters
    ----------
    problem : QueryProblem
        Gives queries and hypotheses.
    noises : sequence of float
        Assumed shares of wrong answers.

    Examples
    --------
    >>> from lib.online.learned_active_learning import thresholds
    >>> from lib.online.learned_active_learning.study import heuristics
    >>> list(heuristics(thresholds(2), [0.1]))
    ['uniform', 'SGBS 0.1']
    """
    rates = checks.array("noises", noises, ndim=1, above=0, high=0.499).tolist()
    return {"uniform": Uniform(problem)} | {f"SGBS {rate:g}": SoftBinarySearch(problem, rate) for rate in rates}


def worst_losses(
    policies: Mapping[str, Any],
    lattice: Lattice,
    levels: Sequence[float],
    fresh: int = 300,
    starts: int = 60,
    steps: int = 20,
    seed: int = 0,
) -> dict[str, Array]:
    """Largest loss of each policy on each level: over fresh instances, and over an attack of its own.

    Parameters
    ----------
    policies : mapping
        Name -> policy.
    lattice : Lattice
        Problem and budget.
    levels : sequence of float
        Complexities, rising; each class also has the instances of those below it.
    fresh : int
        Instances drawn on each level's boundary, the same for all policies.
    starts, steps : int
        Of each attack, see `worst_case`.
    seed : int
        Of instances and attacks.

    Examples
    --------
    >>> from lib.online.learned_active_learning import Lattice, thresholds
    >>> from lib.online.learned_active_learning.study import Uniform, worst_losses
    >>> lattice = Lattice(thresholds(1), 3)
    >>> found = worst_losses({"uniform": Uniform(thresholds(1))}, lattice, [4.0, 16.0], fresh=4, starts=2, steps=1)
    >>> found["uniform"].round(2).tolist()
    [0.16, 0.32]
    """
    rising = checks.array("levels", levels, ndim=1, above=0).tolist()
    fresh = checks.integer("fresh", fresh, low=1, high=100_000)
    starts, steps = checks.integer("starts", starts, low=1), checks.integer("steps", steps, low=0)
    seed = checks.integer("seed", seed, low=0)
    covers = [draw_class(lattice.problem, r, fresh, np.random.default_rng([seed, k])) for k, r in enumerate(rising)]
    found = {}
    for name, policy in policies.items():
        worst = [
            max(
                float(lattice.losses(policy, cover).max()),
                worst_case(policy, lattice, r, starts, steps, seed=np.random.default_rng([seed, k, 1])).loss,
            )
            for k, (r, cover) in enumerate(zip(rising, covers, strict=True))
        ]
        found[name] = np.maximum.accumulate(worst)
    return found


def largest_gaps(worst: Mapping[str, Array], values: Array) -> dict[str, float]:
    """Each policy's largest worst loss minus level value, over the levels: what the robust objective (5) measures.

    Parameters
    ----------
    worst : mapping
        Name -> worst losses, shape (K,).
    values : array, shape (K,)
        What the levels are worth. May be negative.

    Examples
    --------
    >>> from lib.online.learned_active_learning.study import largest_gaps
    >>> largest_gaps({"a": [0.2, 0.5]}, [0.1, 0.45])
    {'a': 0.1}
    """
    worth = checks.array("values", values, ndim=1)
    return {name: float(np.max(np.asarray(losses) - worth)) for name, losses in worst.items()}
