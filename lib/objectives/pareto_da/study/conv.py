"""The protocol with a convolutional network and batch normalization: runs one by one, on images of 16 x 16 pixels.

Batch normalization joins the images of a batch, so that runs are not stacked. What differs from `protocols` is the network, the
images, and a method "alone" that sees no image of the target: with batch normalization, a joint batch may already adapt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.objectives.pareto_da.adaptation import Adaptation, five_losses, lr_at, ramp_at
from lib.objectives.pareto_da.estimator import split_target, summary
from lib.objectives.pareto_da.losses import class_labels
from lib.objectives.pareto_da.networks import conv_net, seeded

from .protocols import N_CLASSES, Outcome, Start, Variant, branch, index_of_batches
from .tasks import images_task

#: Weights of the three gradients for the methods that need no program. In "source" the target's images enter the batches, and
#: so the statistics of batch normalization; "alone" (a method of `conv_compare` only) never sees them.
FIXED = {"source": (1.0, 0.0, 0.0), "dann": (1.0, 1.0, 0.0), "sum": (1.0, 1.0, 1.0)}


@dataclass(frozen=True)
class ConvNetwork:
    """Sizes of the networks, and settings that no method changes."""

    channels: tuple[int, ...] = (16, 32)
    features: int = 128
    hidden: int = 64
    batch_size: int = 32
    warmup_lr: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 1e-3
    held_out: float = 0.1


def conv_starts(tasks: Sequence[str], n: int, warmup: int, seeds: Sequence[int], net: ConvNetwork | None = None) -> list[Start]:
    """One start for each task and seed, warmed up on the source; as `warm_starts`, with convolutions and batch normalization.

    Parameters
    ----------
    tasks : sequence of str
        Of `images_task`.
    n : int
        Images of the source, and of the target; at least 20.
    warmup : int
        Steps on the source alone, at least 0.
    seeds : sequence of int
        Each draws data, split, first weights and batches.
    net : ConvNetwork, optional

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import ConvNetwork, conv_starts
    >>> start = conv_starts(["M-O"], n=40, warmup=1, seeds=[0], net=ConvNetwork((2, 4), 8))[0]
    >>> tuple(start.X.shape)
    (40, 1, 16, 16)
    """
    sizes, steps = net or ConvNetwork(), checks.integer("warmup", warmup, low=0)
    count, given = checks.integer("n", n, low=20), checks.array("seeds", seeds, ndim=1, low=0)
    starts = []
    for name in tasks:
        for seed in (checks.integer("seeds", seed) for seed in given):
            start = _start(name, count, seed, sizes)
            rows = np.random.default_rng([seed, 1]).integers(count, size=(steps, sizes.batch_size))
            for i in torch.from_numpy(rows):
                start.run.warm_up(start.X[i], start.y[i], lr=sizes.warmup_lr)
            starts.append(start)
    return starts


def _start(name: str, n: int, seed: int, sizes: ConvNetwork) -> Start:
    draws = np.random.default_rng([seed, 0])
    task = images_task(name, n, n, draws)
    guides, trains = split_target(n, sizes.held_out, draws)
    first = int(draws.integers(2**31))
    with seeded(first):
        net = conv_net(task.X_source.shape[1:], sizes.features, sizes.channels)
    last: Any = {"memory_format": torch.channels_last}  # faster on a CPU
    run = Adaptation(net.to(**last), sizes.features, N_CLASSES, hidden=sizes.hidden, norm=True, momentum=sizes.momentum,
                     weight_decay=sizes.weight_decay, seed=first)  # fmt: skip
    X, everything = (torch.from_numpy(part).float().contiguous(**last) for part in (task.X_source, task.X_target))
    return Start(name, X, torch.from_numpy(task.y_source), everything[trains], everything[guides], everything, task.y_target,
                 run, seed)  # fmt: skip


def conv_compare(
    starts: Sequence[Start], variants: Sequence[Variant], iterations: int, every: int = 50, net: ConvNetwork | None = None
) -> dict[str, list[Outcome]]:
    """Every variant from every start, on the same batches; as `compare`.

    Parameters
    ----------
    starts : sequence of Start
        Of `conv_starts`.
    variants : sequence of Variant
        With names of their own.
    iterations : int
        Adaptation steps, at least 1; a tenth of them is the ramp's time scale.
    every : int
        Steps between two looks at the accuracy, at least 1.
    net : ConvNetwork, optional
        As given to `conv_starts`.

    Returns
    -------
    dict
        Name of the variant -> one `Outcome` for each start, in order. Methods with fixed weights keep no history.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import ConvNetwork, Variant, conv_compare, conv_starts
    >>> small = ConvNetwork((2, 4), 8)
    >>> starts = conv_starts(["M-O"], n=40, warmup=1, seeds=[0], net=small)
    >>> conv_compare(starts, [Variant("ParetoDA", lr=0.01)], iterations=2, net=small)["ParetoDA"][0].steps
    [0, 2]
    """
    count, every = checks.integer("iterations", iterations, low=1), checks.integer("every", every, low=1)
    sizes = net or ConvNetwork()
    return {variant.name: [_one(start, variant, count, every, sizes.batch_size) for start in starts] for variant in variants}


def _one(start: Start, variant: Variant, iterations: int, every: int, size: int) -> Outcome:
    run, outcome = branch(start.run, variant, iterations), Outcome(start.task)
    rows = [torch.from_numpy(part) for part in index_of_batches(start, iterations, size)]
    for step in range(iterations + 1):
        if step % every == 0 or step == iterations:
            outcome.steps.append(step)
            outcome.accuracy.append(start.accuracy(run))
            outcome.val_loss.append(start.surrogate(run))
        if step < iterations:
            i, j, k = (part[step] for part in rows)
            _step(run, start.X[i], start.y[i], start.target[j], start.held_out[k])
    outcome.history, outcome.run = summary(run.history), run
    return outcome


def _step(run: Adaptation, x: Tensor, y: Tensor, z: Tensor, v: Tensor) -> None:
    if run.method == "alone":
        run.warm_up(x, y, lr=lr_at(run.step_count, run.lr))
        run.step_count += 1
    elif isinstance(run.method, str) and run.method in FIXED:
        fixed_step(run, FIXED[run.method], x, y, z)
    else:
        run.step(x, y, z, v)


def fixed_step(run: Adaptation, weights: Sequence[float], x: Tensor, y: Tensor, z: Tensor) -> None:
    """The step of `Adaptation.step` for fixed weights, with one backward pass through the features instead of four.

    Parameters
    ----------
    run : Adaptation
        Changed in place; its history stays as it is.
    weights : three floats
        Of the gradients of source, domain and target; at least 0.
    x, y, z : tensors
        Source batch, its labels, target batch.

    Raises
    ------
    TypeError, ValueError
        For weights or labels out of range.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.pareto_da import Adaptation
    >>> from lib.objectives.pareto_da.study.conv import fixed_step
    >>> run = Adaptation(torch.nn.Linear(4, 8), features=8, n_classes=2, seed=0)
    >>> fixed_step(run, (1.0, 1.0, 1.0), torch.ones(6, 4), torch.arange(6) % 2, torch.ones(6, 4))
    >>> run.step_count
    1
    """
    factors = checks.array("weights", weights, shape=(3,), low=0) * run.scales
    f = run.net(torch.cat([x, z]))
    labels = class_labels(y, len(x), run.n_classes)
    s, d, t, _, c = five_losses(run.head, run.domain, run.classwise, f, f[len(x) :], labels, run.refine)
    total = factors[0] * s - ramp_at(run.step_count, run.ramp) * factors[1] * d + factors[2] * t
    shared = torch.autograd.grad(total, run.shared, retain_graph=True)
    others = torch.autograd.grad(s + d + c, run.others)  # each part feels its own loss only
    run._apply(dict(zip([*run.shared, *run.others], [*shared, *others], strict=True)), lr_at(run.step_count, run.lr))
    run.step_count += 1
