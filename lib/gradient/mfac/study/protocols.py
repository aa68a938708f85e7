"""The experiments with pruning: in one shot, gradually, and single weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from ..gradual import KeepPruned, PruneSchedule
from ..pruning import collect_gradients, obs_prune, prunable
from ..static import StaticFisherInverse
from .network import Images, Rng, accuracy, convnet, drawn_images, tenfold, train
from .rivals import magnitude_prune

LOSS = nn.functional.cross_entropy

#: Scheme of one-shot pruning -> block size, whether gradients are recomputed, whether the others move. None: by magnitude.
SCHEMES: dict[str, tuple[int | None, bool, bool] | None] = {
    "magnitude": None,
    "diagonal": (1, False, True),
    "diagonal, recomputed": (1, True, True),
    "full": (None, False, True),
    "full, recomputed": (None, True, True),
    "blocks": (128, False, True),
    "blocks, recomputed": (128, True, True),
    "blocks, not moved": (128, False, False),
    "blocks, recomputed, not moved": (128, True, False),
}

#: What gradual pruning goes by -> block size; None: the size of the weights.
GRADUAL: dict[str, int | None] = {"magnitude": None, "diagonal": 1, "blocks": 128}


def dense_network(rng: Rng, index: int, images: Images, epochs: int) -> nn.Module:
    """A convolutional network, trained by SGD with momentum and the tenfold schedule."""
    model = convnet(rng("dense", index))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    train(model, optimizer, images, epochs, 64, rng("dense batches", index), tenfold(epochs))
    return model


def fresh_gradients(
    model: nn.Module, images: Images, n: int, rng: np.random.Generator, first: torch.Tensor | None = None
) -> Callable[[], torch.Tensor]:
    """What `obs_prune` calls: `n` gradients of batches of 32, at the model's present weights; `first` at the first call."""
    known = [] if first is None else [first]
    return lambda: known.pop() if known else collect_gradients(model, LOSS, images.batches(rng, 32, n))


def pruned(
    dense: nn.Module, scheme: str, sparsity: float, images: Images, n_grads: int, n_recompute: int,
    rng: np.random.Generator, first: torch.Tensor | None = None,
) -> nn.Module:  # fmt: skip
    """A copy of a network, pruned by a scheme; `first` are gradients of the network as it is."""
    model, how = copy.deepcopy(dense), SCHEMES[scheme]
    if how is None:
        magnitude_prune(model, sparsity)
        return model
    block_size, again, update = how
    gradients = fresh_gradients(model, images, n_grads, rng, first)
    obs_prune(model, gradients, sparsity, block_size, n_recompute if again else 1, update=update)
    return model


def one_shot(
    dense: nn.Module, schemes: Sequence[str], sparsities: Sequence[float], images: Images, test: Images, n_grads: int,
    n_recompute: int, rng: Callable[..., np.random.Generator],
) -> dict[str, list[float]]:  # fmt: skip
    """Scheme -> test accuracy at each sparsity; every scheme sees the same batches."""
    first = fresh_gradients(dense, images, n_grads, rng("first"))()

    def result(scheme: str, sparsity: float) -> float:
        return accuracy(pruned(dense, scheme, sparsity, images, n_grads, n_recompute, rng("later"), first), test)

    return {scheme: [result(scheme, s) for s in sparsities] for scheme in schemes}


def gradual(
    dense: nn.Module, by: str, schedule: PruneSchedule, images: Images, test: Images, n_grads: int, n_recompute: int, rng: Rng
) -> list[float]:
    """Prune, train, prune, ...: test accuracy before, after each pruning and after each epoch. `by`: see `GRADUAL`.

    All are fine-tuned alike, on the same batches.
    """
    block_size = GRADUAL[by]
    model, masks = copy.deepcopy(dense), None
    params = prunable(model)
    optimizer = torch.optim.SGD(model.parameters(), schedule.high, momentum=0.9)
    keep = KeepPruned(optimizer, params, [torch.ones_like(p, dtype=torch.bool) for p in params])
    seen = [accuracy(model, test)]
    for epoch in range(schedule.n_epochs):
        target = schedule.target(epoch)
        if target is not None:
            gradients = fresh_gradients(model, images, n_grads, rng("gradual", epoch))
            result = (
                magnitude_prune(model, target, params)
                if block_size is None
                else obs_prune(model, gradients, target, block_size, n_recompute, params=params, masks=masks)
            )
            masks = keep.masks = result.masks
            seen.append(accuracy(model, test))
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr(epoch)
        train(model, optimizer, images, 1, 64, rng("tuning", epoch))
        seen.append(accuracy(model, test))
    return seen


