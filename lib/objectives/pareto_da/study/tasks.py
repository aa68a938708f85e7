"""Three shifts between digits that people wrote: two collections, both ways, and gray digits against digits on photographs.

For dense networks, images are 8 x 8 block means. UCI's optical digits are so by their making: means over 4 x 4 of digits
stretched to 32 x 32. MNIST's digits are cut to the 20 x 20 pixels that they were fitted into, which are divided into 8 x 8
blocks. For convolutions, images have 16 x 16 pixels: all of MNIST's 28 x 28 as block means, optical digits between their 8 x 8.
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
    rng, n, k = _asked(name, n_source, n_target, seed)
    if name == "O-M":
        (X, y), (Z, t) = _optdigits(rng, n), _mnist(rng, k)[0]
    elif name == "M-O":
        (X, y), (Z, t) = _mnist(rng, n)[0], _optdigits(rng, k)
    else:
        (X, y), (Z, t) = _mnist(rng, n, k)
        X, Z = np.repeat(X, 3, axis=1), blend(Z, rng)
    return DomainTask(name, X, y, Z, t)


def images_task(name: str, n_source: int, n_target: int, seed: int | np.random.Generator) -> DomainTask:
    """The same tasks as images of 16 x 16 pixels, shape (n, colors, 16, 16), for convolutions.

    Colored digits are differences from patches of photographs in full light, every second pixel of 32 x 32, as MNIST-M's are.

    Parameters
    ----------
    name : {"M-O", "O-M", "M-C"}
    n_source, n_target : int
        As in `digits_task`.
    seed : int or Generator

    Raises
    ------
    TypeError, ValueError
        For another name, or numbers out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import images_task
    >>> images_task("M-C", 30, 20, seed=0).X_target.shape
    (20, 3, 16, 16)
    """
    rng, n, k = _asked(name, n_source, n_target, seed)
    if name == "M-C":
        (X, y), (Z, t) = _mnist(rng, n, k, size=16, cut=0)
        return DomainTask(name, np.repeat(X[:, None], 3, 1), y, _blend_images(Z, rng), t)
    if name == "O-M":
        (X, y), (Z, t) = _optdigits(rng, n), _mnist(rng, k, size=16, cut=0)[0]
        X = enlarge(X.reshape(-1, 8, 8))
    else:
        (X, y), (Z, t) = _mnist(rng, n, size=16, cut=0)[0], _optdigits(rng, k)
        Z = enlarge(Z.reshape(-1, 8, 8))
    return DomainTask(name, X[:, None], y, Z[:, None], t)


def enlarge(images: Floats) -> Floats:
    """Images (n, 8, 8) on 16 x 16 pixels, linear between the centers of the 8 x 8 and constant beyond the outer ones."""
    centers, at = np.arange(8) + 0.5, (np.arange(16) + 0.5) / 2
    share = np.array([np.interp(at, centers, one) for one in np.eye(8)]).T
    return np.einsum("ai,nij,bj->nab", share, images, share, optimize=True)


def _blend_images(digits: Floats, rng: np.random.Generator) -> Floats:
    photos = _full_photographs()
    which, inside = rng.integers(len(photos), size=len(digits)), 2 * np.arange(16)
    patches = np.empty((len(digits), 3, 16, 16))
    for i, photo in enumerate(photos):
        rows = np.flatnonzero(which == i)
        top, left = (rng.integers(photo.shape[axis] - 32, size=len(rows)) for axis in (0, 1))
        found = photo[top[:, None, None] + inside[:, None], left[:, None, None] + inside]
        patches[rows] = np.moveaxis(found, -1, 1)
    return np.abs(digits[:, None] - patches)


def _asked(name: str, n_source: int, n_target: int, seed: int | np.random.Generator) -> tuple[np.random.Generator, int, int]:
    checks.choice("name", name, TASKS)
    limits = {"M-O": (30_000, 1797), "O-M": (1797, 30_000), "M-C": (30_000, 30_000)}[name]
    n = checks.integer("n_source", n_source, low=20, high=limits[0])
    return checks.generator("seed", seed), n, checks.integer("n_target", n_target, low=20, high=limits[1])


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


def shrink(images: Floats, size: int = 8, cut: int = 4) -> Floats:
    """Images (n, 28, 28), less `cut` pixels on each side, as means over size x size blocks: (n, size^2), between 0 and 1."""
    side = 28 - 2 * cut
    pixels, width = np.arange(side), side / size
    share = np.zeros((size, side))  # how much of each pixel is in each block, along one side
    for block in range(size):
        ends = np.minimum(pixels + 1, width * (block + 1)) - np.maximum(pixels, width * block)
        share[block] = np.clip(ends, 0, None) / width
    inner = images[:, cut : 28 - cut, cut : 28 - cut]
    return np.einsum("ai,nij,bj->nab", share, inner, share, optimize=True).reshape(len(images), -1) / 255.0


@cache
def _mnist_arrays() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    return lib.data.mnist("train")


def _mnist(rng: np.random.Generator, *counts: int, size: int = 8, cut: int = 4) -> list[tuple[Floats, Ints]]:
    """Disjoint random parts: as rows for 8 x 8, as images for more."""
    images, labels = _mnist_arrays()
    chosen = np.split(rng.choice(len(images), sum(counts), replace=False), np.cumsum(counts)[:-1])
    shape = (-1, 64) if size == 8 else (-1, size, size)
    small = [shrink(images[rows].astype(np.float64), size, cut).reshape(shape) for rows in chosen]
    return [(part, labels[rows].astype(np.int64)) for part, rows in zip(small, chosen, strict=True)]


def _optdigits(rng: np.random.Generator, n: int) -> tuple[Floats, Ints]:
    X, y = lib.data.digits()
    rows = rng.choice(len(X), n, replace=False)
    return X[rows] / 16.0, y[rows]


@cache
def _full_photographs() -> tuple[Floats, ...]:
    """scikit-learn's two photographs: (427, 640, 3), between 0 and 1."""
    from sklearn.datasets import load_sample_image

    photos = tuple(np.asarray(load_sample_image(name), dtype=np.float64) / 255.0 for name in PHOTOGRAPHS)
    if not all(photo.shape == (427, 640, 3) for photo in photos):
        raise ValueError(f"the photographs of scikit-learn must be 427 x 640 pixels, got {[p.shape for p in photos]}")
    return photos


@cache
def _photographs() -> tuple[Floats, ...]:
    """The same as means over 4 x 4 pixels, dimmed to half: between 0 and 1/2."""
    cut = (photo[:424, :640].reshape(106, 4, 160, 4, 3) for photo in _full_photographs())
    return tuple(part.mean((1, 3)) / 2 for part in cut)
