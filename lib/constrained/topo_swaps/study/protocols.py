"""The chapter's protocols: which searches run on which instances, from which starts. Their arguments are checked further in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import OptimizeResult

from lib.constrained.topo_swaps.acyclicity import candidate_pairs, dag_from_weights
from lib.constrained.topo_swaps.columns import ColumnModel, logistic_column
from lib.constrained.topo_swaps.scores import Array, Order, OrderFit, order_weights, swapped
from lib.constrained.topo_swaps.search import Swap, path_weights, topological_swaps
from lib.constrained.topo_swaps.study.fourier import FourierColumn
from lib.constrained.topo_swaps.study.instances import Instance, draw_instance, parse_family
from lib.constrained.topo_swaps.study.neighborhoods import insertion_search, random_pair_search
from lib.constrained.topo_swaps.study.networks import Budget, NetworkColumn, notears_networks
from lib.constrained.topo_swaps.study.rivals import nofears
from lib.problems import dags

Rng = Callable[..., np.random.Generator]


def random_start(rng: Rng, family: str, index: Any) -> Order:
    """A random order of a family's nodes."""
    return rng("start", family, index).permutation(parse_family(family)[2])


def proposed(fit: OrderFit, size: int) -> tuple[Order, Order, Array]:
    """Positions a < b of the candidate swaps of an order, and what each changes."""
    pairs = candidate_pairs(path_weights(fit.weights, fit.order), fit.order, size)
    place = np.argsort(fit.order)
    a, b = place[pairs[:, 1]], place[pairs[:, 0]]
    return a, b, fit.swap_changes(a, b)


def descend(
    inst: Instance, order: npt.ArrayLike, small: Any = "auto", large: Any = "auto", n_large: int = 5, **how: Any
) -> OptimizeResult:
    """TOPO on an instance, with the default candidate sets unless sizes are given; the large set may succeed five times."""
    return topological_swaps(inst.S, order, small, large, n_large, **how)


def one_by_one(fit: OrderFit, size: int, most: int) -> list[OrderFit]:
    """The orders of a search that makes the best of `size` proposed swaps, one at a time, until none improves."""
    steps = [fit]
    while len(steps) < most:
        a, b, gains = proposed(steps[-1], size)
        best = int(np.round(gains, 9).argmin())
        if gains[best] > -1e-9:
            break
        steps.append(OrderFit.of(_moments(fit), swapped(steps[-1].order, int(a[best]), int(b[best]))))
    return steps


def _moments(fit: OrderFit) -> Array:
    S = np.empty_like(fit.L)
    S[np.ix_(fit.order, fit.order)] = fit.L @ fit.L.T
    return S


def rival_orders(
    instances: Sequence[Instance], found: dict[str, list[Array]], starts: Sequence[Order]
) -> dict[str, list[Order]]:
    """The order in which each method ends: rivals cut until acyclic, NOTEARS repaired, sorting, and TOPO after all of them."""
    ends = {name: [dag_from_weights(W)[1] for W in group] for name, group in found.items()}
    cut = [dag_from_weights(W, 0.3)[0] for W in found["NOTEARS"]]
    repaired = [nofears(inst.S, W) for inst, W in zip(instances, cut, strict=True)]
    ends["NOTEARS, repaired"] = [dag_from_weights(W)[1] for W in repaired]
    ends["sorted by variance"] = [np.argsort(np.diag(inst.S)) for inst in instances]
    for name in found:
        ends[f"{name} + TOPO"] = [descend(inst, o).order for inst, o in zip(instances, ends[name], strict=True)]
    ends["random + TOPO"] = [descend(inst, o).order for inst, o in zip(instances, starts, strict=True)]
    return ends


def neighborhoods(rng: Rng, family: str, n: int) -> tuple[list[Instance], dict[str, list[OptimizeResult]]]:
    """n instances of a family, and from one random start each: default sets, all pairs, insertions."""
    group = [draw_instance(rng, family, i) for i in range(n)]
    starts = [random_start(rng, family, i) for i in range(n)]
    both = list(zip(group, starts, strict=True))
    return group, {
        "default sets": [descend(g, o) for g, o in both],
        "all pairs": [descend(g, o, "all", "all") for g, o in both],
        "insertions": [insertion_search(g.S, o) for g, o in both],
    }


def _by_gradient(group: list[Instance], starts: list[Order], size: int, i: int) -> OptimizeResult:
    return descend(group[i], starts[i], size, size, 0)


def _by_chance(rng: Rng, group: list[Instance], starts: list[Order], size: int, draws: int, i: int) -> OptimizeResult:
    return random_pair_search(group[i].S, starts[i], size, draws, rng("draw", i))


def candidate_race(rng: Rng, family: str, n: int, sizes: Sequence[int], draws: Sequence[int]) -> dict[tuple[str, int], Array]:
    """(method, pairs) -> (n, 2): swaps evaluated, and whether the true score was reached; one start for each of n instances."""
    group = [draw_instance(rng, family, i) for i in range(n)]
    starts = [random_start(rng, family, i) for i in range(n)]

    def cell(search: Callable[[int], OptimizeResult]) -> Array:
        runs = [search(i) for i in range(n)]
        return np.array([[run.nfev, run.fun <= g.score + 1e-3] for run, g in zip(runs, group, strict=True)], dtype=float)

    race = {("gradient", s): cell(partial(_by_gradient, group, starts, s)) for s in sizes}
    for s in sizes[:-1]:  # with all pairs there is nothing to draw
        for r in draws:
            race[f"random, {r} draws", s] = cell(partial(_by_chance, rng, group, starts, s, r))
    return race


