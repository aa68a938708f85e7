"""Files of trained weights that chapters start from: verified before anything is parsed, and read without pickle.

A file is an ``.npz`` of a study's ``make_weights``: parameters in half precision, what else the study keeps (curves, losses),
and ``origin``, the JSON of where it came from.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib import papers, provenance

if TYPE_CHECKING:
    from torch import nn

#: Bytes of the largest file that a chapter may ship.
MOST_BYTES = 2_000_000


def origin(command: str, **facts: Any) -> dict[str, Any]:
    """What a file of weights says about its making: command, commit, versions, CPU, and `facts` such as CPU seconds."""
    return {
        "command": command,
        "commit": provenance.git("rev-parse", "--short=12", "HEAD") or "unknown",
        "torch": metadata.version("torch").split("+")[0],
        "numpy": metadata.version("numpy"),
        "cpu": provenance.cpu(),
        **facts,
    }


def parameters(module: nn.Module, prefix: str = "") -> dict[str, np.ndarray]:
    """A module's floating-point state as half-precision arrays: ``prefix`` and name -> array."""
    state = module.state_dict().items()
    return {prefix + key: value.detach().numpy().astype(np.float16) for key, value in state if value.is_floating_point()}


def fill(module: nn.Module, arrays: Mapping[str, np.ndarray], prefix: str = "", own: tuple[str, ...] = ()) -> None:
    """Sets a module's floating-point state, in its own precision, from what `parameters` made.

    Parameters
    ----------
    module : Module
        Changed in place.
    arrays : mapping
    prefix : str
    own : tuple of str
        Beginnings of the names that keep the module's own values.

    Raises
    ------
    KeyError
        If an array is missing.
    """
    import torch

    state = module.state_dict()
    for key, value in state.items():
        if value.is_floating_point() and not key.startswith(own):
            state[key] = torch.as_tensor(arrays[prefix + key]).to(value.dtype)
    module.load_state_dict(state)


def pack(arrays: Mapping[str, Any], origin: Mapping[str, Any]) -> bytes:
    """The bytes of a file: its arrays by name, and where they came from."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, origin=np.array(json.dumps(origin)), **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, and where they came from, of a file's bytes; objects that would need pickle are refused."""
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, json.loads(str(arrays.pop("origin")))


def read(slug: str, sha256: str, path: Path | None = None) -> bytes:
    """The bytes of the file that a chapter starts from, verified.

    Parameters
    ----------
    slug : str
    sha256 : str
        What the file must hash to.
    path : Path, optional
        Default ``results/<slug>.weights.npz``.

    Raises
    ------
    FileNotFoundError
        If the file is missing; the message says how to make it.
    ValueError
        If it is larger than `MOST_BYTES`, or its SHA-256 is another one.
    """
    path = papers.root() / "results" / f"{slug}.weights.npz" if path is None else Path(path)
    if not path.is_file():
        command = f"python -m lib.{papers.part_of(slug)}.{slug}.study.make_weights --out {path.name}"
        raise FileNotFoundError(f"{path.name} is missing; make it by: {command}")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, at most {MOST_BYTES} are expected")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise ValueError(f"{path.name}: SHA-256 is {found}, expected {sha256}")
    return data
