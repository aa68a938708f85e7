"""Makes the weights that ship with the package: ``python -m lib.backprop_free.directional_attacks.study.train FOLDER``.

The images' network takes about ten seconds of one core, the tabular one a fraction of one. On another CPU the last digits may
differ, and then so do the hashes: the files are recorded, not remade.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import lib.data


def standardized() -> tuple[np.ndarray, np.ndarray]:
    """Breast cancer, each column with mean 0 and standard deviation 1; labels 0 (malignant) and 1."""
    X, y = lib.data.breast_cancer()
    return (X - X.mean(axis=0)) / X.std(axis=0), y


def train_mnist(rows: int = 12_000, epochs: int = 4) -> tuple[nn.Sequential, float]:
    """Two convolutions, 64 features, ten classes; Adam 2e-3, batches of 64. Also the accuracy on the test images."""
    torch.manual_seed(0)
    conv1, conv2 = nn.Conv2d(1, 8, 5, stride=2), nn.Conv2d(8, 16, 5, stride=2)
    net = nn.Sequential(conv1, nn.ReLU(), conv2, nn.ReLU(), nn.Flatten(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
    X, y = lib.data.mnist("train")
    images, labels = torch.tensor(X[:rows])[:, None] / 255, torch.tensor(y[:rows]).long()
    optimizer, shuffle = torch.optim.Adam(net.parameters(), 2e-3), torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for batch in torch.randperm(rows, generator=shuffle).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
    X, y = lib.data.mnist("test")
    with torch.no_grad():
        right = net(torch.tensor(X)[:, None] / 255).argmax(1) == torch.tensor(y)
    return net, float(right.float().mean())


def train_tabular() -> tuple[nn.Sequential, float]:
    """30-16-2, tanh; 150 full steps of Adam 1e-2, weight decay 1e-3. Also the accuracy on the same rows."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(30, 16), nn.Tanh(), nn.Linear(16, 2))
    X, y = standardized()
    rows, labels = torch.tensor(X, dtype=torch.float32), torch.tensor(y)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2, weight_decay=1e-3)
    for _ in range(150):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(rows), labels).backward()
        optimizer.step()
    return net, float((net(rows).argmax(1) == labels).float().mean())


def main(folder: str) -> None:
    """Train both, write the files, say accuracy and hash of each."""
    torch.set_num_threads(1)
    names = {"mnist": ("conv1", "conv2", "dense", "out"), "tabular": ("hidden", "out")}
    for name, train in (("mnist", train_mnist), ("tabular", train_tabular)):
        net, accuracy = train()
        layers = [layer for layer in net if isinstance(layer, nn.Conv2d | nn.Linear)]
        arrays = {}
        for key, layer in zip(names[name], layers, strict=True):
            arrays[f"{key}_weight"], arrays[f"{key}_bias"] = (p.detach().numpy() for p in layer.parameters())
        path = Path(folder) / f"{name}.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        print(f"{name}: accuracy {accuracy:.4f}, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
