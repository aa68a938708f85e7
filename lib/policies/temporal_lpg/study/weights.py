"""The file of meta-trained rules, and the loader that verifies it; `lib.policies.temporal_lpg.study.make_weights` makes it.

For each group of rules ("bandits, LPG", ...) it holds the meta-parameters (trainings, size) in single precision and the curves
of meta-training, and where they came from (commands, commit, versions, CPU, seconds). It is read without pickle, only if its
SHA-256 is `WEIGHTS_SHA256`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lib import weights as files

WEIGHTS_SHA256 = "705a968cd2e907061efadc28efd4e28dc835a7d36c0ab11ddef912dece6fefa8"


def pack(groups: dict[str, np.ndarray], curves: dict[str, np.ndarray], origin: dict[str, Any]) -> bytes:
    """The file of weights from meta-parameters and curves of each group, and where they came from."""
    arrays: dict[str, Any] = {f"rules/{name}": np.asarray(value, np.float32) for name, value in groups.items()}
    arrays |= {f"curve/{name}": np.asarray(value, np.float32) for name, value in curves.items()}
    return files.pack(arrays, origin)


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """Meta-parameters and curves (float64) of each group, and the origin, from a file of weights."""
    arrays, origin = files.unpack(data)
    rules, curves = (
        {name.removeprefix(kind): value.astype(float) for name, value in arrays.items() if name.startswith(kind)}
        for kind in ("rules/", "curve/")
    )
    return rules, curves, origin


def load_weights(path: Path | None = None) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """The rules that the book ships: meta-parameters of each group, curves of meta-training, and where they came from.

    Parameters
    ----------
    path : Path, optional
        Default ``results/temporal_lpg.weights.npz``.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says how to make it.
    ValueError
        If its SHA-256 is not the recorded one. Nothing is parsed then.

    Examples
    --------
    >>> from lib.policies.temporal_lpg.study import load_weights
    >>> sorted(load_weights()[0])[:2]
    ['bandits, LPG', 'bandits, LPG, windows']
    """
    return unpack(files.read("temporal_lpg", WEIGHTS_SHA256, path))
