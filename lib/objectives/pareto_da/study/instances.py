"""Small cases in which everything can be computed: a concave front, Gaussian domains, random programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import norm

from lib import checks
from lib.objectives.pareto_da.losses import refine_predictions
from lib.objectives.pareto_da.weights import pareto_weights

Floats = npt.NDArray[np.float64]


def fonseca(x: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Fonseca and Fleming's two objectives, whose front is concave: values (2,) and gradients (2, n).

    Parameters
    ----------
    x : array_like, shape (n,)
        May be negative.

    Raises
    ------
    TypeError, ValueError
        For anything but a vector of real, finite numbers.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import fonseca
    >>> fonseca([0.0, 0.0])[0].round(3).tolist()
    [0.632, 0.632]
    """
    point = checks.array("x", x, ndim=1).astype(np.float64)
    ends = np.array([[1.0], [-1.0]]) / np.sqrt(len(point))
    apart = point - ends
    falls = np.exp(-(apart**2).sum(1))
    return 1 - falls, 2 * apart * falls[:, None]


def front_point(t: float, n: int) -> Floats:
    """Point of the toy's Pareto set, shape (n,): t from -1 (best in the second objective) to 1 (in the first).

    Parameters
    ----------
    t : float
        Between -1 and 1; may be negative.
    n : int
        Number of variables, at least 1.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import front_point
    >>> front_point(0.5, 4).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    size = checks.integer("n", n, low=1)
    return np.full(size, checks.number("t", t, low=-1, high=1) / np.sqrt(size))


def walk(rule: Callable[..., Any], x0: npt.ArrayLike, wish: npt.ArrayLike, step: float = 0.05, n_steps: int = 200) -> Floats:
    """Points (n_steps + 1, n) of descent on the toy along the combination that a rule chooses.

    Parameters
    ----------
    rule : callable
        ``rule(C, a, height)`` returns two weights: C (2, 2) products of the gradients, a (2,) with that of the guide, and the
        guide's value, half of the squared distance to ``wish``.
    x0, wish : array_like, shape (n,)
        May be negative.
    step : float
        Above 0.
    n_steps : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import front_point, walk
    >>> walk(lambda C, a, height: [0.5, 0.5], [0.1, -0.2], front_point(0.3, 2), step=0.1, n_steps=4).shape
    (5, 2)
    """
    checks.function("rule", rule)
    x = checks.array("x0", x0, ndim=1).astype(np.float64)
    goal = checks.array("wish", wish, shape=x.shape).astype(np.float64)
    length, path = checks.positive("step", step), [x]
    for _ in range(checks.integer("n_steps", n_steps, low=1)):
        _, G = fonseca(x)
        w = rule(G @ G.T, G @ (x - goal), float((x - goal) @ (x - goal)) / 2)
        x = x - length * np.asarray(w) @ G
        path.append(x)
    return np.array(path)


def gaussian_refinement(shift: float, n: int = 201) -> tuple[Floats, Floats, Floats]:
    """Two classes on a line, each shifted between the domains: classifier on the mixture, its refinement, and the truth.

    Class 0 is N(-1, 1) in the source and N(-1 + shift, 1) in the target, class 1 the mirror image; all equally likely. The
    classifier knows the mixture of both domains, the discriminators the domains of each class.

    Parameters
    ----------
    shift : float
        May be negative.
    n : int
        Points from -4 to 4, at least 2.

    Returns
    -------
    three arrays, shape (n,)
        Probability of class 1: by the mixture, refined, in the target.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import gaussian_refinement
    >>> mixture, refined, truth = gaussian_refinement(0.5)
    >>> bool(abs(refined - truth).max() < 1e-12)
    True
    """
    by = checks.number("shift", shift, low=-10, high=10)
    x = np.linspace(-4, 4, checks.integer("n", n, low=2))
    source = np.stack([norm.logpdf(x, -1), norm.logpdf(x, 1)], 1)
    target = np.stack([norm.logpdf(x, -1 + by), norm.logpdf(x, 1 - by)], 1)
    mixture = np.logaddexp(source, target)  # log p(x | y = k) up to a constant
    refined = refine_predictions(torch.from_numpy(mixture), torch.from_numpy(target - source)).numpy()
    return _second(mixture), refined[:, 1], _second(target)


def _second(logs: Floats) -> Floats:
    return 1 / (1 + np.exp(logs[:, 0] - logs[:, 1]))


def random_program(seed: int | np.random.Generator, m: int = 3, dim: int = 6) -> tuple[Floats, Floats]:
    """C (m, m) and a (m,) of random gradients of unequal lengths and a random guide.

    Parameters
    ----------
    seed : int or Generator
    m : int
        At least 2.
    dim : int
        Length of the gradients, at least 1.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import random_program
    >>> C, a = random_program(0)
    >>> C.shape, a.shape
    ((3, 3), (3,))
    """
    rng, count = checks.generator("seed", seed), checks.integer("m", m, low=2, high=50)
    size = checks.integer("dim", dim, low=1, high=10_000)
    G = rng.normal(size=(count, size)) * rng.lognormal(size=(count, 1))
    return G @ G.T, G @ (rng.normal(size=size) * rng.lognormal())


def harmed_without_guard(n: int, seed: int | np.random.Generator) -> tuple[int, int, int]:
    """Of n random guided programs: how many end at a direction that does not lower the guide, how many of these hurt an
    objective without the guard, and with it.

    Parameters
    ----------
    n : int
        At least 1.
    seed : int or Generator

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import harmed_without_guard
    >>> harmed_without_guard(50, seed=0)[2]
    0
    """
    rng, counts = checks.generator("seed", seed), np.zeros(3, dtype=int)
    for _ in range(checks.integer("n", n, low=1)):
        C, a = random_program(rng)
        bare = pareto_weights(C, a, guard=False)
        if bare.fun <= 0:
            kept = pareto_weights(C, a)
            limit = -1e-7 * np.abs(C).max(1)
            counts += [1, int((C @ bare.x < limit).any()), int((C @ kept.x < limit).any())]
    return int(counts[0]), int(counts[1]), int(counts[2])
