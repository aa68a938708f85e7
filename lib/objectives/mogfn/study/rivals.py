"""Rivals of the chapter on strings: NSGA-II (by pymoo), and uniform draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.objectives.mogfn import NGramTask

__all__ = ["nsga2_strings", "uniform_strings"]


def uniform_strings(task: NGramTask, n: int, seed: int | np.random.Generator | None = None) -> list[str]:
    """Strings of a task with uniform length and letters.

    Parameters
    ----------
    task : NGramTask
    n : int
        At least 1.
    seed : int, Generator or None

    Returns
    -------
    list of str

    Examples
    --------
    >>> from lib.objectives.mogfn import NGramTask
    >>> from lib.objectives.mogfn.study import uniform_strings
    >>> len(uniform_strings(NGramTask(["AV"], 3, 5), 4, seed=0))
    4
    """
    n, rng = checks.integer("n", n, low=1), checks.generator("seed", seed)
    return _texts(task, _drawn(task, n, rng))


def nsga2_strings(
    task: NGramTask, n_evaluations: int, population: int = 100, rate: float = 1.0, seed: int | np.random.Generator | None = None
) -> list[str]:
    """The last population of NSGA-II on the strings of a task.

    Two-point crossover; a mutation draws a letter anew (or, behind `min_len`, ends the string). Duplicates are discarded;
    everything else is pymoo's default.

    Parameters
    ----------
    task : NGramTask
    n_evaluations : int
        Strings that are evaluated, the first population included.
    population : int
        At least 4.
    rate : float
        Expected number of mutated places of a child.
    seed : int, Generator or None

    Returns
    -------
    list of str

    Examples
    --------
    >>> from lib.objectives.mogfn import NGramTask
    >>> from lib.objectives.mogfn.study import nsga2_strings
    >>> "AAAA" in nsga2_strings(NGramTask(["A"], 4, 4, "ABC", 4), 400, population=20, seed=0)
    True
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.mutation import Mutation
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.pntx import TwoPointCrossover
    from pymoo.optimize import minimize

    n_evaluations = checks.integer("n_evaluations", n_evaluations, low=1)
    population = checks.integer("population", population, low=4)
    rate, rng = checks.positive("rate", rate), checks.generator("seed", seed)
    stop = len(task.alphabet)

    class OnStrings(Problem):
        def __init__(self) -> None:
            super().__init__(n_var=task.max_len, n_obj=task.n_objectives, xl=0, xu=stop, vtype=int)

        def _evaluate(self, X: npt.NDArray[Any], out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            out["F"] = -task.evaluate(_texts(task, X))

    class Redraw(Mutation):
        def _do(self, problem: Any, X: npt.NDArray[Any], **kwargs: Any) -> npt.NDArray[Any]:
            highest = np.where(np.arange(task.max_len) < task.min_len, stop, stop + 1)  # no end before min_len
            anew = rng.integers(np.broadcast_to(highest, X.shape))
            return np.where(rng.random(X.shape) < rate / task.max_len, anew, X)

    algorithm = NSGA2(population, sampling=_drawn(task, population, rng), crossover=TwoPointCrossover(), mutation=Redraw())
    found = minimize(OnStrings(), algorithm, ("n_eval", n_evaluations), seed=int(rng.integers(2**31)), verbose=False)
    return _texts(task, found.pop.get("X"))


def _drawn(task: NGramTask, n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rows of letters; behind a string's end stands the number of letters, the stop."""
    rows = rng.integers(len(task.alphabet), size=(n, task.max_len))
    lengths = rng.integers(task.min_len, task.max_len + 1, size=(n, 1))
    return np.where(np.arange(task.max_len) < lengths, rows, len(task.alphabet))


def _texts(task: NGramTask, rows: npt.NDArray[Any]) -> list[str]:
    letters = task.alphabet + "\0"
    return ["".join(letters[int(k)] for k in row).split("\0")[0] for row in rows]
