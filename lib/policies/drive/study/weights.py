"""The file of the base policy and of the policy after stage 1, and the loader that verifies it; `make_weights` makes it.

It holds the parameters in half precision and where they came from (command, commit, versions, CPU, seconds); it is read
without pickle, and only if its SHA-256 is `WEIGHTS_SHA256`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lib import checks
from lib import weights as files
from lib.networks import Transformer
from lib.policies.drive import ProgramTask

WEIGHTS_SHA256 = "b3764b824d46afaabd866eb93c3a58eb7d96830c01f1535e30f0c012d616f23f"
NAME = "drive.weights.npz"
#: After demonstrations, and after the first stage.
STAGES = ("base", "stage 1")
#: Tokens of a prompt and of the longest answer.
CONTEXT = 56


def new_policy(seed: int = 0) -> Transformer:
    """A policy with random weights: two layers of width 64.

    Parameters
    ----------
    seed : int

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> study.new_policy().context
    56
    """
    return Transformer(ProgramTask.vocab_size, CONTEXT, width=64, n_layers=2, n_heads=4, seed=seed)


def pack(policies: dict[str, Transformer], origin: dict[str, Any]) -> bytes:
    """The file: half-precision parameters of each stage and where they came from."""
    arrays: dict[str, Any] = {}
    for stage, policy in policies.items():
        arrays |= files.parameters(policy, f"{stage}.")
    return files.pack(arrays, origin)


def load_policy(stage: str = "base", precision: str = "double", path: Path | None = None) -> tuple[Transformer, dict[str, Any]]:
    """A policy that the book ships, and where it came from.

    Parameters
    ----------
    stage : {"base", "stage 1"}
    precision : {"double", "single"}
        Of its parameters. Double precision gives the same samples on every processor, single precision is faster.
    path : Path, optional
        Default ``results/drive.weights.npz``.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says how to make it.
    ValueError
        If its SHA-256 is not the recorded one. Nothing is parsed then.

    Examples
    --------
    >>> from lib.policies.drive import study
    >>> study.load_policy("base")[0].context
    56
    """
    checks.choice("stage", stage, STAGES)
    dtype = {"double": torch.float64, "single": torch.float32}[checks.choice("precision", precision, ("double", "single"))]
    arrays, origin = files.unpack(files.read("drive", WEIGHTS_SHA256, path))
    policy = new_policy().to(dtype)
    files.fill(policy, arrays, f"{stage}.")
    return policy, origin
