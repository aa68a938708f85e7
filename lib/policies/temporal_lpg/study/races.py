"""Races over lifetimes: learned rules and hand-made ones on the same tasks with the same luck, whole populations in a batch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.policies.temporal_lpg.agents import AgentResult, Rollout, add_at_state, live
from lib.policies.temporal_lpg.meta import advantages, train_agent
from lib.policies.temporal_lpg.rules import LPG
from lib.policies.temporal_lpg.study.worlds import WORLDS, World

#: Step sizes of the hand-made rule that are tried at every lifetime, in both worlds.
RATES = {
    "bandits": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),
    "grids": (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0),
}
VALUE_RATE = 0.2


def learned(world: str, vectors: Any, lifetime: int, tasks: int, seed: Any,
            clock: Callable[[int, int], tuple[float, float]] | None = None) -> tuple[np.ndarray, AgentResult]:  # fmt: skip
    """Normalized last returns (P,) of learned rules, and their agents' lives; 1 is the mean of the tasks' optima.

    Whether the rules are time-aware follows from how many meta-parameters they have.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.temporal_lpg.study import learned, rule_of
    >>> learned("bandits", np.zeros((1, rule_of("bandits", True).size)), 5, 50, seed=0)[0].shape
    (1,)
    """
    place, given = WORLDS[checks.choice("world", world, WORLDS)], checks.array("vectors", vectors, ndim=2)
    aware = rule_of(world, True)
    rule = aware if given.shape[1] == aware.size else rule_of(world, False)
    rng = checks.generator("seed", seed)
    env = place.sample(1, checks.integer("tasks", tasks, low=1, high=10**6), rng)
    result = train_agent(rule, env, lifetime, place.agent, vectors=given, seed=rng, clock=clock)
    return result.score.mean(1) / env.optimum().mean().item(), result


def rule_of(world: str, time_aware: bool) -> LPG:
    """A rule of the size that is used in a world, with its first weights.

    Examples
    --------
    >>> from lib.policies.temporal_lpg.study import rule_of
    >>> rule_of("bandits", True).size - rule_of("bandits", False).size
    96
    """
    return LPG(8, WORLDS[checks.choice("world", world, WORLDS)].hidden, time_aware, seed=0)


class HandRule:
    """REINFORCE with a baseline: the penalty is minus the generalized advantage, and the prediction is left alone."""

    def __init__(self, env: Any, candidates: int) -> None:
        self.n_states, self.value = env.n_states, env.zeros(candidates, 1).squeeze(-1)

    def __call__(self, y: Tensor, rollout: Rollout, n: Tensor, N: Tensor) -> tuple[Tensor, Tensor]:
        """Penalties and targets; the state values move to the mean return seen."""
        gain = advantages(rollout, self.value)
        sums = add_at_state(torch.stack([gain, torch.ones_like(gain)], -1), rollout.s, self.n_states)
        self.value = self.value + VALUE_RATE * sums[..., 0] / sums[..., 1].clamp_min(1)
        same = y.new_full((), 1 / y.shape[-1]).expand(*rollout.s.shape, y.shape[-1])  # y stays uniform
        return -gain, same


def hand_made(world: str, lifetime: int, tasks: int, seed: Any, rates: Any = None) -> np.ndarray:
    """Normalized last returns (2, R) of REINFORCE with each step size: constant in the first row, falling in the second.

    Examples
    --------
    >>> from lib.policies.temporal_lpg.study import hand_made
    >>> hand_made("bandits", 5, 50, seed=0, rates=[1.0, 3.0]).shape
    (2, 2)
    """
    place, rng = WORLDS[checks.choice("world", world, WORLDS)], checks.generator("seed", seed)
    sizes = checks.array("rates", RATES[world] if rates is None else rates, ndim=1, above=0)
    lifetime = checks.integer("lifetime", lifetime, low=1, high=100_000)
    env = place.sample(1, checks.integer("tasks", tasks, low=1, high=10**6), rng)
    return _by_hand(place, env, lifetime, sizes, rng).mean(-1) / env.optimum().mean().item()


def _by_hand(place: World, env: Any, lifetime: int, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Last returns (2, R, E) of REINFORCE on every task."""
    twice, falls = np.tile(sizes, 2), np.repeat([0.0, 1.0], len(sizes))

    def rate(n: int, N: int) -> np.ndarray:
        return twice * (1 - falls * (n - 1) / N)

    with torch.no_grad():
        lives = live(
            HandRule(env, len(twice)), env, lifetime, len(twice), m=2, agent=place.agent, rng=rng, rate=rate, watch=False
        )
    return lives.score.reshape(2, len(sizes), -1)


def _joined(one: Any, two: Any) -> Any:
    """The tasks of two environments side by side."""
    both = copy.copy(one)
    for name in one.tables:
        setattr(both, name, torch.cat([getattr(one, name), getattr(two, name)], 1))
    both.tasks = one.tasks + two.tasks
    return both


