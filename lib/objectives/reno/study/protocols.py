"""The runs: climbing under one plan, watched by the judge; and what is read off noise, images and the teacher."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lib import checks
from lib.objectives.reno.optimizer import NoiseOptimizer, NoiseOptResult
from lib.objectives.reno.rewards import RewardEnsemble
from lib.objectives.reno.study.networks import LATENT
from lib.objectives.reno.study.scenes import code, hazy, understand
from lib.objectives.reno.study.weights import DigitSystem, LayoutSystem

VERDICTS = ("digits", "colors", "all", "sure")


@dataclass(frozen=True)
class Plan:
    """Generator calls for a prompt, learning rate, largest norm of a gradient, weight of the regularizer."""

    calls: int = 50
    lr: float = 1.0
    clip: float = 0.1
    reg: float = 0.01


@dataclass(frozen=True)
class Watched:
    """A run, what the judge says of the best image after each call, and its CPU seconds.

    Attributes
    ----------
    result : NoiseOptResult
    judged : dict
        Verdict -> shape (calls, n), or (1, n) where only the last best image was judged.
    totals : array, shape (calls, n)
        Best sum of rewards after each call.
    path : array, shape (calls, n, 32)
        The noise of each call.
    seconds : float
        Without the judge's.
    """

    result: NoiseOptResult
    judged: dict[str, np.ndarray]
    totals: np.ndarray
    path: np.ndarray
    seconds: float

    def after(self, calls: int, verdict: str = "all") -> np.ndarray:
        """The verdict on each prompt's best image after some calls."""
        rows = self.judged[verdict]
        if calls < len(self.totals) and len(rows) < len(self.totals):
            raise ValueError("only the last best image was judged: climb with watched=True to ask for earlier ones")
        return rows[min(calls, len(rows)) - 1]

    def noise_after(self, calls: int) -> torch.Tensor:
        """Each prompt's noise of the best image after some calls, shape (n, 32)."""
        best = self.result.history["total"][: min(calls, len(self.totals))].argmax(0).numpy()
        return torch.as_tensor(self.path[best, np.arange(len(best))])

    @property
    def last(self) -> dict[str, np.ndarray]:
        """Verdict -> each prompt's, at the end."""
        return {name: rows[-1] for name, rows in self.judged.items()}


def first_noise(n: int, seed: Any = 0, size: int = LATENT) -> torch.Tensor:
    """Standard Gaussian noise for n prompts, shape (n, size), float64.

    Parameters
    ----------
    n : int
    seed : int or Generator
    size : int
        Numbers of a prompt's noise.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> study.first_noise(3).shape
    torch.Size([3, 32])
    """
    draws = checks.generator("seed", seed)
    return torch.as_tensor(draws.standard_normal((checks.integer("n", n, low=1), checks.integer("size", size, low=1))))


def verdicts(system: DigitSystem | LayoutSystem, images: torch.Tensor, prompts: Sequence[str]) -> dict[str, np.ndarray]:
    """The judge's verdicts as arrays, shape (n,): ``digits``, ``colors``, ``all`` and ``sure``; of layouts ``things``, ``all``.

    Parameters
    ----------
    system : DigitSystem or LayoutSystem
    images : Tensor, shape (n, 3, 16, 32), of layouts (n, 3, 32, 32)
    prompts : sequence of str

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> prompts = study.sample_prompts(2)
    >>> sorted(study.verdicts(study.load_system(), study.real_scenes(prompts), prompts))
    ['all', 'colors', 'digits', 'sure']
    """
    pixels = checks.tensor("images", images, ndim=4)
    return {name: value.numpy() for name, value in system.judge(pixels, prompts).items()}


def scores(system: DigitSystem, images: torch.Tensor, prompts: Sequence[str]) -> dict[str, np.ndarray]:
    """All rewards of images and their weighted sum, ``total``: arrays, shape (n,).

    Parameters
    ----------
    system : DigitSystem
    images : Tensor, shape (n, 3, 16, 32)
    prompts : sequence of str

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> prompts = study.sample_prompts(2)
    >>> len(study.scores(study.load_system(), study.real_scenes(prompts), prompts))
    5
    """
    with torch.no_grad():
        values, total = RewardEnsemble(system.rewards)(checks.tensor("images", images, ndim=4), prompts)
    return {name: value.numpy() for name, value in {**values, "total": total}.items()}


