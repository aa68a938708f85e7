"""The protocol of the comparisons: one warm start for each task and repetition, from which every method goes on.

Methods share source, target, held-out part, first weights, warm start and every batch. They differ in the direction of the
shared parameters, and in their tuned learning rate.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lib import checks
from lib.objectives.pareto_da.adaptation import Adaptation
from lib.objectives.pareto_da.estimator import split_target, summary
from lib.objectives.pareto_da.losses import refined, surrogate
from lib.objectives.pareto_da.networks import mlp, seeded

from .stacked import train_together, warm_together
from .tasks import digits_task

Floats = npt.NDArray[np.float64]
N_CLASSES = 10


@dataclass(frozen=True)
class Network:
    """Sizes of the networks, and settings that no method changes."""

    hidden: int = 64
    features: int = 32
    batch_size: int = 32
    warmup_lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-3
    held_out: float = 0.1


@dataclass(frozen=True)
class Variant:
    """A method with its settings: what is compared."""

    name: str
    method: Any = "pareto"
    refine: str = "bayes"
    lp_mode: str = "guided"
    lr: float = 0.1
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0)
    probe: bool = False  # whether `cosines` is taken at every look


@dataclass
class Start:
    """A task's data as tensors and the run after warm-up."""

    task: str
    X: Tensor
    y: Tensor
    target: Tensor
    held_out: Tensor
    everything: Tensor
    truth: npt.NDArray[np.int64]
    run: Adaptation
    seed: int

    def accuracy(self, run: Adaptation) -> float:
        """Share of the target's images that a run classifies rightly; the only use of its labels."""
        return float((run.predict_logits(self.everything).argmax(1).numpy() == self.truth).mean())

    def surrogate(self, run: Adaptation) -> float:
        """The surrogate loss of a run on the whole held-out part, in evaluation mode."""
        run.net.eval()
        with torch.no_grad():
            f = run.net(self.held_out)
            found = float(surrogate(refined(run.head(f), run.classwise(f), run.refine)))
        run.net.train()
        return found


@dataclass
class Outcome:
    """What one run of one method came to: accuracy and held-out loss at the steps looked at, and its history."""

    task: str
    steps: list[int] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    cosines: list[Floats] = field(default_factory=list)
    history: dict[str, Any] = field(default_factory=dict)
    run: Adaptation | None = None

    @property
    def last(self) -> float:
        """Accuracy after the last step: no step is chosen by labels."""
        return self.accuracy[-1]


def warm_starts(tasks: Sequence[str], n: int, warmup: int, seeds: Sequence[int], net: Network | None = None) -> list[Start]:
    """One start for each task and seed, warmed up together on the source.

    Parameters
    ----------
    tasks : sequence of str
        Of `digits_task`.
    n : int
        Images of the source, and of the target; at least 20.
    warmup : int
        Steps on the source alone, at least 0.
    seeds : sequence of int
        Each draws data, split, first weights and batches.
    net : Network, optional

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import warm_starts
    >>> [start.task for start in warm_starts(["M-O"], n=60, warmup=2, seeds=[0, 1])]
    ['M-O', 'M-O']
    """
    sizes, steps = net or Network(), checks.integer("warmup", warmup, low=0)
    count, given = checks.integer("n", n, low=20), checks.array("seeds", seeds, ndim=1, low=0)
    each = [checks.integer("seeds", seed) for seed in given]
    starts = [_start(task, count, seed, sizes) for task in tasks for seed in each]
    for group in _alike(starts):
        if steps:
            rows = np.stack(
                [np.random.default_rng([s.seed, 1]).integers(len(s.X), size=(steps, sizes.batch_size)) for s in group], 1
            )
            X, y = torch.stack([s.X for s in group]), torch.stack([s.y for s in group])
            warm_together([s.run for s in group], X, y, rows, sizes.warmup_lr)
    return starts


def _start(name: str, n: int, seed: int, sizes: Network) -> Start:
    draws = np.random.default_rng([seed, 0])
    task = digits_task(name, n, n, draws)
    guides, trains = split_target(n, sizes.held_out, draws)
    first = int(draws.integers(2**31))
    with seeded(first):
        net = mlp([task.X_source.shape[1], sizes.hidden, sizes.features], last=True).double()
    run = Adaptation(net, sizes.features, N_CLASSES, hidden=sizes.hidden, momentum=sizes.momentum,
                     weight_decay=sizes.weight_decay, seed=first)  # fmt: skip
    everything = torch.from_numpy(task.X_target)
    return Start(name, torch.from_numpy(task.X_source), torch.from_numpy(task.y_source), everything[trains], everything[guides],
                 everything, task.y_target, run, seed)  # fmt: skip


