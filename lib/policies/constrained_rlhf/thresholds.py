"""Where rewards stop to be useful: the proxy point of recorded runs, and a simplex search for thresholds within one run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from lib import checks

#: Points of the grid along each reward on which a surface's maximum is looked for, by the number of rewards.
_GRID = {1: 1001, 2: 101, 3: 31}


@dataclass(frozen=True)
class ProxyPoint:
    """Maximum of a smooth surface through scores as a function of rewards.

    theta : where it is, (N,)
    score : the surface's height there
    inside : whether the scores seen on all sides of it are lower; otherwise the rewards never became harmful
    degree, low, high, coefficients : the polynomial, and the box that it is fitted in
    """

    theta: np.ndarray
    score: float
    inside: bool
    degree: int
    low: np.ndarray
    high: np.ndarray
    coefficients: np.ndarray

    def predict(self, values: Any) -> np.ndarray:
        """Height of the surface, shape (n,), at values (n, N) of the rewards, or (n,) of one."""
        given = _columns("values", values)
        if given.shape[1] != len(self.theta):
            raise ValueError(f"values must have {len(self.theta)} columns, got {given.shape[1]}")
        return _basis((given - self.low) / (self.high - self.low), self.degree) @ self.coefficients


def find_proxy_point(
    values: Any, score: Any, degree: int = 10, bandwidth: float = 0.15, ridge: float = 1e-4, support: float = 0.05
) -> ProxyPoint:  # fmt: skip
    """The values of the rewards at which a fitted surface of true scores is highest.

    Scores are smoothed by a Gaussian kernel, a polynomial is fitted to what comes out, and its maximum is looked for where
    there are data. With one reward this is the proxy point of a run with that reward alone, with several the joint one.

    Parameters
    ----------
    values : array_like, shape (n, N) or (n,)
        Rewards of checkpoints; N is 1 to 3.
    score : array_like, shape (n,)
        True scores of the same checkpoints.
    degree : int
        Of the polynomial; the paper's 10.
    bandwidth : float
        Of the kernel, as a share of each reward's range; 0 for no smoothing.
    ridge : float
        Weight of the squared coefficients, so that few points do for a high degree.
    support : float
        Least density of the data, as a share of the largest, at which a maximum counts.

    Returns
    -------
    ProxyPoint

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, fewer than 3 checkpoints, or a reward that never changes.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.policies.constrained_rlhf import find_proxy_point
    >>> seen = np.linspace(0.0, 1.0, 41)
    >>> point = find_proxy_point(seen, 1 - (seen - 0.6) ** 2, degree=4, bandwidth=0.0)
    >>> point.theta.round(2).tolist(), point.inside
    ([0.6], True)
    """
    given = _columns("values", values)
    wanted = checks.array("score", score, shape=(len(given),)).astype(float)
    degree, bandwidth = checks.integer("degree", degree, low=1), checks.number("bandwidth", bandwidth, low=0)
    ridge, support = checks.number("ridge", ridge, low=0), checks.number("support", support, low=0, below=1)
    if len(given) < 3:
        raise ValueError(f"values must hold at least 3 checkpoints, got {len(given)}")
    if given.shape[1] not in _GRID:
        raise ValueError(f"values must have 1 to 3 columns, got {given.shape[1]}")
    low, high = given.min(0), given.max(0)
    if (high <= low).any():
        raise ValueError("values must change along every column, got one that is constant")
    unit = (given - low) / (high - low)
    basis = _basis(unit, degree)
    penalty = ridge * len(unit) * np.eye(basis.shape[1])
    penalty[0, 0] = 0.0  # the mean is free
    smooth = _smoothed(unit, wanted, bandwidth) if bandwidth else wanted
    coefficients = np.linalg.lstsq(basis.T @ basis + penalty, basis.T @ smooth, rcond=None)[0]
    axis = np.linspace(0.0, 1.0, _GRID[given.shape[1]])
    grid = np.stack([a.ravel() for a in np.meshgrid(*[axis] * given.shape[1], indexing="ij")], 1)
    grid = grid[_density(grid, unit, bandwidth or 0.15) >= support * _density(unit, unit, bandwidth or 0.15).max()]
    heights = _basis(grid, degree) @ coefficients
    best = int(np.argmax(heights))
    theta = low + grid[best] * (high - low)
    return ProxyPoint(theta, float(heights[best]), _is_inside(grid[best], grid, axis[1]), degree, low, high, coefficients)


def _columns(name: str, values: Any) -> np.ndarray:
    given = checks.array(name, values, ndim=(1, 2)).astype(float)
    return given[:, None] if given.ndim == 1 else given


def _basis(unit: np.ndarray, degree: int) -> np.ndarray:
    """Products of Chebyshev polynomials of the columns, of total degree at most `degree`; the constant first."""
    each = np.polynomial.chebyshev.chebvander(2 * unit - 1, degree)
    powers = [p for p in product(range(degree + 1), repeat=unit.shape[1]) if sum(p) <= degree]
    return np.stack([np.prod([each[:, k, d] for k, d in enumerate(p)], axis=0) for p in powers], 1)


def _kernel(at: np.ndarray, unit: np.ndarray, bandwidth: float) -> np.ndarray:
    return np.exp(-0.5 * ((at[:, None] - unit[None]) ** 2).sum(2) / bandwidth**2)


def _smoothed(unit: np.ndarray, score: np.ndarray, bandwidth: float) -> np.ndarray:
    """Kernel-weighted means of the scores at the data."""
    weights = _kernel(unit, unit, bandwidth)
    return weights @ score / weights.sum(1)


def _density(at: np.ndarray, unit: np.ndarray, bandwidth: float) -> np.ndarray:
    return np.concatenate([_kernel(part, unit, bandwidth).sum(1) for part in np.array_split(at, -(-len(at) // 2000))])


def _is_inside(point: np.ndarray, grid: np.ndarray, step: float) -> bool:
    """Whether a point's neighbors on the grid, two along each column, are all among those that count."""
    for k in range(len(point)):
        for side in (-step, step):
            shifted = point + side * (np.arange(len(point)) == k)
            if np.abs(grid - shifted).max(1).min() > step / 2:
                return False
    return True


