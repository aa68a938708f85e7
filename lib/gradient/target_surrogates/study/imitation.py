"""Online imitation: in each round the learner acts, the expert is asked once in every state visited, and the learner moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lib import checks

from ..optimizer import SSO
from .networks import drawn
from .pendulum import features, pendulum_expert, roll_out, start_states

Floats = NDArray[np.float64]
#: Parameters are rounded to so many decimals after each round, for the reason that states are.
_DECIMALS = 7
#: The chapter's methods: kind, step, steps per round (None: many), and the steps tried on two pilot seeds with 30 rounds.
IMITATORS: dict[str, tuple[str, float, int | None, tuple[float, ...]]] = {
    "gradient descent": ("ogd", 0.1, 1, (0.01, 0.03, 0.1, 0.2, 0.3)),
    "Adam": ("adam", 0.01, 1, (0.001, 0.003, 0.01, 0.03, 0.1)),
    "SSO, m = 1": ("sso", 0.2, 1, (0.1, 0.25, 0.5)),
    "SSO": ("sso", 0.2, None, (0.025, 0.05, 0.1, 0.2, 0.4)),
    "Adam, labels kept": ("adam", 0.01, None, (0.003, 0.01, 0.03, 0.1)),
    "Adam, all rounds": ("dagger", 0.01, None, (0.001, 0.003, 0.01, 0.03)),
}


@dataclass(frozen=True)
class Imitation:
    """One run: loss on each round's fresh states before the update, return of the last policy, calls of the expert.

    Losses after a divergence are infinite, the return minus infinity.
    """

    losses: Floats
    final_return: float
    expert_gradients: int


def learner(hidden: int, seed: int) -> torch.nn.Module:
    """A network from three features to one torque: two hidden layers with tanh, double precision.

    Parameters
    ----------
    hidden : int
    seed : int
        Of the weights, see `drawn`.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> sum(p.numel() for p in study.learner(8, seed=0).parameters())
    113
    """
    hidden, seed = checks.integer("hidden", hidden, low=1), checks.integer("seed", seed, low=0)
    layers = [torch.nn.Linear(3, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, hidden), torch.nn.Tanh()]
    return drawn(torch.nn.Sequential(*layers, torch.nn.Linear(hidden, 1)), seed)


def imitate(
    method: str,
    step: float,
    m: int = 1,
    rounds: int = 40,
    hidden: int = 32,
    episodes: int = 5,
    seed: int = 0,
) -> Imitation:
    """Online imitation of the pendulum's expert, without aggregation: each round uses its own states only.

    Parameters
    ----------
    method : {"sso", "ogd", "adam", "dagger"}
        SSO with target step `step` and `m` inner steps; gradient descent or Adam on the round's loss, `m` steps of length
        `step` with the round's labels kept; Adam on all states so far, `m` steps on random batches of a round's size.
    step : float
    m, rounds, hidden, episodes : int
        Steps per round, rounds, width, episodes of 200 steps in a round.
    seed : int
        Of weights, start states and batches.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> run = study.imitate("sso", step=0.25, m=2, rounds=2, hidden=4, episodes=1)
    >>> run.losses.shape, run.expert_gradients
    ((2,), 2)
    """
    checks.choice("method", method, ("sso", "ogd", "adam", "dagger"))
    step, m = checks.positive("step", step), checks.integer("m", m, low=1)
    rounds, hidden = checks.integer("rounds", rounds, low=1), checks.integer("hidden", hidden, low=1)
    episodes, seed = checks.integer("episodes", episodes, low=1), checks.integer("seed", seed, low=0)
    rng, net = np.random.default_rng(seed), learner(hidden, seed)
    update = _updater(method, net, step, m, rng)
    losses = []
    for _ in range(rounds):
        visited, _ = roll_out(_policy(net), start_states(episodes, rng))
        X, y = torch.from_numpy(features(visited)), torch.from_numpy(pendulum_expert(visited))
        losses.append(update(X, y))
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.round(p, decimals=_DECIMALS))
        if not all(bool((p.abs() < 1e6).all()) for p in net.parameters()):
            return Imitation(np.array(losses + [np.inf] * (rounds - len(losses))), -np.inf, rounds)
    _, returns = roll_out(_policy(net), start_states(200, np.random.default_rng(seed + 1)))
    return Imitation(np.array(losses), float(returns.mean()), rounds)


def _policy(net: torch.nn.Module) -> Callable[[Floats], Floats]:
    """The network as NumPy: quicker for a few states at a time."""
    A, a, B, b, C, c = (p.detach().numpy().T.copy() for p in net.parameters())
    return lambda states: (np.tanh(np.tanh(features(states) @ A + a) @ B + b) @ C + c)[:, 0]


def _updater(method: str, net: torch.nn.Module, step: float, m: int, rng: np.random.Generator) -> Callable[..., float]:
    """What a method does with a round's states and labels; returns the loss before the update."""
    if method == "sso":
        sso = SSO(net.parameters(), eta=step, m=m, alpha=1.0, beta=0.7, grow=1.5)
        return lambda X, y: float(sso.step(lambda: (lambda: net(X)[:, 0], lambda z: ((z - y) ** 2).mean())))
    kind = torch.optim.SGD if method == "ogd" else torch.optim.Adam
    optimizer, kept = kind(net.parameters(), lr=step), []

    def descend(X: torch.Tensor, y: torch.Tensor) -> float:
        first: list[float] = []
        kept.append((X, y))
        everything = tuple(map(torch.cat, zip(*kept, strict=True)))
        for _ in range(m):
            Xs, ys = X, y
            if method == "dagger" and first:
                rows = torch.from_numpy(rng.integers(len(everything[0]), size=len(X)))
                Xs, ys = everything[0][rows], everything[1][rows]
            optimizer.zero_grad()
            loss = ((net(Xs)[:, 0] - ys) ** 2).mean()
            loss.backward()
            optimizer.step()
            first.append(float(loss.detach()))
        return first[0]

    return descend