def with_clock(world: str, vectors: Any) -> np.ndarray:
    """Rules as time-aware ones: those without lifetime inputs get time weights of zero, and so stay what they are.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.temporal_lpg.study import rule_of, with_clock
    >>> with_clock("bandits", np.ones((2, rule_of("bandits", False).size))).shape[1] == rule_of("bandits", True).size
    True
    """
    given, aware, blind = checks.array("vectors", vectors, ndim=2), rule_of(world, True), rule_of(world, False)
    if given.shape[1] == aware.size:
        return given.copy()
    if given.shape[1] != blind.size:
        raise ValueError(f"vectors must have {blind.size} or {aware.size} columns, got {given.shape[1]}")
    weights = blind.weights(torch.as_tensor(given))
    weights["input"] = torch.nn.functional.pad(weights["input"], (0, 2))
    found: np.ndarray = torch.cat([weights[name].flatten(1) for name, _ in aware.named_parameters()], 1).numpy()
    return found


def race(world: str, groups: dict[str, np.ndarray], horizons: Any, tasks: int, rng: Any) -> dict[str, Any]:
    """All rules at all lifetimes, in one batch: learned groups (P, size) by name, and the hand-made rule.

    The step size of the hand-made rule is chosen at each lifetime, for each schedule, on tasks of its own.

    Returns
    -------
    dict
        Each group's name: scores (H, P); ``"constant"`` and ``"falling"``: scores (H,) with the chosen step size; ``"grid"``:
        scores (H, 2, R) of every step size; ``"chosen"``: positions in `RATES` (H, 2).

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.temporal_lpg.study import race
    >>> sorted(race("bandits", {}, [5], 20, 0))
    ['chosen', 'constant', 'falling', 'grid']
    """
    tasks = checks.integer("tasks", tasks, low=1, high=10**6)
    lives = [checks.integer("horizons", n, low=1, high=100_000) for n in checks.array("horizons", horizons, ndim=1)]
    seeds = checks.generator("rng", rng).integers(2**31, size=(len(lives), 2))
    place, sizes = WORLDS[checks.choice("world", world, WORLDS)], np.array(RATES[world])
    cuts = np.cumsum([len(vectors) for vectors in groups.values()])[:-1]
    rules = np.concatenate([with_clock(world, vectors) for vectors in groups.values()]) if groups else None
    ours: list[Any] = []
    tuning: list[Any] = []
    tested: list[Any] = []
    for lifetime, (tune, test) in zip(lives, seeds, strict=True):
        if rules is not None:
            ours.append(np.split(learned(world, rules, lifetime, tasks, int(test))[0], cuts))
        envs = [place.sample(1, tasks, np.random.default_rng(int(seed))) for seed in (tune, test)]
        returns = _by_hand(place, _joined(*envs), lifetime, sizes, np.random.default_rng(int(tune)))
        for told, env, part in zip((tuning, tested), envs, (returns[..., :tasks], returns[..., tasks:]), strict=True):
            told.append(part.mean(-1) / env.optimum().mean().item())
    grid, chosen = np.array(tested), np.round(np.array(tuning), 9).argmax(-1)
    best = np.take_along_axis(grid, chosen[..., None], -1)[..., 0]
    found: dict[str, Any] = {name: np.array([parts[i] for parts in ours]) for i, name in enumerate(groups)}
    return found | {"constant": best[:, 0], "falling": best[:, 1], "grid": grid, "chosen": chosen}


def curve_distance(entropy_short: np.ndarray, entropy_long: np.ndarray) -> np.ndarray:
    """Mean distance of two entropy curves over the fraction of the lifetime, (N1, P) and (N2, P) with N1 <= N2: shape (P,).

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.temporal_lpg.study import curve_distance
    >>> curve_distance(np.ones((2, 1)), np.zeros((4, 1))).tolist()
    [1.0]
    """
    short = checks.array("entropy_short", entropy_short, ndim=2)
    long = checks.array("entropy_long", entropy_long, shape=(None, short.shape[1]))
    marks = (np.arange(len(short)) + 0.5) / len(short)
    places = (np.arange(len(long)) + 0.5) / len(long)
    there = np.stack([np.interp(marks, places, column) for column in long.T], 1)
    gap: np.ndarray = np.abs(short - there).mean(0)
    return gap


def pair_differences(vector: Any, pairs: int, lifetime: int, seed: Any, sigma: float = 0.1) -> np.ndarray:
    """Score differences (2, pairs) of mirrored candidates on bandits: on the same tasks, and each on its own.

    Examples
    --------
    >>> from lib.policies.temporal_lpg.study import pair_differences, rule_of
    >>> pair_differences(rule_of("bandits", True).vector(), 4, 5, seed=0).shape
    (2, 4)
    """
    given, place = checks.array("vector", vector, ndim=1), WORLDS["bandits"]
    rule, rng = rule_of("bandits", True), checks.generator("seed", seed)
    pairs = checks.integer("pairs", pairs, low=1, high=10**5)
    step = checks.positive("sigma", sigma) * rng.standard_normal((pairs, rule.size))
    both, found = np.concatenate([given + step, given - step]), []
    for rows in (pairs, 2 * pairs):
        env = place.sample(rows, 1, rng)
        score = train_agent(rule, env, lifetime, place.agent, vectors=both, seed=rng).score[:, 0]
        found.append(score[:pairs] - score[pairs:])
    return np.array(found)