class _Cached:
    """Evaluations of a function, reused for points that agree in every coordinate within a tolerance."""

    def __init__(self, evaluate: Callable[[np.ndarray], float], tol: float, most: int) -> None:
        self.evaluate, self.tol, self.most = evaluate, tol, most
        self.points: list[np.ndarray] = []
        self.scores: list[float] = []
        self.reused = 0

    def __call__(self, point: np.ndarray) -> float:
        for seen, score in zip(self.points, self.scores, strict=True):
            if (np.abs(seen - point) <= self.tol).all():
                self.reused += 1
                return score
        if len(self.points) == self.most:
            raise _OutOfBudget
        score = checks.number("the answer of evaluate", self.evaluate(point.copy()))
        self.points.append(point.copy())
        self.scores.append(score)
        return score


class _OutOfBudget(Exception):
    pass


def nelder_mead_thresholds(
    evaluate: Callable[[np.ndarray], float], simplex: Any, max_evals: int = 100, tol: float = 0.01, cache_tol: float = 5e-3,
    max_iter: int = 10, contraction: str = "both",
) -> OptimizeResult:  # fmt: skip
    """Thresholds that maximize a true score: Nelder and Mead's search, with few and remembered evaluations.

    Coefficients of reflection, expansion, contraction and shrinkage are 1, 2, 0.5 and 0.5. The search within one run of
    `ConstrainedPPO` evaluates thresholds by `ConstrainedPPO.approach` and then scores the policy as it is.

    Parameters
    ----------
    evaluate : function
        The score of thresholds (N,), to be maximized.
    simplex : array_like, shape (N + 1, N)
        Thresholds to start from; not all in one plane.
    max_evals : int
        Evaluations at most; reused ones are free.
    tol : float
        Ends when the standard deviation of the vertices' scores is at most this; the paper's 0.01.
    cache_tol : float
        Points that agree within this in every coordinate are one; the paper's 0.005, 0 for equal points only.
    max_iter : int
        The paper's 10.
    contraction : {"both", "inside"}
        Outside contractions where the reflected point is better than the worst, or inside ones always, as in the paper's code.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x`` and ``fun``, the best thresholds and their score, to be maximized; ``nit``, ``nfev``, ``reused``; ``success``,
        whether `tol` was met; ``message``; ``path``, the simplices, (nit + 1, N + 1, N), best vertex first; ``evaluated`` and
        ``scores``, every evaluation.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, a flat simplex, or a score that is no finite number.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import nelder_mead_thresholds
    >>> start = [[0.0, 0.0], [0.4, 0.0], [0.0, 0.4]]
    >>> found = nelder_mead_thresholds(lambda t: -float(((t - 0.3) ** 2).sum()), start, tol=1e-6, cache_tol=0.0, max_iter=60)
    >>> found.x.round(2).tolist(), found.success
    ([0.3, 0.3], True)
    """
    checks.function("evaluate", evaluate)
    vertices = checks.array("simplex", simplex, ndim=2).astype(float)
    if vertices.shape[0] != vertices.shape[1] + 1:
        raise ValueError(f"simplex must have shape (N + 1, N), got {vertices.shape}")
    edges = vertices[1:] - vertices[0]
    if np.linalg.matrix_rank(edges) < len(edges):
        raise ValueError("simplex must not be flat: its vertices lie in one plane")
    max_evals, max_iter = checks.integer("max_evals", max_evals, low=1), checks.integer("max_iter", max_iter, low=1)
    tol, cache_tol = checks.number("tol", tol, low=0), checks.number("cache_tol", cache_tol, low=0)
    inside = checks.choice("contraction", contraction, ("both", "inside")) == "inside"
    seen, path, done, success = _Cached(evaluate, cache_tol, max_evals), [], 0, False
    message = "the iterations are used up"
    try:
        scores = np.array([seen(vertex) for vertex in vertices])
        vertices, scores = _sorted(vertices, scores)
        path.append(vertices)
        while not (success := bool(scores.std() <= tol)) and done < max_iter:
            vertices, scores = _sorted(*_iteration(seen, vertices, scores, inside))
            path.append(vertices)
            done += 1
        message = "the scores of the vertices agree within tol" if success else message
    except _OutOfBudget:
        message = "the evaluations are used up"
    best = int(np.argmax(seen.scores))
    return OptimizeResult(
        x=seen.points[best], fun=seen.scores[best], nit=done, nfev=len(seen.scores), reused=seen.reused, success=success,
        message=message, path=np.array(path), evaluated=np.array(seen.points), scores=np.array(seen.scores),
    )  # fmt: skip


