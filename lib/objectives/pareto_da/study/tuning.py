"""How the settings of the comparisons were found: the same learning rates for every method, on seeds that no experiment uses.

The target's labels judge here, for all methods alike; without them nobody could choose. `GRID` holds what came out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lib import checks

from .protocols import Variant, compare, warm_starts
from .tasks import TASKS

#: Learning rates tried for each method.
RATES = (0.0125, 0.025, 0.05, 0.1)
#: Weights of the alignment loss tried for the tuned sum, at the plain sum's learning rate.
DOMAIN_WEIGHTS = (0.1, 0.3, 1.0, 3.0)
TUNED_METHODS = ("source", "dann", "sum", "mgda", "pareto")
#: Repetitions for tuning only.
TUNING_SEEDS = (90_001, 90_002)


def tune(seeds: Sequence[int] = TUNING_SEEDS, n: int = 1500, warmup: int = 300, iterations: int = 200) -> dict[str, dict[float, float]]:
    """Mean accuracy over the three tasks of every method at every learning rate, and of the sum at every domain weight.

    Parameters
    ----------
    seeds : sequence of int
        Repetitions.
    n, warmup, iterations : int
        As in `warm_starts` and `compare`.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import tune
    >>> grid = tune(seeds=[0], n=40, warmup=1, iterations=1)  # doctest: +SKIP
    """
    starts = warm_starts(list(TASKS), n, warmup, seeds)
    steps = checks.integer("iterations", iterations, low=1)
    variants = [Variant(f"{method} {rate}", method, lr=rate) for method in TUNED_METHODS for rate in RATES]
    found = compare(starts, variants, steps, steps)
    grid = {method: {rate: _mean(found[f"{method} {rate}"]) for rate in RATES} for method in TUNED_METHODS}
    best = max(grid["sum"], key=lambda rate: grid["sum"][rate])
    weighted = [Variant(f"{weight}", "sum", lr=best, scales=(1.0, weight, 1.0)) for weight in DOMAIN_WEIGHTS]
    found = compare(starts, weighted, steps, steps)
    return grid | {"weighted sum": {weight: _mean(found[f"{weight}"]) for weight in DOMAIN_WEIGHTS}}


def _mean(outcomes: Sequence) -> float:  # type: ignore[type-arg]
    return round(float(np.mean([outcome.last for outcome in outcomes])), 4)
