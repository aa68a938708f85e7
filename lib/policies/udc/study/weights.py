"""The run that made the shipped weights, and the loader that verifies them.

    python -m lib.policies.udc.study.weights --steps 900 --seed 100 --out results/udc.weights.npz

It is the unified scheme of `lib.policies.udc.study.training`, in single precision: another CPU gives other last digits, and
so another file. The file holds the parameters in half precision, the training curve and where it came from (command, commit,
versions, CPU, seconds); it is read without pickle, and only if its SHA-256 is `WEIGHTS_SHA256`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import papers
from lib.policies.udc.framework import UDC
from lib.policies.udc.study.training import new_model, train_scheme

WEIGHTS_SHA256 = "0"
#: Largest file that the loader looks at.
MOST_BYTES = 2_000_000


def pack(model: UDC, curve: np.ndarray, origin: dict[str, Any]) -> bytes:
    """The file of weights: half-precision parameters, the training curve and where they came from."""
    arrays = {
        f"{name}.{key}": value.detach().numpy().astype(np.float16)
        for name, net in model.nets.items()
        for key, value in net.state_dict().items()
        if value.is_floating_point()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, curve=curve.astype(np.float32), origin=np.array(json.dumps(origin)), **arrays)
    return buffer.getvalue()


def unpack(data: bytes) -> tuple[UDC, np.ndarray, dict[str, Any]]:
    """Model (float64, so that greedy decoding is the same on every CPU), curve and origin from a file of weights."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        model = new_model(dtype="float64")
        for name, net in model.nets.items():
            state = net.state_dict()
            for key, value in state.items():
                if value.is_floating_point():
                    state[key] = torch.as_tensor(arrays[f"{name}.{key}"].astype(np.float64))
            net.load_state_dict(state)
            net.eval()
        return model, arrays["curve"].astype(np.float64), json.loads(str(arrays["origin"]))


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
    path = papers.root() / "results" / "udc.weights.npz" if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is missing; make it by: python -m {__name__} --out {path.name}")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, at most {MOST_BYTES} are expected")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ValueError(f"{path.name}: SHA-256 is {found}, expected {WEIGHTS_SHA256}")
    return unpack(data)


def origin(command: str, seconds: float) -> dict[str, Any]:
    """What a file of weights says about its making."""
    git = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    cpu = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "command": command,
        "commit": git.stdout.strip() or "unknown",
        "torch": torch.__version__.split("+")[0],
        "numpy": np.__version__,
        "cpu": cpu[0].split(":", 1)[1].strip() if cpu else platform.processor(),
        "cpu_seconds": round(seconds),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"python -m {__name__}", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("results/udc.weights.npz"))
    options = parser.parse_args(argv)
    if options.steps < 1 or options.seed < 0:
        parser.error(f"steps must be at least 1 and seed not negative, got {options.steps} and {options.seed}")
    torch.set_num_threads(1)
    begin = time.process_time()
    model, curve = train_scheme("unified", options.steps, options.seed, dtype="float32")
    command = f"python -m lib.policies.udc.study.weights --steps {options.steps} --seed {options.seed}"
    data = pack(model, curve, origin(command, time.process_time() - begin))
    options.out.write_bytes(data)
    print(f"{options.out}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
