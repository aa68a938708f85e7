"""The file of the two base policies, and the loader that verifies it; `make_weights` beside it makes it.

It holds the parameters in half precision, the last losses and where they came from (command, commit, versions, CPU, seconds);
it is read without pickle, and only if its SHA-256 is `WEIGHTS_SHA256`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lib import checks
from lib import weights as files
from lib.networks import Transformer
from lib.policies.dynamic_reward_weighting.study.language import RECIPES, new_policy

WEIGHTS_SHA256 = "0d6e4f58912aabcaa5e89ef080d4457af578d211c1cb749140b6ab54a61c5227"
#: Width of the base policies.
WIDTH = 48
NAME = "dynamic_reward_weighting.weights.npz"


def pack(policies: dict[str, Transformer], losses: dict[str, np.ndarray], origin: dict[str, Any]) -> bytes:
    """The file: half-precision parameters of each base, its losses and where they came from."""
    arrays: dict[str, np.ndarray] = {f"losses.{base}": curve.astype(np.float32) for base, curve in losses.items()}
    for base, policy in policies.items():
        arrays |= files.parameters(policy, f"{base}.")
    return files.pack(arrays, origin)


def load_base(base: str, path: Path | None = None) -> tuple[Transformer, dict[str, Any]]:
    """A base policy that the book ships, in float64, and where it came from.

    Parameters
    ----------
    base : {"V", "C"}
    path : Path, optional
        Default ``results/dynamic_reward_weighting.weights.npz``.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says how to make it.
    ValueError
        If its SHA-256 is not the recorded one. Nothing is parsed then.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting import study
    >>> study.load_base("V")[0].vocab_size
    32
    """
    checks.choice("base", base, RECIPES)
    arrays, origin = files.unpack(files.read("dynamic_reward_weighting", WEIGHTS_SHA256, path))
    policy = new_policy(WIDTH)
    files.fill(policy, arrays, f"{base}.")
    return policy, origin