def compare(
    starts: Sequence[Start], variants: Sequence[Variant], iterations: int, every: int = 50, net: Network | None = None
) -> dict[str, list[Outcome]]:
    """Every variant from every start, on the same batches.

    Parameters
    ----------
    starts : sequence of Start
    variants : sequence of Variant
        With names of their own.
    iterations : int
        Adaptation steps, at least 1; a tenth of them is the ramp's time scale.
    every : int
        Steps between two looks at the accuracy, at least 1.
    net : Network, optional
        As given to `warm_starts`.

    Returns
    -------
    dict
        Name of the variant -> one `Outcome` for each start, in order.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import Variant, compare, warm_starts
    >>> starts = warm_starts(["M-O"], n=60, warmup=2, seeds=[0])
    >>> found = compare(starts, [Variant("ParetoDA"), Variant("sum", "sum")], iterations=3)
    >>> found["sum"][0].steps
    [0, 3]
    """
    count, every = checks.integer("iterations", iterations, low=1), checks.integer("every", every, low=1)
    sizes = net or Network()
    jobs = [(variant, i, Outcome(starts[i].task), branch(starts[i].run, variant, count)) for variant in variants
            for i in range(len(starts))]  # fmt: skip
    for refine in dict.fromkeys(variant.refine for variant in variants):
        for group in _alike(starts):
            chosen = [job for job in jobs if job[0].refine == refine and any(starts[job[1]] is s for s in group)]
            _train(starts, chosen, count, every, sizes.batch_size)
    found: dict[str, list[Outcome]] = {variant.name: [] for variant in variants}
    for variant, _, outcome, run in jobs:
        outcome.history, outcome.run = summary(run.history), run
        found[variant.name].append(outcome)
    return found


def cosines(start: Start, run: Adaptation) -> Floats:
    """Cosines of a run's gradients on all of the data, free of the noise of batches: pairs (S, D), (S, T), (D, T).

    Parameters
    ----------
    start : Start
        Where the run comes from.
    run : Adaptation
        After at least one step: before, the reversed gradient is 0.

    Raises
    ------
    ValueError
        For a run that has not taken a step.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import Variant, compare, cosines, warm_starts
    >>> starts = warm_starts(["M-O"], n=60, warmup=2, seeds=[0])
    >>> cosines(starts[0], compare(starts, [Variant("sum", "sum")], iterations=2)["sum"][0].run).shape
    (3,)
    """
    if run.step_count < 1:
        raise ValueError("run must have taken a step, got none")
    alone = copy.deepcopy(run)  # running statistics of batch normalization stay as they are
    G = alone.gradients(start.X, start.y, start.target, start.held_out).G.double().numpy()
    unit = G / np.maximum(np.linalg.norm(G, axis=1, keepdims=True), 1e-300)
    return (unit @ unit.T)[[0, 0, 1], [1, 2, 2]]


def branch(run: Adaptation, variant: Variant, iterations: int) -> Adaptation:
    """A copy of a run that goes on as a variant says."""
    run = copy.deepcopy(run)
    run.method, run.refine, run.lp_mode, run.lr = variant.method, variant.refine, variant.lp_mode, variant.lr
    run.scales, run.ramp = np.array(variant.scales), max(iterations / 10, 1.0)
    return run


def _train(starts: Sequence[Start], jobs: list[Any], iterations: int, every: int, size: int) -> None:
    if not jobs:
        return
    own = [starts[i] for _, i, _, _ in jobs]
    drawn = {id(s): index_of_batches(s, iterations, size) for s in own}
    batches = tuple(np.stack([drawn[id(s)][part] for s in own], 1) for part in range(3))
    data = tuple(torch.stack([getattr(s, name) for s in own]) for name in ("X", "y", "target", "held_out"))

    def look(step: int) -> None:
        for start, (variant, _, outcome, run) in zip(own, jobs, strict=True):
            outcome.steps.append(step)
            outcome.accuracy.append(start.accuracy(run))
            outcome.val_loss.append(start.surrogate(run))
            if variant.probe and step:
                outcome.cosines.append(cosines(start, run))

    look(0)
    train_together([run for *_, run in jobs], data, batches, look, every)  # type: ignore[arg-type]


def index_of_batches(start: Start, steps: int, size: int) -> list[npt.NDArray[np.int64]]:
    """Rows of each step's batches of source, target and held-out part, three arrays (steps, size): the same for all methods."""
    draws = np.random.default_rng([start.seed, 2])
    return [draws.integers(len(part), size=(steps, size)) for part in (start.X, start.target, start.held_out)]


def _alike(starts: Sequence[Start]) -> list[list[Start]]:
    """Starts of one input size together."""
    groups: dict[int, list[Start]] = {}
    for start in starts:
        groups.setdefault(start.X.shape[1], []).append(start)
    return list(groups.values())
