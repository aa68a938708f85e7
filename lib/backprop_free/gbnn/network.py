"""Boosting steps laid side by side: one network with one hidden layer, also as a torch module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lib import checks
from lib.backprop_free.gbnn.losses import LOSSES, Loss
from lib.backprop_free.gbnn.pieces import ACTIVATIONS, Piece

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]


class Step(NamedTuple):
    """A piece and what it is multiplied by, nu rho (times the scale of y in a regression)."""

    piece: Piece
    rate: float


class Network(NamedTuple):
    """A net with one hidden layer: s(x W1 + b1) W2 + b2."""

    W1: Floats  #: shape (d, M)
    b1: Floats  #: shape (M,)
    W2: Floats  #: shape (M, K); K = 1 for a regression and for two classes
    b2: Floats  #: shape (K,)

    def __call__(self, X: npt.ArrayLike, activation: str = "logistic") -> Floats:
        """Outputs for X of shape (n, d), shape (n, K)."""
        checks.choice("activation", activation, ACTIVATIONS)
        return ACTIVATIONS[activation][0](np.asarray(X) @ self.W1 + self.b1) @ self.W2 + self.b2


def assemble(intercept: npt.ArrayLike, steps: Sequence[Step], loss: Loss = "squared") -> Network:
    """One network of all steps: equation (7).

    Parameters
    ----------
    intercept : float or array, shape (K,)
        The constant F_0.
    steps : sequence of (piece, rate)
        At least one.
    loss : {"squared", "binary", "softmax"}
        For ``"binary"`` the outputs are doubled: scores are half the log-odds, and a net's output is the log-odds.

    Returns
    -------
    Network
        With ``W1, b1, W2, b2``; call it with X for its outputs.

    Raises
    ------
    ValueError
        Without steps, or if `intercept` is not finite, or not one number for each output of the pieces.
    TypeError
        If `steps` holds something else.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.gbnn import assemble, fit_piece
    >>> X = np.linspace(-1.0, 1.0, 20)[:, None]
    >>> pieces = [fit_piece(X, X**k, 1, seed=k) for k in (1, 3)]
    >>> network = assemble(0.5, [(piece, 0.1) for piece in pieces])
    >>> bool(np.allclose(network(X), 0.5 + 0.1 * pieces[0](X) + 0.1 * pieces[1](X)))
    True
    """
    checks.choice("loss", loss, LOSSES)
    constant = checks.array("intercept", intercept, ndim=(0, 1)).astype(np.float64)
    if not len(steps):
        raise ValueError("steps must hold at least one (piece, rate)")
    if not all(isinstance(step, tuple) and len(step) == 2 and isinstance(step[0], Piece) for step in steps):
        raise TypeError("steps must hold pairs (piece, rate)")
    outputs = {piece.b.size for piece, _ in steps} | ({constant.size} if constant.ndim else set())
    if len(outputs) > 1:
        raise ValueError(f"intercept and steps must have the same outputs, got {' and '.join(map(str, sorted(outputs)))}")
    return _assemble(constant, [Step(piece, checks.number("steps: rate", rate)) for piece, rate in steps], loss)


def _assemble(constant: Any, steps: Sequence[Step], loss: str) -> Network:
    m = 2.0 if loss == "binary" else 1.0
    W1 = np.concatenate([piece.W for piece, _ in steps], axis=1)  # (7)
    b1 = np.concatenate([piece.c for piece, _ in steps])  # (7)
    W2 = m * np.concatenate([rate * piece.A for piece, rate in steps])  # (7)
    b2 = m * (constant + sum(rate * piece.b for piece, rate in steps))  # (7)
    return Network(W1, b1, W2, np.atleast_1d(b2))


def to_torch(network: Network, activation: str = "logistic", dtype: torch.dtype | None = None) -> torch.nn.Sequential:
    """The network as ``Sequential(Linear, activation, Linear)``; its outputs are values, log-odds or logits.

    Parameters
    ----------
    network : Network
    activation : {"logistic", "tanh", "relu", "identity"}
    dtype : torch.dtype, optional
        Of the weights; default torch's, usually float32.

    Raises
    ------
    TypeError
        If `network` is no `Network`.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.gbnn import assemble, fit_piece, to_torch
    >>> X = np.linspace(-1.0, 1.0, 20)[:, None]
    >>> to_torch(assemble(0.0, [(fit_piece(X, X, 2, seed=0), 1.0)]))
    Sequential(
      (0): Linear(in_features=1, out_features=2, bias=True)
      (1): Sigmoid()
      (2): Linear(in_features=2, out_features=1, bias=True)
    )
    """
    import torch

    if not isinstance(network, Network):
        raise TypeError(f"network must be a Network, got {checks.shown(network)}")
    checks.choice("activation", activation, ACTIVATIONS)
    kinds = {"logistic": torch.nn.Sigmoid, "tanh": torch.nn.Tanh, "relu": torch.nn.ReLU, "identity": torch.nn.Identity}
    d, M = network.W1.shape
    layers = torch.nn.Linear(d, M, dtype=dtype), torch.nn.Linear(M, network.W2.shape[1], dtype=dtype)
    with torch.no_grad():
        for layer, weight, bias in zip(layers, (network.W1, network.W2), (network.b1, network.b2), strict=True):
            layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.T)))
            layer.bias.copy_(torch.from_numpy(np.ascontiguousarray(bias)))
    return torch.nn.Sequential(layers[0], kinds[activation](), layers[1])
