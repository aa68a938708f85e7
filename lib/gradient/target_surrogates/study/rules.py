"""One step of each method on a batch: SSO in its variants, and its rivals in the space of the parameters.

A rule is a function ``(X, y, theta, t) -> theta`` that asks once for the gradient of the loss with respect to the targets;
what it remembers between steps is its own. `follow` runs one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from lib import checks

from ..linear import linear_step
from ..losses import TARGET_LOSSES
from ..schedules import SCHEDULES, target_armijo, target_step
from ..surrogate import armijo
from .tasks import LinearTask

Floats = NDArray[Any]
Rule = Callable[[Floats, Floats, Floats, int], Floats]


def sso_rule(
    kind: str = "logistic",
    eta: float = 4.0,
    m: float = 10,
    schedule: str = "constant",
    total_steps: int | None = None,
    gram: NDArray[np.float64] | None = None,
    target_c: float = 0.5,
) -> Rule:
    """SSO for a linear model: `m` inner steps by exact line search on the Gram matrix.

    Parameters
    ----------
    kind : str
        Name of the loss.
    eta : float
    m : int
        Inner steps; infinity allowed.
    schedule : str
        One of `lib.gradient.target_surrogates.SCHEDULES`.
    total_steps : int, optional
        T of the schedule "exponential".
    gram : array, shape (d, d), optional
        X^T X of a full batch.
    target_c : float
        Of the schedule "armijo".

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.target_surrogates import study
    >>> rule = study.sso_rule("logistic", eta=4.0, m=1)
    >>> rule(np.array([[1.0], [2.0]]), np.array([1.0, 0.0]), np.zeros(1), 0)
    array([-0.4])
    """
    loss, memory = TARGET_LOSSES[checks.choice("kind", kind, tuple(TARGET_LOSSES))], {"squares": 0.0}
    eta, m = checks.positive("eta", eta), checks.number("m", m, low=1, inf=True)
    checks.choice("schedule", schedule, SCHEDULES)
    target_c = checks.number("target_c", target_c, above=0, below=1)
    horizon = None if total_steps is None else checks.integer("total_steps", total_steps, low=1)

    def step(X: Floats, y: Floats, theta: Floats, t: int) -> Floats:
        z = X @ theta
        g = loss.gradient(z, y)
        memory["squares"] += float((g**2).sum())
        if schedule == "armijo":
            first = min(1.8 * memory["eta"], 1e4) if "eta" in memory else eta
            now, _ = target_armijo(lambda new: loss.value(new, y).mean(), z, g, first, target_c)
            if now == 0:
                return theta
            memory["eta"] = now
        else:
            now = target_step(schedule, t, eta, horizon, memory["squares"])
        return linear_step(X, g, theta, now, m, gram=gram, tol=1e-9)

    return step


def _batch_gradient(kind: str) -> Callable[[Floats, Floats, Floats], Floats]:
    """Gradient of the batch's mean loss with respect to the parameters of a linear model."""
    gradient = TARGET_LOSSES[checks.choice("kind", kind, tuple(TARGET_LOSSES))].gradient
    return lambda X, y, theta: X.T @ gradient(X @ theta, y) / len(X)


def gradient_rule(
    kind: str = "logistic", step: float = 1.0, schedule: str = "constant", total_steps: int | None = None
) -> Rule:
    """(Stochastic) gradient descent with a step in parameter space and the schedules of `target_step`.

    Parameters
    ----------
    kind : str
    step : float
        The first step; the paper's is 1/L.
    schedule, total_steps
        "constant", "sqrt" or "exponential".

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.target_surrogates import study
    >>> study.gradient_rule("logistic", step=1.0)(np.array([[1.0], [2.0]]), np.array([1.0, 0.0]), np.zeros(1), 0)
    array([-0.25])
    """
    slope, step = _batch_gradient(kind), checks.positive("step", step)
    checks.choice("schedule", schedule, ("constant", "sqrt", "exponential"))

    def move(X: Floats, y: Floats, theta: Floats, t: int) -> Floats:
        return theta - target_step(schedule, t, step, total_steps) * slope(X, y, theta)

    return move


