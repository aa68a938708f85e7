"""The files of the trained systems, and the loaders that verify them; `make_weights` beside this makes them.

Each holds the parameters of every part in half precision, the last losses and where they came from (command, commit, versions,
CPU, seconds); it is read without pickle, and only if its SHA-256 is `WEIGHTS_SHA256` or `LAYOUTS_SHA256`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lib import checks, papers
from lib import weights as files
from lib.objectives.reno.study.layout_networks import LayoutGenerator, LayoutJudge
from lib.objectives.reno.study.layout_training import empty_layouts
from lib.objectives.reno.study.layouts import DOMAINS, Domain
from lib.objectives.reno.study.networks import Decoder, DigitGenerator, Flow, Judge, Student, TeacherGenerator
from lib.objectives.reno.study.training import REWARDS

WEIGHTS_SHA256 = "437e2813372b4f36c0c9c343a3aa1c4d8e8aa47a2d9f1b0c03784473c585eae9"
NAME = "reno.weights.npz"
LAYOUTS_SHA256 = "ce1e661d8a58cb89cf8fd1535f897edd9948e287595ceeba13f5b727e3e7c2b6"
LAYOUTS_NAME = "reno.layouts.npz"


@dataclass(frozen=True)
class DigitSystem:
    """A trained system in double precision, nothing of which is to be changed.

    Attributes
    ----------
    generator : DigitGenerator
        Noise and prompts to images, in one step.
    rewards : dict
        Name -> (module, weight), as `RewardEnsemble` takes them.
    judge : Judge
    origin, losses : dict
    """

    generator: DigitGenerator
    flow: Flow
    rewards: dict[str, tuple[nn.Module, float]]
    judge: Judge
    origin: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)

    def teacher(self, steps: int = 16) -> TeacherGenerator:
        """The teacher with some steps."""
        return TeacherGenerator(self.flow, self.generator.decoder, checks.integer("steps", steps, low=1)).eval()


@dataclass(frozen=True)
class LayoutSystem:
    """A trained system of layouts in double precision, nothing of which is to be changed.

    Attributes
    ----------
    generator : LayoutGenerator
    rewards : dict
        Name -> (module, weight), as `RewardEnsemble` takes them.
    judge : LayoutJudge
    domain : Domain
    origin, losses : dict
        ``losses["real"]`` is the share that the judge passes of real scenes.
    """

    generator: LayoutGenerator
    rewards: dict[str, tuple[nn.Module, float]]
    judge: LayoutJudge
    domain: Domain
    origin: dict[str, Any] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)


def empty_parts() -> dict[str, nn.Module]:
    """Untrained parts by name, in the shapes of the file."""
    parts: dict[str, nn.Module] = {"decoder": Decoder(), "teacher": Flow(), "student": Student(), "judge": Judge()}
    return parts | {name: kind(width) for name, (kind, width, _) in REWARDS.items()}


def assemble(parts: dict[str, nn.Module], **facts: Any) -> DigitSystem:
    """A system of parts, in double precision and frozen."""
    for part in parts.values():
        part.double().eval().requires_grad_(False)
    generator = DigitGenerator(parts["student"], parts["decoder"]).eval()  # type: ignore[arg-type]
    rewards = {name: (parts[name], weight) for name, (_, _, weight) in REWARDS.items()}
    return DigitSystem(generator, parts["teacher"], rewards, parts["judge"], **facts)  # type: ignore[arg-type]


def assemble_layouts(parts: dict[str, nn.Module], domain: Domain, **facts: Any) -> LayoutSystem:
    """A system of layouts of parts, in double precision and frozen; weights of rewards as in `REWARDS`."""
    for part in parts.values():
        part.double().eval().requires_grad_(False)
    generator = LayoutGenerator(parts["student"], parts["decoder"], domain).eval()  # type: ignore[arg-type]
    rewards = {"contrast": (parts["contrast"], 0.5), "preference": (parts["preference"], 1.0)}
    return LayoutSystem(generator, rewards, parts["judge"], domain, **facts)  # type: ignore[arg-type]


def pack(parts: dict[str, nn.Module], losses: dict[str, float], origin: dict[str, Any], domain: str = "") -> bytes:
    """The file: half-precision parameters of each part, its losses, where they came from, and of layouts the domain."""
    arrays = {"losses": np.array(json.dumps(losses))} | ({"domain": np.array(domain)} if domain else {})
    for name, part in parts.items():
        arrays |= files.parameters(part, f"{name}/")
    return files.pack(arrays, origin)


def load_system(path: Path | None = None) -> DigitSystem:
    """The system that the book ships, in float64, and where it came from.

    Parameters
    ----------
    path : Path, optional
        Default ``results/reno.weights.npz``.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says how to make it.
    ValueError
        If its SHA-256 is not the recorded one. Nothing is parsed then.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> study.load_system().generator.noise_shape
    (32,)
    """
    return _unpacked(files.read("reno", WEIGHTS_SHA256, path))


def load_layouts(path: Path | None = None, sha256: str = LAYOUTS_SHA256) -> LayoutSystem:
    """The system of layouts that the book ships, in float64; or another that `make_weights` made.

    Parameters
    ----------
    path : Path, optional
        Default ``results/reno.layouts.npz``.
    sha256 : str
        What the file must hash to; `make_weights` prints it.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says how to make it.
    ValueError
        If its SHA-256 is another one. Nothing is parsed then.

    Examples
    --------
    >>> from lib.objectives.reno import study
    >>> study.load_layouts().generator.noise_shape
    (64,)
    """
    path = papers.root() / "results" / LAYOUTS_NAME if path is None else Path(path)
    if not path.is_file():
        command = f"python -m lib.objectives.reno.study.make_weights --layouts fashion_mnist --out {path.name}"
        raise FileNotFoundError(f"{path.name} is missing; make it by: {command}")
    return _unpacked_layouts(files.read("reno", sha256, path))


@cache
def _unpacked(stored: bytes) -> DigitSystem:
    arrays, origin = files.unpack(stored)
    with torch.random.fork_rng(devices=[]):
        parts = empty_parts()
    return assemble(parts, **_filled(parts, arrays), origin=origin)


@cache
def _unpacked_layouts(stored: bytes) -> LayoutSystem:
    arrays, origin = files.unpack(stored)
    domain = DOMAINS[str(arrays["domain"])]
    with torch.random.fork_rng(devices=[]):
        parts = empty_layouts(domain)
    return assemble_layouts(parts, domain, **_filled(parts, arrays), origin=origin)


def _filled(parts: dict[str, nn.Module], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Fills parts with a file's parameters, in double precision; the losses beside them."""
    for name, part in parts.items():
        files.fill(part.double(), arrays, f"{name}/")
    return {"losses": json.loads(str(arrays["losses"]))}
