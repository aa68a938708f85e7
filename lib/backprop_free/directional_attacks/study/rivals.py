"""Rivals with the same evaluations: they see the objective with its penalty, two of them its gradient through the network."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from lib import checks
from lib.backprop_free.directional_attacks.problem import SurrogateProblem
from lib.backprop_free.directional_attacks.study.instances import Task

Array = NDArray[np.float64]
#: A pass forward and backward through a network costs about three forward: what a run costs beside its evaluations.
PASS_COST = 3


#: Decimals of a point, and digits of a value and its gradient, that methods with gradients see: where the penalty bends, their
#: path would else depend on the last bit, and with it on the CPU.
COARSE, DIGITS = 10, 9


def shortened(values: Any) -> Any:
    """The same numbers, cut to nine significant digits each."""
    size = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.maximum(np.abs(values), 1e-300))))
    return np.round(np.asarray(values) * size) / size


class Run(NamedTuple):
    """What a run has found: the best value after each evaluation, and the cost until then in forward passes."""

    best: Array
    cost: Array
    x: Array
    violation: float

    def at(self, evaluations: int) -> float:
        """The best value after so many evaluations, or at the end of a shorter run."""
        return float(self.best[min(evaluations, len(self.best)) - 1])

    def at_cost(self, cost: float) -> float:
        """The best value within this cost; that of the start, if it is less than the first evaluation's."""
        return float(self.best[max(int(np.searchsorted(self.cost, cost, side="right")) - 1, 0)])


class _Enough(Exception):
    """The evaluations are used up."""


class _Counter:
    """The objective to be minimized, as solvers of SciPy want it; remembers what it has seen, ends the run at the budget."""

    def __init__(self, problem: SurrogateProblem, max_eval: int, price: int) -> None:
        self.problem, self.left, self.price = problem, max_eval, price
        self.best: list[float] = []
        self.x: Array | None = None

    def note(self, x: Array, value: float) -> None:
        self.left -= 1
        if not self.best or value > self.best[-1]:
            self.x = np.array(x, dtype=float)
        self.best.append(max(value, self.best[-1]) if self.best else value)

    def __call__(self, x: Array) -> float:
        if not self.left:
            raise _Enough
        value = self.problem.value(x)
        value = value if np.isfinite(value) else -1e300
        self.note(x, value)
        return -value

    def with_gradient(self, x: Array) -> tuple[float, Array]:
        if not self.left:
            raise _Enough
        near = np.round(x, COARSE)
        value, slope = self.problem.gradient(near)
        self.note(near, value)
        return -shortened(value), -shortened(slope)

    def run(self) -> Run:
        if self.x is None:
            raise ValueError("max_eval must be so large that a value is found")
        best = np.array(self.best)
        cost = self.price * np.arange(1.0, len(best) + 1)
        return Run(best, cost, self.x, self.problem.violation(self.problem.outputs(self.x)))


def _lbfgs(counter: _Counter, task: Task, knob: float, rng: np.random.Generator) -> None:
    """L-BFGS from the start; then from random points around the start, until the evaluations are used up."""
    start = task.x0
    while True:
        optimize.minimize(counter.with_gradient, start, jac=True, method="L-BFGS-B")
        start = task.x0 + knob * rng.uniform(-1, 1, len(task.x0))


def _adam(counter: _Counter, task: Task, knob: float, rng: np.random.Generator) -> None:
    """Adam; the knob is its learning rate."""
    x, mean, square, t = task.x0.copy(), np.zeros(len(task.x0)), np.zeros(len(task.x0)), 0
    while True:
        slope, t = counter.with_gradient(x)[1], t + 1
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        x = x - knob * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)


def _cma(counter: _Counter, task: Task, knob: float, rng: np.random.Generator) -> None:
    """CMA-ES, restarted where it stops; the knob is its first step."""
    import cma

    while True:
        options = {"verbose": -9, "seed": int(rng.integers(1, 2**31)), "maxfevals": counter.left}
        cma.fmin2(counter, task.x0, knob, options)


def _evolution(counter: _Counter, task: Task, knob: float, rng: np.random.Generator) -> None:
    """Differential evolution in the box of this half-width around the start, the start among the first points."""
    box = np.stack([task.x0 - knob, task.x0 + knob], axis=1)
    most = max(5, min(15, counter.left // (10 * len(task.x0))))
    while True:
        optimize.differential_evolution(counter, box, x0=task.x0, popsize=most, seed=rng, polish=False, tol=1e-8)


def _cobyqa(counter: _Counter, task: Task, knob: float, rng: np.random.Generator) -> None:
    """COBYQA; the knob is its first trust region."""
    options = {"initial_tr_radius": knob, "maxfev": counter.left, "final_tr_radius": min(1e-6, knob)}
    optimize.minimize(counter, task.x0, method="COBYQA", options=options)


def _directsearch(counter: _Counter, task: Task, knob: float, rng: np.random.Generator) -> None:
    """The package directsearch, where somebody has installed it (GPL-3; nothing here needs it)."""
    try:
        import directsearch
    except ImportError:
        raise ImportError("this rival needs the package directsearch: pip install directsearch") from None
    np.random.seed(rng.integers(2**31))  # noqa: NPY002 - it draws from the global generator
    directsearch.solve(counter, task.x0, alpha0=knob, maxevals=counter.left, verbose=False)


RIVALS: dict[str, Callable[[_Counter, Task, float, np.random.Generator], None]] = {
    "lbfgs": _lbfgs, "adam": _adam, "cma": _cma, "evolution": _evolution, "cobyqa": _cobyqa, "directsearch": _directsearch,
}  # fmt: skip


def rival(name: str, task: Task, knob: float, max_eval: int, *, seed: Any = None) -> Run:
    """A run of a rival: as many evaluations as the others have, the start's included.

    Parameters
    ----------
    name : {"lbfgs", "adam", "cma", "evolution", "cobyqa", "directsearch"}
        The first two use gradients: one evaluation each, which costs three forward passes.
    task : Task
        The problem and its start.
    knob : float
        Its one setting: learning rate, first step, half-width of the box or of the restarts.
    max_eval : int
        Most evaluations.
    seed : None, int or Generator
        Of its random numbers.

    Returns
    -------
    Run

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> run = study.rival("lbfgs", study.counterfactual(5), 1.0, 60, seed=0)
    >>> len(run.best), float(round(run.best[-1], 2))
    (60, -0.93)
    """
    checks.choice("name", name, RIVALS)
    if not isinstance(task, Task):
        raise TypeError(f"task must be a Task, got {checks.shown(task)}")
    knob, max_eval = checks.positive("knob", knob), checks.integer("max_eval", max_eval, low=1)
    rng = checks.generator("seed", seed)
    counter = _Counter(task.problem.fresh(), max_eval, PASS_COST if name in ("lbfgs", "adam") else 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(_Enough):
            RIVALS[name](counter, task, knob, rng)
    return counter.run()
