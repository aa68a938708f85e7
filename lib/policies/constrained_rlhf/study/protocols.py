"""The runs: which methods there are, under one budget, looked at on validation and test prompts; what is read off them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lib import checks
from lib.policies.constrained_rlhf.ppo import ConstrainedPPO
from lib.policies.constrained_rlhf.settings import History, PPOConfig
from lib.policies.constrained_rlhf.study.evaluation import REWARDS, Evaluation, IntentReward, evaluate, meteor_reward
from lib.policies.constrained_rlhf.study.fixed import (
    ALL_RATE,
    ALPHAS,
    FIRST,
    MU_PLAIN_RATE,
    MU_RATE,
    SAT_ALPHAS,
    SEEN,
    SINGLE,
    THRESHOLDS,
    XI_PLAIN_RATE,
    XI_RATE,
)
from lib.policies.constrained_rlhf.study.text import END, MAX_NEW, PAD, corpus
from lib.policies.constrained_rlhf.study.weights import Base, load
from lib.policies.constrained_rlhf.thresholds import nelder_mead_thresholds


@dataclass(frozen=True)
class Plan:
    """A run: iterations, responses of each, passes, rates (of xi-PPO's multipliers, too), divergence, looks, precision."""

    iterations: int = 30
    episodes: int = 64
    epochs: int = 2
    lr: float = 1.5e-3
    beta: float = 0.002
    multiplier_lr: float = XI_RATE
    n_eval: int = 200
    eval_every: int = 5
    dtype: str = "float64"
    top_k: int | None = 20

    def config(self) -> PPOConfig:
        """Settings of the training: four updates a pass."""
        return PPOConfig(
            episodes=self.episodes, minibatch=max(1, self.episodes // 4), epochs=self.epochs, lr=self.lr, beta=self.beta,
            max_new=MAX_NEW, multiplier_lr=self.multiplier_lr, top_k=self.top_k,
        )  # fmt: skip


#: Run -> variant, fixed weights, thresholds, and settings of its own.
RUNS: dict[str, tuple[str, tuple[float, float] | None, Any, dict[str, Any]]] = {
    "intent only": ("ppo", (1.0, 0.0), None, {}),
    "meteor only": ("ppo", (0.0, 1.0), None, {}),
    "PPO": ("ppo", ALPHAS, None, {}),
    "PPO equal": ("ppo", (1.0, 1.0), None, {}),
    "PPO-SAT": ("ppo_sat", SAT_ALPHAS, THRESHOLDS, {}),
    "mu-PPO": ("mu", None, THRESHOLDS, {"multiplier_lr": MU_RATE}),
    "All-PPO": ("all", None, THRESHOLDS, {"multiplier_lr": ALL_RATE}),
    "xi-PPO": ("xi", None, THRESHOLDS, {}),
    "xi-PPO low": ("xi", None, 0.9 * np.array(THRESHOLDS), {}),
    "xi-PPO high": ("xi", None, 1.1 * np.array(THRESHOLDS), {}),
    "xi-PPO literal": ("xi", None, THRESHOLDS, {"kl_std_floor": None}),
    "frozen": ("mu", None, THRESHOLDS, {"multiplier_lr": 0.0}),
    "mu-PPO plain": ("mu", None, THRESHOLDS, {"multiplier_squash": False, "multiplier_lr": MU_PLAIN_RATE}),
    "xi-PPO plain": ("xi", None, THRESHOLDS, {"multiplier_squash": False, "multiplier_lr": XI_PLAIN_RATE}),
    "xi-PPO single": ("xi", None, SINGLE, {}),
    "xi-PPO first": ("xi", None, FIRST, {}),
}
#: Runs that are stopped at their best look on validation prompts; others are looked at on test prompts only.
STOPPED = ("intent only", "meteor only", "PPO", "PPO equal", "xi-PPO")
#: Runs of which only the end counts: looked at twice, before and after the last few iterations.
ENDS = ("mu-PPO plain", "xi-PPO plain", "xi-PPO single", "xi-PPO first")


@dataclass
class Run:
    """What a run leaves: the training's history, evaluations on validation and test prompts, CPU seconds, the policy."""

    history: History
    tested: list[int] = field(default_factory=list)
    validation: list[Evaluation] = field(default_factory=list)
    test: list[Evaluation] = field(default_factory=list)
    seconds: float = 0.0
    policy: Any = None

    def scores(self, split: str = "test") -> np.ndarray:
        """Evaluation score at each look, shape (M,)."""
        return np.array([found.score for found in getattr(self, checks.choice("split", split, ("validation", "test")))])

    def rewards(self, split: str = "test") -> np.ndarray:
        """Both rewards at each look, shape (M, 2)."""
        return np.array([found.rewards for found in getattr(self, checks.choice("split", split, ("validation", "test")))])

    def best(self) -> int:
        """Place of the look that is best on validation prompts: where early stopping stops."""
        return int(self.scores("validation").argmax())


class Setting:
    """The corpus, the base policy, and the prompts on which runs of a seed are looked at: the same for all methods.

    Parameters
    ----------
    plan : Plan
    seed : int or Generator

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> setting = study.Setting(study.Plan(iterations=1, episodes=4, epochs=1, n_eval=4), seed=0)
    >>> len(setting.rows["test"])
    4
    """

    def __init__(self, plan: Plan, seed: Any = 0) -> None:
        rng = checks.generator("seed", seed)
        self.plan, self.text = plan, corpus()
        self.base: Base = load(n_values=len(REWARDS) + 1, dtype=plan.dtype)
        self.rows = {split: self.text.draw(split, plan.n_eval, rng) for split in ("validation", "test")}
        self.seed = int(rng.integers(2**31))
        pairs = self.text.pairs["train"]
        self.prompts, self.references = [prompt for prompt, _ in pairs], [reference for _, reference in pairs]

    def look(self, policy: Any, split: str) -> Evaluation:
        """An evaluation on the fixed prompts of a split, with the same random numbers every time."""
        return evaluate(policy, self.text, self.base.intents, self.rows[split], split, self.seed, self.plan.top_k)

    def trainer(self, variant: str, alphas: Any = None, theta: Any = None, **own: Any) -> ConstrainedPPO:
        """A run that has not begun; thresholds are `THRESHOLDS` by default."""
        models: list[Any] = [IntentReward(self.base.intents), meteor_reward]
        wanted = None if variant == "ppo" else np.array(THRESHOLDS if theta is None else theta)
        config = replace(self.plan.config(), **own)
        settings: dict[str, Any] = {"variant": variant, "config": config, "end": END, "pad": PAD, "seed": self.seed}
        return ConstrainedPPO(self.base.policy, models, wanted, alphas=alphas, **settings)


def run(setting: Setting, name: str) -> Run:
    """One of `RUNS`. Runs of one setting share prompts and random numbers.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> setting = study.Setting(study.Plan(iterations=1, episodes=4, epochs=1, n_eval=4), seed=0)
    >>> study.run(setting, "xi-PPO").tested
    [0, 1]
    """
    variant, alphas, theta, own = RUNS[checks.choice("name", name, RUNS)]
    splits = ("validation", "test") if name in STOPPED else ("test",)
    return follow(setting, setting.trainer(variant, alphas, theta, **own), splits, ends=name in ENDS)


def follow(
    setting: Setting, trainer: ConstrainedPPO, splits: tuple[str, ...] = ("validation", "test"), more: int = 0,
    ends: bool = False,
) -> Run:  # fmt: skip
    """Train for the plan's iterations (and those before) and look every few ones, before the first and after the last too.

    Parameters
    ----------
    setting : Setting
    trainer : ConstrainedPPO
    splits : tuple of {"validation", "test"}
    more : int
        Iterations that the trainer has behind it.
    ends : bool
        Whether the last two of these looks are all.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> setting = study.Setting(study.Plan(iterations=1, episodes=4, epochs=1, n_eval=4), seed=0)
    >>> study.follow(setting, setting.trainer("xi"), splits=("test",)).tested
    [0, 1]
    """
    more, ends = checks.integer("more", more, low=0), checks.boolean("ends", ends)
    plan, found, begin = setting.plan, Run(trainer.history, policy=trainer.policy), time.process_time()
    spent = 0.0

    moments = sorted({*range(0, plan.iterations, plan.eval_every), plan.iterations})

    def look(done: int) -> None:
        nonlocal spent
        if ends and done not in moments[-2:]:
            return
        start = time.process_time()
        found.tested.append(done)
        for split in splits:
            getattr(found, split).append(setting.look(trainer.policy, split))
        spent += time.process_time() - start

    look(0)
    while (done := len(trainer.history.kl) - more) < plan.iterations:
        trainer.fit(setting.prompts, setting.references, iterations=min(plan.eval_every, plan.iterations - done))
        look(len(trainer.history.kl) - more)
    found.seconds = time.process_time() - begin - spent
    return found


@dataclass(frozen=True)
class Search:
    """A search within one run: simplices, thresholds tried and their scores, the run after it, responses drawn in all."""

    path: np.ndarray
    tried: np.ndarray
    scores: np.ndarray
    theta: np.ndarray
    run: Run
    samples: int


def search(setting: Setting, evaluations: int = 8) -> Search:
    """NM-PPO: thresholds by simplex search in the first half of one run of twice the length, then xi-PPO at the best ones.

    The first simplex lies between the base policy's rewards and `SEEN`, as in the paper's code.

    Parameters
    ----------
    setting : Setting
    evaluations : int
        Thresholds that are tried at most.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> setting = study.Setting(study.Plan(iterations=2, episodes=4, epochs=1, n_eval=4), seed=0)
    >>> study.search(setting, evaluations=3).tried.shape
    (3, 2)
    """
    evaluations = checks.integer("evaluations", evaluations, low=3)
    plan = setting.plan
    start = setting.look(setting.base.policy, "validation").rewards
    simplex = start + (np.array(SEEN) - start) * np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]])
    trainer = setting.trainer("xi")
    each, looks = max(1, plan.iterations // evaluations), 1

    def worth(theta: np.ndarray) -> float:
        nonlocal looks
        trainer.approach(theta, setting.prompts, setting.references, iterations=each)
        looks += 1
        return setting.look(trainer.policy, "validation").score

    found = nelder_mead_thresholds(worth, simplex, max_evals=evaluations)
    trainer.set_thresholds(found.x)
    after = follow(setting, trainer, ("test",), more=len(trainer.history.kl))
    samples = trainer.history.episodes + looks * plan.n_eval
    return Search(found.path, found.evaluated, found.scores, found.x, after, samples)


def search_cost(plan: Plan, weightings: int = 11, seeds: int = 1) -> int:
    """Responses drawn, to train and to look, by the runs behind thresholds: PPO with each of some weightings.

    Parameters
    ----------
    plan : Plan
    weightings, seeds : int

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.search_cost(study.Plan(iterations=10, episodes=8, n_eval=20, eval_every=5), weightings=2)
    280
    """
    weightings, seeds = checks.integer("weightings", weightings, low=1), checks.integer("seeds", seeds, low=1)
    looks = 1 + -(-plan.iterations // plan.eval_every)
    return weightings * seeds * (plan.iterations * plan.episodes + looks * plan.n_eval)