def price(table: Array) -> float:
    """Swaps evaluated per success; infinite without one."""
    return float(table[:, 0].sum() / table[:, 1].sum()) if table[:, 1].any() else np.inf


def tuned(race: dict[tuple[str, int], Array], method: str, half: int) -> tuple[str, int]:
    """The cheapest setting of a method on the first half of the instances."""
    cells = {key: table[:half] for key, table in race.items() if key[0].startswith(method)}
    return min(cells, key=lambda key: price(cells[key]))


def thorough(inst: Instance, starts: Sequence[Order], scale: npt.ArrayLike = 1.0) -> tuple[float, int, int]:
    """Gap and SHD of the best of several searches over all pairs, and the SHD of the true order.

    Weights are multiplied back to the original units, ``scale`` being what each column was divided by.
    """
    runs = [descend(inst, order, "all", "all", 0) for order in starts]
    best = min(runs, key=lambda run: round(run.fun, 9)).order
    other = swapped(best, 0, 1)
    if best[0] > best[1] and abs(inst.gap(best) - inst.gap(other)) < 1e-9:
        best = other  # a tie: the smaller index first
    back = np.ones(len(inst.S)) * np.asarray(scale)
    mine, truth = (inst.distance(order_weights(inst.S, order) / back[:, None] * back) for order in (best, inst.order))
    return inst.gap(best), mine, truth


def other_models(rng: Rng, index: int, d: int, n: int) -> dict[str, list[float]]:
    """Logistic and additive columns on one instance: loss above the true order's at the end and at the start of a search."""
    edges = dags.simulate_dag(d, min(2 * d, d * (d - 1) // 2), seed=rng("other", index))
    W = dags.simulate_weights(edges, seed=rng("other weights", index))
    binary = dags.simulate_binary_sem(W, n, seed=rng("binary", index))
    smooth = dags.simulate_nonlinear_sem(W, min(500, n), seed=rng("smooth", index))
    found = {}
    for name, X, regression in (("logistic", binary, logistic_column), ("additive", smooth, FourierColumn())):
        model = ColumnModel(X, regression)
        run = topological_swaps(None, rng("other start", index).permutation(d), refit=model)
        truth = model(dags.topological_order(W)).score
        found[name] = [round(run.fun - truth, 5), round(run.history["score"][0] - truth, 5)]
    return found


def networks(rng: Rng, index: int, d: int, n: int) -> dict[str, float]:
    """A network for every node on one instance: TOPO, NOTEARS-MLP with at least as many passes, TOPO from its order.

    TOPO runs twice from one random order, with the authors' sets of 10 and 40 pairs: in their form for networks (``first``, a
    round makes the first swap that improves) and with several swaps a round (``several``). NOTEARS-MLP starts again until it
    has had the passes of the dearer one; the start whose order has the least loss counts. Scoring orders is not charged.
    Losses are those of an order's regressions minus the true order's; ``shd`` counts edges stronger than 0.5 (the authors').
    """
    edges = dags.simulate_dag(d, min(2 * d, d * (d - 1) // 2), seed=rng("network", index))
    W = dags.simulate_weights(edges, seed=rng("network weights", index))
    X = dags.simulate_nonlinear_sem(W, n, seed=rng("networks", index))
    # A swap must gain a thousandth of the loss, or the search follows the noise of the training.
    search = partial(topological_swaps, None, size_small=10, size_large=40, tol=1e-3)
    runs, passes = {}, {}
    forms: dict[str, Swap] = {"first": "first", "several": "greedy"}
    for name, swap in forms.items():
        spent = Budget()
        model = ColumnModel(X, NetworkColumn(budget=spent))
        runs[name] = search(rng("network start", index).permutation(d), swap=swap, refit=model)
        passes[name] = spent.passes
    joint, allowed = Budget(), max(passes.values())
    ends: list[tuple[float, int, Array, Order]] = []
    while not ends or joint.passes < allowed:
        found = notears_networks(X, NetworkColumn(budget=joint), seed=len(ends))
        fit = model(dag_from_weights(found)[1])
        ends.append((fit.score, len(ends), found, fit.order))
    loss, _, found, order = min(ends, key=lambda end: end[:2])
    truth = model(dags.topological_order(W))
    told = {"start": runs["first"].history["score"][0]} | {name: run.fun for name, run in runs.items()}
    told |= {"notears": loss, "onward": search(order, swap="greedy", refit=model).fun}
    told = {name: round(float(value - truth.score), 5) for name, value in told.items()}
    weights = {"first": runs["first"].weights, "several": runs["several"].weights, "notears": found, "truth": truth.weights}
    told |= {f"shd_{name}": dags.shd(values > 0.5, W != 0) for name, values in weights.items()}
    return told | {"passes": joint.passes / allowed}
