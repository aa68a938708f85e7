"""The experiments: first stages with two windows, second stages at equal steps and programs, runs on single hard problems."""

from __future__ import annotations

import copy
import dataclasses
import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib import checks
from lib.networks import Transformer
from lib.policies.drive import (
    CheckResult,
    DynamicSampling,
    Evaluation,
    GRPOConfig,
    History,
    PreGRPOSchedule,
    Priority,
    Problem,
    ProgramTask,
    Uniform,
    evaluate,
    train_grpo,
    train_pre_grpo,
)
from lib.policies.drive.language import LEVELS, text_of
from lib.policies.drive.study.problems import problems

#: Second stages and what they are, in words.
ARMS = {
    "hardest": "hardest first, many rollouts (the paper)",
    "whole": "all hard problems",
    "everything": "all levels",
    "many": "all hard problems, many rollouts",
    "solvable": "hardest first, never-solved left out",
    "dynamic": "dynamic sampling",
    "priority": "in proportion to p(1-p)",
    "stage 2 only": "hardest first, without stage 1",
}
#: Successes in 16 samples that divide problems into clusters: from, to.
CLUSTERS = {"never": (0, 0), "rare": (1, 3), "middle": (4, 12), "top": (13, 16)}


@dataclass(frozen=True)
class Plan:
    """Sizes of the experiments; `book/policies/drive.yml` says what each is.

    A step of any second stage draws ``8 prompts1 = prompts2 rollouts`` programs, so that equal steps are equal programs.

    Raises
    ------
    TypeError, ValueError
        For sizes out of range, or steps of unequal numbers of programs.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> study.Plan(prompts1=16, prompts2=4, rollouts=32).steps
    24
    """

    stage1: int = 40
    prompts1: int = 16
    broad: int = 240
    pool: int = 96
    keep: tuple[int, ...] = (40, 28, 14)
    phases: tuple[int, ...] = (12, 6, 6)
    prompts2: int = 4
    rollouts: int = 32
    fresh: int = 16
    n_test: int = 48
    lr: float = 1e-4
    lr_many: float = 5e-5
    windows: tuple[int, int] = (40, 48)

    def __post_init__(self) -> None:
        for name in ("stage1", "prompts1", "broad", "pool", "prompts2", "rollouts", "fresh", "n_test"):
            checks.integer(name, getattr(self, name), low=1)
        for name in ("lr", "lr_many"):
            checks.positive(name, getattr(self, name))
        if 8 * self.prompts1 != self.prompts2 * self.rollouts:
            raise ValueError(
                f"steps must draw equal numbers of programs, got 8 x {self.prompts1} and {self.rollouts} x {self.prompts2}"
            )
        if len(self.keep) != len(self.phases):
            raise ValueError(f"keep and phases must have one entry a phase, got {self.keep} and {self.phases}")

    @property
    def steps(self) -> int:
        """Steps of a second stage."""
        return sum(self.phases)

    def config(self, many: bool = False, window: int | None = None) -> GRPOConfig:
        """Settings of a step: 8 rollouts of each prompt, or many of fewer prompts; the long window by default."""
        prompts, rollouts = (self.prompts2, self.rollouts) if many else (self.prompts1, 8)
        lr = self.lr_many if many else self.lr
        return GRPOConfig(prompts, rollouts, max_new=self.windows[1] if window is None else window, lr=lr)


@dataclass(frozen=True)
class Stage:
    """A policy after a stage, the run's history and its CPU seconds a step."""

    policy: Transformer
    history: History
    seconds: float


def _timed(policy: Transformer, run: Any) -> Stage:
    begin = time.process_time()
    history = run(policy)
    return Stage(policy, history, (time.process_time() - begin) / max(1, len(history)))


def first_stage(base: Transformer, plan: Plan, window: int, seed: Any) -> Stage:
    """A copy of the base policy after uniform training on the broad set.

    Parameters
    ----------
    base : Transformer
    plan : Plan
    window : int
        Longest answer, in tokens.
    seed : int or Generator

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> plan = study.Plan(1, 1, 12, 6, (4, 3), (1, 1), 1, 8, 4, 2)
    >>> len(study.first_stage(study.new_policy(), plan, 40, 0).history)
    1
    """
    broad = problems().broad(plan.broad)
    config = plan.config(window=checks.integer("window", window, low=1))
    return _timed(
        copy.deepcopy(base),
        lambda policy: train_grpo(policy, ProgramTask(broad), Uniform(broad), config, steps=plan.stage1, seed=seed),
    )


