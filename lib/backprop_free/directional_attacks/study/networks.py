"""The trained networks, which ship with the package: read without pickle, checked by hash, computed in float64."""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path

import numpy as np
import torch

#: The network of biodiesel production is the authors' (MIT license, (c) 2025 Pierre-Yves Bouchet; trained by V. Bibeau,
#: Polytechnique Montreal, 2023): github.com/PierreYvesBouchet/Optimization-by-Directional-Attacks, commit 1f35cbd,
#: problems/bio_pinn/problem/build_data/model.pt, as plain arrays. `train` made the two others.
SHA256 = {
    "bio_pinn": "be9e3a11832e69a45c5c63110665eea9fb14c634195cf9d4e92eda6c442289e8",
    "mnist": "85d1ae59d77aea112292c8f0a514f41f10abbf62abf1a7880c74f22e7d5714d6",
    "tabular": "a82e5dc31612808876698245ccdf667149d85adbda14b1a4d8f0f886f52b38ee",
}
FOLDER = Path(__file__).parent / "weights"


@cache
def weights(name: str) -> dict[str, torch.Tensor]:
    """Arrays of a network, float64; ValueError where the file is another one than that which was recorded."""
    data = (FOLDER / f"{name}.npz").read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256[name]:
        raise ValueError(f"the weights of {name} are not those that were recorded")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {key: torch.from_numpy(arrays[key].astype(np.float64)) for key in arrays.files}


def bio_pinn(inputs: torch.Tensor) -> torch.Tensor:
    """Concentrations TG, DG, MG, G, ME and the temperature, (k, 6), of times in minutes and powers in watts, (k, 2)."""
    w, h = weights("bio_pinn"), inputs
    for layer in ("f1", "f2", "f3"):
        h = torch.tanh(torch.addmm(w[f"{layer}_bias"], h, w[f"{layer}_weight"].T))
    return torch.addmm(w["out_bias"], h, w["out_weight"].T)


def mnist_features(image: torch.Tensor) -> torch.Tensor:
    """The 64 features of an image, (28, 28), with entries in [0, 1]."""
    w = weights("mnist")
    h = torch.relu(torch.conv2d(image[None, None], w["conv1_weight"], w["conv1_bias"], stride=2))
    h = torch.relu(torch.conv2d(h, w["conv2_weight"], w["conv2_bias"], stride=2))
    return torch.relu(w["dense_weight"] @ h.reshape(-1) + w["dense_bias"])


def mnist_logits(image: torch.Tensor) -> torch.Tensor:
    """The ten logits of an image, (28, 28)."""
    w = weights("mnist")
    return w["out_weight"] @ mnist_features(image) + w["out_bias"]


def tabular_logits(x: torch.Tensor) -> torch.Tensor:
    """The logits of malignant and benign, of a patient's 30 standardized measurements."""
    w = weights("tabular")
    return w["out_weight"] @ torch.tanh(w["hidden_weight"] @ x + w["hidden_bias"]) + w["out_bias"]
