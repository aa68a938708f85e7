"""Ascent on the noise of a one-step generator, best of n draws, and both in turn."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.objectives.reno.norms import auto_lr, chi_norm_regularizer, widened
from lib.objectives.reno.rewards import RESERVED, OneStepGenerator, RewardEnsemble, frozen, home
from lib.objectives.reno.steps import adam_ascent, clip_by_sample, nesterov_ascent

#: What `NoiseOptimizer` climbs with; "best_of_n" does not climb.
OPTIMIZERS = ("sgd", "adam", "lbfgs", "best_of_n")

#: What their states remember.
_MEMORY: dict[str, Any] = {"sgd": Tensor | None, "adam": tuple | None, "lbfgs": list | None, "best_of_n": object}

Callback = Callable[[int, Tensor, Tensor, dict[str, Tensor]], Any]


@dataclass
class NoiseOptState:
    """Where a run stands: enough to go on as if it had not stopped.

    noise : (n, ...), the last iterate, float32 where the run's noise is half precision
    dtype : the type in which the generator gets it
    iteration : images of each prompt so far
    memory : of the optimizer: velocity, moments, or the states of L-BFGS
    draws : the generator of further draws
    """

    noise: Tensor
    dtype: torch.dtype
    draws: np.random.Generator
    iteration: int = 0
    memory: Any = None


@dataclass
class NoiseOptResult:
    """What a run of n prompts leaves; tensors without a graph, can be pickled.

    images, noise : the best image of each prompt by total reward, the earliest of equals; and its noise
    init_images, init_noise : the first
    rewards_init, rewards_best : name -> scores, (n,); "total" is their weighted sum
    best_iter : iteration of the best image, (n,)
    history : name -> (T, n); besides rewards and "total" the "norm" of the noise that was tried
    forwards, backwards : images made of each prompt, (n,), and gradients taken through them
    state : for `NoiseOptimizer.resume`
    """

    images: Tensor
    noise: Tensor
    init_images: Tensor
    init_noise: Tensor
    rewards_init: dict[str, Tensor]
    rewards_best: dict[str, Tensor]
    best_iter: Tensor
    history: dict[str, Tensor]
    forwards: Tensor
    backwards: Tensor
    state: NoiseOptState = field(repr=False)

    @property
    def gain(self) -> Tensor:
        """Total reward of the best image less that of the first, (n,); never negative."""
        return self.rewards_best["total"] - self.rewards_init["total"]


class NoiseOptimizer:
    """Reward-based noise optimization: climb the rewards of a generator's image by changing its noise, Algorithm 1.

    The objective (1) is the weighted sum of rewards plus `reg` times the log-density of the noise's norm (2). Every iteration
    makes one image of each prompt; the best image by reward alone is kept, so that no result is worse than the first image.
    n iterations are n forwards and n - 1 updates. Prompts of a batch do not feel each other. Weights, modes and gradients of
    the generator and the rewards are as they were before. There is no schedule and no early stop, as in the paper.

    Parameters
    ----------
    generator : OneStepGenerator
        Deterministic, differentiable in its noise.
    rewards : RewardEnsemble or mapping
        A mapping is made one.
    n_iter : int
        Images of each prompt; the paper's is 50.
    lr : float or "auto"
        "auto" is `auto_lr` of the numbers of one sample, the paper's 5 at 16384. It is meant for "sgd"; as in the official
        code the others take the same.
    clip : float
        Norm to which a sample's gradient is clipped; the paper's is 0.1; infinity does not clip. L-BFGS does not clip: its
        line search needs the gradient of its function.
    reg : float
        The paper's is 0.01. A norm that is off by some share is pulled back in proportion to sqrt(d), so that few dimensions
        need more.
    momentum : float
        The paper's is 0.9; of "sgd".
    nesterov : bool
        As in the paper; of "sgd".
    optimizer : {"sgd", "adam", "lbfgs", "best_of_n"}
        The paper's is "sgd". "adam" has the official code's eps 1e-2; "lbfgs" its 10 inner iterations, history of 3 and
        strong Wolfe search, by sample, and makes more images than `n_iter` (see ``forwards``); in the official code it cannot
        be run, since its step is called without the function that it needs. "best_of_n" draws anew every time.
    draws : int
        With more than 1, the best of so many draws is climbed for the other ``n_iter - draws`` images, the first of which
        repeats the best draw (beyond the paper).

    Raises
    ------
    TypeError, ValueError
        For arguments out of bounds; at a run for prompts, noise, images or rewards of wrong shapes, for NaN or infinity, and
        for a generator or rewards that cannot be differentiated.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.reno import FunctionGenerator, NoiseOptimizer, RewardEnsemble
    >>> generator = FunctionGenerator(torch.add, noise_shape=(16,))  # an "image" is noise plus the code of its prompt
    >>> rewards = RewardEnsemble({"cosine": (torch.nn.CosineSimilarity(), 1.0)})
    >>> result = NoiseOptimizer(generator, rewards, n_iter=20, lr=1.0).run(torch.ones(3, 16), seed=0)
    >>> bool((result.gain > 0.05).all())
    True
    """

    def __init__(
        self,
        generator: OneStepGenerator,
        rewards: RewardEnsemble | Mapping[str, Any],
        n_iter: int = 50,
        lr: float | str = "auto",
        clip: float = 0.1,
        reg: float = 0.01,
        momentum: float = 0.9,
        nesterov: bool = True,
        optimizer: str = "sgd",
        draws: int = 1,
    ) -> None:
        self.generator: Callable[[Tensor, Any], Tensor] = checks.function("generator", generator)
        if not isinstance(getattr(generator, "noise_shape", None), tuple | list | torch.Size):
            raise TypeError("generator must have a noise_shape: see OneStepGenerator and FunctionGenerator")
        self.noise_shape = tuple(checks.integer("noise_shape", size, low=1) for size in generator.noise_shape)
        self.rewards = rewards if isinstance(rewards, RewardEnsemble) else RewardEnsemble(rewards)
        self.n_iter = checks.integer("n_iter", n_iter, low=1)
        if isinstance(lr, str) and lr != "auto":
            raise TypeError(f"lr must be a number above 0 or 'auto', got {lr!r}")
        self.lr = auto_lr(math.prod(self.noise_shape)) if isinstance(lr, str) else checks.positive("lr", lr)
        self.clip = checks.number("clip", clip, above=0, inf=True)
        self.reg = checks.number("reg", reg, low=0)
        self.momentum = checks.number("momentum", momentum, low=0, below=1)
        self.nesterov = checks.boolean("nesterov", nesterov)
        self.optimizer = checks.choice("optimizer", optimizer, OPTIMIZERS)
        self.draws = checks.integer("draws", draws, low=1, high=self.n_iter)

    # --------------------------------------------------------------------------------------------------------- a run

    def run(self, prompts: Any, noise: Any = None, seed: Any = None, callback: Callback | None = None) -> NoiseOptResult:
        """Optimize the noise of each prompt.

        Parameters
        ----------
        prompts : sequence
            n prompts as generator and rewards take them.
        noise : Tensor, shape (n, ...), optional
            To start with; a draw from a standard Gaussian by default. In half precision the iterates are kept in float32.
        seed : int or numpy.random.Generator, optional
            Of the draws.
        callback : callable, optional
            ``callback(iteration, images, noise, rewards)`` after every image; copies, without graph.

        Returns
        -------
        NoiseOptResult
        """
        count = _count(prompts)
        draws = checks.generator("seed", seed)
        if noise is None:
            dtype, device = home(self.generator)
            start = self._draw(count, draws, dtype, device)
        else:
            start = checks.tensor("noise", noise).detach()
            dtype = start.dtype
            if tuple(start.shape) != (count, *self.noise_shape):
                raise ValueError(f"noise must have shape {(count, *self.noise_shape)}, got {tuple(start.shape)}")
        return self._go(NoiseOptState(widened(start).clone(), dtype, draws), prompts, self.n_iter, None, callback)

    def resume(self, result: NoiseOptResult, prompts: Any, n_iter: Any, callback: Callback | None = None) -> NoiseOptResult:
        """Go on for `n_iter` more images of each prompt, as if the run had been that much longer from the start.

        `result` is left alone. To take up a climb, the last image is made once more, which `forwards` counts.
        """
        if not isinstance(result, NoiseOptResult):
            raise TypeError(f"result must be a NoiseOptResult, got {checks.shown(result)}")
        if _count(prompts) != len(result.noise):
            raise ValueError(f"prompts must be the {len(result.noise)} of the result, got {len(prompts)}")
        if tuple(result.noise.shape[1:]) != self.noise_shape or {*result.history} - {*RESERVED} != {*self.rewards.names}:
            raise ValueError("result must come from a generator of the same noise_shape and rewards of the same names")
        if not isinstance(result.state.memory, _MEMORY[self.optimizer]):
            raise ValueError(f"result must come from the same optimizer, {self.optimizer!r}, got another's state")
        more = checks.integer("n_iter", n_iter, low=1)
        return self._go(copy.deepcopy(result.state), prompts, more, result, callback)

    def _go(
        self, state: NoiseOptState, prompts: Any, n_iter: int, before: NoiseOptResult | None, callback: Callback | None
    ) -> NoiseOptResult:
        trace, gradient, at = _Trace(before), None, state.iteration
        with torch.inference_mode(False), frozen(self.generator, self.rewards):
            state.noise = state.noise.clone()
            for at in range(state.iteration, state.iteration + n_iter):  # Algorithm 1, line 2
                drawing = self.optimizer == "best_of_n" or (self.draws > 1 and at < self.draws)
                first = self.draws if self.draws > 1 else 0  # of the climb
                noise = state.noise
                if drawing:
                    if at > 0:
                        noise = self._draw(len(noise), state.draws, noise.dtype, noise.device)
                elif at == first > 0:
                    noise = state.noise = trace.best_noise()
                elif at > first:
                    noise = state.noise = self._update(state, gradient, prompts, trace)
                last = at == state.iteration + n_iter - 1
                wanted = not (drawing or last or self.optimizer == "lbfgs")
                images, rewards, gradient = self._evaluate(noise, state.dtype, prompts, wanted, at)
                trace.add(at, images, noise, rewards, backward=wanted)
                if callback is not None:
                    callback(at, images.clone(), noise.to(state.dtype, copy=True), {k: v.clone() for k, v in rewards.items()})
        state.iteration, state.draws = at + 1, copy.deepcopy(state.draws)
        return trace.result(state)

    def _evaluate(
        self, noise: Tensor, dtype: torch.dtype, prompts: Any, wanted: bool, at: int
    ) -> tuple[Tensor, dict[str, Tensor], Tensor | None]:
        """Images and rewards of noise and, if wanted, the gradient of the objective, all without graph."""
        noise = noise.detach().requires_grad_(wanted)
        gradient = None
        with torch.set_grad_enabled(wanted):
            images = self.generator(noise.to(dtype, copy=True), prompts)  # Algorithm 1, line 3
            if not isinstance(images, Tensor) or not images.ndim or len(images) != len(noise):
                raise ValueError(f"generator must return {len(noise)} images, got {checks.shown(images)}")
            values, total = self.rewards(images, prompts)
            if wanted:
                if not total.requires_grad:
                    raise ValueError("generator and rewards must be differentiable: the total reward has no graph to the noise")
                objective = total + self.reg * chi_norm_regularizer(noise) if self.reg else total  # (1)
                gradient = torch.autograd.grad(objective.sum(), noise)[0]
                if not torch.isfinite(gradient).all():
                    raise ValueError(f"rewards must have a finite gradient, got NaN or infinity at iteration {at}")
        named = {**values, "total": total}
        return images.detach(), {name: value.detach() for name, value in named.items()}, gradient

    def _update(self, state: NoiseOptState, gradient: Tensor | None, prompts: Any, trace: _Trace) -> Tensor:
        """The next iterate."""
        if self.optimizer == "lbfgs":
            return self._update_lbfgs(state, prompts, trace)
        if gradient is None:  # a run that is taken up
            gradient = self._evaluate(state.noise, state.dtype, prompts, True, state.iteration)[2]
            trace.count(1, 1)
        assert gradient is not None
        gradient = clip_by_sample(gradient, self.clip)  # Algorithm 1, line 6
        if self.optimizer == "adam":
            noise, state.memory = adam_ascent(state.noise, gradient, state.memory, self.lr)
        else:
            noise, state.memory = nesterov_ascent(
                state.noise, gradient, state.memory, self.lr, self.momentum, self.nesterov
            )  # fmt: skip
        return noise

    def _update_lbfgs(self, state: NoiseOptState, prompts: Any, trace: _Trace) -> Tensor:
        """One outer step of L-BFGS for each sample by itself."""
        moved, memory = [], []
        for i in range(len(state.noise)):
            row = state.noise[i : i + 1].clone().requires_grad_(True)
            search = torch.optim.LBFGS([row], lr=self.lr, max_iter=10, history_size=3, line_search_fn="strong_wolfe")
            if state.memory is not None:
                search.load_state_dict(state.memory[i])

            def descend(row: Tensor = row, i: int = i) -> Tensor:
                _, rewards, gradient = self._evaluate(row, state.dtype, prompts[i : i + 1], True, state.iteration)
                assert gradient is not None
                row.grad = -gradient
                trace.count(1, 1, i)
                return -(rewards["total"] + self.reg * chi_norm_regularizer(row.detach())).sum()

            search.step(descend)
            moved.append(row.detach())
            memory.append(copy.deepcopy(search.state_dict()))
        state.memory = memory
        return torch.cat(moved)

    def _draw(self, count: int, draws: np.random.Generator, dtype: torch.dtype, device: Any) -> Tensor:
        drawn = torch.from_numpy(draws.standard_normal((count, *self.noise_shape)))  # Algorithm 1, line 1
        return drawn.to(device=device, dtype=dtype)


class _Trace:
    """What was seen so far, and the best of it."""

    def __init__(self, before: NoiseOptResult | None) -> None:
        self.rows: list[dict[str, Tensor]] = []
        self.before = before
        self.first: tuple[Tensor, Tensor, dict[str, Tensor]] | None = None
        self.best: dict[str, Any] | None = None
        self.forwards = self.backwards = torch.zeros(0, dtype=torch.int64)
        if before is not None:
            self.first = before.init_images, before.init_noise, before.rewards_init
            self.best = {
                "images": before.images.clone(), "noise": widened(before.noise).clone(), "iter": before.best_iter.clone(),
                "rewards": {name: value.clone() for name, value in before.rewards_best.items()},
            }  # fmt: skip
            self.forwards, self.backwards = before.forwards.clone(), before.backwards.clone()

    def count(self, forwards: int, backwards: int, sample: int | slice = slice(None)) -> None:
        self.forwards[sample] += forwards
        self.backwards[sample] += backwards

    def best_noise(self) -> Tensor:
        assert self.best is not None
        return self.best["noise"].clone()

    def add(self, at: int, images: Tensor, noise: Tensor, rewards: dict[str, Tensor], backward: bool) -> None:
        if self.best is None:
            self.first = images, noise.clone(), rewards
            self.best = {
                "images": images.clone(), "noise": noise.clone(), "iter": torch.zeros(len(noise), dtype=torch.int64),
                "rewards": {name: value.clone() for name, value in rewards.items()},
            }  # fmt: skip
            self.forwards, self.backwards = torch.zeros(2, len(noise), dtype=torch.int64)
        else:
            better = rewards["total"] > self.best["rewards"]["total"]  # Algorithm 1, line 4
            self.best["images"][better] = images[better]
            self.best["noise"][better] = noise[better]
            self.best["iter"][better.cpu()] = at
            for name, value in rewards.items():
                self.best["rewards"][name][better] = value[better]
        self.count(1, int(backward))
        norms = torch.linalg.vector_norm(noise.flatten(1), dim=1)
        self.rows.append({**rewards, "norm": norms})

    def result(self, state: NoiseOptState) -> NoiseOptResult:
        assert self.best is not None
        assert self.first is not None
        images, noise, rewards = self.first
        history = {name: torch.stack([row[name] for row in self.rows]) for name in self.rows[0]}
        if self.before is not None:
            history = {name: torch.cat([self.before.history[name], rows]) for name, rows in history.items()}
        return NoiseOptResult(
            images=self.best["images"], noise=self.best["noise"].to(state.dtype), init_images=images,
            init_noise=noise.to(state.dtype), rewards_init=rewards, rewards_best=self.best["rewards"],
            best_iter=self.best["iter"], history=history, forwards=self.forwards, backwards=self.backwards, state=state,
        )  # fmt: skip


def best_of_n(
    generator: OneStepGenerator, rewards: Any, prompts: Any, n: Any, noise: Any = None, seed: Any = None
) -> NoiseOptResult:
    """The best by total reward of n images of each prompt, from fresh noise each: the paper's baseline.

    Parameters
    ----------
    generator, rewards
        See `NoiseOptimizer`.
    prompts : sequence
    n : int
        Images of each prompt. With one seed, the draws of a smaller n are the first of those of a larger one.
    noise : Tensor, optional
        The first draw.
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    NoiseOptResult

    Examples
    --------
    >>> from lib.objectives.reno import FunctionGenerator, best_of_n
    >>> generator = FunctionGenerator(lambda noise, prompts: noise.sigmoid(), noise_shape=(1, 4, 4))
    >>> bright = {"bright": (lambda images, prompts: images.flatten(1).mean(1), 1.0)}
    >>> best_of_n(generator, bright, ["a white wall"], n=20, seed=0).forwards
    tensor([20])
    """
    checks.integer("n", n, low=1)
    return NoiseOptimizer(generator, rewards, n_iter=n, optimizer="best_of_n").run(prompts, noise=noise, seed=seed)


def _count(prompts: Any) -> int:
    if isinstance(prompts, str) or not hasattr(prompts, "__len__"):
        raise TypeError(f"prompts must be a sequence of prompts, got {checks.shown(prompts)}")
    if not len(prompts):
        raise ValueError("prompts must not be empty")
    return len(prompts)