def climb(
    system: DigitSystem | LayoutSystem,
    prompts: Sequence[str],
    noise: torch.Tensor,
    plan: Plan,
    rewards: Sequence[str] | None = None,
    generator: nn.Module | None = None,
    watched: bool = True,
    **options: Any,
) -> Watched:
    """A run of `NoiseOptimizer` that the judge watches without being seen.

    Parameters
    ----------
    system : DigitSystem or LayoutSystem
    prompts : sequence of str, n
    noise : Tensor, shape (n, d)
        The first.
    plan : Plan
    rewards : sequence of str, optional
        Those that are climbed; default all.
    generator : Module, optional
        Default the system's one-step generator.
    watched : bool
        Whether the judge sees every call; otherwise it sees the last best image only, in a third less time.
    **options
        For `NoiseOptimizer`: ``optimizer`` and ``draws``; and ``seed`` of further draws.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> run = study.climb(study.load_system(), study.sample_prompts(2), study.first_noise(2), study.Plan(calls=3))
    >>> run.totals.shape, bool((run.totals[-1] >= run.totals[0]).all())
    ((3, 2), True)
    """
    seed = options.pop("seed", 0)
    start = checks.tensor("noise", noise, ndim=2)
    names = list(system.rewards) if rewards is None else list(rewards)
    chosen = RewardEnsemble({name: system.rewards[checks.choice("rewards", name, system.rewards)] for name in names})
    settings: dict[str, Any] = {"n_iter": plan.calls, "lr": plan.lr, "clip": plan.clip, "reg": plan.reg}
    optimizer = NoiseOptimizer(system.generator if generator is None else generator, chosen, **settings, **options)  # type: ignore[arg-type]
    totals: list[np.ndarray] = []
    seen: list[dict[str, np.ndarray]] = []
    path: list[np.ndarray] = []
    away = 0.0

    def watch(_: int, images: torch.Tensor, tried: torch.Tensor, told: dict[str, torch.Tensor]) -> None:
        nonlocal away
        begin = time.process_time()
        total = told["total"].numpy()
        better = total > totals[-1] if totals else np.ones(len(total), dtype=bool)
        if watched:
            found = verdicts(system, images, prompts)
            seen.append({name: np.where(better, value, seen[-1][name]) if seen else value for name, value in found.items()})
        path.append(tried.numpy().copy())
        totals.append(np.where(better, total, totals[-1]) if totals else total)
        away += time.process_time() - begin

    begin = time.process_time()
    result = optimizer.run(prompts, start, seed=seed, callback=watch)
    seconds = time.process_time() - begin - away
    if not watched:
        seen.append(verdicts(system, result.images, prompts))
    judged = {name: np.array([row[name] for row in seen]) for name in seen[0]}
    return Watched(result, judged, np.array(totals), np.array(path), seconds)


