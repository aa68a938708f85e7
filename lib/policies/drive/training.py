"""GRPO on a task whose reward is 0 or 1, with any sampler of prompts, and the two-stage recipe's second stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.callbacks import run_asks_to_stop
from lib.networks import Rollouts, Transformer, response_log_probs
from lib.policies.drive.evaluation import Task, checked, draw_answers, entropy_of, evaluate
from lib.policies.drive.groups import AGGREGATIONS, group_advantages, grpo_loss
from lib.policies.drive.samplers import HardFocus, PreGRPOSchedule, PromptSampler


@dataclass(frozen=True)
class GRPOConfig:
    """Settings of the reinforcement learning.

    prompts, rollouts : prompts of a step, samples of each: 8 in stage 1 of the paper, 64 in stage 2
    max_new : window, in tokens of an answer; the paper's are 24 thousand tokens in stage 1 and 32 thousand in stage 2
    lr : of Adam; the paper does not say
    temperature : of the samples
    clip, agg, eps : of `grpo_loss` and `group_advantages`; clip is not given in the paper
    updates : steps of the optimizer on one batch; 1 is on-policy
    clip_norm : norm to which a gradient is clipped, infinity for none
    """

    prompts: int = 16
    rollouts: int = 8
    max_new: int = 44
    lr: float = 4e-4
    temperature: float = 1.0
    clip: float = 0.2
    agg: str = "token_mean"
    eps: float = 1e-6
    updates: int = 1
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        for name, low in (("prompts", 1), ("rollouts", 2), ("max_new", 1), ("updates", 1)):
            checks.integer(name, getattr(self, name), low=low)
        for name in ("lr", "temperature"):
            checks.positive(name, getattr(self, name))
        checks.number("eps", self.eps, low=0)
        for name in ("clip", "clip_norm"):
            checks.number(name, getattr(self, name), above=0, inf=True)
        checks.choice("agg", self.agg, AGGREGATIONS)


@dataclass
class History:
    """What a run leaves, one entry a step.

    reward : share of right answers among all that were drawn
    informative : share of drawn groups with both a success and a failure
    entropy : mean over tokens of the policy's entropy, in nats, on the samples it trains on
    truncated, length : share of drawn answers that the window cut off, mean tokens of one
    programs : programs drawn up to and with the step, discarded ones included
    measured : programs drawn to measure pass rates between phases
    selected : the problems that each phase kept, hardest first, and their pass rates
    """

    reward: list[float] = field(default_factory=list)
    informative: list[float] = field(default_factory=list)
    entropy: list[float] = field(default_factory=list)
    truncated: list[float] = field(default_factory=list)
    length: list[float] = field(default_factory=list)
    programs: list[int] = field(default_factory=list)
    measured: int = 0
    selected: list[tuple[tuple[Any, ...], np.ndarray]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.reward)


class Trainer:
    """One run of GRPO; it can be pickled or copied in the middle and goes on alike.

    Parameters
    ----------
    policy : Transformer
        Changed in place.
    task : Task
        `ProgramTask`, or anything with ``end``, ``pad``, ``prompt`` and ``check``.
    sampler : PromptSampler
        May be replaced between steps, as `config` may.
    config : GRPOConfig, optional
    seed : None, int or Generator

    Attributes
    ----------
    history : History

    Raises
    ------
    TypeError, ValueError
        For arguments of another kind.

    Examples
    --------
    >>> from lib.networks import Transformer
    >>> from lib.policies.drive import GRPOConfig, Problem, ProgramTask, Trainer, Uniform
    >>> task = ProgramTask([Problem(("all", "same", "sum"))])
    >>> policy = Transformer(task.vocab_size, context=16, width=16, n_heads=2, seed=0)
    >>> trainer = Trainer(policy, task, Uniform(task.problems), GRPOConfig(prompts=2, rollouts=4, max_new=8), seed=0)
    >>> trainer.step()
    >>> trainer.history.programs
    [8]
    """

    def __init__(
        self, policy: Transformer, task: Task, sampler: PromptSampler, config: GRPOConfig | None = None, seed: Any = 0
    ) -> None:
        self.config = GRPOConfig() if config is None else config
        given = (("policy", policy, Transformer), ("sampler", sampler, PromptSampler), ("config", self.config, GRPOConfig))
        for name, value, kind in given:
            if not isinstance(value, kind):
                raise TypeError(f"{name} must be a {kind.__name__}, got {checks.shown(value)}")
        self.policy, self.task, self.sampler = policy, task, sampler
        self.rng = checks.generator("seed", seed)
        self.optimizer = torch.optim.Adam(policy.parameters(), lr=self.config.lr)
        self.history = History()

    def step(self) -> None:
        """Draw groups, check them, take the optimizer's steps."""
        config = self.config
        parts: list[Rollouts] = []
        rewards, wins, cut, tokens, n = [], np.empty(0), 0, 0, 0
        wanted = config.prompts
        for _ in range(self.sampler.max_draws):
            problems = self.sampler.draw(wanted, self.rng)
            drawn = draw_answers(
                self.policy, self.task, problems, config.rollouts, config.max_new, config.temperature, self.rng
            )
            results = checked(self.task, problems, drawn, config.rollouts)
            found = np.array([result.passed for result in results], dtype=float).reshape(len(problems), -1)
            for problem, row in zip(problems, found, strict=True):
                self.sampler.observe(problem, int(row.sum()), len(row))
            kept = np.array([self.sampler.accepts(row.sum(), len(row)) for row in found])
            cut += sum(result.error == "truncated" for result in results)
            n, tokens, wins = n + len(results), tokens + int(drawn.lengths.sum()), np.append(wins, found.sum(1))
            if kept.any():
                parts.append(rows_of(drawn, np.repeat(kept, config.rollouts)))
                rewards.append(found[kept])
            wanted -= int(kept.sum())
            if not wanted:
                break
        history = self.history
        history.reward.append(float(wins.sum() / n))
        history.informative.append(float(((wins > 0) & (wins < config.rollouts)).mean()))
        history.truncated.append(cut / n)
        history.length.append(tokens / n)
        history.programs.append((history.programs[-1] if history.programs else 0) + n)
        history.entropy.append(self._update(joined(parts), np.concatenate(rewards)) if parts else float("nan"))

    def _update(self, drawn: Rollouts, rewards: np.ndarray) -> float:
        """The optimizer's steps on one batch; returns the entropy before them."""
        config = self.config
        gains = group_advantages(rewards, config.eps).flatten().to(drawn.log_probs)
        entropy = float("nan")
        for update in range(config.updates):
            logs, states = response_log_probs(self.policy, drawn, config.temperature)
            if update == 0:
                entropy = entropy_of(self.policy, states, drawn.mask, drawn.pad, config.temperature)
            loss = grpo_loss(logs, drawn.log_probs, gains, drawn.mask, config.clip, config.agg)  # equation (1)
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.policy.parameters(), config.clip_norm)
            self.optimizer.param_groups[0]["lr"] = config.lr
            self.optimizer.step()
        return entropy

    def run(self, steps: Any, programs: Any = None, callback: Callable[[Trainer], Any] | None = None) -> History:
        """Take up to that many steps; end early when so many programs are drawn in this call, or the callback says so."""
        steps = checks.integer("steps", steps, low=0)
        most = None if programs is None else checks.integer("programs", programs, low=1)
        before = self.history.programs[-1] if self.history.programs else 0
        for _ in range(steps):
            if most is not None and len(self.history) and self.history.programs[-1] - before >= most:
                break
            self.step()
            if run_asks_to_stop(callback, self):
                break
        return self.history


