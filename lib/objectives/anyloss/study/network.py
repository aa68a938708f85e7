"""The paper's second learner: a network with two hidden units, trained on mini-batches by Adam.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024).
Dense(2, He-normal) - batch normalization - sigmoid - Dense(1) - sigmoid, with the defaults of Keras that the authors
ran (batch-norm momentum 0.99 and epsilon 1e-3, Glorot-uniform output layer, Adam epsilon 1e-7). Weights start afresh
for each call; the authors create the network once and go on training it from fold to fold.

In the authors' code the n of the score is the size of the training set while the sums run over a mini-batch. That is
the score of a batch with (n_train - batch) invented true negatives, `miscounted_metric`: nothing changes for F-beta, a
factor for accuracy, but specificity is close to 1 whatever the network does, so G-mean and balanced accuracy reward
recall alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from lib import checks
from lib.objectives.anyloss import functional
from lib.objectives.anyloss.batches import StratifiedBatchSampler, seeded
from lib.objectives.anyloss.functional import Metric

Criterion = Callable[[Tensor, Tensor], Tensor]
"""Loss of probabilities (n,) and float targets (n,): `AnyLoss`, ``nn.BCELoss``, ``nn.MSELoss``."""


def build_network(
    n_features: int,
    *,
    hidden: int = 2,
    zero_output: bool = False,
    seed: int | torch.Generator = 0,
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    """The paper's network; maps (n, n_features) to probabilities (n,).

    Parameters
    ----------
    n_features : int
        Width of the input.
    hidden : int, default=2 (the paper's value)
        Hidden units.
    zero_output : bool, default=False
        Start the output layer at 0 instead of Glorot-uniform (the paper's): every p is 1/2, where A is steepest.
    seed : int or torch.Generator, default=0
        Of the initial weights; the global generator is left alone.
    dtype : torch.dtype, default=torch.float32 (the paper's)
        At L = 73 the amplification saturates in float32, see `max_safe_L`.

    Raises
    ------
    ValueError
        A width below 1.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.anyloss.study import build_network
    >>> build_network(3).eval()(torch.zeros(4, 3)).shape
    torch.Size([4])
    """
    n_features, hidden = checks.integer("n_features", n_features, low=1), checks.integer("hidden", hidden, low=1)
    zero_output = checks.boolean("zero_output", zero_output)
    generator = seeded(seed)
    # skip_init: the default initialization would draw from the global generator.
    first = nn.utils.skip_init(nn.Linear, n_features, hidden, dtype=dtype)
    last = nn.utils.skip_init(nn.Linear, hidden, 1, dtype=dtype)
    # Keras truncates at two standard deviations and restores the variance by this constant.
    std = math.sqrt(2 / n_features) / 0.87962566103423978
    nn.init.trunc_normal_(first.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
    nn.init.xavier_uniform_(last.weight, gain=0.0 if zero_output else 1.0, generator=generator)
    nn.init.zeros_(first.bias)
    nn.init.zeros_(last.bias)
    norm = nn.BatchNorm1d(hidden, eps=1e-3, momentum=0.01, dtype=dtype)  # torch's momentum is one minus Keras'
    return nn.Sequential(first, norm, nn.Sigmoid(), last, nn.Sigmoid(), nn.Flatten(0))


def miscounted_metric(metric: str | Metric, n_train: int, beta: float = 1.0) -> Metric:
    """The score as the authors' network code computes it: n is that of the training set, not of the batch.

    Parameters
    ----------
    metric, beta
        As in `AnyLoss`.
    n_train : int
        Size of the training set, at least the size of a batch.

    Returns
    -------
    callable
        ``metric(tp, fp, fn, tn)`` with tn replaced by n_train - tp - fp - fn; give it to `AnyLoss`.

    Examples
    --------
    >>> from lib.objectives.anyloss.study import miscounted_metric
    >>> wrong = miscounted_metric("balanced_accuracy", 1000)
    >>> wrong(10.0, 90.0, 0.0, 0.0) > 0.95  # everything called positive, in a batch of 100
    True
    """
    n_train = checks.integer("n_train", n_train, low=1)
    right = functional.metric_function(metric, beta)
    return lambda tp, fp, fn, tn: right(tp, fp, fn, n_train - tp - fp - fn)


def train_network(
    X: ArrayLike,
    y: ArrayLike,
    criterion: Criterion,
    *,
    learning_rate: float = 0.001,
    epochs: int = 100,
    batch_fraction: float = 0.05,
    stratified: bool = False,
    hidden: int = 2,
    zero_output: bool = False,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> nn.Sequential:
    """Train the paper's network from fresh weights.

    Parameters
    ----------
    X : array_like, shape (n, d)
        Features.
    y : array_like, shape (n,)
        Labels 0/1, -1/+1 or bool.
    criterion : callable
        Loss of probabilities (batch,) and targets (batch,): `AnyLoss`, ``nn.BCELoss()``, ``nn.MSELoss()``.
    learning_rate : float, default=0.001 (the paper's value; 0.003 for BCE and 0.005 for MSE)
        Of Adam.
    epochs : int, default=100 (the paper's value)
        Passes over the data.
    batch_fraction : float, default=0.05 (the paper's value)
        Batch size as a share of n, in (0, 1].
    stratified : bool, default=False
        Draw batches by `StratifiedBatchSampler`; plain shuffling (the paper's) may leave a batch without positives,
        which `AnyLoss` refuses.
    hidden, zero_output, dtype
        As in `build_network`.
    seed : int, default=0
        Of weights and batches; two criteria with one seed see the same of both.

    Returns
    -------
    nn.Sequential
        In evaluation mode.

    Raises
    ------
    ValueError
        Shapes that do not fit, values that are not finite, parameters out of range.

    Notes
    -----
    A(p) is flat away from p = 1/2. Where the fresh network says more than 1/2, or less, to nearly every sample, AnyLoss
    often settles on calling everything positive, or negative: at L = 73 about three seeds in ten for F1 and balanced
    accuracy on the paper's Random set. ``zero_output`` cures these, but not the accuracy loss, for which calling
    everything negative is a good solution on imbalanced data.

    Examples
    --------
    >>> import torch
    >>> import numpy as np
    >>> from lib.objectives.anyloss.study import predict_probs, train_network
    >>> X, y = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 2
    >>> net = train_network(X, y, torch.nn.BCELoss(), epochs=1, batch_fraction=0.5)
    >>> predict_probs(net, X).shape
    (40,)
    """
    data, target = _check_network_input(X, y, dtype, learning_rate, epochs, batch_fraction)
    generator = seeded(seed)
    network = build_network(data.shape[1], hidden=hidden, zero_output=zero_output, seed=generator, dtype=dtype)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, eps=1e-7)
    # Batch normalization needs two samples.
    batch_size = min(len(data), max(2, int(len(data) * batch_fraction)))
    sampler = StratifiedBatchSampler(target, batch_size, generator) if stratified else None
    for _ in range(int(epochs)):
        batches = sampler or torch.randperm(len(data), generator=generator).split(batch_size)
        for batch in batches:
            if len(batch) < 2:
                continue
            optimizer.zero_grad()
            criterion(network(data[batch]), target[batch]).backward()
            optimizer.step()
    return network.eval()


@torch.no_grad()
def predict_probs(network: nn.Module, X: ArrayLike) -> NDArray[np.float64]:
    """Probabilities (n,) of a network in evaluation mode, as a float64 array.

    Examples
    --------
    >>> from lib.objectives.anyloss.study import build_network, predict_probs
    >>> predict_probs(build_network(2).eval(), [[0.0, 1.0]]).shape
    (1,)
    """
    dtype = next(network.parameters()).dtype
    return network(torch.as_tensor(checks.array("X", X, ndim=2), dtype=dtype)).double().numpy()


def _check_network_input(
    X: ArrayLike, y: ArrayLike, dtype: torch.dtype, learning_rate: float, epochs: int, batch_fraction: float
) -> tuple[Tensor, Tensor]:
    data = torch.as_tensor(checks.array("X", X), dtype=dtype)
    target = torch.as_tensor(functional.check_target(y, "y")).to(dtype)
    if data.ndim != 2 or target.shape != data.shape[:1] or len(data) < 2:
        raise ValueError(f"need X (n, d) and y (n,) with n >= 2, got {tuple(data.shape)} and {tuple(target.shape)}")
    checks.positive("learning_rate", learning_rate)
    checks.integer("epochs", epochs, low=1)
    checks.number("batch_fraction", batch_fraction, above=0, high=1)
    return data, target