def second_stage(arm: str, policy: Transformer, plan: Plan, seed: Any) -> Stage:
    """A copy of a policy after a second stage; all arms draw the same number of programs for their gradients.

    Programs that measure pass rates between phases come on top: the curriculum has them for free.

    Parameters
    ----------
    arm : str
        One of `ARMS`, with " slow" or " fast" after it for half and double its learning rate.
    policy : Transformer
        After stage 1; the base policy for "stage 2 only".
    plan : Plan
    seed : int or Generator

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> plan = study.Plan(1, 1, 12, 6, (4, 3), (1, 1), 1, 8, 4, 2)
    >>> study.second_stage("whole", study.new_policy(), plan, 0).history.programs
    [8, 16]
    """
    name, factor = arm, 1.0
    for word, times in (("slow", 0.5), ("fast", 2.0)):
        if arm.endswith(f" {word}"):
            name, factor = arm.removesuffix(f" {word}"), times
    arm = checks.choice("arm", name, ARMS)
    plan = dataclasses.replace(plan, lr=factor * plan.lr, lr_many=factor * plan.lr_many)
    pool, few, many = problems().pool(plan.pool), plan.config(), plan.config(many=True)
    task = ProgramTask(pool)
    if arm in ("hardest", "solvable", "stage 2 only"):
        above = 0.0 if arm == "solvable" else None
        schedule = PreGRPOSchedule(tuple(zip(plan.keep, plan.phases, strict=True)), plan.rollouts, above)
        return _timed(
            copy.deepcopy(policy), lambda p: train_pre_grpo(p, task, pool, schedule, many, samples=plan.fresh, seed=seed)
        )
    sampler = {
        "whole": lambda: Uniform(pool),
        "everything": lambda: Uniform(problems().broad(plan.broad)),
        "many": lambda: Uniform(pool),
        "dynamic": lambda: DynamicSampling(pool),
        "priority": lambda: Priority(pool),
    }[arm]()
    config, programs = many if arm == "many" else few, 8 * plan.prompts1 * plan.steps
    return _timed(
        copy.deepcopy(policy),
        lambda p: train_grpo(p, task, sampler, config, steps=plan.steps, programs=programs, seed=seed),
    )


def held_out(policy: Transformer, plan: Plan, seed: Any, entropy: bool = True) -> dict[str, Evaluation]:
    """Fresh samples of the held-out problems, hidden tests included, with the long window: level -> evaluation.

    Successes are those of the level; entropy, truncation, length and errors are those of all levels together.

    Parameters
    ----------
    policy : Transformer
    plan : Plan
    seed : int or Generator
    entropy : bool
        Whether it is measured.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> plan = study.Plan(1, 1, 12, 6, (4, 3), (1, 1), 1, 8, 4, 2)
    >>> [len(found.successes) for found in study.held_out(study.new_policy(), plan, 0).values()]
    [2, 2, 2]
    """
    tests = problems().tests(plan.n_test)
    found, successes = evaluate(policy, ProgramTask(tests), tests, 8, plan.windows[1], entropy=entropy, seed=seed), {}
    for level in LEVELS:
        inside = np.array([problem.level == level for problem in tests])
        successes[level] = dataclasses.replace(found, successes=found.successes[inside])
    return successes


def pass_rate(found: dict[str, Evaluation], level: str) -> float:
    """Mean pass@1 of a level of held-out problems, from `held_out`.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> plan = study.Plan(1, 1, 12, 6, (4, 3), (1, 1), 1, 8, 4, 2)
    >>> study.pass_rate(study.held_out(study.new_policy(), plan, 0), "hard")
    0.0
    """
    return float(found[level].pass_rates.mean())