def rows_of(drawn: Rollouts, chosen: np.ndarray) -> Rollouts:
    """Those of the sampled answers that `chosen` says, one truth value for each; order is kept."""
    rows = torch.from_numpy(np.flatnonzero(chosen))
    return Rollouts(drawn.tokens[rows], drawn.attended[rows], drawn.prompt_length, drawn.log_probs[rows], drawn.pad)


def joined(parts: Sequence[Rollouts]) -> Rollouts:
    """Answers that were drawn apart as one batch: prompts padded on the left, answers on the right."""
    if len(parts) == 1:
        return parts[0]
    before = max(part.prompt_length for part in parts)
    after = max(part.log_probs.shape[1] for part in parts)

    def wide(x: Tensor, part: Rollouts, left: bool, value: Any) -> Tensor:
        room = (before - part.prompt_length if left else 0, after - part.log_probs.shape[1])
        return torch.nn.functional.pad(x, room, value=value)

    pad = parts[0].pad
    return Rollouts(
        torch.cat([wide(part.tokens, part, True, 0 if pad is None else pad) for part in parts]),
        torch.cat([wide(part.attended, part, True, False) for part in parts]),
        before,
        torch.cat([wide(part.log_probs, part, False, 0.0) for part in parts]),
        pad,
    )


def train_grpo(
    policy: Transformer, task: Task, sampler: PromptSampler, cfg: GRPOConfig | None = None, *, steps: Any = 32,
    programs: Any = None, seed: Any = 0, callback: Callable[[Trainer], Any] | None = None,
) -> History:  # fmt: skip
    """Train a policy in place by GRPO, on prompts of a sampler: stage 1 of the paper with `Uniform`.

    Parameters
    ----------
    policy : Transformer
        Changed in place.
    task : Task
    sampler : PromptSampler
    cfg : GRPOConfig, optional
    steps : int
        At most; the paper's stage 1 has 32.
    programs : int, optional
        The run ends after the step that reaches so many sampled programs: comparisons at equal programs need it.
    seed : None, int or Generator
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
    >>> from lib.networks import Transformer
    >>> from lib.policies.drive import GRPOConfig, Problem, ProgramTask, Uniform, train_grpo
    >>> task = ProgramTask([Problem(("all", "same", "sum"))])
    >>> policy = Transformer(task.vocab_size, context=16, width=16, n_heads=2, seed=0)
    >>> config = GRPOConfig(prompts=2, rollouts=4, max_new=8)
    >>> train_grpo(policy, task, Uniform(task.problems), config, steps=2, seed=0).programs
    [8, 16]
    """
    steps = checks.integer("steps", steps, low=1)
    if callback is not None:
        checks.function("callback", callback)
    return Trainer(policy, task, sampler, cfg, seed).run(steps, programs, callback)


