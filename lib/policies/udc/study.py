"""The chapter's experiments: sketches to start from, gaps, training schemes, reward quality, work per second."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lib.policies.udc.framework import TSP, TSP_UNNORMALIZED, UDC, reinforce
from lib.policies.udc.solvers import LKHSolver, normalize
from lib.policies.udc.train import new_model
from lib.problems import routing

Floats = npt.NDArray[np.float64]

#: Training schemes of `train_scheme`; the first is the paper's.
SCHEMES = ("unified", "no reunion", "no normalization", "pre-trained, joint", "pre-trained, divider only")
RULES = ("random", "nearest neighbor", "random insertion")


def sketch(rule: str, coords: npt.ArrayLike, seed: int | np.random.Generator) -> npt.NDArray[np.int64]:
    """One initial tour per instance by a rule without learning: (B, 1, N) for instances (B, N, 2).

    Raises
    ------
    ValueError
        For a rule other than "random", "nearest neighbor", "random insertion".
    """
    rng, points = np.random.default_rng(seed), np.asarray(coords, dtype=np.float64)
    makers: dict[str, Any] = {
        "random": lambda x: rng.permutation(len(x)),
        "nearest neighbor": lambda x: routing.nearest_neighbor(x, int(rng.integers(len(x)))),
        "random insertion": lambda x: routing.random_insertion(x, rng),
    }
    if rule not in makers:
        raise ValueError(f"unknown rule {rule!r}; allowed: {', '.join(makers)}")
    return np.stack([makers[rule](x) for x in points])[:, None]


def best_known(coords: npt.ArrayLike, runs: int = 1) -> Floats:
    """Lengths (B,) of LKH's tours of instances (B, N, 2): the reference of every gap."""
    return np.array([routing.lkh_tour(x, runs)[1] for x in np.asarray(coords)])


def gaps(history: Floats, reference: Floats) -> Floats:
    """Mean gap in % after each stage: `history` (stages + 1, B, alpha) against `reference` (B,), averaged over both axes.

    The mean over the alpha solutions, not their best.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.udc.study import gaps
    >>> gaps(np.full((1, 1, 1), 11.0), np.array([10.0])).round(6).tolist()
    [10.0]
    """
    return 100 * (np.asarray(history).mean(-1) / reference - 1).mean(1)


def conqueror(model: UDC, solver: Any) -> UDC:
    """The same divider and piece length with another conqueror."""
    return UDC(model.divider, solver, model.n, model.problem)


def with_lkh(model: UDC) -> UDC:
    """The same divider with LKH as conqueror."""
    return conqueror(model, LKHSolver())


def pretrain(model: UDC, steps: int, paths: int, beta: int, lr: float, clip: float, seed: int) -> None:
    """Train the conqueror alone on `paths` paths through uniform points per step: the first phase of separate training."""
    rng = np.random.default_rng([seed, 1])
    generator = torch.Generator().manual_seed(seed)
    model.optimizers["solver"].param_groups[0]["lr"] = lr
    for _ in range(steps):
        pieces = normalize(torch.as_tensor(rng.random((paths, model.n, 2))))
        _, logp, length = model.solver.solve(pieces, beta, False, generator)
        model._update("solver", reinforce(logp, length), clip)


