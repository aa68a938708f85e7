"""Data, networks and the training loop of the experiments; all in float64, so that results agree between machines."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import lib.data
from lib import checks

Pairs = list[tuple[torch.Tensor, torch.Tensor]]
Rng = Callable[..., np.random.Generator]


@dataclass(frozen=True)
class Images:
    """Inputs, along the first axis, and their classes; gives batches for training and for gradients."""

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.y)

    def first(self, n: int) -> Images:
        """The first n."""
        return Images(self.x[:n], self.y[:n])

    def halved(self) -> Images:
        """The same images with half as many pixels a side, each the mean of four."""
        return Images(nn.functional.avg_pool2d(self.x, 2), self.y)

    def batches(self, rng: np.random.Generator, size: int, n: int | None = None) -> Pairs:
        """`n` random batches with replacement between them; None: one pass over all, without the last short batch."""
        if n is None:
            order = rng.permutation(len(self))[: len(self) // size * size].reshape(-1, size)
        else:
            order = np.stack([rng.choice(len(self), size, replace=False) for _ in range(n)])
        return [(self.x[rows], self.y[rows]) for rows in torch.from_numpy(order)]


def drawn_images(rng: np.random.Generator, n_train: int, n_test: int, data: str = "mnist") -> tuple[Images, Images, Images]:
    """Training, validation and test images: the first two from the training part of the data.

    Parameters
    ----------
    rng : numpy.random.Generator
    n_train, n_test : int
        Images to train on; images to test on. There are as many to validate on as to test on.
    data : str
        ``"mnist"`` (default) or ``"fashion_mnist"``.

    Returns
    -------
    three Images
        x float64, shape (n, 1, 28, 28), of mean 0 and deviation 1 over the training images; y int64.
    """
    source = {"mnist": lib.data.mnist, "fashion_mnist": lib.data.fashion_mnist}[
        checks.choice("data", data, ("mnist", "fashion_mnist"))
    ]
    n_train = checks.integer("n_train", n_train, low=10, high=50_000)
    n_test = checks.integer("n_test", n_test, low=10, high=10_000)
    found = []
    for split, n in (("train", n_train + n_test), ("test", n_test)):
        images, labels = source(split)  # type: ignore[arg-type]
        rows = rng.choice(len(labels), n, replace=False)
        x = torch.from_numpy(images[rows]).double()[:, None] / 255
        found.append((x, torch.from_numpy(labels[rows].astype(np.int64))))
    mean, deviation = found[0][0][:n_train].mean(), found[0][0][:n_train].std()
    (x, y), (x_test, y_test) = (((x - mean) / deviation, y) for x, y in found)
    return Images(x[:n_train], y[:n_train]), Images(x[n_train:], y[n_train:]), Images(x_test, y_test)


def digit_images(rng: np.random.Generator, n_train: int = 1400) -> tuple[Images, Images]:
    """The 8 x 8 digits of scikit-learn, flat, split at random into training and test images."""
    X, y = lib.data.digits()
    order = rng.permutation(len(y))
    x = torch.from_numpy(X[order]) / 8 - 1
    t = torch.from_numpy(y[order])
    return Images(x[:n_train], t[:n_train]), Images(x[n_train:], t[n_train:])


def seeded(rng: np.random.Generator, make: Callable[[], nn.Module]) -> nn.Module:
    """A network whose first weights come from `rng`; the global generator stays where it was."""
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(2**31)))
        return make().double()


def convnet(rng: np.random.Generator, side: int = 28, hidden: int = 32, normalized: bool = False) -> nn.Module:
    """Two convolutions with stride 2 (8 and 16 channels), two linear layers; 26,760 weights to prune at 28 x 28 images.

    `normalized` puts a batch normalization after each convolution, as in residual networks.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.mfac import prunable
    >>> from lib.gradient.mfac.study import convnet
    >>> sum(p.numel() for p in prunable(convnet(np.random.default_rng(0))))
    26760
    """
    side, hidden = checks.integer("side", side, low=4, high=256), checks.integer("hidden", hidden, low=1)
    quarter, normalized = (side + 3) // 4, checks.boolean("normalized", normalized)

    def conv(n_in: int, n_out: int, width: int) -> list[nn.Module]:
        layer = nn.Conv2d(n_in, n_out, width, stride=2, padding=width // 2)
        return [layer, *([nn.BatchNorm2d(n_out)] if normalized else []), nn.ReLU()]

    def make() -> nn.Module:
        head = [nn.Flatten(), nn.Linear(16 * quarter**2, hidden), nn.ReLU(), nn.Linear(hidden, 10)]
        return nn.Sequential(*conv(1, 8, 5), *conv(8, 16, 3), *head)

    return seeded(rng, make)


def deep_net(rng: np.random.Generator, activation: type[nn.Module] = nn.Sigmoid, width: int = 32) -> nn.Module:
    """Four hidden layers on 64 inputs, 10 outputs: with sigmoid units, a badly conditioned problem.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.mfac.study import deep_net
    >>> sum(p.numel() for p in deep_net(np.random.default_rng(0)).parameters())
    5578
    """
    width = checks.integer("width", width, low=1)
    sizes = [64, width, width, width, width]

    def make() -> nn.Module:
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), activation()]
        return nn.Sequential(*layers, nn.Linear(width, 10))

    return seeded(rng, make)


def tiny_net() -> nn.Module:
    """104 weights and 14 biases on 16 inputs, for pictures of whole matrices."""
    return nn.Sequential(nn.Linear(16, 4), nn.Tanh(), nn.Linear(4, 10))


@torch.no_grad()
def accuracy(model: nn.Module, images: Images) -> float:
    """Share of images that are classified right."""
    model.eval()
    return float((model(images.x).argmax(1) == images.y).double().mean())


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Images,
    epochs: int,
    size: int,
    rng: np.random.Generator,
    rate: Callable[[int], float] | None = None,
) -> np.ndarray:
    """Train on cross-entropy; the loss of every batch, infinite from where it stopped being finite: training ends there.

    `rate` gives what each epoch's learning rates are multiplied by; default 1.
    """
    base = [group["lr"] for group in optimizer.param_groups]
    losses: list[float] = []
    n_steps = epochs * (len(images) // size)
    model.train()
    for epoch in range(epochs):
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr * (rate(epoch) if rate else 1.0)
        for x, y in images.batches(rng, size):
            optimizer.zero_grad()
            loss: Any = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            finite = all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in model.parameters())
            if not np.isfinite(loss.item()) or not finite:
                return np.r_[losses, np.full(n_steps - len(losses), np.inf)]
            optimizer.step()
            losses.append(loss.item())
    return np.array(losses)


def tenfold(epochs: int) -> Callable[[int], float]:
    """The authors' schedule: a tenth of the rate from half of the epochs on, a hundredth from three quarters on."""
    return lambda epoch: 0.1 ** ((epoch >= epochs / 2) + (epoch >= 3 * epochs / 4))
