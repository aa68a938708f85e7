"""The experiments of the chapter: pruning once and gradually, optimizers tuned alike, windows, single weights."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from ..dynamic import DynamicFisherInverse
from ..gradual import KeepPruned, PruneSchedule
from ..optimizer import MFAC
from ..pruning import collect_gradients, obs_prune, prunable
from ..static import StaticFisherInverse
from .counting import count_operations, slope
from .network import Images, accuracy, convnet, deep_net, tenfold, train
from .rivals import magnitude_prune, solved_vectors

Rng = Callable[..., np.random.Generator]
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


def dense_network(rng: Rng, index: int, images: Images, epochs: int) -> nn.Module:
    """A convolutional network, trained by SGD with momentum and the tenfold schedule."""
    model = convnet(rng("dense", index))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    train(model, optimizer, images, epochs, 64, rng("dense batches", index), tenfold(epochs))
    return model


def fresh_gradients(model: nn.Module, images: Images, n: int, rng: np.random.Generator) -> Callable[[], torch.Tensor]:
    """What `obs_prune` calls: `n` gradients of batches of 32, at the model's present weights."""
    return lambda: collect_gradients(model, LOSS, images.batches(rng, 32, n))


def pruned(
    dense: nn.Module, scheme: str, sparsity: float, images: Images, n_grads: int, n_recompute: int, rng: np.random.Generator
) -> nn.Module:
    """A copy of a network, pruned by a scheme."""
    model, how = copy.deepcopy(dense), SCHEMES[scheme]
    if how is None:
        magnitude_prune(model, sparsity)
        return model
    block_size, again, update = how
    gradients = fresh_gradients(model, images, n_grads, rng)
    obs_prune(model, gradients, sparsity, block_size, n_recompute if again else 1, update=update)
    return model


def one_shot(
    dense: nn.Module, schemes: Sequence[str], sparsities: Sequence[float], train_set: Images, test: Images, n_grads: int,
    n_recompute: int, rng: Callable[[], np.random.Generator],
) -> dict[str, list[float]]:  # fmt: skip
    """Scheme -> test accuracy at each sparsity; every scheme sees the same batches."""
    return {
        scheme: [accuracy(pruned(dense, scheme, s, train_set, n_grads, n_recompute, rng()), test) for s in sparsities]
        for scheme in schemes
    }


def gradual(
    dense: nn.Module, by: str, schedule: PruneSchedule, images: Images, test: Images, n_grads: int, rng: Rng
) -> list[float]:
    """Prune, train, prune, ...: test accuracy before, after each pruning and after each epoch. `by`: magnitude or blocks.

    M-FAC takes four recomputations a pruning. Both are fine-tuned alike, on the same batches.
    """
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
                if by == "magnitude"
                else obs_prune(model, gradients, target, n_recompute=4, params=params, masks=masks)
            )
            masks = keep.masks = result.masks
            seen.append(accuracy(model, test))
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr(epoch)
        train(model, optimizer, images, 1, 64, rng("tuning", epoch))
        seen.append(accuracy(model, test))
    return seen


# ------------------------------------------------------------------------------------------------------- optimizers

#: Optimizer -> how it is made for a rate and a window, and the rates it is tuned over (each three times the one before).
RACERS: dict[str, tuple[Callable[..., Any], list[float]]] = {
    "SGD": (lambda p, lr, m: torch.optim.SGD(p, lr, momentum=0.9), [0.003, 0.01, 0.03, 0.1, 0.3]),
    "Adam": (lambda p, lr, m: torch.optim.Adam(p, lr), [0.001, 0.003, 0.01, 0.03, 0.1]),
    "M-FAC": (lambda p, lr, m: MFAC(p, lr, m), [0.0003, 0.001, 0.003, 0.01, 0.03]),
    "M-FAC, momentum": (lambda p, lr, m: MFAC(p, lr, m, momentum=0.9), [0.0003, 0.001, 0.003, 0.01, 0.03]),
}


def run_of(make: Callable[[Any], Any], images: Images, epochs: int, rng: Rng, size: int = 64) -> tuple[nn.Module, np.ndarray]:
    """One training run with the tenfold schedule; every optimizer starts at the same weights and sees the same batches."""
    model = convnet(rng("race"))
    return model, train(model, make(model.parameters()), images, epochs, size, rng("race batches"), tenfold(epochs))


