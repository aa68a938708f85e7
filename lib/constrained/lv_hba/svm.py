"""Support vector machines with a weight for each training sample, as a bilevel problem with closed-form slopes.

The lower level has the classifier (w, b) and one slack a sample. Its projection needs no QP solver: the slacks follow from
(w, b), and Newton's method in d + 1 variables does the rest. Leading axes of the data hold several tasks of one size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem

_NEWTON = 50


def _data(name: str, X: Any, y: Any) -> tuple[Tensor, Tensor]:
    rows = torch.as_tensor(checks.array(f"X{name}", X, ndim=(2, 3)), dtype=torch.float64)
    labels = torch.as_tensor(checks.array(f"y{name}", y, ndim=(1, 2)), dtype=torch.float64)
    if labels.shape != rows.shape[:-1]:
        raise ValueError(f"y{name} must have shape {tuple(rows.shape[:-1])}, got {tuple(labels.shape)}")
    if not bool((labels.abs() == 1).all()):
        raise ValueError(f"y{name} must hold -1 and 1 only")
    return rows, labels


def signed_rows(X: Tensor, y: Tensor) -> Tensor:
    """Q = diag(y) [X 1], shape (..., N, d + 1): a sample's margin is its row times (w, b)."""
    return torch.cat([X, torch.ones_like(X[..., :1])], dim=-1) * y[..., None]


def margins(Q: Tensor, v: Tensor) -> Tensor:
    """Margins Q v of all samples, shape (..., N)."""
    return (v[..., None, :] @ Q.mT)[..., 0, :]


def back(Q: Tensor, u: Tensor) -> Tensor:
    """Q' u, shape (..., d + 1)."""
    return (u[..., None, :] @ Q)[..., 0, :]


def curvature(Q: Tensor, weights: Tensor, pairs: Tensor | None = None) -> Tensor:
    """Q' diag(weights) Q, shape (..., d + 1, d + 1); for many weights on the rows of one Q faster with `column_pairs`."""
    if pairs is None or weights.ndim < 2:
        return (Q * weights[..., None]).mT @ Q
    i, j = torch.tril_indices(Q.shape[-1], Q.shape[-1])
    place = torch.empty(Q.shape[-1], Q.shape[-1], dtype=torch.long)
    place[i, j] = place[j, i] = torch.arange(len(pairs))
    return (weights @ pairs.mT)[..., place]


def column_pairs(Q: Tensor) -> Tensor:
    """Products of two columns of Q, shape (N, d + 1), for all pairs: (pairs, N)."""
    i, j = torch.tril_indices(Q.shape[-1], Q.shape[-1])
    columns = Q.mT.contiguous()
    return columns[i] * columns[j]


def _newton(Q: Tensor, weights: Tensor, floor: Tensor, ridge: Tensor, center: Tensor, start: Tensor, tol: float,
            pairs: Tensor | None = None) -> Tensor:  # fmt: skip
    """Minimize sum(ridge (v - center)^2) / 2 + sum(weights max(0, floor - Q v)^2) / 2: damped Newton on the active set."""

    def parts(v: Tensor) -> tuple[Tensor, Tensor]:
        short = (floor - margins(Q, v)).clamp(min=0)
        away = v - center
        cost = ((ridge * away * away).sum(-1) + (weights * short * short).sum(-1)) / 2
        return cost, short

    v = start
    cost, short = parts(v)
    for _ in range(_NEWTON):
        slope = ridge * (v - center) - back(Q, weights * short)
        if bool((slope.norm(dim=-1) <= tol * (1 + ridge.amax(-1) * center.norm(dim=-1))).all()):
            return v
        move = -torch.linalg.solve(curvature(Q, weights * (short > 0), pairs) + torch.diag_embed(ridge), slope)
        length = torch.ones_like(cost)
        fall = (slope * move).sum(-1)
        for _ in range(30):
            new_cost, new_short = parts(v + length[..., None] * move)
            bad = new_cost > cost + 1e-4 * length * fall + 1e-14 * (1 + cost.abs())
            if not bool(bad.any()):
                break
            length = torch.where(bad, length / 2, length)
        v, cost, short = v + length[..., None] * move, new_cost, new_short
    return v


