"""The chapter's protocols: races at the paper's steps and at tuned ones, noise, data sets, the price of a gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

from ..surrogate import TargetSurrogate
from .rules import Rule, adagrad_rule, adam_rule, follow, gradient_rule, sls_rule, sso_rule
from .tasks import LinearTask, batch_order

Floats = NDArray[np.float64]
#: The least loss that logarithms see: below it, two losses are alike.
FLOOR = 1e-9
#: The grids of `tuned_race`: six values for each method, a factor of four apart (for the line search its constant c).
GRIDS: dict[str, tuple[float, ...]] = {
    "SGD": (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0),
    "SLS": (0.0003, 0.001, 0.01, 0.1, 0.3, 0.6),
    "Adam": (0.025, 0.1, 0.4, 1.6, 6.4, 25.6),
    "AdaGrad": (0.1, 0.4, 1.6, 6.4, 25.6, 102.4),
    "SSO": (4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0),
}


def paper_rules(task: LinearTask, size: int | None = None, steps: int = 100) -> dict[str, Callable[[], Rule]]:
    """The paper's steps, nothing tuned: SGD with 1/L, stochastic line search, SSO with eta = 1/L and with line search.

    Parameters
    ----------
    task : LinearTask
    size : int or None
        Rows in a batch.
    steps : int
        T of the exponential schedule.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> sorted(study.paper_rules(study.linear_task("spambase", rows=50)))[:2]
    ['SGD', 'SGD, exponential']
    """
    kind, eta, steps = task.kind, task.loss.step, checks.integer("steps", steps, low=1)
    share = 1.0 if size is None else checks.integer("size", size, low=1, high=len(task.X)) / len(task.X)
    gram, base = task.X.T @ task.X if size is None else None, 1 / task.smoothness
    rules: dict[str, Callable[[], Rule]] = {
        "SGD": lambda: gradient_rule(kind, base),
        "SLS": lambda: sls_rule(kind, share),
        "SGD, exponential": lambda: gradient_rule(kind, base, "exponential", steps),
    }
    for m in (1, 10, 100):
        rules[f"SSO, m = {m}"] = lambda m=m: sso_rule(kind, eta, m, gram=gram)  # type: ignore[misc]
        rules[f"SSO-SLS, m = {m}"] = lambda m=m: sso_rule(kind, 1.0, m, "armijo", gram=gram)  # type: ignore[misc]
        rules[f"SSO, m = {m}, exponential"] = lambda m=m: sso_rule(kind, eta, m, "exponential", steps, gram)  # type: ignore[misc]
    return rules


def race(
    task: LinearTask, size: int | None, steps: int, names: Sequence[str], seeds: Sequence[Any], every: int = 10
) -> dict[str, Floats]:
    """Curves of `paper_rules`: name -> mean loss over all rows, shape (number of orders, steps / every + 1).

    All methods see the same batches. With all rows at once there is one order.

    Parameters
    ----------
    task : LinearTask
    size : int or None
    steps : int
    names : sequence of str
    seeds : sequence
        Of the orders of batches: integers or generators.
    every : int

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> task = study.linear_task("spambase", rows=100)
    >>> study.race(task, 25, 20, ["SGD", "SLS"], seeds=[0, 1])["SLS"].shape
    (2, 3)
    """
    rules = paper_rules(task, size, steps)
    for name in names:
        checks.choice("names", name, tuple(rules))
    generators = _generators("seeds", seeds)
    orders = [batch_order(len(task.X), size, steps, rng) for rng in (generators if size is not None else generators[:1])]
    return {name: np.array([follow(task, order, rules[name](), every) for order in orders]) for name in names}


def _generators(name: str, seeds: Any) -> list[np.random.Generator]:
    if not isinstance(seeds, Sequence | np.ndarray) or isinstance(seeds, str) or not len(seeds):
        raise TypeError(f"{name} must be a sequence of integers or generators, got {checks.shown(seeds)}")
    return [checks.generator(name, seed) for seed in seeds]


def log_ratio(ours: ArrayLike, theirs: ArrayLike, floor: float = FLOOR) -> Floats:
    """Logarithm to base 10 of a ratio of losses, each taken as at least `floor`; infinite losses count as 1e9.

    Parameters
    ----------
    ours, theirs : array
        Losses, not negative; infinity allowed.
    floor : float

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> study.log_ratio([0.01], [0.1]).tolist()
    [-1.0]
    """
    floor = checks.positive("floor", floor)
    a, b = (checks.array(name, v, inf=True) for name, v in (("ours", ours), ("theirs", theirs)))
    return np.log10(np.clip(a, floor, 1e9)) - np.log10(np.clip(b, floor, 1e9))


def _tunable(task: LinearTask, size: int | None, m: float) -> dict[str, Callable[[float], Rule]]:
    share = 1.0 if size is None else size / len(task.X)
    gram = task.X.T @ task.X if size is None else None
    return {
        "SGD": lambda v: gradient_rule(task.kind, v / task.smoothness),
        "SLS": lambda v: sls_rule(task.kind, share, c=v),
        "Adam": lambda v: adam_rule(task.kind, v),
        "AdaGrad": lambda v: adagrad_rule(task.kind, v),
        "SSO": lambda v: sso_rule(task.kind, v, m, gram=gram),
    }


def gradients_to(task: LinearTask, order: Sequence[Any], rule: Rule, level: float = 1e-3, every: int = 1) -> int:
    """Expensive gradients until the mean loss over all rows is at most `level`; the length of the order where it never is.

    Parameters
    ----------
    task : LinearTask
    order : sequence
        Rows of each step's batch.
    rule : function
    level : float
    every : int
        Steps between looks at the loss.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> task = study.linear_task("spambase", rows=200)
    >>> study.gradients_to(task, study.batch_order(200, None, 9, seed=0), study.sso_rule(), level=0.5)
    1
    """
    level, every, theta = checks.positive("level", level), checks.integer("every", every, low=1), task.start
    with np.errstate(over="ignore", invalid="ignore"):
        for t, rows in enumerate(order):
            theta = checks.function("rule", rule)(task.X[rows], task.y[rows], theta, t)
            if not np.isfinite(theta).all() or abs(theta).max() > 1e12:
                break
            if (t + 1) % every == 0 and task.value(theta) <= level:
                return t + 1
    return len(order)


def tuned_race(
    task: LinearTask, size: int | None, steps: int, tune_seed: Any, seeds: Sequence[Any], m: float = 100, level: float = 1e-3
) -> tuple[dict[str, float], dict[str, Floats]]:
    """Each method with the best of six values of its step (`GRIDS`), found on an order of batches of its own.

    What counts is the number of expensive gradients to a loss of `level`.

    Parameters
    ----------
    task : LinearTask
    size : int or None
    steps : int
        Where a run ends; a method that is not there yet counts as having needed as many.
    tune_seed : int or Generator
    seeds : sequence
    m : int
        Inner steps of SSO; infinity allowed.
    level : float

    Returns
    -------
    chosen, needed : dict, dict
        The values, and the numbers of gradients, one for each order.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> task = study.linear_task("spambase", rows=100)
    >>> chosen, needed = study.tuned_race(task, 25, 10, 0, [1, 2], m=3, level=0.4)
    >>> sorted(chosen)[0], needed["SLS"].shape
    ('AdaGrad', (2,))
    """
    steps, m = checks.integer("steps", steps, low=1), checks.number("m", m, low=1, inf=True)
    level = checks.positive("level", level)
    tuning = batch_order(len(task.X), size, steps, checks.generator("tune_seed", tune_seed))
    orders = [batch_order(len(task.X), size, steps, rng) for rng in _generators("seeds", seeds)]
    chosen, needed = {}, {}
    for name, make in _tunable(task, size, m).items():
        grid = GRIDS[name]
        chosen[name], fewest = grid[0], steps
        for value in grid:  # none is followed longer than the best before it
            count = gradients_to(task, tuning[:fewest], make(value), level)
            if count < fewest:
                chosen[name], fewest = value, count
        needed[name] = np.array([gradients_to(task, order, make(chosen[name]), level) for order in orders])
    return chosen, needed


def endings(curves: ArrayLike) -> Floats:
    """The geometric mean over the last fifth of each curve, each loss taken as at least 1e-9: less noisy than its last point.

    Parameters
    ----------
    curves : array, shape (..., n)
        Losses, not negative; infinity allowed: it counts as 1e9.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> float(study.endings([9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0, 0.1, 10.0]))
    1.0
    """
    losses = checks.array("curves", curves, inf=True)
    last = losses[..., -max(1, losses.shape[-1] // 5) :]
    return np.asarray(10 ** np.log10(np.clip(last, FLOOR, 1e9)).mean(axis=-1))


def gradients_saved(task: LinearTask, steps: int = 60, most: int = 4) -> float:
    """How many gradients SLS needs for the loss that SSO-SLS with 100 inner steps has after `steps`, over `steps`.

    All rows at once. Below 1: SLS needs fewer. At most `most`, where SLS is followed no longer.

    Parameters
    ----------
    task : LinearTask
    steps, most : int

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> study.gradients_saved(study.linear_task("spambase", rows=200), steps=10) <= 4
    True
    """
    steps, most = checks.integer("steps", steps, low=1), checks.integer("most", most, low=1)
    rules = paper_rules(task)
    wanted = follow(task, batch_order(len(task.X), None, steps, 0), rules["SSO-SLS, m = 100"]())[-1]
    curve = follow(task, batch_order(len(task.X), None, most * steps, 0), rules["SLS"]())
    below = np.flatnonzero(curve <= wanted)
    return float(below[0] if len(below) else most * steps) / steps


def steps_to(task: LinearTask, level: float, m: int = 10, most: int = 1000) -> tuple[int, bool]:
    """Expensive gradients that SSO-SLS with `m` inner steps needs for a mean loss of `level`, all rows at once.

    Parameters
    ----------
    task : LinearTask
    level : float
    m : int
    most : int
        Where it gives up.

    Returns
    -------
    steps, reached : int, bool

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> study.steps_to(study.linear_task("spambase", rows=200), level=0.4, m=5)[1]
    True
    """
    level, m = checks.positive("level", level), checks.integer("m", m, low=1)
    theta, rule = task.start, sso_rule(task.kind, 1.0, m, "armijo", gram=task.X.T @ task.X)
    for t in range(checks.integer("most", most, low=1)):
        if task.value(theta) <= level:
            return t, True
        theta = rule(task.X, task.y, theta, t)
    return most, False


def residual_steps(X: ArrayLike, g: ArrayLike, theta: ArrayLike, eta: float = 4.0, m: int = 10) -> Floats:
    """The inner loop as one would write it first, on the model's outputs: exact line search, O(n d) for each step.

    It gives the same parameters as `lib.gradient.target_surrogates.linear_step`, which works on the Gram matrix.

    Parameters
    ----------
    X : array, shape (n, d)
    g : array, shape (n,)
    theta : array, shape (d,)
    eta : float
    m : int

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> study.residual_steps([[1.0], [2.0]], [-0.5, 0.5], [0.0], m=1).round(6)
    array([-0.4])
    """
    X = checks.array("X", X, ndim=2)
    g = checks.array("g", g, shape=X.shape[:1])
    moving: Floats = checks.array("theta", theta, shape=X.shape[1:]).astype(float)
    surrogate, z, f = TargetSurrogate(eta), X @ moving, X @ moving
    for _ in range(checks.integer("m", m, low=1)):
        slope = X.T @ surrogate.gradient(f, z, g)
        change = X @ slope
        curvature = float(change @ change) / (len(X) * checks.positive("eta", eta))
        if curvature <= 0:
            break
        step = float(slope @ slope) / curvature
        moving, f = moving - step * slope, f - step * change
    return moving
