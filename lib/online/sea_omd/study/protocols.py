"""Races: the same streams, the same noise and the same grid of steps for every learner."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sea_omd import Ball, OnlineLearner, OptimisticEnsemble, OptimisticOMD, Play, play
from lib.online.sea_omd.study.rivals import OFTRL, OGD, AdaGradNorm, Ader, CoinBetting
from lib.online.sea_omd.study.streams import Stream

Array = NDArray[np.float64]

#: Improvement that still counts as one at the edge of a grid.
FLAT = 0.01


def contestants(stream: Any, scales: ArrayLike = 1.0) -> dict[str, OnlineLearner]:
    """Optimistic OMD and four rivals for a stream, with the steps of their theories times a factor.

    Parameters
    ----------
    stream : Stream, RandomOrder or LogisticStream
        Gives domain, G, L and the number of seeds S.
    scales : float or array_like, shape (k,)
        Factors on the steps, positive.

    Returns
    -------
    dict
        Name to learner; batches of shape (S,), or (k, S).

    Examples
    --------
    >>> from lib.online.sea_omd.study import contestants, stream
    >>> list(contestants(stream("iid", 10, 2)))
    ['optimistic OMD', 'OFTRL', 'OGD', 'AdaGrad-norm', 'coin betting']
    """
    if not all(hasattr(stream, name) for name in ("domain", "G", "L", "n_seeds")):
        raise TypeError(f"stream must have domain, G, L and n_seeds, got {checks.shown(stream)}")
    factors = checks.array("scales", scales, ndim=(0, 1), above=0).astype(np.float64)
    shape: tuple[int, ...] = (stream.n_seeds,) if factors.ndim == 0 else (len(factors), stream.n_seeds)
    own: dict[str, Any] = {"scale": factors if factors.ndim == 0 else factors[:, None], "shape": shape}
    domain, G, L = stream.domain, stream.G, stream.L
    return {
        "optimistic OMD": OptimisticOMD(domain, G, L, **own),
        "OFTRL": OFTRL(domain, G, L, **own),
        "OGD": OGD(domain, G, **own),
        "AdaGrad-norm": AdaGradNorm(domain, **own),
        "coin betting": CoinBetting(domain, G, **own),
    }


def race(stream: Any, scales: ArrayLike = 1.0) -> dict[str, Array]:
    """Regrets of all `contestants` on a stream.

    Parameters
    ----------
    stream : Stream, RandomOrder or LogisticStream
    scales : float or array_like, shape (k,)
        Factors on the steps, positive.

    Returns
    -------
    dict
        Name to regrets as the stream gives them: (T, S) or (T, k, S) after every round of a `Stream`, (S,) or (k, S) at the
        end of a `LogisticStream`.

    Examples
    --------
    >>> from lib.online.sea_omd.study import race, stream
    >>> race(stream("iid", 10, 3), [0.5, 1.0])["OGD"].shape
    (10, 2, 3)
    """
    return {
        name: stream.regret(play(learner, stream.gradient, stream.n_rounds).decisions)
        for name, learner in contestants(stream, scales).items()
    }


def dynamic_race(stream: Stream, constants: ArrayLike) -> dict[str, Array]:
    """Dynamic regrets on a stream with moving targets: the ensemble and its rivals.

    Parameters
    ----------
    stream : Stream
        Curved, such as the jumping one.
    constants : array_like, shape (k,)
        Constant steps of OGD, positive.

    Returns
    -------
    dict
        ``ensemble``, ``single`` (one optimistic learner) and ``Ader`` to regrets, shape (S,); ``constant`` to shape (k, S).

    Examples
    --------
    >>> from lib.online.sea_omd.study import dynamic_race, stream
    >>> out = dynamic_race(stream("jumping", 20, 2, jumps=2), [0.1, 0.3])
    >>> out["constant"].shape
    (2, 2)
    """
    if not isinstance(stream, Stream):
        raise TypeError(f"stream must be a Stream, got {checks.shown(stream)}")
    steps = checks.array("constants", constants, ndim=1, above=0).astype(np.float64)
    domain, G, L, T, S = stream.domain, stream.G, stream.L, stream.n_rounds, stream.n_seeds
    learners: dict[str, OnlineLearner] = {
        "ensemble": OptimisticEnsemble(domain, G, L, T, shape=(S,)),
        "single": OptimisticOMD(domain, G, L, shape=(S,)),
        "Ader": Ader(domain, G, L, T, shape=(S,)),
        "constant": OGD(domain, G, scale=steps[:, None], constant=True, shape=(len(steps), S)),
    }
    return {name: stream.dynamic_regret(play(each, stream.gradient, T).decisions) for name, each in learners.items()}


class Tuned(NamedTuple):
    """What tuning chose: the factor, the regrets of the other runs with it, and whether it lies at the edge of the grid."""

    scale: float
    regrets: Array
    edge: bool


def tuned(regrets: ArrayLike, scales: ArrayLike) -> Tuned:
    """Choose a factor on the first half of the runs, and judge it on the second half.

    An optimum counts as one at the edge only if the last step to it still gained more than a hundredth: some learners do not
    change any more once the factor is large.

    Parameters
    ----------
    regrets : array_like, shape (k, S)
        Of factor and run; may be negative.
    scales : array_like, shape (k,)
        Factors, positive.

    Examples
    --------
    >>> from lib.online.sea_omd.study import tuned
    >>> tuned([[3.0, 3.0], [1.0, 1.5], [2.0, 1.0]], [0.5, 1.0, 2.0])
    Tuned(scale=1.0, regrets=array([1.5]), edge=False)
    """
    r = checks.array("regrets", regrets, ndim=2).astype(np.float64)
    factors = checks.array("scales", scales, shape=(len(r),), above=0)
    if len(r) < 2 or r.shape[1] < 2:
        raise ValueError(f"regrets must have two factors and two runs at least, got shape {r.shape}")
    half = r.shape[1] // 2
    mean = r[:, :half].mean(axis=1)
    least = mean.min()
    best = int(np.argmax(mean <= least + 1e-9 * np.abs(mean).max()))
    inner = mean[1:-1].min() if len(r) > 2 else np.inf
    edge = best in (0, len(r) - 1) and inner - least > FLAT * abs(least)
    return Tuned(float(factors[best]), r[best, half:], bool(edge))


def against_any(domain: Ball, out: Play) -> Array:
    """Regret on the linearized losses against the best fixed point of a ball: the sum of ``<g_t, x_t - u>``, largest over u.

    Parameters
    ----------
    domain : Ball
    out : Play

    Returns
    -------
    array, shape of the batch

    Examples
    --------
    >>> from lib.online.sea_omd import Ball, OptimisticOMD, play
    >>> from lib.online.sea_omd.study import against_any
    >>> out = play(OptimisticOMD(Ball(2), G=1.0, L=0.0), lambda t, x: [1.0, 0.0], 3)
    >>> float(against_any(Ball(2), out).round(3))
    1.0
    """
    if not isinstance(domain, Ball) or not isinstance(out, Play):
        raise TypeError("domain must be a Ball and out what play returned")
    own = np.sum(out.gradients * (out.decisions - domain.start), axis=(0, -1))
    return own + domain.radius * np.linalg.norm(out.gradients.sum(axis=0), axis=-1)