def _sorted(vertices: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(-scores, kind="stable")
    return vertices[order], scores[order]


def _iteration(seen: _Cached, vertices: np.ndarray, scores: np.ndarray, inside: bool) -> tuple[np.ndarray, np.ndarray]:
    """One step from sorted vertices: reflect, expand, contract or shrink."""
    vertices, scores, center, worst = vertices.copy(), scores.copy(), vertices[:-1].mean(0), vertices[-1]
    reflected = center + 1.0 * (center - worst)  # (12)
    score = seen(reflected)
    if score > scores[0]:
        expanded = center + 2.0 * (reflected - center)  # (12)
        further = seen(expanded)
        vertices[-1], scores[-1] = (expanded, further) if further > score else (reflected, score)  # (12)
        return vertices, scores
    if score > scores[-2]:
        vertices[-1], scores[-1] = reflected, score
        return vertices, scores
    outside = score > scores[-1] and not inside  # (12)
    contracted = center + 0.5 * ((reflected if outside else worst) - center)  # (12)
    closer = seen(contracted)
    if closer >= score if outside else closer > scores[-1]:  # (12)
        vertices[-1], scores[-1] = contracted, closer
        return vertices, scores
    vertices[1:] = vertices[0] + 0.5 * (vertices[1:] - vertices[0])  # (12)
    scores[1:] = [seen(vertex) for vertex in vertices[1:]]
    return vertices, scores
