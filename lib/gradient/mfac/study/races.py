"""The experiments with optimizers: a comparison tuned alike, windows of different size, deep networks of sigmoid units."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..optimizer import MFAC
from .costs import timed
from .network import Images, Rng, accuracy, convnet, deep_net, tenfold, train


@dataclasses.dataclass(frozen=True)
class Racer:
    """An optimizer, ``make(params, window, lr=..., **settings)``; rates it is tuned over, and changes that are tried after."""

    make: Callable[..., Any]
    rates: tuple[float, ...]
    changes: tuple[dict[str, Any], ...]


def _sgd(params: Any, window: int, momentum: float = 0.9, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, momentum=momentum, **settings)


def _adam(params: Any, window: int, beta: float = 0.9, **settings: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(params, betas=(beta, 0.999), **settings)


def _mfac(params: Any, window: int, lr: float, windows: int = 1, **settings: Any) -> torch.optim.Optimizer:
    """`windows` makes the window so many times larger at the same product of rate and window."""
    return MFAC(params, lr / windows, window * windows, **settings)


#: Optimizer -> how it is tuned: each rate three times the one before; then single changes at the best rate.
RACERS = {
    "SGD": Racer(
        _sgd,
        (0.01, 0.03, 0.1, 0.3, 1.0),
        ({"weight_decay": 3e-3}, {"momentum": 0.95}, {"weight_decay": 5e-4}, {"momentum": 0.8}),
    ),
    "Adam": Racer(
        _adam,
        (0.001, 0.003, 0.01, 0.03, 0.1),
        ({"weight_decay": 3e-3}, {"eps": 1e-4}, {"weight_decay": 5e-4}, {"beta": 0.8}),
    ),
    "M-FAC": Racer(
        _mfac,
        (0.0003, 0.001, 0.003, 0.01, 0.03),
        ({"weight_decay": 3e-3}, {"damp": 1e-3}, {"momentum": 0.9}, {"windows": 2}),
    ),
}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One training run while tuning: settings, loss of the last epoch, validation accuracy."""

    settings: dict[str, Any]
    loss: float
    validation: float


def race_net(rng: np.random.Generator) -> nn.Module:
    """The network of the comparison: two convolutions with batch normalization, 14 x 14 images."""
    return convnet(rng, 14, normalized=True)


def run_of(make: Callable[[Any], Any], images: Images, epochs: int, rng: Rng, index: int = 0) -> tuple[nn.Module, np.ndarray]:
    """One training run with the tenfold schedule; equal indices give equal first weights and equal batches."""
    model = race_net(rng("race", index))
    return model, train(model, make(model.parameters()), images, epochs, 64, rng("race batches", index), tenfold(epochs))


def last_epoch(losses: np.ndarray, epochs: int) -> float:
    """Mean loss of the last epoch's batches, at most 10: what a run counts that ended in infinity."""
    return min(float(losses[-(len(losses) // epochs) :].mean()), 10.0)


def tune(
    name: str, images: Images, validation: Images, epochs: int, window: int, n_rates: int, n_changes: int, rng: Rng
) -> list[Trial]:
    """Trials of one optimizer: the middle `n_rates` rates; `n_changes` single changes at the best; those that helped, together.

    The last trial is left out where fewer than two changes helped.
    """
    racer = RACERS[name]
    first = (len(racer.rates) - n_rates) // 2

    def trial(settings: dict[str, Any]) -> Trial:
        make = partial(racer.make, window=window, **settings)
        model, losses = run_of(make, images, epochs, rng)
        return Trial(settings, last_epoch(losses, epochs), accuracy(model, validation))

    trials = [trial({"lr": lr}) for lr in racer.rates[first : first + n_rates]]
    best = best_trial(trials)
    changed = [(change, trial(best.settings | change)) for change in racer.changes[:n_changes]]
    helped = [change for change, found in changed if found.validation > best.validation + 1e-9]
    trials += [found for _, found in changed]
    if len(helped) > 1:
        together = dict(best.settings)
        for change in reversed(helped):  # of two values of one setting, the first counts
            together |= change
        trials.append(trial(together))
    return trials


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The trial with the highest validation accuracy; among equals the first."""
    return max(trials, key=lambda t: round(t.validation, 6))


def rerun(
    chosen: dict[str, Trial], images: Images, test: Images, epochs: int, window: int, n: int, rng: Rng
) -> dict[str, list[tuple[float, np.ndarray]]]:
    """Test accuracy and losses of each optimizer at its chosen settings, from `n` new first weights, the same for all."""
    found: dict[str, list[tuple[float, np.ndarray]]] = {}
    for name, trial in chosen.items():
        make = partial(RACERS[name].make, window=window, **trial.settings)
        runs = [run_of(make, images, epochs, rng, index) for index in range(1, n + 1)]
        found[name] = [(accuracy(model, test), losses) for model, losses in runs]
    return found


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


#: The deep networks' optimizers and their rates; where fewer are tried, the first ones. M-FAC's first is its default.
DEEP = {"SGD": [0.05, 0.2, 0.8], "Adam": [0.01, 0.003, 0.03], "M-FAC": [0.001, 0.003, 0.0003]}


def deep(
    activation: type[nn.Module], images: Images, test: Images, epochs: int, n_rates: int, rng: Rng, window: int = 128
) -> dict[str, list[float]]:
    """Optimizer -> test accuracy at each of its first `n_rates` rates, four hidden layers, batches of 32."""
    found: dict[str, list[float]] = {}
    for name, rates in DEEP.items():
        found[name] = []
        for lr in rates[:n_rates]:
            model = deep_net(rng("deep"), activation)
            train(model, RACERS[name].make(model.parameters(), window, lr=lr), images, epochs, 32, rng("deep batches"))
            found[name].append(accuracy(model, test))
    return found


def step_ratios(images: Images, window: int, rng: Rng, steps: int = 8) -> dict[str, float]:
    """Time of a step of each optimizer over one of SGD, forward and backward pass included, the window full."""
    spent = {}
    some = images.first(64 * steps)
    for name, racer in RACERS.items():
        model = race_net(rng("race", 0))
        optimizer = racer.make(model.parameters(), window, lr=1e-6)
        train(model, optimizer, some, 1, 64, rng("warm"))
        if isinstance(optimizer, MFAC) and optimizer.window is not None:
            fill = torch.from_numpy(rng("fill").normal(size=(window, optimizer.window.d)))
            for g in fill:
                optimizer.window.update(g)
        spent[name] = timed(partial(train, model, optimizer, some, 1, 64, rng("steps")), 3)
    return {name: seconds / spent["SGD"] for name, seconds in spent.items()}