def sls_rule(kind: str = "logistic", share: float = 1.0, step: float = 10.0, c: float = 0.1, beta: float = 0.9) -> Rule:
    """Stochastic line search (Vaswani et al., 2019): Armijo's rule on the batch's loss, in parameter space.

    Parameters
    ----------
    kind : str
    share : float
        Of all rows that is in a batch: between steps the trial step grows by ``2 ** share``.
    step : float
        First trial.
    c, beta : float
        The published 0.1 and 0.9.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.target_surrogates import study
    >>> study.sls_rule("logistic", beta=0.5)(np.array([[1.0], [2.0]]), np.array([1.0, 0.0]), np.zeros(1), 0)
    array([-0.625])
    """
    loss = TARGET_LOSSES[checks.choice("kind", kind, tuple(TARGET_LOSSES))]
    share, step = checks.probability("share", share), checks.positive("step", step)
    c, beta = checks.number("c", c, above=0, below=1), checks.number("beta", beta, above=0, below=1)
    memory = {"trial": step}

    def move(X: Floats, y: Floats, theta: Floats, t: int) -> Floats:
        z = X @ theta
        slope = X.T @ loss.gradient(z, y) / len(X)
        change, base = X @ slope, float(loss.value(z, y).mean())
        found, _ = armijo(
            lambda a: loss.value(z - a * change, y).mean(), base, float((slope**2).sum()), memory["trial"], c, beta
        )
        if found:
            memory["trial"] = found * 2**share
        return theta - found * slope

    return move


def adam_rule(kind: str = "logistic", step: float = 0.01) -> Rule:
    """Adam with its usual averages (0.9, 0.999).

    Parameters
    ----------
    kind : str
    step : float

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.target_surrogates import study
    >>> study.adam_rule("logistic", 0.1)(np.array([[1.0], [2.0]]), np.array([1.0, 0.0]), np.zeros(1), 0).round(6)
    array([-0.1])
    """
    slope, step = _batch_gradient(kind), checks.positive("step", step)
    first: Any = 0.0
    second: Any = 0.0

    def move(X: Floats, y: Floats, theta: Floats, t: int) -> Floats:
        nonlocal first, second
        s = slope(X, y, theta)
        first, second = 0.9 * first + 0.1 * s, 0.999 * second + 0.001 * s**2
        return theta - step * first / (1 - 0.9 ** (t + 1)) / (np.sqrt(second / (1 - 0.999 ** (t + 1))) + 1e-8)

    return move


def adagrad_rule(kind: str = "logistic", step: float = 0.1) -> Rule:
    """AdaGrad, one scale for each parameter.

    Parameters
    ----------
    kind : str
    step : float

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.target_surrogates import study
    >>> study.adagrad_rule("logistic", 0.1)(np.array([[1.0], [2.0]]), np.array([1.0, 0.0]), np.zeros(1), 0).round(6)
    array([-0.1])
    """
    slope, step = _batch_gradient(kind), checks.positive("step", step)
    squares: Any = 0.0

    def move(X: Floats, y: Floats, theta: Floats, t: int) -> Floats:
        nonlocal squares
        s = slope(X, y, theta)
        squares = squares + s**2
        return theta - step * s / (np.sqrt(squares) + 1e-10)

    return move


def follow(task: LinearTask, order: Sequence[Any], rule: Rule, every: int = 1) -> Floats:
    """The mean loss over all rows before the first step and after every `every` steps of a rule; infinity once it is lost.

    Parameters
    ----------
    task : LinearTask
    order : sequence
        Rows of each step's batch, see `batch_order`.
    rule : function
    every : int

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> task = study.linear_task("spambase", rows=200)
    >>> order = study.batch_order(200, 50, steps=4, seed=0)
    >>> study.follow(task, order, study.gradient_rule(step=0.5), every=2).shape
    (3,)
    """
    every, theta = checks.integer("every", every, low=1), task.start
    losses = [task.value(theta)]
    with np.errstate(over="ignore", invalid="ignore"):
        for t, rows in enumerate(order):
            theta = checks.function("rule", rule)(task.X[rows], task.y[rows], theta, t)
            if not np.isfinite(theta).all() or abs(theta).max() > 1e12:
                return np.array(losses + [np.inf] * (len(order) // every + 1 - len(losses)))
            if (t + 1) % every == 0:
                losses.append(task.value(theta))
    return np.array(losses)


def lbfgs_curve(task: LinearTask, steps: int = 100) -> Floats:
    """The least mean loss that L-BFGS (SciPy, memory 20) has seen after each of its gradients, all rows each time.

    Parameters
    ----------
    task : LinearTask
    steps : int
        Gradients; where it stops earlier, its last value is repeated.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> curve = study.lbfgs_curve(study.linear_task("spambase", rows=200), steps=5)
    >>> bool(curve[-1] < curve[0])
    True
    """
    steps, seen = checks.integer("steps", steps, low=1), []

    def both(theta: Floats) -> tuple[float, Floats]:
        seen.append(task.value(theta.reshape(task.start.shape)))
        return seen[-1], task.gradient(theta.reshape(task.start.shape)).ravel()

    options = {"maxfun": steps + 1, "maxiter": steps + 1, "ftol": 0.0, "gtol": 0.0, "maxcor": 20}
    minimize(both, task.start.ravel(), jac=True, method="L-BFGS-B", options=options)
    seen = (seen + [seen[-1]] * (steps + 1))[: steps + 1]
    return np.minimum.accumulate(seen)