def second_data(
    name: str, n_train: int, n_test: int, epochs: int, sparsity: float, size: tuple[int, int], schedule: PruneSchedule,
    n_images: int, n_recompute: int, rng: Rng,
) -> dict[str, float]:  # fmt: skip
    """One network on other images: test accuracy of three schemes in one shot, and of two ways to prune gradually.

    `size` is numbers of gradients and of recomputations in one shot; `n_images`, `n_recompute` belong to gradual pruning.
    """
    images, _, test = drawn_images(rng("data"), n_train, n_test, name)
    dense = dense_network(rng, 0, images, epochs)
    schemes = ("magnitude", "diagonal, recomputed", "blocks, recomputed")
    shot = one_shot(dense, schemes, [sparsity], images, test, *size, rng)
    found = {"before": accuracy(dense, test)} | {scheme: values[0] for scheme, values in shot.items()}
    for by in ("magnitude", "blocks"):
        args = (schedule, images.first(n_images), test, size[0], n_recompute, rng)
        found[f"gradual, {by}"] = gradual(dense, by, *args)[-1]
    return found


def single_weights(dense: nn.Module, images: Images, n: int, n_grads: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Remove weights one at a time: how the loss on 200 training images changes, beside four guesses.

    ``alone`` is the change if only this weight becomes zero, ``even`` the part of it that is the same for the opposite move
    (no slope in it). Guesses: ``squared`` weights, and the saliencies by the ``full`` and the ``diagonal`` Fisher matrix of
    batches of 32, and by the diagonal from gradients of ``single images``, the 200 ones. Half of the weights are drawn among
    all, half among the larger half.
    """
    model = copy.deepcopy(dense).eval()
    params = prunable(model)
    w = torch.cat([p.detach().flatten() for p in params])
    size, some = w.abs(), images.first(200)
    large = (size >= size.median()).nonzero()[:, 0].numpy()
    drawn = [rng.choice(len(w), n - n // 2, replace=False), rng.choice(large, n // 2, replace=False)]
    chosen = np.unique(np.concatenate(drawn))
    G = collect_gradients(model, LOSS, images.batches(rng, 32, n_grads))
    G_single = collect_gradients(model, LOSS, zip(some.x.split(1), some.y.split(1), strict=True))[:, chosen]
    full, squared = StaticFisherInverse(G), w[chosen] ** 2
    found: dict[str, Any] = {"squared": squared, "full": squared / (2 * full.diag()[chosen])}
    found["diagonal"] = squared * (full.damp + (G[:, chosen] ** 2).mean(0)) / 2
    found["single images"] = squared * (full.damp + (G_single**2).mean(0)) / 2
    start, rows = _loss(model, some), []
    for i in chosen:
        e = torch.zeros_like(w)
        e[i] = w[i]
        changes = []
        for moved in (w - e, w + e):
            nn.utils.vector_to_parameters(moved, params)
            changes.append(_loss(model, some) - start)
        rows.append([changes[0], sum(changes) / 2])
    found |= dict(zip(("alone", "even"), np.array(rows).T, strict=True))
    return {name: np.asarray(values, dtype=float) for name, values in found.items()}


@torch.no_grad()
def _loss(model: nn.Module, images: Images) -> float:
    return float(LOSS(model(images.x), images.y))


def rank_correlation(a: Any, b: Any) -> float:
    """Spearman's, of values rounded so that rounding errors do not order ties."""
    return float(spearmanr(np.round(a, 10), np.round(b, 10)).statistic)
