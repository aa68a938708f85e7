"""Fixed random projections of the labels: the targets of hidden layers, equation (2) of the chapter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from lib import checks

Law = Literal["normal", "sign", "uniform", "orthogonal"]
LAWS = ("normal", "sign", "uniform", "orthogonal")


def draw_patterns(n_classes: int, width: int, law: Law = "normal", scale: float = 1.0, seed: Any = 0) -> np.ndarray:
    """One target pattern per class: the rows of P, shape (classes, width), float64.

    Parameters
    ----------
    n_classes, width : int
    law : {"normal", "sign", "uniform", "orthogonal"}
        Independent standard normal entries; -1 or 1; uniform on (-1, 1); rows orthogonal to each other, each with mean square
        entry 1 (needs ``n_classes <= width``). The paper's law is not known to us; this default is ours.
    scale : float
        Factor of all entries.
    seed : int, Generator or None

    Raises
    ------
    ValueError, TypeError
        For counts below 1, an unknown law, a scale that is not positive, or more orthogonal rows than features.

    Examples
    --------
    >>> from lib.backprop_free import tpsgd
    >>> tpsgd.draw_patterns(2, 3, "sign", seed=1)
    array([[-1.,  1.,  1.],
           [ 1., -1., -1.]])
    """
    n_classes, width = checks.integer("n_classes", n_classes, low=1), checks.integer("width", width, low=1)
    checks.choice("law", law, LAWS)
    scale, rng = checks.positive("scale", scale), checks.generator("seed", seed)
    if law == "orthogonal" and n_classes > width:
        raise ValueError(f"n_classes must be at most width for orthogonal patterns, got {n_classes} and {width}")
    if law == "normal":
        P = rng.normal(size=(n_classes, width))
    elif law == "sign":
        P = rng.choice([-1.0, 1.0], size=(n_classes, width))
    elif law == "uniform":
        P = rng.uniform(-1, 1, size=(n_classes, width))
    else:
        Q, R = np.linalg.qr(rng.normal(size=(width, n_classes)))
        P = math.sqrt(width) * (Q * np.sign(np.diag(R))).T
    return scale * P


class LocalTarget(nn.Module):
    """The target of one layer: ``t = y* P`` with a fixed random P, equation (2).

    P is a buffer: it moves with the module, is saved with it, and no optimizer sees it.

    Parameters
    ----------
    n_classes : int
        K; for regression the number of outputs.
    shape : int or sequence of int
        Of the layer's output for one sample: features, or (channels, height, width). Every unit has a target of its own.
    law, scale, seed
        As in `draw_patterns`.

    Raises
    ------
    ValueError, TypeError
        As in `draw_patterns`; in the call, for labels outside 0..K-1 or of another kind.

    Examples
    --------
    >>> import torch
    >>> from lib.backprop_free import tpsgd
    >>> target = tpsgd.LocalTarget(10, 64, seed=0)
    >>> target(torch.tensor([3, 3, 7])).shape
    torch.Size([3, 64])
    """

    P: torch.Tensor

    def __init__(
        self, n_classes: int, shape: int | Sequence[int], law: Law = "normal", scale: float = 1.0, seed: Any = 0
    ) -> None:
        super().__init__()
        self.n_classes = checks.integer("n_classes", n_classes, low=1)
        dims = list(shape) if isinstance(shape, tuple | list | torch.Size) else [shape]
        self.shape = tuple(checks.integer("shape", n, low=1) for n in dims)
        if not self.shape:
            raise ValueError("shape must not be empty")
        self.law, self.scale = law, scale
        P = draw_patterns(self.n_classes, math.prod(self.shape), law, scale, seed)
        self.register_buffer("P", torch.tensor(P, dtype=torch.get_default_dtype()).reshape(self.n_classes, *self.shape))

    def forward(self, labels: torch.Tensor) -> torch.Tensor:
        """Targets, shape (samples, *shape), of integer labels (samples,) or of rows y* of real numbers (samples, K)."""
        rows = check_labels(labels, self.n_classes)
        if rows.ndim == 1:
            return self.P[rows]  # (2)
        return torch.tensordot(rows.to(self.P.dtype), self.P, dims=1)  # (2)

    def extra_repr(self) -> str:
        """The numbers that define it."""
        return f"{self.n_classes}, {self.shape}, law={self.law!r}, scale={self.scale}"


def check_labels(labels: Any, n_classes: int) -> torch.Tensor:
    """Integer labels (samples,) in 0..K-1, or finite rows of real numbers (samples, K); else an error that says so."""
    wanted = f"labels must be integers from 0 to {n_classes - 1}, shape (samples,), or real rows, shape (samples, {n_classes})"
    if not isinstance(labels, torch.Tensor) or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"{wanted}, got {labels.dtype if isinstance(labels, torch.Tensor) else checks.shown(labels)}")
    if labels.numel() == 0:
        raise ValueError(f"{wanted}, got none")
    if labels.is_floating_point():
        if labels.ndim != 2 or labels.shape[1] != n_classes:
            raise ValueError(f"{wanted}, got real numbers of shape {tuple(labels.shape)}")
        return checks.tensor("labels", labels)
    if labels.ndim != 1:
        raise ValueError(f"{wanted}, got shape {tuple(labels.shape)}")
    if labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(f"{wanted}, got {int(labels.min())} to {int(labels.max())}")
    return labels.long()
