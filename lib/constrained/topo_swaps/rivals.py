"""What TOPO is compared with, all from S: NOTEARS, GOLEM-EV and NOFEARS (ours), DAGMA (the authors' package)."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm
from scipy.optimize import minimize

from lib.constrained.topo_swaps.acyclicity import acyclicity
from lib.constrained.topo_swaps.scores import (
    Array,
    check_data,
    check_moments,
    graph_weights,
    parent_weights,
    score_and_gradient,
    second_moments,
)
from lib.problems.dags import is_dag


def _threshold(W: Array, threshold: float) -> Array:
    return np.where(abs(W) < threshold, 0.0, W)


def _least_squares(S: Array, W: Array) -> tuple[float, Array]:
    product = S @ (np.eye(len(S)) - W)
    return 0.5 * float(np.trace(product) - np.sum(W * product)), -product


def notears_linear(
    X: npt.ArrayLike, lam: float = 0.0, max_iter: int = 100, h_tol: float = 1e-8, rho_max: float = 1e16, threshold: float = 0.0
) -> Array:
    """NOTEARS (Zheng et al., 2018): min ``Q(W) + lam |W|_1`` subject to ``tr e^{W∘W} = d``, by an augmented Lagrangian.

    Parameters
    ----------
    X : array, shape (n, d)
    lam : float
        Weight of the l1 penalty; 0 where scores are compared with unpenalized ones.
    max_iter, h_tol, rho_max : int, float, float
        Outer rounds, and where they stop (official values).
    threshold : float
        Set entries below it to zero (official: 0.3).

    Returns
    -------
    array, shape (d, d)
        W; with threshold 0 its graph is acyclic only up to ``h_tol`` (see `dag_from_weights`).

    Raises
    ------
    ValueError
        For bad data or negative parameters.

    Examples
    --------
    >>> from lib.constrained.topo_swaps import notears_linear, simulate_sem
    >>> W = notears_linear(simulate_sem([[0, 1.5], [0, 0]], 500, seed=0), threshold=0.3)
    >>> (W != 0).tolist()
    [[False, True], [False, False]]
    """
    if lam < 0 or threshold < 0:
        raise ValueError(f"lam and threshold must not be negative, got {lam} and {threshold}")
    S = second_moments(X)
    d = len(S)
    free = ~np.eye(d, dtype=bool)
    rho, alpha, h = 1.0, 0.0, np.inf
    theta = np.zeros((2 if lam else 1) * d * (d - 1))  # positive and negative parts where there is a penalty

    def weights(theta: Array) -> Array:
        W = np.zeros((d, d))
        W[free] = theta[: d * (d - 1)] - theta[d * (d - 1) :] if lam else theta
        return W

    def objective(theta: Array) -> tuple[float, Array]:
        W = weights(theta)
        E = expm(W * W)
        value, gradient = _least_squares(S, W)
        h = np.trace(E) - d
        gradient = (gradient + (rho * h + alpha) * E.T * 2 * W)[free]
        value += 0.5 * rho * h * h + alpha * h
        if not lam:
            return value, gradient
        return value + lam * theta.sum(), np.concatenate([gradient + lam, lam - gradient])

    bounds = [(0.0, None)] * len(theta) if lam else None
    for _ in range(max_iter):
        while True:
            new = minimize(objective, theta, jac=True, method="L-BFGS-B", bounds=bounds).x
            W = weights(new)
            h_new = float(np.trace(expm(W * W))) - d
            if h_new <= 0.25 * h or rho >= rho_max:
                break
            rho *= 10
        theta, h = new, h_new
        alpha += rho * h
        if h <= h_tol or rho >= rho_max:
            break
    return _threshold(weights(theta), threshold)


def dagma_linear(X: npt.ArrayLike, lam: float = 0.0, threshold: float = 0.0, **options: object) -> Array:
    """DAGMA (Bello et al., 2022) as in its authors' package ``dagma``, which must be installed; W of shape (d, d).

    Parameters
    ----------
    X : array, shape (n, d)
        Copied: the package centers its argument in place.
    lam : float
        Weight of the l1 penalty (package: 0.03); 0 where scores are compared with unpenalized ones.
    threshold : float
        Set entries below it to zero (package: 0.3).
    **options
        Passed to ``DagmaLinear.fit``.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed.
    ValueError
        For bad data.

    Examples
    --------
    >>> from lib.constrained.topo_swaps import dagma_linear
    >>> W = dagma_linear([[0.0, 1.0], [1.0, 3.1], [2.0, 4.8]])  # doctest: +SKIP
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its progress bar asks for notebook widgets
            from dagma.linear import DagmaLinear
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"dagma_linear needs the package 'dagma' (pip install dagma): {error}") from error
    # The package keeps its default list of s between calls and changes it, so each call brings its own.
    settings = {"s": [1.0, 0.9, 0.8, 0.7, 0.6], **options}
    model = DagmaLinear(loss_type="l2", verbose=False)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        return np.asarray(model.fit(check_data(X).copy(), lambda1=lam, w_threshold=threshold, **settings))


