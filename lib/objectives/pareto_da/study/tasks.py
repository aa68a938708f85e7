"""Three shifts between digits that people wrote: two collections, both ways, and gray digits against digits on photographs.

All images are 8 x 8 block means. UCI's optical digits are so by their making: means over 4 x 4 of digits stretched to 32 x 32.
MNIST's digits are cut to the 20 x 20 pixels that they were fitted into, which are divided into 8 x 8 blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

import lib.data
from lib import checks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Short names of the tasks: source and target.
TASKS = {"M-O": "MNIST to optdigits", "O-M": "optdigits to MNIST", "M-C": "MNIST to MNIST on photographs"}
#: Bundled with scikit-learn.
PHOTOGRAPHS = ("china.jpg", "flower.jpg")


@dataclass(frozen=True)
class DomainTask:
    """A labeled source, and a target whose labels `y_target` only measure; inputs (n, d) between 0 and 1."""

    name: str
    X_source: Floats
    y_source: Ints
    X_target: Floats
    y_target: Ints


def digits_task(name: str, n_source: int, n_target: int, seed: int | np.random.Generator) -> DomainTask:
    """One of the three tasks, on a random part of the data.

    Parameters
    ----------
    name : {"M-O", "O-M", "M-C"}
        MNIST to optdigits, optdigits to MNIST, MNIST to MNIST on photographs (as in MNIST-M: other digits than the source's).
    n_source, n_target : int
        Numbers of images, at least 20; at most what there is (1797 of optdigits).
    seed : int or Generator

    Raises
    ------
    TypeError, ValueError
        For another name, or numbers out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import digits_task
    >>> task = digits_task("M-O", 100, 50, seed=0)
    >>> task.X_source.shape, task.X_target.shape
    ((100, 64), (50, 64))
    """
    checks.choice("name", name, TASKS)
    rng = checks.generator("seed", seed)
    limits = {"M-O": (30_000, 1797), "O-M": (1797, 30_000), "M-C": (30_000, 30_000)}[name]
    n = checks.integer("n_source", n_source, low=20, high=limits[0])
    k = checks.integer("n_target", n_target, low=20, high=limits[1])
    if name == "O-M":
        (X, y), (Z, t) = _optdigits(rng, n), _mnist(rng, k)[0]
    elif name == "M-O":
        (X, y), (Z, t) = _mnist(rng, n)[0], _optdigits(rng, k)
    else:
        (X, y), (Z, t) = _mnist(rng, n, k)
        X, Z = np.repeat(X, 3, axis=1), blend(Z, rng)
    return DomainTask(name, X, y, Z, t)


def blend(digits: Floats, rng: np.random.Generator) -> Floats:
    """Digits (n, 64) as differences, in amount, from random patches of two photographs: (n, 192), three colors a pixel."""
    n = len(digits)
    which = rng.integers(len(_photographs()), size=n)
    patches = np.empty((n, 8, 8, 3))
    for i, photo in enumerate(_photographs()):
        rows = np.flatnonzero(which == i)
        top, left = (rng.integers(photo.shape[axis] - 8, size=len(rows)) for axis in (0, 1))
        inside = np.arange(8)
        patches[rows] = photo[top[:, None, None] + inside[:, None], left[:, None, None] + inside]
    return np.abs(np.repeat(digits, 3, axis=1) - patches.reshape(n, -1))


def shrink(images: Floats) -> Floats:
    """The middle 20 x 20 pixels of images (n, 28, 28), as means over 8 x 8 blocks of 2.5 pixels: (n, 64), between 0 and 1."""
    share = np.zeros((8, 20))  # how much of each pixel is in each block, along one side
    for block in range(8):
        pixels = np.arange(20)
        share[block] = np.clip(np.minimum(pixels + 1, 2.5 * block + 2.5) - np.maximum(pixels, 2.5 * block), 0, None) / 2.5
    return np.einsum("ai,nij,bj->nab", share, images[:, 4:24, 4:24], share, optimize=True).reshape(-1, 64) / 255.0


@cache
def _mnist_arrays() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    return lib.data.mnist("train")


def _mnist(rng: np.random.Generator, *counts: int) -> list[tuple[Floats, Ints]]:
    """Disjoint random parts."""
    images, labels = _mnist_arrays()
    chosen = np.split(rng.choice(len(images), sum(counts), replace=False), np.cumsum(counts)[:-1])
    return [(shrink(images[rows].astype(np.float64)), labels[rows].astype(np.int64)) for rows in chosen]


def _optdigits(rng: np.random.Generator, n: int) -> tuple[Floats, Ints]:
    X, y = lib.data.digits()
    rows = rng.choice(len(X), n, replace=False)
    return X[rows] / 16.0, y[rows]


@cache
def _photographs() -> tuple[Floats, ...]:
    """scikit-learn's two photographs as means over 4 x 4 pixels, dimmed to half: between 0 and 1/2."""
    from sklearn.datasets import load_sample_image

    shrunk = []
    for name in PHOTOGRAPHS:
        pixels = np.asarray(load_sample_image(name), dtype=np.float64)
        height, width = (side // 4 for side in pixels.shape[:2])
        shrunk.append(pixels[: 4 * height, : 4 * width].reshape(height, 4, width, 4, 3).mean((1, 3)) / 510.0)
    if not all(photo.shape == (106, 160, 3) for photo in shrunk):
        raise ValueError(f"the photographs of scikit-learn must be 427 x 640 pixels, got {[p.shape for p in shrunk]}")
    return tuple(shrunk)
