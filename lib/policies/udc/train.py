"""The run that made the shipped weights, and the loader that verifies them.

    python -m lib.policies.udc.train --steps 8000 --seed 0 --out results/udc.weights.npz

It took 1565 s on one core. The run keeps a checkpoint beside the output, goes on from it after an interruption with the
same draws, and prints the SHA-256 that `WEIGHTS_SHA256` holds. The file holds the parameters in half precision, the
training curve (mean of every `CHUNK` steps) and the command; it is read without pickle.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import papers
from lib.policies.udc.divide import HeatmapPolicy
from lib.policies.udc.framework import TSP, UDC, Problem, initialized
from lib.policies.udc.solvers import SubpathSolver

#: Sizes of the networks of every preset (paper: divider 12 x 64 with 100 neighbors, conqueror 6 x 128, pieces of 100).
SIZES = {"d": 32, "depth": 6, "k": 20, "solver_d": 48, "solver_depth": 2, "n": 20}
#: Settings of the recorded run (paper: 40, 50, 1e-4 without decay, no clipping).
SETTINGS: dict[str, Any] = {"alpha": 16, "beta": 8, "clip": 1.0}
FIRST_LR = 1e-3
#: Steps between checkpoints; also the stretch over which the stored curve is averaged.
CHUNK = 100
WEIGHTS_SHA256 = "3de78b30c8c462aa253f22492404a67b9f74dc924e3b09f8d922b2fbc30ee03c"


def new_model(
    seed: int = 0,
    distance_prior: bool = False,
    problem: Problem = TSP,
    dtype: torch.dtype = torch.float32,
    sizes: dict[str, int] | None = None,
) -> UDC:
    """An untrained model of the sizes `SIZES` (each can be replaced by name), initialized by `seed`.

    With ``dtype=torch.float64`` the draws of a short training run are the same on every CPU.

    Examples
    --------
    >>> from lib.policies.udc.train import new_model
    >>> new_model(seed=0, sizes={"n": 10}).n
    10
    """
    size = SIZES | (sizes or {})
    if unknown := sorted(set(size) - set(SIZES)):
        raise ValueError(f"unknown size {', '.join(unknown)}; allowed: {', '.join(SIZES)}")
    with initialized(seed, dtype):
        divider = HeatmapPolicy(size["d"], size["depth"], size["k"], distance_prior)
        solver = SubpathSolver(size["solver_d"], size["solver_depth"])
    return UDC(divider, solver, size["n"], problem)


def sampler(rng: np.random.Generator) -> np.ndarray:
    """One uniform instance of 80, 100 or 120 cities (paper: 500 to 1000 in steps of 100)."""
    return rng.random((int(rng.choice([80, 100, 120])), 2))


def learning_rate(step: int, steps: int) -> float:
    """Cosine decay from `FIRST_LR` to a twentieth of it (paper: constant 1e-4 over 500 000 steps)."""
    return FIRST_LR * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(steps: int, seed: int, checkpoint: Path, say: Any = print) -> tuple[UDC, np.ndarray]:
    """Train for `steps`, in chunks; go on from `checkpoint` where it exists. Returns the model and the curve per chunk."""
    model, curve, seconds = new_model(seed), [], 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        for name, net in model.nets.items():
            net.load_state_dict(state[name])
            model.optimizers[name].load_state_dict(state[f"{name}_optimizer"])
        model.steps, curve, seconds = state["steps"], state["curve"], state["seconds"]
    while model.steps < steps:
        begin, chunk = time.perf_counter(), model.steps // CHUNK
        lr = learning_rate(model.steps, steps)
        history = model.fit(sampler, min(CHUNK, steps - model.steps), lr=lr, seed=_seed(seed, chunk), **SETTINGS)
        curve.append(history.mean(0).tolist())
        seconds += time.perf_counter() - begin
        _save(model, curve, seconds, checkpoint)
        say(f"{model.steps:6d} {seconds:7.0f} s  " + "  ".join(f"{value:.3f}" for value in curve[-1]), flush=True)
    return model, np.array(curve)


def _seed(seed: int, chunk: int) -> np.random.Generator:
    return np.random.default_rng([seed, chunk])


def _save(model: UDC, curve: list[list[float]], seconds: float, checkpoint: Path) -> None:
    state: dict[str, Any] = {"steps": model.steps, "curve": curve, "seconds": seconds}
    for name, net in model.nets.items():
        state |= {name: net.state_dict(), f"{name}_optimizer": model.optimizers[name].state_dict()}
    beside = checkpoint.with_name(checkpoint.name + ".part")
    torch.save(state, beside)
    os.replace(beside, checkpoint)


def pack(model: UDC, curve: np.ndarray, command: str) -> bytes:
    """The file of weights: half-precision parameters, the training curve and the command."""
    arrays = {
        f"{name}.{key}": value.detach().numpy().astype(np.float16)
        for name, net in model.nets.items()
        for key, value in net.state_dict().items()
        if value.is_floating_point()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, curve=curve.astype(np.float32), command=np.array(command), **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[UDC, np.ndarray, str]:
    """Model (float64, so that greedy decoding is the same on every CPU), curve and command from a file of weights."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        model = new_model(dtype=torch.float64)
        for name, net in model.nets.items():
            state = net.state_dict()
            for key, value in state.items():
                if value.is_floating_point():
                    state[key] = torch.as_tensor(arrays[f"{name}.{key}"].astype(np.float64))
            net.load_state_dict(state)
            net.eval()
        return model, arrays["curve"].astype(np.float64), str(arrays["command"])


def load_weights(path: Path | None = None) -> tuple[UDC, np.ndarray, str]:
    """The trained model that the book ships, its training curve (chunks, 3) and the command that made it.

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
    >>> from lib.policies.udc.train import load_weights
    >>> load_weights()[0].n  # doctest: +SKIP
    20
    """
    path = papers.root() / "results" / "udc.weights.npz" if path is None else path
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing; make it by: python -m lib.policies.udc.train --out {path.name}")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ValueError(f"{path.name}: SHA-256 is {found}, expected {WEIGHTS_SHA256}")
    return unpack(data)


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m lib.policies.udc.train", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("results/udc.weights.npz"))
    options = parser.parse_args(argv)
    if options.steps < 1 or options.seed < 0:
        parser.error(f"steps must be at least 1 and seed not negative, got {options.steps} and {options.seed}")
    torch.set_num_threads(1)
    model, curve = train(options.steps, options.seed, options.out.with_suffix(".checkpoint"))
    command = f"python -m lib.policies.udc.train --steps {options.steps} --seed {options.seed}"
    data = pack(model, curve, command)
    options.out.write_bytes(data)
    print(f"{options.out}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
