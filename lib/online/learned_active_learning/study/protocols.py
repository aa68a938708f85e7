"""How policies are compared: worst losses per level, gaps to the specialists, tuned rivals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib import checks
from lib.online.learned_active_learning.attack import worst_case
from lib.online.learned_active_learning.game import Game, solve_game
from lib.online.learned_active_learning.hardness import draw_class
from lib.online.learned_active_learning.lattice import Lattice
from lib.online.learned_active_learning.mapo import MAPO
from lib.online.learned_active_learning.rollouts import Episodes
from lib.online.learned_active_learning.study.rivals import Halving, SoftBinarySearch, TopTwo, Uniform
from lib.online.learned_active_learning.workflow import Workflow, learn_robust

Array = NDArray[np.float64]
#: Assumed shares of wrong answers that rules on a posterior are tried with.
NOISES = (0.05, 0.2, 0.3, 0.4)
#: Settings of every training in the chapter, chosen on seeds that it does not use.
OPTIONS = {"lr": 0.02, "rate": 0.3, "forget": 0.01, "move": 0.1, "every": 5, "hidden": 32}


def heuristics(problem: Any, budget: int, noises: Sequence[float] = NOISES) -> dict[str, Any]:
    """Policies without training: random queries, halving, and soft binary search and top-two sampling for each assumed noise.

    Parameters
    ----------
    problem : BanditProblem
        Gives queries and hypotheses.
    budget : int
        Number of queries that are asked.
    noises : sequence of float
        Assumed shares of wrong answers.

    Examples
    --------
    >>> from lib.online.learned_active_learning import thresholds
    >>> from lib.online.learned_active_learning.study import heuristics
    >>> list(heuristics(thresholds(2), 4, [0.1]))
    ['uniform', 'halving', 'SGBS 0.1', 'top-two 0.1']
    """
    rates = checks.array("noises", noises, ndim=1, above=0, high=0.499).tolist()
    found = {"uniform": Uniform(problem), "halving": Halving(problem, budget)}
    found |= {f"SGBS {rate:g}": SoftBinarySearch(problem, rate) for rate in rates}
    return found | {f"top-two {rate:g}": TopTwo(problem, rate) for rate in rates}


def worst_losses(
    policies: Mapping[str, Any],
    lattice: Lattice,
    levels: Sequence[float],
    fresh: int = 300,
    starts: int = 60,
    steps: int = 20,
    seed: int = 0,
    known: Sequence[Array] | None = None,
) -> dict[str, Array]:
    """Largest loss of each policy on each level: over fresh and known instances, and over an attack of its own.

    Parameters
    ----------
    policies : mapping
        Name -> policy.
    lattice : Lattice
        Problem and budget.
    levels : sequence of float
        Complexities, rising; each class also has the instances of those below it.
    fresh : int
        Instances drawn on each level's boundary, the same for all policies.
    starts, steps : int
        Of each attack, see `worst_case`.
    seed : int
        Of instances and attacks.
    known : sequence of array, optional
        More instances for each level, the same for all policies: those that trainings have moved.

    Examples
    --------
    >>> from lib.online.learned_active_learning import Lattice, thresholds
    >>> from lib.online.learned_active_learning.study import Uniform, worst_losses
    >>> lattice = Lattice(thresholds(1), 3)
    >>> found = worst_losses({"uniform": Uniform(thresholds(1))}, lattice, [4.0, 16.0], fresh=4, starts=2, steps=1)
    >>> found["uniform"].round(2).tolist()
    [0.16, 0.32]
    """
    rising = checks.array("levels", levels, ndim=1, above=0).tolist()
    fresh = checks.integer("fresh", fresh, low=1, high=100_000)
    starts, steps = checks.integer("starts", starts, low=1), checks.integer("steps", steps, low=0)
    seed = checks.integer("seed", seed, low=0)
    covers = [draw_class(lattice.problem, r, fresh, np.random.default_rng([seed, k])) for k, r in enumerate(rising)]
    if known is not None:
        covers = [np.concatenate(pair) for pair in zip(covers, known, strict=True)]
    found = {}
    for name, policy in policies.items():
        worst = [
            max(
                float(lattice.losses(policy, cover).max()),
                worst_case(policy, lattice, r, starts, steps, seed=np.random.default_rng([seed, k, 1])).loss,
            )
            for k, (r, cover) in enumerate(zip(rising, covers, strict=True))
        ]
        found[name] = np.maximum.accumulate(worst)
    return found


def largest_gaps(worst: Mapping[str, Array], values: Array) -> dict[str, float]:
    """Each policy's largest worst loss minus level value, over the levels: what the robust objective (5) measures.

    Parameters
    ----------
    worst : mapping
        Name -> worst losses, shape (K,).
    values : array, shape (K,)
        What the levels are worth. May be negative.

    Examples
    --------
    >>> from lib.online.learned_active_learning.study import largest_gaps
    >>> largest_gaps({"a": [0.2, 0.5]}, [0.1, 0.45])
    {'a': 0.1}
    """
    worth = checks.array("values", values, ndim=1)
    return {name: float(np.max(np.asarray(losses) - worth)) for name, losses in worst.items()}


@dataclass(frozen=True)
class Contest:
    """One independent training of everything, and how it does.

    Attributes
    ----------
    made : Workflow
        Specialists and the robust policy.
    policies : dict
        Name -> policy. Besides the specialists and the robust policy: the robust training's last network; two rivals with as
        many iterations behind them as the robust policy, the same training without offsets and training on the average; the
        heuristics.
    worst : dict
        Name -> worst losses on the levels.
    values : array, shape (K,)
        Each level's specialist's worst loss there.
    gaps : dict
        Name -> largest worst loss minus value.
    games : list of Game
        The exact game of each level, on the instances at the start.
    price : Game
        The exact robust game, with the levels' lower bounds as offsets.
    """

    made: Workflow
    policies: dict[str, Any]
    worst: dict[str, Array]
    values: Array
    gaps: dict[str, float]
    games: list[Game]
    price: Game


def contest(
    lattice: Lattice,
    levels: Sequence[float],
    particles: int,
    iterations: int,
    rounds: int,
    seed: int = 0,
    **evaluation: Any,
) -> Contest:
    """Train specialists, the robust and the average-trained policy; solve the exact games; look for worst cases.

    Parameters
    ----------
    lattice : Lattice
        Problem and budget.
    levels : sequence of float
        Complexities, rising.
    particles, iterations, rounds : int
        Instances a level, iterations of a training, rounds of an exact game.
    seed : int
        Of everything.
    **evaluation
        Of `worst_losses`.

    Examples
    --------
    >>> from lib.online.learned_active_learning import Lattice, thresholds
    >>> from lib.online.learned_active_learning.study import contest
    >>> held = contest(Lattice(thresholds(1), 3), [4.0, 16.0], 4, 4, 5, fresh=4, starts=2, steps=1)
    >>> sorted(k for k in held.gaps if k.startswith("spec"))
    ['specialist 16', 'specialist 4']
    """
    seed = checks.integer("seed", seed, low=0)
    problem, budget = lattice.problem, lattice.budget
    made = learn_robust(problem, budget, levels, particles, seed, iterations=iterations, **OPTIONS)
    limits = np.asarray(levels, dtype=float)[made.level_of]
    plain = OPTIONS | {"rate": 0.0, "move": 0.0}
    prior = MAPO(problem, budget, made.thetas, limits, iterations=2 * iterations, seed=seed, **plain).run()  # type: ignore[arg-type]
    start = made.runs[-2].policy  # the robust policy's, too: the two differ in the offsets alone
    bare = MAPO(problem, budget, made.thetas, limits, 0.0, start, iterations=iterations, seed=seed, **OPTIONS).run()  # type: ignore[arg-type]
    names = [f"specialist {r:g}" for r in levels]
    policies = dict(zip(names, made.specialists, strict=True))
    policies |= {"robust": made.robust, "last": made.runs[-1].policy}
    policies |= {"no offsets": bare.answer(), "average": prior.answer()} | heuristics(problem, budget)
    moved, bounds = (np.concatenate([getattr(run, name) for run in made.runs]) for name in ("thetas", "limits"))
    known = [moved[bounds == r] for r in made.levels]
    worst = worst_losses(policies, lattice, levels, seed=seed, known=known, **evaluation)
    values = np.array([worst[name][k] for k, name in enumerate(names)])
    games = [solve_game(lattice, made.thetas[made.level_of <= k], rounds=rounds) for k in range(len(names))]
    price = solve_game(lattice, made.thetas, np.array([game.lower for game in games])[made.level_of], rounds=rounds)
    return Contest(made, policies, worst, values, largest_gaps(worst, values), games, price)


def all_episodes(policy: Any, problem: Any, theta: Any, budget: int) -> tuple[Episodes, Array]:
    """Every history that can happen, as episodes, and their probabilities.

    Parameters
    ----------
    policy : object
        With ``probabilities(counts, sums)``.
    problem : BanditProblem
        Gives queries and hypotheses.
    theta : array_like, shape (n,)
        The instance. May be negative.
    budget : int
        Number of queries, at most 8.

    Examples
    --------
    >>> from lib.online.learned_active_learning import thresholds
    >>> from lib.online.learned_active_learning.study import Uniform, all_episodes
    >>> played, p = all_episodes(Uniform(thresholds(2)), thresholds(2), [0.5, 0.2], 2)
    >>> len(p), round(p.sum(), 6)
    (16, np.float64(1.0))
    """
    if problem.noise != "bernoulli":
        raise ValueError(f"problem must have answers of -1 or 1, got noise={problem.noise!r}")
    [row], budget = problem.instances("theta", theta), checks.integer("budget", budget, low=1, high=8)
    kinds = list(itertools.product(range(problem.n_queries), (-1.0, 1.0)))
    words = np.array(list(itertools.product(kinds, repeat=budget)))  # (B, budget, 2)
    actions, answers = words[:, :, 0].astype(np.int64).T, words[:, :, 1].T
    B = len(words)
    counts, sums = np.zeros((2, budget + 1, B, problem.n_queries))
    p = np.ones(B)
    for t in range(budget):
        asked = np.eye(problem.n_queries)[actions[t]]
        p *= policy.probabilities(counts[t], sums[t])[0][np.arange(B), actions[t]] * (1 + answers[t] * row[actions[t]]) / 2
        counts[t + 1], sums[t + 1] = counts[t] + asked, sums[t] + asked * answers[t][:, None]
    return Episodes(counts, sums, actions, answers, policy.probabilities(counts[-1], sums[-1])[1]), p