def project_svm(X: Any, y: Any, v: Any, slack: Any) -> tuple[Tensor, Tensor]:
    r"""Nearest (w, b, slack) that satisfies ``slack_i >= 1 - y_i (w'x_i + b)``, without a QP solver.

    For given (w, b) the nearest slacks are :math:`\max(\xi_i, 1 - y_i (w^\top x_i + b))`: (15). What is left is smooth, convex
    and has d + 1 variables: Newton's method on the active set ends after a few steps.

    Parameters
    ----------
    X : array_like, shape (N, d), or (B, N, d) for several tasks
    y : array_like, shape (N,) or (B, N)
        Labels -1 and 1.
    v : array_like, shape (d + 1,) or (B, d + 1)
        Weights w and, last, the intercept b.
    slack : array_like, shape (N,) or (B, N)

    Raises
    ------
    TypeError, ValueError
        For shapes that do not fit or labels that are not -1 and 1.

    Examples
    --------
    >>> from lib.constrained.lv_hba import project_svm
    >>> v, slack = project_svm([[1.0]], [1.0], v=[0.0, 0.0], slack=[0.0])
    >>> [round(a, 4) for a in v.tolist()], round(slack.item(), 4)
    ([0.3333, 0.3333], 0.3333)
    """
    rows, labels = _data("", X, y)
    at = torch.as_tensor(checks.array("v", v, shape=(*rows.shape[:-2], rows.shape[-1] + 1)), dtype=torch.float64)
    xi = torch.as_tensor(checks.array("slack", slack, shape=tuple(rows.shape[:-1])), dtype=torch.float64)
    return _project(signed_rows(rows, labels), at, xi)


def _project(Q: Tensor, v: Tensor, slack: Tensor, pairs: Tensor | None = None) -> tuple[Tensor, Tensor]:
    one = torch.ones_like
    near = _newton(Q, one(slack), 1 - slack, one(v), v, v, 1e-12, pairs)
    return near, torch.maximum(slack, 1 - margins(Q, near))  # (15)


def train_svm(X: Any, y: Any, log_weights: Any) -> Tensor:
    r"""The lower level solved exactly: minimize ``|w|^2 / 2 + sum(exp(c_i) max(0, 1 - y_i (w'x_i + b))^2) / 2``.

    Parameters
    ----------
    X : array_like, shape (N, d) or (B, N, d)
    y : array_like, shape (N,) or (B, N)
        Labels -1 and 1.
    log_weights : array_like, shape (N,) or (B, N)
        c; may be negative.

    Returns
    -------
    Tensor, shape (d + 1,) or (B, d + 1)
        w and, last, b.

    Examples
    --------
    >>> from lib.constrained.lv_hba import train_svm
    >>> train_svm([[1.0], [-1.0]], [1.0, -1.0], log_weights=[0.0, 0.0])
    tensor([0.6667, 0.0000], dtype=torch.float64)
    """
    rows, labels = _data("", X, y)
    c = torch.as_tensor(checks.array("log_weights", log_weights, shape=tuple(rows.shape[:-1])), dtype=torch.float64)
    return _train(signed_rows(rows, labels), c)


def _ridge(v: Tensor) -> Tensor:
    """1 for w; next to nothing for b, so that samples of one class have a solution, too."""
    ridge = torch.ones_like(v)
    ridge[..., -1] = 1e-8
    return ridge


def _train(Q: Tensor, c: Tensor, start: Tensor | None = None, pairs: Tensor | None = None) -> Tensor:
    zero = c.new_zeros(*c.shape[:-1], Q.shape[-1])
    return _newton(Q, c.exp(), torch.ones_like(c), _ridge(zero), zero, zero if start is None else start, 1e-10, pairs)