def train_pre_grpo(
    policy: Transformer, task: Task, pool: Sequence[Any], schedule: PreGRPOSchedule | None = None,
    cfg: GRPOConfig | None = None, *, samples: Any = 16, seed: Any = 0, callback: Callable[[Trainer], Any] | None = None,
) -> History:  # fmt: skip
    """Stage 2 of the paper: in each phase, measure pass rates on fresh samples, keep the hardest problems, train on them.

    A phase selects among the problems that the one before kept.

    Parameters
    ----------
    policy : Transformer
        Changed in place.
    task : Task
    pool : sequence
        Problems of the first phase to choose from.
    schedule : PreGRPOSchedule, optional
        The paper's by default.
    cfg : GRPOConfig, optional
        Its rollouts are replaced by the schedule's.
    samples : int
        Fresh samples of each problem behind its pass rate, counted in ``measured``.
    seed : None, int or Generator
    callback : function, optional
        As for `train_grpo`; a true answer ends all phases.

    Returns
    -------
    History
        With what each phase ``selected``.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, or if a phase has no problem left.

    Examples
    --------
    >>> from lib.networks import Transformer
    >>> from lib.policies.drive import GRPOConfig, PreGRPOSchedule, Problem, ProgramTask, train_pre_grpo
    >>> task = ProgramTask([Problem(("all", "same", "sum")), Problem(("all", "same", "count"))])
    >>> policy = Transformer(task.vocab_size, context=16, width=16, n_heads=2, seed=0)
    >>> schedule = PreGRPOSchedule(phases=((2, 1), (1, 1)), rollouts=4)
    >>> history = train_pre_grpo(policy, task, task.problems, schedule, GRPOConfig(2, max_new=8), samples=2, seed=0)
    >>> history.programs, history.measured
    ([8, 16], 8)
    """
    schedule, cfg = PreGRPOSchedule() if schedule is None else schedule, GRPOConfig() if cfg is None else cfg
    samples, rng = checks.integer("samples", samples, low=1), checks.generator("seed", seed)
    if callback is not None:
        checks.function("callback", callback)
    if not len(pool):
        raise ValueError("pool must hold at least one problem, got none")
    config = dataclasses.replace(cfg, rollouts=schedule.rollouts)
    kept, trainer, stopped = tuple(pool), Trainer(policy, task, PromptSampler(pool), config, rng), [False]

    def ends(now: Trainer) -> bool:
        stopped[0] = run_asks_to_stop(callback, now)
        return stopped[0]

    for keep, steps in schedule.phases:  # Algorithm 1
        rates = evaluate(
            policy, task, kept, samples, config.max_new, temperature=config.temperature, hidden=False, entropy=False, seed=rng
        ).pass_rates
        trainer.history.measured += samples * len(kept)
        trainer.sampler = focus = HardFocus(kept, keep, rates, schedule.above, schedule.below)
        kept = focus.pool
        trainer.history.selected.append((kept, focus.pass_rates))
        trainer.run(steps, callback=ends)
        if stopped[0]:
            break
    return trainer.history
