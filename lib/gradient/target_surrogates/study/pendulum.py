"""A pendulum to imitate on: gymnasium's Pendulum-v1 dynamics for many episodes at once, and an expert that swings it up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks

Floats = NDArray[np.float64]
_GRAVITY, _DT, _TORQUE, _SPEED = 10.0, 0.05, 2.0, 8.0
#: States are rounded to so many decimals: a CPU's last bit does not grow into another trajectory.
_DECIMALS = 6


def start_states(n: int, seed: int | np.random.Generator) -> Floats:
    """Angles uniform on (-pi, pi), 0 upright, and speeds uniform on (-1, 1), shape (n, 2).

    Parameters
    ----------
    n : int
    seed : int or Generator

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> study.start_states(3, seed=0).shape
    (3, 2)
    """
    rng = checks.generator("seed", seed)
    return rng.uniform((-np.pi, -1.0), (np.pi, 1.0), (checks.integer("n", n, low=1), 2))


def pendulum_step(states: ArrayLike, torque: ArrayLike) -> tuple[Floats, Floats]:
    """One step of gymnasium's Pendulum-v1 (mass and length 1, g = 10, 0.05 s); the torque is cut at 2, the speed at 8.

    Parameters
    ----------
    states : array, shape (n, 2)
        Angles (0 upright) and speeds.
    torque : array, shape (n,)

    Returns
    -------
    states, rewards : array, shapes (n, 2) and (n,)
        Rewards are minus the squared angle, 0.1 of the squared speed and 0.001 of the squared torque, before the step.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> states, rewards = study.pendulum_step([[0.0, 1.0]], [0.0])
    >>> states.tolist(), rewards.tolist()
    ([[0.05, 1.0]], [-0.1])
    """
    states = checks.array("states", states, shape=(None, 2))
    u = np.clip(checks.array("torque", torque, shape=(len(states),)), -_TORQUE, _TORQUE)
    angle, speed = states.T
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    rewards = -(wrapped**2 + 0.1 * speed**2 + 0.001 * u**2)
    faster = np.clip(speed + (1.5 * _GRAVITY * np.sin(angle) + 3 * u) * _DT, -_SPEED, _SPEED)
    return np.stack([angle + faster * _DT, faster], axis=1), rewards


def pendulum_expert(states: ArrayLike) -> Floats:
    """The expert's torque: pumps energy until the pendulum is nearly upright, then balances it; smooth in the state.

    Parameters
    ----------
    states : array, shape (n, 2)

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> study.pendulum_expert([[0.1, 0.0]]).round(2).tolist()
    [-0.92]
    """
    angle, speed = checks.array("states", states, shape=(None, 2)).T
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    energy = speed**2 / 6 + _GRAVITY / 2 * (np.cos(wrapped) - 1)
    near = np.exp(-((wrapped / 0.6) ** 4) - (speed / 4) ** 4)
    balance, pump = -(10 * wrapped + 3 * speed), -2 * energy * np.tanh(4 * speed)
    return _TORQUE * np.tanh((near * balance + (1 - near) * pump) / _TORQUE)


def roll_out(policy: Callable[[Floats], ArrayLike], states: ArrayLike, n_steps: int = 200) -> tuple[Floats, Floats]:
    """Follow a policy from the given states, all episodes side by side.

    Parameters
    ----------
    policy : function
        States (n, 2) to torques (n,).
    states : array, shape (n, 2)
    n_steps : int

    Returns
    -------
    visited, returns : array, shapes (n_steps * n, 2) and (n,)
        The states in which the policy acted, and each episode's sum of rewards.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> visited, returns = study.roll_out(study.pendulum_expert, study.start_states(20, seed=0))
    >>> visited.shape, bool(returns.mean() > -300)
    ((4000, 2), True)
    """
    checks.function("policy", policy)
    states = np.round(checks.array("states", states, shape=(None, 2)), _DECIMALS)
    visited, returns = [], np.zeros(len(states))
    for _ in range(checks.integer("n_steps", n_steps, low=1)):
        visited.append(states)
        states, rewards = pendulum_step(states, policy(states.copy()))
        states, returns = np.round(states, _DECIMALS), returns + rewards
    return np.concatenate(visited), returns


def features(states: ArrayLike) -> Floats:
    """What the learner sees of a state: cosine and sine of the angle, and the speed over 8; shape (n, 3).

    Parameters
    ----------
    states : array, shape (n, 2)

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> study.features([[0.0, 4.0]]).tolist()
    [[1.0, 0.0, 0.5]]
    """
    angle, speed = checks.array("states", states, shape=(None, 2)).T
    return np.stack([np.cos(angle), np.sin(angle), speed / _SPEED], axis=1)