def golem_ev(
    X: npt.ArrayLike, lam1: float = 0.02, lam2: float = 5.0, n_steps: int = 100_000, lr: float = 1e-3, threshold: float = 0.0
) -> Array:
    """GOLEM-EV (Ng, Ghassami and Zhang, 2020): equal-variance likelihood with soft penalties, by Adam from W = 0.

    Minimizes ``(d/2) log tr((I - W)' S (I - W)) - log |det(I - W)| + lam1 |W|_1 + lam2 (tr e^{W∘W} - d)``.

    Parameters
    ----------
    X : array, shape (n, d)
    lam1, lam2, n_steps, lr : float, float, int, float
        The paper's values by default.
    threshold : float
        Set entries below it to zero (paper: 0.3).

    Returns
    -------
    array, shape (d, d)

    Raises
    ------
    ValueError
        For bad data.

    Examples
    --------
    >>> from lib.constrained.topo_swaps import golem_ev, simulate_sem
    >>> W = golem_ev(simulate_sem([[0, 1.5], [0, 0]], 500, seed=0), n_steps=3000, threshold=0.3)
    >>> (W != 0).tolist()
    [[False, True], [False, False]]
    """
    S = second_moments(X)
    d = len(S)
    W, first, second = np.zeros((d, d)), np.zeros((d, d)), np.zeros((d, d))
    for step in range(1, n_steps + 1):
        residual = np.eye(d) - W
        product = S @ residual
        gradient = -d * product / np.sum(residual * product) + np.linalg.inv(residual).T
        gradient += lam1 * np.sign(W) + lam2 * 2 * W * expm(W * W).T
        np.fill_diagonal(gradient, 0.0)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        W -= lr * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return _threshold(W, threshold)


def nofears(S: npt.ArrayLike, W: npt.ArrayLike, tol: float = 1e-8) -> Array:
    """KKT-informed local search in the manner of NOFEARS (Wei, Gao and Yu, 2020): turn a DAG into a KKT point of the score.

    Refit the edges there are; add the absent edge i -> j, closing no cycle, with the largest abs(∇Q_ij); repeat while that
    exceeds `tol`. (The edge-removing and reversing steps of the original are left out.)

    Parameters
    ----------
    S : array, shape (d, d)
    W : array, shape (d, d)
        Weights of a DAG; only its edges matter.
    tol : float

    Returns
    -------
    array, shape (d, d)

    Raises
    ------
    ValueError
        If W has a cycle or the shapes do not fit.

    Examples
    --------
    >>> from lib.constrained.topo_swaps import nofears
    >>> nofears([[1.0, 2.0], [2.0, 5.0]], [[0, 0], [0, 0]]).tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    S, W = check_moments(S), np.array(W, dtype=np.float64)
    if W.shape != S.shape or not is_dag(W):
        raise ValueError(f"W must be the weights of a DAG with the shape of S, {S.shape}")
    edges = W != 0
    W = graph_weights(S, edges)
    while True:
        gradient = score_and_gradient(S, W)[1]
        blocked = (acyclicity(edges.astype(float))[1] > 0) | edges  # a path j -> i, or the edge itself
        size = np.where(blocked, 0.0, abs(gradient))
        # The two directions of an edge often tie: the first one within rounding, so that every machine picks the same.
        i, j = map(int, np.argwhere(size >= (1 - 1e-9) * size.max())[0])
        if size[i, j] <= tol:
            return W
        edges[i, j] = True
        W[:, j] = parent_weights(S, edges[:, j], j)