def train_scheme(
    scheme: str,
    steps: int,
    n_cities: int,
    n: int,
    seed: int,
    alpha: int = 8,
    beta: int = 8,
    lr: float = 1e-3,
    sizes: dict[str, int] | None = None,
) -> tuple[UDC, Floats]:
    """Train a model from scratch by one of `SCHEMES`, none with less work than the unified one.

    A step of the unified scheme has two conquering stages and one update of the divider. One without reunion has one stage
    and is made 3/2 times as often: about the same work. The pre-trained schemes make as many steps as the unified one, with
    as many updates of the divider; their pre-training, one stage on as many paths for each step, comes on top.

    Parameters
    ----------
    scheme : one of `SCHEMES`
    steps : int
        Steps of the unified scheme.
    n_cities, n : int
        Cities of the training instances, and of a piece.
    seed : int
        Of the networks and of all draws.

    Returns
    -------
    model : UDC
    history : float64, shape (steps made, 3), as `UDC.fit` returns it (without pre-training)

    Raises
    ------
    ValueError
        For an unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme {scheme!r}; allowed: {', '.join(SCHEMES)}")
    problem = TSP_UNNORMALIZED if scheme == "no normalization" else TSP
    model = new_model(seed, problem=problem, dtype=torch.float64, sizes=(sizes or {}) | {"n": n})
    options: dict[str, Any] = {"alpha": alpha, "beta": beta, "lr": lr, "clip": 1.0, "seed": seed}
    if scheme == "no reunion":
        steps, options["reunion"] = steps * 3 // 2, False
    elif scheme.startswith("pre-trained"):
        pretrain(model, steps, alpha * (n_cities // n), beta, lr, 1.0, seed)
        if scheme.endswith("only"):
            options["train"] = ("divider",)
    history = model.fit(lambda rng: rng.random((n_cities, 2)), steps, **options)
    return model, history


def smooth(curve: npt.ArrayLike, window: int) -> Floats:
    """Moving average of the columns of a curve (steps, m), the first `window` - 1 over what there is.

    Examples
    --------
    >>> from lib.policies.udc.study import smooth
    >>> smooth([[0.0], [2.0], [4.0]], 2)[:, 0].tolist()
    [0.0, 1.0, 3.0]
    """
    total = np.cumsum(np.asarray(curve, dtype=np.float64), axis=0)
    shifted = np.concatenate([np.zeros_like(total[:window]), total[:-window]])
    return (total - shifted) / np.minimum(np.arange(1, len(total) + 1), window)[:, None]


def rank_correlation(history: Floats, stages: tuple[int, ...]) -> Floats:
    """Spearman's correlation, over the sketches of an instance, of the costs after `stages` with the final ones.

    `history` (r + 1, B, alpha); returns the mean over instances, (len(stages),).
    """
    from scipy.stats import spearmanr

    last = len(history) - 1
    rows = [[spearmanr(history[s, b], history[last, b]).statistic for s in stages] for b in range(history.shape[1])]
    return np.array(rows).mean(0)


def nearest_share(paths: npt.ArrayLike, order: npt.ArrayLike) -> float:
    """Share of the steps along `paths` (P, n, 2) in `order` (P, n) that go to the nearest free point.

    Free are the points not yet visited but the last one, whose place is fixed; steps without a choice are not counted.

    Examples
    --------
    >>> from lib.policies.udc.study import nearest_share
    >>> nearest_share([[[0, 0], [1, 0], [2, 0], [3, 0]]], [[0, 2, 1, 3]])
    0.0
    """
    points, walk = np.asarray(paths, dtype=np.float64), np.asarray(order)
    distance = routing.distance_matrix(np.take_along_axis(points, walk[..., None], axis=1))[:, :-3, :-1]
    ahead = np.arange(distance.shape[2]) > np.arange(distance.shape[1])[:, None]
    taken = np.diagonal(distance, 1, axis1=1, axis2=2)
    return float((taken <= np.where(ahead, distance, np.inf).min(axis=2)).mean())


def fill_in_order(items: npt.ArrayLike, capacity: float, order: npt.ArrayLike) -> float:
    """Value of the items (N, 2) taken in this order, each that still fits."""
    table, room, value = np.asarray(items, dtype=np.float64), capacity, 0.0
    for item in np.asarray(order):
        if table[item, 1] <= room:
            room, value = room - table[item, 1], value + table[item, 0]
    return float(value)


def seconds_per_instance(work: Any, instances: npt.ArrayLike) -> float:
    """CPU seconds that `work(instances)` takes per instance."""
    begin = time.process_time()
    work(instances)
    return (time.process_time() - begin) / len(np.asarray(instances))
