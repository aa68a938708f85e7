"""Reinforcement learning with several rewards: sample, weigh, step; the weighting looks on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.callbacks import run_asks_to_stop
from lib.networks import (
    ESTIMATORS,
    Rollouts,
    Transformer,
    advantages,
    clipped_surrogate,
    generate,
    kl_k3,
    response_log_probs,
)
from lib.policies.dynamic_reward_weighting.pareto import hypervolume, pareto_front
from lib.policies.dynamic_reward_weighting.rewards import RunningRewards, directions
from lib.policies.dynamic_reward_weighting.weighting import RewardWeighting, StepInfo


class Task(Protocol):
    """What a policy is trained on; `lib.policies.dynamic_reward_weighting.study` has one.

    names, maximize : the K objectives, and which of them shall be large
    end, pad, max_new : tokens of the end and of padding, longest response
    prompts(n, rng, split) : n prompts, lists of tokens, of the split "train", "validation" or "test"
    measure(rollouts) : the objectives of each response, shape (n, K)
    """

    names: tuple[str, ...]
    maximize: tuple[bool, ...]
    end: int
    pad: int
    max_new: int

    def prompts(self, n: int, rng: np.random.Generator, split: str) -> list[list[int]]: ...
    def measure(self, rollouts: Rollouts) -> np.ndarray: ...


@dataclass(frozen=True)
class RLConfig:
    """Settings of the reinforcement learning; the defaults are those of the paper's scripts.

    prompts, group : prompts of a step, responses to each
    minibatch : prompts of one update, a divisor of `prompts`
    lr, decay, steps : learning rate of Adam; power of its polynomial decay over that many steps, 0 for none
    clip_norm : norm to which the gradient of an update is clipped
    beta : weight of the estimated divergence from the first policy in the loss
    ratio : how far a probability ratio counts; the paper clips at 0.2, with its gradient-based weights not at all (100)
    temperature : of the samples
    estimator, eps, each : advantages, and what is added to a deviation; `each` normalizes each reward, then weighs
    validation : prompts of a validation, one response to each
    """

    prompts: int = 64
    group: int = 8
    minibatch: int = 32
    lr: float = 1e-6
    decay: float = 0.0
    steps: int = 1
    clip_norm: float = 1.0
    beta: float = 0.001
    ratio: float = 0.2
    temperature: float = 1.0
    estimator: str = "grpo"
    eps: float = 1e-6
    each: bool = False
    validation: int = 100

    def __post_init__(self) -> None:
        for name in ("prompts", "group", "minibatch", "steps", "validation"):
            object.__setattr__(self, name, checks.integer(name, getattr(self, name), low=1))
        for name in ("lr", "decay", "beta", "eps"):
            checks.number(name, getattr(self, name), low=0)
        for name in ("clip_norm", "ratio"):
            checks.number(name, getattr(self, name), above=0, inf=True)
        checks.positive("temperature", self.temperature)
        checks.choice("estimator", self.estimator, ESTIMATORS)
        checks.boolean("each", self.each)
        if self.prompts % self.minibatch:
            raise ValueError(f"minibatch must divide the {self.prompts} prompts of a step, got {self.minibatch}")
        if self.group < 2 and self.estimator != "reinforce_pp":
            raise ValueError(f"group must be at least 2 for {self.estimator}: one response has no baseline, got {self.group}")


@dataclass
class History:
    """What a run leaves, one row a step.

    train : means of the measured objectives over the sampled responses, (T, K)
    weights, scale : in use at the step, (T, K) and (T,)
    tested, points : steps after which the policy was tested, (M,); its means, (M, K), the first policy's first
    validated : responses that were drawn for validation
    maximize : which objectives shall be large
    """

    maximize: np.ndarray
    train: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)
    scale: list[float] = field(default_factory=list)
    tested: list[int] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    validated: int = 0

    def front(self) -> np.ndarray:
        """Tested points that no other dominates, shape (F, K)."""
        return np.array(self.points)[pareto_front(self.points, self.maximize)]

    def volumes(self, ref: Any) -> np.ndarray:
        """Hypervolume of the points up to each test, shape (M,)."""
        return np.array([hypervolume(self.points[: m + 1], ref, self.maximize) for m in range(len(self.points))])


def loss_of(logs: Tensor, old: Tensor, reference: Tensor | None, gains: Tensor, mask: Tensor, config: RLConfig) -> Tensor:
    """Surrogate loss: clipped objective, mean over tokens, plus beta times the divergence from the first policy."""
    loss = clipped_surrogate(logs, old, gains, mask, config.ratio)
    if reference is None:
        return loss
    return loss + config.beta * torch.where(mask, kl_k3(logs, reference), 0.0).sum() / mask.sum().clamp(min=1)  # (6)


def clipped_rows(gradients: Tensor, limit: float, chosen: Tensor | None = None) -> Tensor:
    """Rows scaled down to a norm of at most `limit`, then restricted to the chosen columns."""
    norms = gradients.norm(dim=1, keepdim=True)
    rows = gradients * (limit / norms.clamp(min=limit)) if np.isfinite(limit) else gradients
    return rows if chosen is None else rows[:, chosen]


class Trainer:
    """One run: a policy, a task, a weighting. A trainer can be pickled or copied in the middle and goes on alike.

    Parameters
    ----------
    policy : Transformer
        Trained in place; its first state is the reference of the divergence.
    task : Task
    weighting : RewardWeighting
    config : RLConfig, optional
    seed : int or Generator
        Samples, validations and tests have generators of their own: to look does not change what is drawn.

    Attributes
    ----------
    history : History
    rollouts : Rollouts
        Of the last step.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import FixedWeights, RLConfig, Trainer, study
    >>> task = study.ArithmeticTask(max_new=6)
    >>> config = RLConfig(prompts=2, group=2, minibatch=2, lr=1e-3)
    >>> trainer = Trainer(study.new_policy(width=16, seed=0), task, FixedWeights([0.5, 0.25, 0.25]), config, seed=0)
    >>> trainer.step().shape
    (3,)
    """

    def __init__(
        self, policy: Transformer, task: Task, weighting: RewardWeighting, config: RLConfig | None = None, seed: Any = 0
    ) -> None:
        if not isinstance(policy, Transformer):
            raise TypeError(f"policy must be a Transformer, got {checks.shown(policy)}")
        if not isinstance(weighting, RewardWeighting):
            raise TypeError(f"weighting must be a RewardWeighting, got {checks.shown(weighting)}")
        if getattr(weighting, "weights", None) is None:
            raise TypeError(f"weighting must have weights, got {checks.shown(weighting)}")
        if lacking := [name for name in ("maximize", "end", "pad", "max_new", "prompts", "measure") if not hasattr(task, name)]:
            raise TypeError(f"task must have {', '.join(lacking)}, got {checks.shown(task)}")
        if not isinstance(config, RLConfig | None):
            raise TypeError(f"config must be an RLConfig, got {checks.shown(config)}")
        self.policy, self.task, self.weighting = policy, task, weighting
        self.config = RLConfig() if config is None else config
        maximize = directions(task.maximize)
        if len(weighting.weights) != len(maximize):
            raise ValueError(f"weighting must weigh the task's {len(maximize)} objectives, got {len(weighting.weights)}")
        self.reference = copy.deepcopy(policy).requires_grad_(False)
        self.rewards, self.history = RunningRewards(maximize), History(maximize)
        self._samples, self._validation, self._tests = checks.generator("seed", seed).spawn(3)
        self.parameters = [p for p in policy.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("policy must have parameters to train, got none")
        if any(p.dtype == torch.float16 for p in self.parameters):
            raise ValueError("policy must not be in float16, in which Adam divides by zero: take bfloat16 or float32")
        self.optimizer = torch.optim.Adam(self.parameters, lr=self.config.lr)
        self.steps = 0
        self.rollouts: Any = None
        if weighting.wants == "point":
            weighting.start(self._validate())

    # -------------------------------------------------------------------------------------------------------- a step

    def step(self) -> np.ndarray:
        """One batch: sample, reward, weigh, update. Returns the means of the measured objectives."""
        config, lr = self.config, self._lr()
        prompts = self._prompts(config.prompts, self._samples, "train")
        repeated = [prompt for prompt in prompts for _ in range(config.group)]
        self.rollouts = drawn = self._draw(repeated, self._samples)
        measured = self._measured(drawn)
        rewards = self.rewards(measured)
        if self.weighting.wants == "gradients":
            self.weighting.step(StepInfo(gradients=self.reward_gradients(drawn, rewards), lr=lr))
        self.history.train.append(measured.mean(0))
        self.history.weights.append(np.array(self.weighting.weights))
        self.history.scale.append(float(self.weighting.scale))
        self._update(drawn, self.gains(rewards, drawn), lr)
        self.steps += 1
        if self.weighting.wants == "point":
            self.weighting.step(StepInfo(point=self._validate(), lr=lr))
        return self.history.train[-1]

    def gains(self, rewards: np.ndarray, drawn: Rollouts) -> Tensor:
        """Advantage of each response, shape (n,), from the rewards (n, K) and the weighting as it is."""
        weights, scale = np.asarray(self.weighting.weights), float(self.weighting.scale)
        inner = scale if self.weighting.where == "reward" else 1.0
        if self.config.each:
            found = self._advantages(inner * rewards, drawn) @ torch.from_numpy(weights)
        else:
            found = self._advantages(inner * (rewards @ weights), drawn)  # (1)
        return found * scale if self.weighting.where == "advantage" else found

    def _advantages(self, rewards: np.ndarray, drawn: Rollouts) -> Tensor:
        config = self.config
        return advantages(rewards, config.group, config.estimator, config.eps, drawn.lengths)

    def _prompts(self, n: int, rng: np.random.Generator, split: str) -> list[list[int]]:
        prompts = self.task.prompts(n, rng, split)
        if len(prompts) != n:
            raise ValueError(f"task must return {n} prompts, got {len(prompts)}")
        return prompts

    def _measured(self, drawn: Rollouts) -> np.ndarray:
        return checks.array("task's measures", self.task.measure(drawn), shape=(len(drawn.tokens), len(self.history.maximize)))

    def _draw(self, prompts: list[list[int]], rng: np.random.Generator) -> Rollouts:
        task = self.task
        settings: dict[str, Any] = {"end": task.end, "pad": task.pad, "temperature": self.config.temperature, "seed": rng}
        return generate(self.policy, prompts, task.max_new, **settings)

    def _logs(self, policy: Transformer, drawn: Rollouts, rows: slice) -> Tensor:
        return response_log_probs(policy, drawn, self.config.temperature, rows)[0]

    def _reference(self, drawn: Rollouts, rows: slice) -> Tensor | None:
        if not self.config.beta:
            return None
        with torch.no_grad():
            return self._logs(self.reference, drawn, rows)

    def _lr(self) -> float:
        left = max(1 - self.steps / self.config.steps, 0.0)
        return self.config.lr * left**self.config.decay if self.config.decay else self.config.lr

    def _update(self, drawn: Rollouts, gains: Tensor, lr: float) -> None:
        size = self.config.minibatch * self.config.group
        gains = gains.to(drawn.log_probs)
        for begin in range(0, len(gains), size):
            rows = slice(begin, begin + size)
            logs, old, mask = self._logs(self.policy, drawn, rows), drawn.log_probs[rows], drawn.mask[rows]
            loss = loss_of(logs, old, self._reference(drawn, rows), gains[rows], mask, self.config)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
            self.optimizer.param_groups[0]["lr"] = lr
            self.optimizer.step()

    # ------------------------------------------------------------------------------------------------- looking on

    def reward_gradients(self, drawn: Rollouts, rewards: Any) -> np.ndarray:
        """Gradient of the surrogate loss for each reward alone, clipped, of the layers that count: shape (K, P).

        The weighting says to what norm they are clipped and which layers count.

        Parameters
        ----------
        drawn : Rollouts
            Of n responses, n a multiple of the group.
        rewards : array, shape (n, K)
        """
        given = checks.array("rewards", rewards, shape=(len(drawn.tokens), len(self.history.maximize)))
        gains = self._advantages(given, drawn).to(drawn.log_probs)
        everything = slice(None)
        logs, reference = self._logs(self.policy, drawn, everything), self._reference(drawn, everything)
        rows = []
        for k in range(gains.shape[1]):
            loss = loss_of(logs, drawn.log_probs, reference, gains[:, k], drawn.mask, self.config)
            found = torch.autograd.grad(loss, self.parameters, retain_graph=True)
            rows.append(torch.cat([g.flatten() for g in found]))
        chosen = self._chosen(self.weighting.layers)
        return clipped_rows(torch.stack(rows), self.weighting.clip, chosen).double().cpu().numpy()

    def _chosen(self, layers: list[int] | None) -> Tensor | None:
        if layers is None:
            return None
        if max(layers) >= len(self.policy.blocks):
            raise ValueError(f"layers must be below the policy's {len(self.policy.blocks)} blocks, got {layers}")
        starts = tuple(f"blocks.{layer}." for layer in layers)
        named = [(name, p) for name, p in self.policy.named_parameters() if p.requires_grad]
        if not any(name.startswith(starts) for name, _ in named):
            raise ValueError(f"layers must be blocks with parameters to train, got {layers}")
        return torch.cat([torch.full((p.numel(),), name.startswith(starts)) for name, p in named])

    def _validate(self) -> np.ndarray:
        self.history.validated += self.config.validation
        return self.look(self.config.validation, self._validation, "validation")

    def look(self, n: int, rng: Any, split: str = "test") -> np.ndarray:
        """Means of the measured objectives over n fresh prompts of a split, one response to each."""
        rng = checks.generator("rng", rng)
        drawn = self._draw(self._prompts(checks.integer("n", n, low=1), rng, split), rng)
        return self._measured(drawn).mean(0)

    def test(self, n: int) -> np.ndarray:
        """Test the policy as it is, on the same prompts and random numbers in every test; into the history."""
        point = self.look(n, copy.deepcopy(self._tests), "test")
        self.history.tested.append(self.steps)
        self.history.points.append(point)
        return point


def train(
    policy: Transformer, task: Task, weighting: RewardWeighting, config: RLConfig | None = None, *, steps: int,
    test_every: int = 5, test_prompts: int = 100, seed: Any = 0, callback: Callable[[Trainer], Any] | None = None,
) -> History:  # fmt: skip
    """Train a copy of a policy with several rewards, and test it every few steps, before the first one too.

    Parameters
    ----------
    policy : Transformer
        Left as it is.
    task : Task
    weighting : RewardWeighting
        A copy of it is used.
    config : RLConfig, optional
        The paper's by default.
    steps : int
    test_every, test_prompts : int
        Steps between tests (5 in the paper), prompts of a test with one response to each.
    seed : int or Generator
    callback : function, optional
        Gets the `Trainer` after each step; a true answer or StopIteration ends the run.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import FixedWeights, RLConfig, study, train
    >>> config = RLConfig(prompts=2, group=2, minibatch=2, lr=1e-3)
    >>> task, weighting = study.ArithmeticTask(max_new=6), FixedWeights([0.5, 0.25, 0.25])
    >>> train(study.new_policy(width=16), task, weighting, config, steps=2, test_prompts=4, test_every=1, seed=0).tested
    [0, 1, 2]
    """
    steps, every = checks.integer("steps", steps, low=1), checks.integer("test_every", test_every, low=1)
    n = checks.integer("test_prompts", test_prompts, low=1)
    if callback is not None:
        checks.function("callback", callback)
    trainer = Trainer(copy.deepcopy(policy), task, copy.deepcopy(weighting), config, seed)
    trainer.test(n)
    for step in range(1, steps + 1):
        trainer.step()
        stop = run_asks_to_stop(callback, trainer)
        if step % every == 0 or step == steps or stop:
            trainer.test(n)
        if stop:
            break
    return trainer.history
