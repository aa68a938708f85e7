"""How the settings of the comparisons were found: the same learning rates for every method, on seeds that no experiment uses.

The target's labels judge here, for all methods alike; without them nobody could choose. `GRID` holds what came out for dense
networks, `CONV_GRID` for convolutional ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib import checks

from .conv import ConvNetwork, conv_compare, conv_starts
from .protocols import Variant, compare, warm_starts
from .rivals import pcgrad, upgrad
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
#: Learning rates tried for each method with convolutions.
CONV_RATES = (0.0025, 0.005, 0.01, 0.02, 0.04, 0.08)
CONV_METHODS = {"source only": "alone", "DANN": "dann", "plain sum": "sum", "MGDA": "mgda", "ParetoDA": "pareto"}
#: Learning rate of the source's loss on joint batches, which is not tuned.
JOINT_RATE = 0.005
#: What `tune_conv` gave: mean accuracy on the target over three tasks, one repetition.
CONV_GRID: dict[str, dict[float, float]] = {
    "source only": {0.0025: 0.2716, 0.005: 0.2713, 0.01: 0.2693, 0.02: 0.2804, 0.04: 0.3293, 0.08: 0.2878},
    "DANN": {0.0025: 0.4033, 0.005: 0.3536, 0.01: 0.2498, 0.02: 0.4682, 0.04: 0.4382, 0.08: 0.4431},
    "plain sum": {0.0025: 0.5622, 0.005: 0.6018, 0.01: 0.5898, 0.02: 0.5247, 0.04: 0.5867, 0.08: 0.5742},
    "MGDA": {0.0025: 0.5347, 0.005: 0.566, 0.01: 0.5682, 0.02: 0.3418, 0.04: 0.2062, 0.08: 0.218},
    "ParetoDA": {0.0025: 0.5362, 0.005: 0.5753, 0.01: 0.5633, 0.02: 0.5684, 0.04: 0.5613, 0.08: 0.5449},
    "tuned sum": {0.1: 0.5933, 0.3: 0.608, 1.0: 0.6018, 3.0: 0.4796},
    "joint batches": {0.005: 0.5084},
}
#: The best of each row; none is at an end of its row.
CONV_TUNED = {"source only": 0.04, "DANN": 0.02, "plain sum": 0.005, "MGDA": 0.01, "ParetoDA": 0.005}
CONV_DOMAIN_WEIGHT = 0.3


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
    found = compare(starts, _weighted(best), steps, steps)
    return grid | {"weighted sum": {weight: _mean(found[f"{weight}"]) for weight in DOMAIN_WEIGHTS}}


def tune_conv(
    seeds: Sequence[int] = TUNING_SEEDS[:1],
    n: int = 1500,
    warmup: int = 300,
    iterations: int = 200,
    net: ConvNetwork | None = None,
) -> dict[str, dict[float, float]]:
    """The same with convolutions.

    Parameters
    ----------
    seeds : sequence of int
        Repetitions.
    n, warmup, iterations, net
        As in `conv_starts` and `conv_compare`.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study.tuning import tune_conv
    >>> grid = tune_conv(seeds=[0], n=40, warmup=1, iterations=1)  # doctest: +SKIP
    """
    starts = conv_starts(list(TASKS), n, warmup, seeds, net)
    steps = checks.integer("iterations", iterations, low=1)
    variants = [Variant(f"{name} {rate}", method, lr=rate) for name, method in CONV_METHODS.items() for rate in CONV_RATES]
    found = conv_compare(starts, [*variants, Variant("joint", "source", lr=JOINT_RATE)], steps, steps, net)
    grid = {name: {rate: _mean(found[f"{name} {rate}"]) for rate in CONV_RATES} for name in CONV_METHODS}
    best = max(grid["plain sum"], key=lambda rate: grid["plain sum"][rate])
    weighted = conv_compare(starts, _weighted(best), steps, steps, net)
    grid["tuned sum"] = {weight: _mean(weighted[f"{weight}"]) for weight in DOMAIN_WEIGHTS}
    return grid | {"joint batches": {JOINT_RATE: _mean(found["joint"])}}


def _weighted(lr: float) -> list[Variant]:
    return [Variant(f"{weight}", "sum", lr=lr, scales=(1.0, weight, 1.0)) for weight in DOMAIN_WEIGHTS]


def _mean(outcomes: Sequence[Any]) -> float:
    return round(float(np.mean([outcome.last for outcome in outcomes])), 4)


def variants() -> list[Variant]:
    """The methods of the comparison with dense networks, with their tuned settings.

    Ablations and other programs of ParetoDA run at its learning rate, PCGrad and UPGrad at the plain sum's.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import variants
    >>> [variant.name for variant in variants()][:3]
    ['source only', 'DANN', 'plain sum']
    """
    return [
        Variant("source only", "source", lr=TUNED["source"]),
        Variant("DANN", "dann", lr=TUNED["dann"]),
        Variant("plain sum", "sum", lr=TUNED["sum"]),
        Variant("PCGrad", pcgrad, lr=TUNED["sum"]),
        Variant("UPGrad", upgrad, lr=TUNED["sum"]),
        Variant("ParetoDA", lr=TUNED["pareto"], probe=True),
        Variant("pure descent", lp_mode="descent", lr=TUNED["pareto"]),
        Variant("code's program", lp_mode="dominance", lr=TUNED["pareto"]),
        Variant("no refinement", refine="none", lr=TUNED["pareto"]),
    ]


def conv_variants() -> list[Variant]:
    """The methods of the main comparison, with convolutions, with their tuned settings.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import conv_variants
    >>> [variant.name for variant in conv_variants()]
    ['source only', 'joint batches', 'DANN', 'plain sum', 'tuned sum', 'MGDA', 'ParetoDA']
    """
    return [
        Variant("source only", "alone", lr=CONV_TUNED["source only"]),
        Variant("joint batches", "source", lr=JOINT_RATE),
        Variant("DANN", "dann", lr=CONV_TUNED["DANN"]),
        Variant("plain sum", "sum", lr=CONV_TUNED["plain sum"]),
        Variant("tuned sum", "sum", lr=CONV_TUNED["plain sum"], scales=(1.0, CONV_DOMAIN_WEIGHT, 1.0)),
        Variant("MGDA", "mgda", lr=CONV_TUNED["MGDA"]),
        Variant("ParetoDA", lr=CONV_TUNED["ParetoDA"]),
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
