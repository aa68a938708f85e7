"""Models that are not linear: matrix factorization with an ill-conditioned target, and a small network on MNIST."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lib.data
from lib import checks

from ..optimizer import SSO
from ..surrogate import armijo

Floats = NDArray[np.float64]
#: The chapter's methods on the digits: kind, step, inner steps, and the steps tried on two pilot seeds.
DIGIT_METHODS: dict[str, tuple[str, float, int, tuple[float, ...]]] = {
    "SSO, m = 1": ("sso", 2.0, 1, ()),
    "SSO, m = 10": ("sso", 2.0, 10, ()),
    "SSO, tuned": ("sso", 32.0, 10, (2.0, 8.0, 32.0, 128.0)),
    "SGD, tuned": ("sgd", 0.3, 1, (0.1, 0.3, 1.0, 2.0)),
    "SLS": ("sls", 10.0, 1, ()),
    "Adam, tuned": ("adam", 0.03, 1, (0.003, 0.01, 0.03, 0.1)),
}


@dataclass(frozen=True)
class Regression:
    """Inputs and outputs with a noiseless linear relation, reduced to as many rows as there are inputs."""

    X: torch.Tensor
    Y: torch.Tensor
    rows: int

    def loss(self, outputs: torch.Tensor) -> torch.Tensor:
        """Half of the squared error, mean over the original rows."""
        return 0.5 * ((outputs - self.Y) ** 2).sum() / self.rows


def ill_conditioned(seed: int | np.random.Generator, rows: int = 1000) -> Regression:
    """The paper's code's task: x in R^6, y = D U x in R^10, U uniform, D from 1 down to 1e-10.

    The rows enter the loss and the surrogate only through squared norms, so X is replaced by its triangular factor.

    Parameters
    ----------
    seed : int or Generator
    rows : int
        1000 in the paper's code.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> task = study.ill_conditioned(0)
    >>> tuple(task.X.shape), tuple(task.Y.shape)
    ((6, 6), (6, 10))
    """
    rng, rows = checks.generator("seed", seed), checks.integer("rows", rows, low=6)
    X, U = rng.standard_normal((rows, 6)), rng.random((10, 6))
    A = np.linspace(1.0, 1e-10, 10)[:, None] * U
    R = np.linalg.qr(X, mode="r")
    return Regression(torch.from_numpy(R), torch.from_numpy(R @ A.T), rows)


def factors(width: int | None, seed: int) -> list[torch.nn.Parameter]:
    """Weights of a linear network from 6 to 10, with a hidden layer of `width` or none, as torch draws them.

    Parameters
    ----------
    width : int or None
    seed : int

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> [tuple(W.shape) for W in study.factors(4, seed=0)]
    [(6, 4), (4, 10)]
    """
    sizes = (6, 10) if width is None else (6, checks.integer("width", width, low=1), 10)
    rng = np.random.default_rng(checks.integer("seed", seed, low=0))
    uniform = [torch.from_numpy(rng.uniform(-1, 1, (a, b))) for a, b in itertools.pairwise(sizes)]
    return [torch.nn.Parameter(W / len(W) ** 0.5) for W in uniform]


def least_loss(task: Regression, width: int | None) -> float:
    """The least loss that a linear network with a hidden layer of `width` (None: without one) can have.

    Its map is any matrix of that rank, so by Eckart and Young half of the squares of the singular values that are left is left.

    Parameters
    ----------
    task : Regression
    width : int or None

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> task = study.ill_conditioned(0)
    >>> study.least_loss(task, 1) > study.least_loss(task, 4) > study.least_loss(task, None)
    True
    """
    rank = min(task.Y.shape) if width is None else checks.integer("width", width, low=1)
    return 0.5 * float((torch.linalg.svdvals(task.Y)[rank:] ** 2).sum()) / task.rows


def factorize(
    task: Regression, method: str, step: float, m: int = 1, width: int | None = 10, steps: int = 50, seed: int = 0
) -> Floats:
    """The loss before each of `steps` steps and after the last, with all rows each time.

    Parameters
    ----------
    task : Regression
    method : {"sso", "gd", "adam"}
        SSO with target step `step` (1/L is 1) and `m` inner steps, or one gradient step of length `step`.
    step : float
    m, steps : int
    width : int or None
        Of the hidden layer; the paper's code: 10, 4, 1 or none.
    seed : int
        Of the weights.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> losses = study.factorize(study.ill_conditioned(0), "sso", step=1.0, m=3, steps=4)
    >>> losses.shape, bool(losses[-1] < losses[0])
    ((5,), True)
    """
    checks.choice("method", method, ("sso", "gd", "adam"))
    step, m, steps = checks.positive("step", step), checks.integer("m", m, low=1), checks.integer("steps", steps, low=1)
    weights, losses = factors(width, seed), []

    def outputs() -> torch.Tensor:
        found = task.X
        for W in weights:
            found = found @ W
        return found

    if method == "sso":
        # The loss is a mean over the original rows, the reduced ones count for it by their squares: rescale to one mean.
        scale = task.rows / len(task.X)
        optimizer: Any = SSO(weights, eta=step, m=m, beta=0.7, tol=1e-12)
    else:
        optimizer = (torch.optim.SGD if method == "gd" else torch.optim.Adam)(weights, lr=step)
    for _ in range(steps):
        if method == "sso":
            value = optimizer.step(lambda: (outputs, lambda z: scale * task.loss(z)))
            losses.append(float(value) / scale)
            continue
        optimizer.zero_grad()
        loss = task.loss(outputs())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return np.array([*losses, float(task.loss(outputs()).detach())])


@dataclass(frozen=True)
class Digits:
    """MNIST images as rows of floats from 0 to 1, and their classes; double precision, so that CPUs agree."""

    X: torch.Tensor
    y: torch.Tensor
    X_test: torch.Tensor
    y_test: torch.Tensor


def mnist_digits(n: int | None = None, n_test: int | None = None) -> Digits:
    """The first images of MNIST's training and test sets.

    Parameters
    ----------
    n, n_test : int, optional
        How many; by default all.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> tuple(study.mnist_digits(100, 50).X.shape)
    (100, 784)
    """
    n = None if n is None else checks.integer("n", n, low=1)
    n_test = None if n_test is None else checks.integer("n_test", n_test, low=1)
    parts: list[torch.Tensor] = []
    for split, most in (("train", n), ("test", n_test)):
        images, labels = lib.data.mnist(split)  # type: ignore[arg-type]
        rows = images[:most].reshape(len(images[:most]), -1).astype(np.float64) / 255
        parts += [torch.from_numpy(rows), torch.from_numpy(labels[:most].astype(np.int64))]
    return Digits(*parts)


def digits_network(hidden: int, seed: int) -> torch.nn.Module:
    """A network from 784 pixels to 10 classes with one hidden layer (ReLU), double precision.

    Parameters
    ----------
    hidden : int
    seed : int
        Of the weights, drawn as torch draws them, but by NumPy: the same on every CPU.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> len(list(study.digits_network(8, seed=0).parameters()))
    4
    """
    hidden, seed = checks.integer("hidden", hidden, low=1), checks.integer("seed", seed, low=0)
    return drawn(torch.nn.Sequential(torch.nn.Linear(784, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10)), seed)


def drawn(net: torch.nn.Module, seed: int) -> torch.nn.Module:
    """The network in double precision with weights and biases uniform on +-1/sqrt(inputs), in place, the same on every CPU.

    Parameters
    ----------
    net : torch.nn.Module
        Of linear layers.
    seed : int

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.target_surrogates import study
    >>> study.drawn(torch.nn.Linear(4, 2), seed=0).weight.abs().max().item() <= 0.5
    True
    """
    rng = np.random.default_rng(checks.integer("seed", seed, low=0))
    net.double()
    width = 1
    with torch.no_grad():
        for p in net.parameters():
            width = p.shape[1] if p.ndim == 2 else width
            p.copy_(torch.from_numpy(rng.uniform(-1, 1, tuple(p.shape)).round(7) / width**0.5))
    return net


def train_digits(
    digits: Digits, method: str, step: float, m: int = 1, steps: int = 100, batch: int = 125, hidden: int = 64, seed: int = 0
) -> tuple[float, float]:
    """Mean loss on all training images given and accuracy on the test images, after `steps` batches.

    Parameters
    ----------
    digits : Digits
    method : {"sso", "sgd", "adam", "sls"}
        SSO with target step `step` and `m` inner steps, or one step of length `step` on the batch's loss. "sls" is Armijo's
        rule on the batch's loss (c = 0.1), the first trial `step`, the next twice what was accepted.
    step : float
    m, steps, batch, hidden : int
    seed : int
        Of weights and batches.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import study
    >>> loss, accuracy = study.train_digits(study.mnist_digits(200, 100), "sso", 2.0, m=2, steps=3, batch=50, hidden=8)
    >>> bool(loss < 2.5)
    True
    """
    checks.choice("method", method, ("sso", "sgd", "adam", "sls"))
    step, m = checks.positive("step", step), checks.integer("m", m, low=1)
    steps, batch = checks.integer("steps", steps, low=1), checks.integer("batch", batch, low=1, high=len(digits.X))
    net, cross_entropy = digits_network(hidden, seed), torch.nn.functional.cross_entropy
    rng, trial = np.random.default_rng(seed), step
    if method == "sso":
        optimizer: Any = SSO(net.parameters(), eta=step, m=m, alpha=1.0, beta=0.7, grow=1.5)
    else:
        optimizer = (torch.optim.Adam if method == "adam" else torch.optim.SGD)(net.parameters(), lr=step)
    for _ in range(steps):
        rows = torch.from_numpy(rng.choice(len(digits.X), batch, replace=False))
        X, y = digits.X[rows], digits.y[rows]
        if method == "sso":
            optimizer.step(_closure(net, X, y))
        elif method == "sls":
            trial = 2 * _searched(net, X, y, trial)
        else:
            optimizer.zero_grad()
            cross_entropy(net(X), y).backward()
            optimizer.step()
    with torch.no_grad():
        loss = float(cross_entropy(net(digits.X), digits.y))
        right = float((net(digits.X_test).argmax(dim=1) == digits.y_test).double().mean())
    return loss, right


def _closure(net: torch.nn.Module, X: torch.Tensor, y: torch.Tensor) -> Any:
    return lambda: (lambda: net(X), lambda z: torch.nn.functional.cross_entropy(z, y))


def _searched(net: torch.nn.Module, X: torch.Tensor, y: torch.Tensor, trial: float) -> float:
    """One step of stochastic line search; returns what was accepted."""
    cross_entropy, params = torch.nn.functional.cross_entropy, list(net.parameters())
    base = cross_entropy(net(X), y)
    slopes = torch.autograd.grad(base, params)
    start = [p.detach().clone() for p in params]

    def value(a: float) -> float:
        with torch.no_grad():
            for p, old, s in zip(params, start, slopes, strict=True):
                p.copy_(old - a * s)
            return float(cross_entropy(net(X), y))

    squared = sum(float((s.double() ** 2).sum()) for s in slopes)
    found, _ = armijo(value, float(base.detach()), squared, trial, beta=0.7)
    value(found)
    return found or trial / 4
