"""One piece of the network: a net of J hidden units with a linear output, fit by least squares to pseudo-residuals.

Objective, initial weights, solver and stopping rules are those of scikit-learn's ``MLPRegressor(solver="lbfgs")``, which the
authors' code calls. Two differences: for K > 1 outputs scikit-learn's value is the mean over the outputs and its gradient that
of the sum; here both are of the sum. And all sums have one order (`lbfgs`), so that results are the same on every CPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from lib import checks
from lib.backprop_free.gbnn.lbfgs import minimize_lbfgs
from lib.backprop_free.gbnn.losses import _mean_loss, _residuals

Floats = npt.NDArray[np.float64]
Activation = Literal["logistic", "tanh", "relu", "identity"]

#: Name -> the function (written with `expit`, the same on every CPU), and its derivative in terms of its value.
ACTIVATIONS: dict[str, tuple[Callable[[Floats], Floats], Callable[[Floats], Floats | float]]] = {
    "logistic": (expit, lambda s: s * (1 - s)),
    "tanh": (lambda a: 2 * expit(2 * a) - 1, lambda s: 1 - s**2),
    "relu": (lambda a: np.maximum(a, 0), lambda s: (s > 0).astype(float)),
    "identity": (lambda a: a, lambda s: 1.0),
}


class Piece(NamedTuple):
    """A net of J hidden units: h(x) = s(x W + c) A + b."""

    W: Floats  #: hidden weights, shape (d, J)
    c: Floats  #: hidden biases, shape (J,)
    A: Floats  #: output weights, shape (J, K)
    b: Floats  #: output biases, shape (K,)
    n_iter: int  #: iterations of L-BFGS

    def __call__(self, X: Floats, activation: str = "logistic") -> Floats:
        """Outputs, shape (n, K)."""
        hidden = ACTIVATIONS[activation][0](weighted(self.W, np.ascontiguousarray(X.T)) + self.c[:, None])
        return np.ascontiguousarray((weighted(self.A, hidden) + self.b[:, None]).T)


def weighted(weights: Floats, rows: Floats) -> Floats:
    """``weights.T @ rows`` for weights (d, J) and rows (d, n), added row by row."""
    return np.add.reduce(weights.T[:, :, None] * rows, axis=1)


def fit_piece(
    X: npt.ArrayLike,
    r: npt.ArrayLike,
    n_units: int = 1,
    *,
    alpha: float = 1e-4,
    max_iter: int = 200,
    tol: float = 0.0,
    activation: Activation = "logistic",
    seed: Any = None,
) -> Piece:
    """Fit a piece h by L-BFGS to 1/(2n) sum (h(x_i) - r_i)^2 + alpha/(2n) (squared norm of the weights): equation (4).

    Parameters
    ----------
    X : array, shape (n, d)
        Features of comparable size: large ones saturate logistic units.
    r : array, shape (n,) or (n, K)
        Pseudo-residuals.
    n_units : int
        J, hidden units (authors: 1 by default).
    alpha : float
        Penalty on the weights, not on the biases (authors: 1e-4, scikit-learn's default).
    max_iter : int
        Iterations of L-BFGS at most (authors: 200).
    tol : float
        Stop where no entry of the gradient is larger (authors: 0).
    activation : {"logistic", "tanh", "relu", "identity"}
        Of the hidden units (authors: ``"logistic"``).
    seed : int, Generator, SeedSequence or None
        Of the initial weights: uniform, with Glorot's bounds.

    Returns
    -------
    Piece
        With ``W, c, A, b, n_iter``; call it with X for its outputs.

    Raises
    ------
    ValueError
        For NaN, infinity, no rows, different lengths, or numbers out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.gbnn import fit_piece
    >>> X = np.linspace(-1.0, 1.0, 20)[:, None]
    >>> piece = fit_piece(X, np.tanh(3 * X[:, 0]), 1, seed=0)
    >>> bool(np.abs(piece(X)[:, 0] - np.tanh(3 * X[:, 0])).max() < 0.1)
    True
    """
    X = checks.array("X", X, ndim=2).astype(np.float64)
    r = checks.array("r", r, ndim=(1, 2)).astype(np.float64)
    if len(r) != len(X):
        raise ValueError(f"X and r must have one row per sample, got {len(X)} and {len(r)}")
    n_units = checks.integer("n_units", n_units, low=1)
    alpha, tol = checks.number("alpha", alpha, low=0), checks.number("tol", tol, low=0)
    max_iter = checks.integer("max_iter", max_iter, low=1)
    checks.choice("activation", activation, ACTIVATIONS)
    r = r[:, 0] if r.ndim == 2 and r.shape[1] == 1 else r
    return _fit_piece(X, r, n_units, alpha, max_iter, tol, activation, checks.generator("seed", seed))


def _initial_weights(sizes: tuple[int, int, int], activation: str, rng: np.random.Generator) -> Floats:
    """Weights and biases uniform on +-sqrt(c / (fan_in + fan_out)), c = 2 for logistic units and 6 for others, packed."""
    parts, biases = [], []
    for n_in, n_out in itertools.pairwise(sizes):
        bound = np.sqrt((2 if activation == "logistic" else 6) / (n_in + n_out))
        parts.append(rng.uniform(-bound, bound, n_in * n_out))
        biases.append(rng.uniform(-bound, bound, n_out))
    return np.concatenate([*parts, *biases])


def _unpack(theta: Floats, sizes: tuple[int, int, int]) -> tuple[Floats, Floats, Floats, Floats]:
    d, J, K = sizes
    i, k = d * J, (d + K) * J
    return theta[:i].reshape(d, J), theta[k : k + J], theta[i:k].reshape(J, K), theta[k + J :]


def _objective(
    theta: Floats, rows: Floats, y: Floats, sizes: tuple[int, int, int], alpha: float, activation: str, loss: str
) -> tuple[float, Floats]:
    """Equation (4) and its gradient, packed, for features (d, n) and targets (n,), or (n, K) with K > 1.

    Pieces have the squared loss; another one trains the whole network at once, which only `study` does.
    """
    W, c, A, b = _unpack(theta, sizes)
    act, slope = ACTIVATIONS[activation]
    n = rows.shape[1]
    H = act(weighted(W, rows) + c[:, None])
    F = (weighted(A, H) + b[:, None]).T.reshape(y.shape)
    weights = theta[: W.size + A.size]
    value = _mean_loss(y, F, loss) + 0.5 * alpha / n * np.add.reduce(weights * weights)  # (4)
    error = np.ascontiguousarray(-_residuals(y, F, loss).reshape(n, -1).T) / n
    back = weighted(A.T, error) * slope(H)
    into_W = np.add.reduce(rows * back[:, None, :], axis=2).T
    into_A = np.add.reduce(H[:, None, :] * error, axis=2)
    gradient = np.concatenate([into_W.ravel(), into_A.ravel(), np.add.reduce(back, axis=1), np.add.reduce(error, axis=1)])
    gradient[: weights.size] += alpha / n * weights  # (4), differentiated
    return float(value), gradient


def _fit_piece(
    X: Floats,
    y: Floats,
    n_units: int,
    alpha: float,
    max_iter: int,
    tol: float,
    activation: str,
    rng: np.random.Generator,
    loss: str = "squared",
) -> Piece:
    sizes = (X.shape[1], n_units, 1 if y.ndim == 1 else y.shape[1])
    start = _initial_weights(sizes, activation, rng)
    arguments = (np.ascontiguousarray(X.T), y, sizes, alpha, activation, loss)
    theta, n_iter = minimize_lbfgs(lambda theta: _objective(theta, *arguments), start, max_iter, tol)
    return Piece(*_unpack(theta, sizes), n_iter)
