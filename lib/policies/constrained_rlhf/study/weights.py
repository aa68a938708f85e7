"""What the chapter starts from: the supervised base policy and the learned intent model, in one verified file.

``results/constrained_rlhf.weights.npz`` holds both in half precision, the losses of the supervised training, what both reach
on held-out text, and where they came from (command, commit, versions, CPU, seconds). It is read without pickle, and only if
its SHA-256 is `WEIGHTS_SHA256`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import checks
from lib import weights as files
from lib.networks import Transformer
from lib.policies.constrained_rlhf.study.intents import IntentModel
from lib.policies.constrained_rlhf.study.text import MAX_NEW, PROMPT, VOCABULARY

WEIGHTS_SHA256 = "34a189bf446552fcb9469e8791743128cb014e4129f61cfa46d5877816a13aa2"
NAME = "constrained_rlhf.weights.npz"
#: Width of the policy.
WIDTH = 64


@dataclass(frozen=True)
class Base:
    """A loaded file: base policy, intent model, losses of the supervised training, and the file's origin."""

    policy: Transformer
    intents: IntentModel
    losses: np.ndarray
    origin: dict[str, Any]


def new_policy(width: int = WIDTH, n_values: int = 0, seed: Any = 0) -> Transformer:
    """A policy for the clauses, with random weights.

    Parameters
    ----------
    width : int
        A multiple of four.
    n_values : int
        Value heads.
    seed : int or Generator

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.new_policy(width=16).vocab_size
    1503
    """
    return Transformer(VOCABULARY + 3, PROMPT + MAX_NEW, width=width, n_values=n_values, seed=seed)


def pack(policy: Transformer, intents: IntentModel, losses: np.ndarray, origin: dict[str, Any]) -> bytes:
    """The file: half-precision parameters of policy and intent model, the losses, and where they came from."""
    arrays = files.parameters(policy, "policy.")
    arrays |= {"intents.weights": intents.weights.astype(np.float16), "intents.bias": intents.bias.astype(np.float16)}
    arrays["losses"] = losses.astype(np.float32)
    return files.pack(arrays, origin)


def load(n_values: int = 0, dtype: str = "float64", path: Path | None = None) -> Base:
    """The base policy and the reward model that the book ships.

    Parameters
    ----------
    n_values : int
        Value heads of the policy; they start at zero.
    dtype : {"float64", "float32"}
        Of the policy: in double precision samples are the same on every processor.
    path : Path, optional
        Default ``results/constrained_rlhf.weights.npz``.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says how to make it.
    ValueError
        If its SHA-256 is not the recorded one. Nothing is parsed then.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.load().policy.vocab_size
    1503
    """
    checks.choice("dtype", dtype, ("float64", "float32"))
    arrays, origin = files.unpack(files.read("constrained_rlhf", WEIGHTS_SHA256, path))
    policy = new_policy(n_values=n_values).to(getattr(torch, dtype))
    files.fill(policy, arrays, "policy.", own=("value_heads",))
    intents = IntentModel(arrays["intents.weights"].astype(float), arrays["intents.bias"].astype(float))
    return Base(policy, intents, arrays["losses"].astype(float), origin)
