"""Black-box attack: perturb one image so that it fools the average of clients' networks, each trained on its own classes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

import lib.data
from lib import checks
from lib.backprop_free.fzoos.gp import Array


class Attack(NamedTuple):
    """One image to attack: clients' functions of x in [0, 1]^784, of which 1/2 is no perturbation; the image, its label."""

    fs: list[Any]
    image: Array
    label: int

    def perturbed(self, x: ArrayLike, bound: float) -> Array:
        """The image that x stands for, shape (28, 28)."""
        return np.clip(self.image + bound * (2 * np.asarray(x) - 1), 0, 1).reshape(28, 28)


class Margin:
    """A client's function: the logit of the label minus the largest other, of the perturbed image; (n, 784) -> (n,)."""

    def __init__(self, network: Any, image: Array, label: int, bound: float) -> None:
        self.network, self.image, self.label, self.bound = network, image, label, bound

    def __call__(self, x: ArrayLike) -> Any:
        at = np.asarray(x, dtype=float)
        pixels = np.clip(self.image + self.bound * (2 * np.atleast_2d(at) - 1), 0, 1)
        logits = predict(self.network, pixels)
        own = logits[:, self.label].copy()
        logits[:, self.label] = -np.inf
        found = own - logits.max(axis=1)
        return float(found[0]) if at.ndim == 1 else found


def predict(network: Any, pixels: Array) -> Array:
    """Logits of images in rows, shape (n, 10), in float64."""
    import torch

    with torch.no_grad():
        return network(torch.from_numpy(pixels.reshape(-1, 1, 28, 28))).numpy()


def small_network(seed: int) -> Any:
    """Two convolutions of stride 2, 8 and 16 channels, and a linear layer (the authors' code: 32, 64, two linear layers)."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(checks.integer("seed", seed, low=0))
        layers = [nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.ReLU(), nn.Conv2d(8, 16, 5, stride=2, padding=2), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(784, 10)).double()


def train(network: Any, X: Array, y: Array, epochs: int, rng: np.random.Generator, lr: float = 2e-3) -> Any:
    """Adam on cross-entropy in batches of 64; the network itself is returned."""
    import torch

    images, labels = torch.from_numpy(X.reshape(-1, 1, 28, 28)), torch.from_numpy(y.astype(np.int64))
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(y)), max(1, len(y) // 64)):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    return network


def client_networks(
    n_clients: int = 10, portion: float = 0.9, n_images: int = 2000, epochs: int = 2, seed: Any = 0
) -> list[Any]:
    """Networks of clients on MNIST, each trained on images of its own random classes.

    Parameters
    ----------
    n_clients : int
        The paper: 10.
    portion : float
        P, the share of the ten classes that a client sees, at least one class.
    n_images, epochs : int
        Training images of a client, passes over them; 0 epochs leave the network as it was drawn.
    seed : int or Generator

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import client_networks
    >>> len(client_networks(n_clients=2, portion=0.5, n_images=64, epochs=1, seed=0))
    2
    """
    n, images = checks.integer("n_clients", n_clients, low=1), checks.integer("n_images", n_images, low=1)
    epochs = checks.integer("epochs", epochs, low=0)
    many = max(1, round(10 * checks.probability("portion", portion)))
    rng = checks.generator("seed", seed)
    X, y = _mnist("train")
    found = []
    for _ in range(n):
        classes = rng.permutation(10)[:many]
        own = rng.permutation(np.flatnonzero(np.isin(y, classes)))[:images]
        found.append(train(small_network(int(rng.integers(2**31))), X[own] / 255.0, y[own], epochs, rng))
    return found


def attacks(networks: list[Any], n: int, bound: float = 0.3, tries: int = 300, seed: Any = 0) -> tuple[list[Attack], int]:
    """The first n test images with a positive average margin, in a random order, as problems; and how many were tried.

    Parameters
    ----------
    networks : list
        Of `client_networks`.
    n : int
        Fewer are returned where `tries` images do not hold as many.
    bound : float
        Largest change of a pixel (the authors' code: 0.3 on MNIST).
    tries : int
    seed : int or Generator

    Examples
    --------
    >>> from lib.backprop_free.fzoos.study import attacks, client_networks
    >>> found, tried = attacks(client_networks(2, 1.0, 500, 1, seed=0), n=1, bound=0.3, tries=20, seed=0)
    >>> found[0].fs[0]([0.5] * 784) + found[0].fs[1]([0.5] * 784) > 0
    True
    """
    n, tries = checks.integer("n", n, low=1), checks.integer("tries", tries, low=1)
    bound, rng = checks.positive("bound", bound), checks.generator("seed", seed)
    X, y = _mnist("test")
    found: list[Attack] = []
    order = rng.permutation(len(y))[:tries]
    for count, k in enumerate(order, start=1):
        image, label = X[k] / 255.0, int(y[k])
        fs = [Margin(network, image, label, bound) for network in networks]
        if np.mean([f(np.full(784, 0.5)) for f in fs]) > 0:
            found.append(Attack(fs, image, label))
            if len(found) == n:
                return found, count
    return found, len(order)


def _mnist(split: str) -> tuple[Any, Any]:
    images, labels = lib.data.mnist(split)  # type: ignore[arg-type]
    return images.reshape(len(images), -1), labels
