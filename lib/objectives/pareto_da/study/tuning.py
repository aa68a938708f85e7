"""How the settings of the comparisons were found: the same learning rates for every method, on seeds that no experiment uses.

The target's labels judge here, for all methods alike; without them nobody could choose. `GRID` holds what came out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib import checks

from .protocols import Variant, compare, warm_starts
from .rivals import pcgrad
from .tasks import TASKS

#: Learning rates tried for each method.
RATES = (0.0125, 0.025, 0.05, 0.1)
#: Weights of the alignment loss tried for the tuned sum, at the plain sum's learning rate.
DOMAIN_WEIGHTS = (0.1, 0.3, 1.0, 3.0)
TUNED_METHODS = ("source", "dann", "sum", "mgda", "pareto")
#: Repetitions for tuning only.
TUNING_SEEDS = (90_001, 90_002)
#: What `tune` gave: mean accuracy on the target over three tasks and two repetitions.
GRID: dict[str, dict[float, float]] = {
    "source": {0.0125: 0.523, 0.025: 0.5239, 0.05: 0.5248, 0.1: 0.5219},
    "dann": {0.0125: 0.559, 0.025: 0.5538, 0.05: 0.5667, 0.1: 0.5499},
    "sum": {0.0125: 0.6024, 0.025: 0.6046, 0.05: 0.6137, 0.1: 0.6002},
    "mgda": {0.0125: 0.5462, 0.025: 0.5857, 0.05: 0.4683, 0.1: 0.4276},
    "pareto": {0.0125: 0.5918, 0.025: 0.5933, 0.05: 0.5968, 0.1: 0.2316},
    "weighted sum": {0.1: 0.6118, 0.3: 0.6144, 1.0: 0.6137, 3.0: 0.5911},
}
#: The best of each row; none is at an end of its row.
TUNED = {"source": 0.05, "dann": 0.05, "sum": 0.05, "mgda": 0.025, "pareto": 0.05}
DOMAIN_WEIGHT = 0.3


def tune(
    seeds: Sequence[int] = TUNING_SEEDS, n: int = 1500, warmup: int = 300, iterations: int = 200
) -> dict[str, dict[float, float]]:
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
    >>> from lib.objectives.pareto_da.study.tuning import tune
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


def _mean(outcomes: Sequence[Any]) -> float:
    return round(float(np.mean([outcome.last for outcome in outcomes])), 4)


def variants(rates: dict[str, float] | None = None, domain_weight: float | None = None) -> list[Variant]:
    """The methods of the main comparison, with their tuned settings.

    Ablations and other programs of ParetoDA run at its learning rate, PCGrad and the tuned sum at the plain sum's.

    Parameters
    ----------
    rates : dict, optional
        Learning rate by method; default `TUNED`.
    domain_weight : float, optional
        Weight of the alignment loss in the tuned sum, at least 0; default `DOMAIN_WEIGHT`.

    Raises
    ------
    TypeError, ValueError
        For a weight out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import variants
    >>> [variant.name for variant in variants()][:3]
    ['source only', 'DANN', 'plain sum']
    """
    lr = TUNED if rates is None else rates
    weight = checks.number("domain_weight", DOMAIN_WEIGHT if domain_weight is None else domain_weight, low=0)
    return [
        Variant("source only", "source", lr=lr["source"]),
        Variant("DANN", "dann", lr=lr["dann"]),
        Variant("plain sum", "sum", lr=lr["sum"]),
        Variant("tuned sum", "sum", lr=lr["sum"], scales=(1.0, weight, 1.0)),
        Variant("MGDA", "mgda", lr=lr["mgda"]),
        Variant("PCGrad", pcgrad, lr=lr["sum"]),
        Variant("ParetoDA", lr=lr["pareto"], probe=True),
        Variant("pure descent", lp_mode="descent", lr=lr["pareto"]),
        Variant("code's program", lp_mode="dominance", lr=lr["pareto"]),
        Variant("no refinement", refine="none", lr=lr["pareto"]),
    ]


def scaled(factors: Sequence[float]) -> dict[tuple[str, str, float], Variant]:
    """ParetoDA and the plain sum with one objective scaled: (method, objective, factor) -> variant.

    Parameters
    ----------
    factors : sequence of float
        At least 0.

    Raises
    ------
    TypeError, ValueError
        For factors out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import scaled
    >>> len(scaled([0.1, 0.5]))
    8
    """
    found = {}
    for name, method in (("plain sum", "sum"), ("ParetoDA", "pareto")):
        for i, objective in enumerate(("source", "domain")):
            for factor in map(float, checks.array("factors", factors, ndim=1, low=0)):
                scales = [1.0, 1.0, 1.0]
                scales[i] = factor
                label = f"{name}, {objective} x {factor:g}"
                found[name, objective, factor] = Variant(label, method, lr=TUNED[method], scales=tuple(scales))  # type: ignore[arg-type]
    return found