def validation_loss(Q: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's upper level and its gradient in v: sum of LeakyReLU(2 sigmoid(-5 m) - 1) over distances m from the plane.

    Raises
    ------
    FloatingPointError
        Where w = 0: there is no plane to measure from.
    """
    w = v[..., :-1]
    length = w.norm(dim=-1, keepdim=True)
    if not bool((length > 0).all()):
        raise FloatingPointError("the weights w are zero: distances from the plane are not defined")
    m = margins(Q, v) / length  # (14)
    s = torch.sigmoid(-5 * m)
    u = 2 * s - 1
    leak = torch.where(u > 0, 1.0, 0.01)
    d_m = -10 * s * (1 - s) * leak  # (14)
    slope = back(Q, d_m) / length
    along = (d_m * m).sum(-1, keepdim=True) * w / length**2
    slope = torch.cat([slope[..., :-1] - along, slope[..., -1:]], dim=-1)
    return (u * leak).sum(-1), slope  # (14)


@dataclass(frozen=True)
class WeightedSVM:
    """The bilevel problem of learning a weight ``exp(c_i)`` for every training sample; made by `weighted_svm`.

    The upper-level variable is c, shape (N,); the lower-level one (w, b, slack), shape (d + 1 + N,). Where Q has two axes, both
    may have leading ones: many weights of the same rows.
    """

    Q: Tensor
    Q_val: Tensor
    low: float
    high: float

    @property
    def width(self) -> int:
        """Number of entries of (w, b)."""
        return self.Q.shape[-1]

    @cached_property
    def pairs(self) -> Tensor | None:
        """See `column_pairs`, of rows that many weights may share."""
        return column_pairs(self.Q) if self.Q.ndim == 2 else None

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(w, b) and the slacks."""
        return y[..., : self.width], y[..., self.width :]

    def upper(self, x: Tensor, y: Tensor) -> Tensor:
        return validation_loss(self.Q_val, self.split(y)[0])[0]

    def lower(self, x: Tensor, y: Tensor) -> Tensor:
        v, slack = self.split(y)
        return (v[..., :-1].square().sum(-1) + (x.exp() * slack.square()).sum(-1)) / 2  # (13)

    def constraints(self, x: Tensor, y: Tensor) -> Tensor:
        v, slack = self.split(y)
        return 1 - slack - margins(self.Q, v)  # (13)

    def upper_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        v, slack = self.split(y)
        return torch.zeros_like(x), torch.cat([validation_loss(self.Q_val, v)[1], torch.zeros_like(slack)], dim=-1)

    def lower_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        v, slack = self.split(y)
        pulled = x.exp() * slack
        flat = torch.cat([v[..., :-1], torch.zeros_like(v[..., -1:]), pulled], dim=-1)
        return pulled * slack / 2, flat

    def pull(self, x: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(x), torch.cat([-back(self.Q, weights), -weights], dim=-1)

    def project(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        v, slack = _project(self.Q, *self.split(y), self.pairs)
        return x.clamp(self.low, self.high), torch.cat([v, slack], dim=-1)

    def trained(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """The lower level solved exactly: (w, b), from a start if one is near."""
        return _train(self.Q, x, start, self.pairs)

    def solved(self, x: Tensor) -> Tensor:
        """The lower level solved exactly: (w, b, slack)."""
        v = self.trained(x)
        return torch.cat([v, (1 - margins(self.Q, v)).clamp(min=0)], dim=-1)

    def problem(self) -> BilevelProblem:
        """As a `BilevelProblem`."""
        return BilevelProblem(
            self.upper, self.lower, self.constraints, project_joint=self.project, upper_slopes=self.upper_slopes,
            lower_slopes=self.lower_slopes, constraint_pull=self.pull,
        )  # fmt: skip


def weighted_svm(X: Any, y: Any, X_val: Any, y_val: Any, low: float = -6.0, high: float = 2.0) -> WeightedSVM:
    r"""Sample weights of a support vector machine, chosen by validation data: (13), (14).

    Parameters
    ----------
    X, X_val : array_like, shapes (N, d) and (M, d), or (B, N, d) and (B, M, d)
        Rows of length about 1: the upper level measures distances.
    y, y_val : array_like, shapes (N,) and (M,), or (B, N) and (B, M)
        Labels -1 and 1.
    low, high : float
        Bounds of the logarithms c of the weights; may be negative.

    Raises
    ------
    TypeError, ValueError
        For data that do not fit, labels that are not -1 and 1, or bounds in the wrong order.

    Examples
    --------
    >>> from lib.constrained.lv_hba import weighted_svm
    >>> task = weighted_svm([[1.0], [-1.0]], [1.0, -1.0], X_val=[[0.5]], y_val=[1.0])
    >>> task.width
    2
    """
    Q, Q_val = signed_rows(*_data("", X, y)), signed_rows(*_data("_val", X_val, y_val))
    if Q.shape[-1] != Q_val.shape[-1] or Q.shape[:-2] != Q_val.shape[:-2]:
        raise ValueError(f"X_val must fit X of shape {tuple(Q.shape)} (with a column of ones), got {tuple(Q_val.shape)}")
    low, high = checks.number("low", low), checks.number("high", high, high=30)
    if not low < high:
        raise ValueError(f"low must be below high, got {low:g} and {high:g}")
    return WeightedSVM(Q, Q_val, low, high)