def cluster_gains(before: Transformer, after: Transformer, plan: Plan, rng: Any) -> dict[str, tuple[float, int]]:
    """Gain of pass rate by initial pass rate: name of the cluster -> mean gain and number of problems.

    One set of samples of the first policy makes the clusters, a second one is its pass rate: with one for both, the unlucky
    would gain by being measured again.

    Parameters
    ----------
    before, after : Transformer
    plan : Plan
    rng : int or Generator

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> plan = study.Plan(1, 1, 12, 6, (4, 3), (1, 1), 1, 8, 4, 2)
    >>> study.cluster_gains(study.new_policy(), study.new_policy(), plan, 0)["never"]
    (0.0, 12)
    """
    broad, rng = problems().broad(plan.broad), checks.generator("rng", rng)
    task, window = ProgramTask(broad), plan.windows[1]
    measured = functools.partial(evaluate, task=task, problems=broad, max_new=window, hidden=False, entropy=False, seed=rng)
    first = measured(before, samples=plan.fresh).successes * (16 / plan.fresh)
    old, new = (measured(p, samples=8).pass_rates for p in (before, after))
    found = {}
    for name, (low, high) in CLUSTERS.items():
        inside = (low <= first) & (first < high + 1)
        gain = float((new - old)[inside].mean()) if inside.any() else float("nan")
        found[name] = gain, int(inside.sum())
    return found


def rare_cases(pool: Sequence[Problem], pass_rates: Any, n: int, rng: Any) -> list[Problem]:
    """Problems that are rarely solved: lowest pass rates above zero, in random order among equals.

    Parameters
    ----------
    pool : sequence of Problem
    pass_rates : array_like
        Of the pool's problems, from fresh samples.
    n : int
        How many at most.
    rng : int or Generator

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> pool = study.problems().pool(3)
    >>> study.rare_cases(pool, [0.5, 0.0, 0.25], 1, 0) == [pool[2]]
    True
    """
    rates, rng = checks.array("pass_rates", pass_rates, ndim=1, low=0, high=1), checks.generator("rng", rng)
    if len(rates) != len(pool):
        raise ValueError(f"pass_rates must hold one rate for each of {len(pool)} problems, got {len(rates)}")
    order = [i for i in rng.permutation(len(pool)) if rates[i] > 0]
    return [pool[i] for i in sorted(order, key=lambda i: rates[i])[: checks.integer("n", n, low=1)]]


class Recording(ProgramTask):
    """A task that remembers every answer that it has checked: problem -> programs, and whether they passed."""

    def __init__(self, cases: Sequence[Problem]) -> None:
        super().__init__(cases)
        self.seen: dict[Problem, list[tuple[str, bool]]] = {case: [] for case in self.problems}

    def check(self, problem: Problem, tokens: Sequence[int], hidden: bool = False) -> CheckResult:
        """Check and remember."""
        result = super().check(problem, tokens, hidden)
        self.seen[problem].append((text_of(tokens), result.passed))
        return result


def single_case(
    policy: Transformer, cases: Sequence[Problem], group: int, steps: int, plan: Plan, seed: Any
) -> dict[Problem, tuple[np.ndarray, list[str]]]:
    """Train on one problem alone, or on several together of which each gets its group in each step.

    Parameters
    ----------
    policy : Transformer
        Copied.
    cases : sequence of Problem
    group, steps : int
        Rollouts of each problem in a step, steps.
    plan : Plan
    seed : int or Generator

    Returns
    -------
    dict
        Problem -> which programs passed, shape (steps, group), and the programs in order.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> plan = study.Plan(1, 1, 12, 6, (4, 3), (1, 1), 1, 8, 4, 2)
    >>> cases = study.problems().pool(1)
    >>> study.single_case(study.new_policy(), cases, 4, 2, plan, 0)[cases[0]][0].shape
    (2, 4)
    """
    group = checks.integer("group", group, low=2)
    task, config = Recording(cases), dataclasses.replace(plan.config(), prompts=len(cases), rollouts=group)
    train_grpo(copy.deepcopy(policy), task, Uniform(cases), config, steps=steps, seed=seed)
    return {
        case: (np.array([passed for _, passed in seen]).reshape(steps, group), [source for source, _ in seen])
        for case, seen in task.seen.items()
    }


def standard_error(first: Evaluation, second: Evaluation, n: int = 33) -> float:
    """Standard error of the mean paired difference of pass rates on a test set of n problems.

    Parameters
    ----------
    first, second : Evaluation
        Of the same problems.
    n : int
        Problems of the test set.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> import numpy as np
    >>> from lib.policies.drive import Evaluation
    >>> first, second = (Evaluation(np.array(c), 4, 0.1, 0.0, 9.0, {}) for c in ([0, 2, 4], [2, 2, 4]))
    >>> round(study.standard_error(first, second, 33), 3)
    0.05
    """
    difference = second.pass_rates - first.pass_rates
    return float(difference.std(ddof=1) / np.sqrt(checks.integer("n", n, low=1)))
