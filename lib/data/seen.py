"""What this process has loaded, by the SHA-256 of its arrays."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

__all__ = ["used"]

#: Data set -> SHA-256 of its arrays.
USED: dict[str, str] = {}


def used() -> dict[str, str]:
    """What this process has loaded: SHA-256 of the arrays by data set (``"keel/iris0"``, ``"mnist/train"``, ...).

    The hash covers dtype, shape and bytes of the arrays as returned, so it is the same whichever source they came from.
    """
    return dict(sorted(USED.items()))


def loaded(name: str, *arrays: npt.NDArray) -> str:
    """Note for `used` that these arrays were loaded; their SHA-256."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    USED[name] = digest.hexdigest()
    return USED[name]
