"""The file of the shipped weights, and the loader that verifies it; `lib.policies.udc.study.make_weights` makes it.

It holds the parameters in half precision, the training curve and where it came from (command, commit,
versions, CPU, seconds); it is read without pickle, and only if its SHA-256 is `WEIGHTS_SHA256`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lib import weights as files
from lib.policies.udc.framework import UDC
from lib.policies.udc.study.training import new_model

WEIGHTS_SHA256 = "00c05544163d218698e1408a7d16201f2f56aa508756d9dbd6bb2e86a5577199"


def pack(model: UDC, curve: np.ndarray, origin: dict[str, Any]) -> bytes:
    """The file of weights: half-precision parameters, the training curve and where they came from."""
    arrays = {"curve": curve.astype(np.float32)}
    for name, net in model.nets.items():
        arrays |= files.parameters(net, f"{name}.")
    return files.pack(arrays, origin)


def unpack(data: bytes) -> tuple[UDC, np.ndarray, dict[str, Any]]:
    """Model (float64, so that greedy decoding is the same on every CPU), curve and origin from a file of weights."""
    arrays, origin = files.unpack(data)
    model = new_model(dtype="float64")
    for name, net in model.nets.items():
        files.fill(net, arrays, f"{name}.")
        net.eval()
    return model, arrays["curve"].astype(np.float64), origin


def load_weights(path: Path | None = None) -> tuple[UDC, np.ndarray, dict[str, Any]]:
    """The trained model that the book ships, its training curve (steps, 3) and where it came from.

    Parameters
    ----------
    path : Path, optional
        Default ``results/udc.weights.npz``.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says how to make it.
    ValueError
        If its SHA-256 is not the recorded one. Nothing is parsed then.

    Examples
    --------
    >>> from lib.policies.udc.study import load_weights
    >>> load_weights()[0].n
    10
    """
    return unpack(files.read("udc", WEIGHTS_SHA256, path))