def last_epoch(losses: np.ndarray, epochs: int) -> float:
    """Mean loss of the last epoch's batches; that of a constant guess, ln 10, where the run ended before."""
    mean = float(losses[-(len(losses) // epochs) :].mean())
    return mean if np.isfinite(mean) else float(np.log(10))


def race(
    images: Images, validation: Images, test: Images, epochs: int, window: int, n_rates: int, rng: Rng
) -> dict[str, list[dict[str, Any]]]:
    """Optimizer -> one entry a rate: rate, losses, last epoch's loss, accuracy on validation and test images."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (make, rates) in RACERS.items():
        first = max(0, (len(rates) - n_rates) // 2)
        rates = rates[first : first + n_rates]
        found[name] = []
        for lr in rates:
            model, losses = run_of(partial(make, lr=lr, m=window), images, epochs, rng)
            entry = {"rate": lr, "losses": losses, "loss": last_epoch(losses, epochs)}
            found[name].append({**entry, "validation": accuracy(model, validation), "test": accuracy(model, test)})
    return found


def best_rate(entries: list[dict[str, Any]], by: str = "validation") -> dict[str, Any]:
    """The entry with the highest validation accuracy, the smaller rate among equals."""
    return max(entries, key=lambda entry: (round(entry[by], 6), -entry["rate"]))


def windows(images: Images, epochs: int, sizes: Sequence[int], lr: float, rng: Rng, middle: int) -> dict[str, list[float]]:
    """Last epoch's loss by window size: at one rate, and at rates for which rate times window is the same."""
    found: dict[str, list[float]] = {"same rate": [], "same product": []}
    for m in sizes:
        for rule, rate in (("same rate", lr), ("same product", lr * middle / m)):
            if rule == "same product" and m == middle:
                found[rule].append(found["same rate"][-1])
                continue
            _, losses = run_of(partial(MFAC, lr=rate, ngrads=m), images, epochs, rng)
            found[rule].append(last_epoch(losses, epochs))
    return found


#: The deep network's optimizers and their rates.
DEEP = {"SGD": [0.05, 0.2, 0.8], "Adam": [0.003, 0.01, 0.03], "M-FAC": [0.0003, 0.001, 0.003]}


def deep(
    activation: type[nn.Module], images: Images, test: Images, epochs: int, rng: Rng, window: int = 128
) -> dict[str, list[tuple[float, float]]]:
    """Optimizer -> last epoch's loss and test accuracy at each of three rates, four hidden layers."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, rates in DEEP.items():
        found[name] = []
        for lr in rates:
            model = deep_net(rng("deep"), activation)
            optimizer = RACERS[name][0](model.parameters(), lr, window)
            losses = train(model, optimizer, images, epochs, 32, rng("deep batches"))
            found[name].append((last_epoch(losses, epochs), accuracy(model, test)))
    return found


# -------------------------------------------------------------------------------------------------- single weights


def single_weights(dense: nn.Module, images: Images, n: int, n_grads: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Remove weights one at a time: how the loss changes, beside three guesses; on 300 training images.

    ``alone`` is the change if only this weight becomes zero, ``even`` the part of it that is the same for the opposite move
    (no slope in it), ``moved`` the change if the others make up for it. Guesses: ``squared`` weights, and the saliencies by
    the ``diagonal`` and the ``full`` Fisher matrix. Half of the weights are drawn among all, half among the larger half.
    """
    model = copy.deepcopy(dense).eval()
    params = prunable(model)
    w = torch.cat([p.detach().flatten() for p in params])
    G = collect_gradients(model, LOSS, images.batches(rng, 32, n_grads))
    size, some = w.abs(), Images(images.x[:300], images.y[:300])
    large = (size >= size.median()).nonzero()[:, 0].numpy()
    drawn = [rng.choice(len(w), n - n // 2, replace=False), rng.choice(large, n // 2, replace=False)]
    chosen = np.unique(np.concatenate(drawn))
    full = StaticFisherInverse(G)
    diag = full.diag()
    found: dict[str, Any] = {"squared": w[chosen] ** 2, "full": w[chosen] ** 2 / (2 * diag[chosen])}
    found["diagonal"] = w[chosen] ** 2 * (full.damp + (G**2).mean(0)[chosen]) / 2
    start, rows = _loss(model, some), []
    for i in chosen:
        e = torch.zeros_like(w)
        e[i] = 1.0
        changes = []
        for move in (-w[i] * e, w[i] * e, -w[i] / diag[i] * full.mul(e)):
            nn.utils.vector_to_parameters(w + move, params)
            changes.append(_loss(model, some) - start)
        rows.append([changes[0], (changes[0] + changes[1]) / 2, changes[2]])
    found |= dict(zip(("alone", "even", "moved"), np.array(rows).T, strict=True))
    return {name: np.asarray(values, dtype=float) for name, values in found.items()}


@torch.no_grad()
def _loss(model: nn.Module, images: Images) -> float:
    return float(LOSS(model(images.x), images.y))


def rank_correlation(a: Any, b: Any) -> float:
    """Spearman's, of values rounded so that rounding errors do not order ties."""
    return float(spearmanr(np.round(a, 10), np.round(b, 10)).statistic)


# ------------------------------------------------------------------------------------------------------ exactness


def exact_cases(rng: np.random.Generator) -> dict[str, int]:
    """How many products, diagonals, elements and windows differ from dense algebra by over a billionth."""
    wrong = {"static": 0, "blocks": 0, "dynamic": 0}
    for m, d in ((4, 30), (12, 12), (40, 25)):
        G, x = torch.from_numpy(rng.normal(size=(m, d))), torch.from_numpy(rng.normal(size=d))
        for B in (None, 7, 1):
            F = 1e-5 * torch.eye(d, dtype=torch.float64) + G.T @ G / m
            block = torch.arange(d) // (B or d)
            dense = torch.linalg.inv(F * (block[:, None] == block))
            inverse = StaticFisherInverse(G, block_size=B)
            element = torch.tensor([inverse.element(1, j) for j in range(d)], dtype=torch.float64)
            pairs = ((inverse.mul(x), dense @ x), (inverse.diag(), dense.diagonal()), (element, dense[1]))
            wrong["static" if B is None else "blocks"] += sum(_off(a, b) for a, b in pairs)
    for n in range(1, 17):
        G, x = torch.from_numpy(rng.normal(size=(n, 20))), torch.from_numpy(rng.normal(size=20))
        window = DynamicFisherInverse(6, 20, dtype=torch.float64)
        for g in G:
            newest = window.update_mul(g)
        F = 1e-5 * torch.eye(20, dtype=torch.float64) + G[-6:].T @ G[-6:] / 6
        wrong["dynamic"] += _off(window.mul(x), torch.linalg.solve(F, x)) + _off(newest, torch.linalg.solve(F, G[-1]))
    return wrong


def _off(found: torch.Tensor, expected: torch.Tensor) -> int:
    return int(not float((found - expected).norm()) <= 1e-9 * float(expected.norm()))


# ----------------------------------------------------------------------------------------------------------- costs


def counted() -> dict[str, float]:
    """Powers with which counted operations grow, and the largest count of sliding over ``d m + m^3``."""
    many_d, many_m = (1000, 2000, 4000), (32, 64, 128)
    by_d = [_counts(32, d) for d in many_d]
    by_m = [_counts(m, 2000) for m in many_m]
    powers = {f"{name}_d": slope(many_d, [c[name] for c in by_d]) for name in ("setup", "product")}
    powers |= {f"{name}_m": slope(many_m, [c[name] for c in by_m]) for name in ("setup", "product", "element")}
    sizes = [*((32, d) for d in many_d), *((m, 2000) for m in many_m)]
    slide = max(c["slide"] / (d * m + m**3) for c, (m, d) in zip([*by_d, *by_m], sizes, strict=True))
    return {**powers, "slide": slide}


def _counts(m: int, d: int) -> dict[str, int]:
    G = torch.from_numpy(np.random.default_rng(0).normal(size=(m, d)))
    inverse, window = StaticFisherInverse(G), DynamicFisherInverse(m, d, dtype=torch.float64)
    window.G.copy_(G)
    window.S.copy_(G @ G.T)
    window.n_updates = m
    return {
        "setup": count_operations(lambda: StaticFisherInverse(G)),
        "product": count_operations(lambda: inverse.mul(G[0])),
        "element": count_operations(lambda: inverse.element(0, 1)),
        "slide": count_operations(lambda: window.update_mul(G[0])),
    }


def timed(call: Callable[[], Any], repeats: int = 2) -> float:
    """Least CPU seconds of a few calls."""
    spent = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        spent.append(time.process_time() - begin)
    return max(min(spent), 1e-7)


def times(sizes: Sequence[tuple[int, int]], rng: np.random.Generator) -> list[dict[str, float]]:
    """For each (m, d): seconds of set-up, product, slide with product, and of the set-up by one triangular solve."""
    rows = []
    for m, d in sizes:
        G = torch.from_numpy(rng.normal(size=(m, d)).astype(np.float32))
        inverse, window = StaticFisherInverse(G), DynamicFisherInverse(m, d)
        for g in G:
            window.update(g)
        x = G[0].clone()
        calls: dict[str, Callable[[], Any]] = {
            "setup": partial(StaticFisherInverse, G),
            "product": partial(inverse.mul, x),
            "slide": partial(window.update_mul, x),
            "solve": partial(solved_vectors, G),
        }
        rows.append({name: timed(call) for name, call in calls.items()})
    return rows


def step_ratios(images: Images, window: int, rng: Rng, steps: int = 10) -> dict[str, float]:
    """Time of an M-FAC step over one of SGD and of Adam, forward and backward pass included, the window full."""
    spent = {}
    some = images.first(128 * steps)
    for name in ("SGD", "Adam", "M-FAC"):
        model = convnet(rng("race"))
        optimizer = RACERS[name][0](model.parameters(), 1e-3, window)
        if name == "M-FAC":
            train(model, optimizer, images.first(2 * window), 1, 2, rng("fill"))
        spent[name] = timed(partial(train, model, optimizer, some, 1, 128, rng("steps")), 2)
    return {name.lower(): spent["M-FAC"] / spent[name] for name in ("SGD", "Adam")}
