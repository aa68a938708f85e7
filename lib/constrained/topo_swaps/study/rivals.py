"""What TOPO is compared with, all from S: NOTEARS and NOFEARS (ours), DAGMA (the authors' package)."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import numpy.typing as npt
from scipy.linalg import expm
from scipy.optimize import minimize

from lib import checks
from lib.constrained.topo_swaps.acyclicity import acyclicity
from lib.constrained.topo_swaps.scores import Array, OrderFit, check_data, check_moments, score_and_gradient, second_moments
from lib.constrained.topo_swaps.study.graphs import graph_weights, parent_weights
from lib.problems.dags import is_dag


def _threshold(W: Array, threshold: float) -> Array:
    return np.where(abs(W) < threshold, 0.0, W)


def _least_squares(S: Array, W: Array) -> tuple[float, Array]:
    product = S @ (np.eye(len(S)) - W)
    return 0.5 * float(np.trace(product) - np.sum(W * product)), -product


def notears_linear(
    X: npt.ArrayLike,
    lam: float = 0.0,
    max_iter: int = 100,
    h_tol: float = 1e-8,
    rho_max: float = 1e16,
    threshold: float = 0.0,
    eps: float = 0.0,
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
    eps : float
        Ridge, relative to the mean variance, for more columns than rows: there the score has no strict minimum.

    Returns
    -------
    array, shape (d, d)
        W; with threshold 0 its graph is acyclic only up to ``h_tol`` (see `dag_from_weights`).

    Raises
    ------
    ValueError
        For bad data (more columns than rows without a ridge among them) or negative parameters.

    Examples
    --------
    >>> from lib.constrained.topo_swaps.study import notears_linear
    >>> from lib.problems.dags import simulate_sem
    >>> W = notears_linear(simulate_sem([[0, 1.5], [0, 0]], 500, seed=0), threshold=0.3)
    >>> (W != 0).tolist()
    [[False, True], [False, False]]
    """
    lam, threshold = checks.number("lam", lam, low=0), checks.number("threshold", threshold, low=0)
    max_iter = checks.integer("max_iter", max_iter, low=1)
    h_tol, rho_max = checks.number("h_tol", h_tol, low=0), checks.positive("rho_max", rho_max)
    S = check_moments(second_moments(X), eps)
    d = len(S)
    OrderFit.checked(S, np.arange(d))  # refuses a singular S
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
        Left alone: the package centers its argument in place.
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
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps.study import dagma_linear
    >>> X = np.array([[0.0, 1.0], [1.0, 3.1], [2.0, 4.8]])
    >>> dagma_linear(X, warm_iter=20, max_iter=20).shape
    (2, 2)
    """
    data = check_data(X)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its progress bar asks for notebook widgets
            from dagma.linear import DagmaLinear
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"dagma_linear needs the package 'dagma' (pip install dagma): {error}") from error
    # The package keeps its default list of s between calls and changes it, so each call brings its own.
    lam, threshold = checks.number("lam", lam, low=0), checks.number("threshold", threshold, low=0)
    settings = {"s": [1.0, 0.9, 0.8, 0.7, 0.6], **options}
    model = DagmaLinear(loss_type="l2", verbose=False)
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
        return np.asarray(model.fit(data, lambda1=lam, w_threshold=threshold, **settings))


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
        Relative to the largest variance.

    Returns
    -------
    array, shape (d, d)

    Raises
    ------
    ValueError
        If W has a cycle or the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.constrained.topo_swaps.study import nofears
    >>> nofears(np.array([[1.0, 2.0], [2.0, 5.0]]), np.zeros((2, 2))).tolist()
    [[0.0, 2.0], [0.0, 0.0]]
    """
    S, W = check_moments(S), checks.array("W", W).astype(np.float64)
    tol = checks.number("tol", tol, low=0) * float(np.diag(S).max())
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