class OnSphere(nn.Module):
    """A generator that sees noise at the norm sqrt(d - 1) only: what projecting each iterate amounts to.

    Parameters
    ----------
    generator : Module
        With a ``noise_shape`` of one dimension.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> sphere = study.OnSphere(study.load_system().generator)
    >>> sphere(study.first_noise(1), ["a red 3 left of a blue 7"]).shape
    torch.Size([1, 3, 16, 32])
    """

    dtype = torch.float64

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator, self.noise_shape = generator, generator.noise_shape

    def forward(self, noise: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        norm = checks.tensor("noise", noise, ndim=2).norm(dim=1, keepdim=True)
        return self.generator(noise * ((noise.shape[1] - 1) ** 0.5 / norm), prompts)


def agreement(noise: torch.Tensor) -> np.ndarray:
    """The cosine of each noise with the sum of all others, shape (n,): about 0 where directions are independent.

    Parameters
    ----------
    noise : Tensor, shape (n, d)
        At least two, none of them zero.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.reno import study
    >>> study.agreement(torch.eye(2, 3)).tolist()
    [0.0, 0.0]
    """
    rows = checks.tensor("noise", noise, ndim=2).double().numpy()
    if len(rows) < 2 or not rows.any(axis=1).all():
        raise ValueError(f"noise must have at least two rows, none of them zero, got shape {rows.shape}")
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    others = unit.sum(0) - unit
    return (unit * others).sum(1) / np.maximum(np.linalg.norm(others, axis=1), np.finfo(float).tiny)


def spectrum(noise: torch.Tensor) -> np.ndarray:
    """Eigenvalues of the second moments of noise, largest first, over their mean: all near 1 where directions are white.

    Parameters
    ----------
    noise : Tensor, shape (n, d)
        Not zero throughout.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.reno import study
    >>> study.spectrum(torch.eye(3)).tolist()
    [1.0, 1.0, 1.0]
    """
    rows = checks.tensor("noise", noise, ndim=2).double().numpy()
    values = np.linalg.eigvalsh(rows.T @ rows)[::-1]
    if not values[0] > 0:
        raise ValueError(f"noise must not be zero throughout, got shape {rows.shape}")
    return np.maximum(values, 0) / values.mean()


def pull(system: DigitSystem, steps: int, prompts: Sequence[str], noise: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What reaches the noise through the teacher's steps or the student: norms of gradients and condition numbers, (n,).

    Gradients are those of the sum of rewards; condition numbers those of the Jacobian of the last latent numbers.

    Parameters
    ----------
    system : DigitSystem
    steps : int
        Of the teacher; 0 is the one step of the student.
    prompts : sequence of str
    noise : Tensor, shape (n, 32)

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> study.pull(study.load_system(), 2, ["a red 3 left of a blue 7"], study.first_noise(1))[0].shape
    (1,)
    """
    start = checks.tensor("noise", noise, ndim=2).detach().clone().double().requires_grad_()
    text = hazy(code(prompts))
    count = checks.integer("steps", steps, low=0, high=1000)
    latent = system.flow.solve(start, text, count) if count else system.generator.student(start, text)
    total = RewardEnsemble(system.rewards)(system.generator.decoder(latent), prompts)[1]
    slopes = torch.autograd.grad(total.sum(), start, retain_graph=True)[0]
    rows = [torch.autograd.grad(latent[:, k].sum(), start, retain_graph=True)[0] for k in range(LATENT)]
    jacobians = torch.stack(rows, dim=1).numpy()
    return slopes.norm(dim=1).numpy(), np.linalg.cond(jacobians)


def landscape(system: DigitSystem, prompt: str, corners: torch.Tensor, grid: Sequence[float]) -> np.ndarray:
    """The sum of rewards on a plane of noise: at ``o + a u + b v`` with a along columns and b along rows.

    Parameters
    ----------
    system : DigitSystem
    prompt : str
    corners : Tensor, shape (3, 32)
        o, u and v.
    grid : array_like, shape (m,)
        Values of a and b.

    Returns
    -------
    array, shape (m, m)

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> study.landscape(study.load_system(), "a red 3 left of a blue 7", study.first_noise(3), [0.0, 1.0]).shape
    (2, 2)
    """
    o, u, v = checks.tensor("corners", corners, ndim=2)
    steps = torch.as_tensor(checks.array("grid", grid, ndim=1).astype(float))
    b, a = torch.meshgrid(steps, steps, indexing="ij")
    noise = o + a.reshape(-1, 1) * u + b.reshape(-1, 1) * v
    prompts = [prompt] * len(noise)
    with torch.no_grad():
        total = RewardEnsemble(system.rewards)(system.generator(noise, prompts), prompts)[1]
    return total.reshape(len(steps), len(steps)).numpy()


def other_prompts(prompts: Sequence[str]) -> list[str]:
    """For each prompt another one of the list that says something else.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> study.other_prompts(["a red 3 left of a blue 7", "a red 1 left of a blue 2"])[0]
    'a red 1 left of a blue 2'
    """
    found = []
    for k, prompt in enumerate(prompts):
        own = understand(prompt)
        later = (other for other in (*prompts[k + 1 :], *prompts[:k]) if understand(other) != own)
        other = next(later, None)
        if other is None:
            raise ValueError("prompts must not all be the same")
        found.append(other)
    return found
