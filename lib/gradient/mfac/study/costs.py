"""Exactness and cost: cases against dense algebra, counted operations, measured times."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ..dynamic import DynamicFisherInverse
from ..static import StaticFisherInverse
from .counting import count_operations, slope
from .rivals import solved_vectors


def exact_cases(rng: np.random.Generator) -> dict[str, int]:
    """How many products, diagonals, elements and windows differ from dense algebra by over a billionth."""
    wrong = {"static": 0, "blocks": 0, "dynamic": 0}
    for m, d in ((4, 30), (12, 12), (40, 25)):
        G, x = torch.from_numpy(rng.normal(size=(m, d))), torch.from_numpy(rng.normal(size=d))
        for B in (None, 7, 1):
            F = 1e-5 * torch.eye(d, dtype=torch.float64) + G.T @ G / m
            block = torch.arange(d) // (B or d)
            dense = torch.linalg.inv(F * (block[:, None] == block))
            inverse = StaticFisherInverse(G, block_size=B)
            element = torch.tensor([inverse.element(1, j) for j in range(d)], dtype=torch.float64)
            pairs = ((inverse.mul(x), dense @ x), (inverse.diag(), dense.diagonal()), (element, dense[1]))
            wrong["static" if B is None else "blocks"] += sum(_off(a, b) for a, b in pairs)
    for n in range(1, 17):
        G, x = torch.from_numpy(rng.normal(size=(n, 20))), torch.from_numpy(rng.normal(size=20))
        window = DynamicFisherInverse(6, 20, dtype=torch.float64)
        for g in G:
            newest = window.update_mul(g)
        F = 1e-5 * torch.eye(20, dtype=torch.float64) + G[-6:].T @ G[-6:] / 6
        wrong["dynamic"] += _off(window.mul(x), torch.linalg.solve(F, x)) + _off(newest, torch.linalg.solve(F, G[-1]))
    return wrong


def _off(found: torch.Tensor, expected: torch.Tensor) -> int:
    return int(not float((found - expected).norm()) <= 1e-9 * float(expected.norm()))


def counted() -> dict[str, float]:
    """Powers with which counted operations grow, and the largest count of sliding over ``d m + m^3``."""
    many_d, many_m = (1000, 2000, 4000), (32, 64, 128)
    by_d = [_counts(32, d) for d in many_d]
    by_m = [_counts(m, 2000) for m in many_m]
    powers = {f"{name}_d": slope(many_d, [c[name] for c in by_d]) for name in ("setup", "product")}
    powers |= {f"{name}_m": slope(many_m, [c[name] for c in by_m]) for name in ("setup", "product", "element")}
    sizes = [*((32, d) for d in many_d), *((m, 2000) for m in many_m)]
    slide = max(c["slide"] / (d * m + m**3) for c, (m, d) in zip([*by_d, *by_m], sizes, strict=True))
    return {**powers, "slide": slide}


def _counts(m: int, d: int) -> dict[str, int]:
    G = torch.from_numpy(np.random.default_rng(0).normal(size=(m, d)))
    inverse, window = StaticFisherInverse(G), DynamicFisherInverse(m, d, dtype=torch.float64)
    window.G.copy_(G)
    window.S.copy_(G @ G.T)
    window.n_updates = m
    return {
        "setup": count_operations(lambda: StaticFisherInverse(G)),
        "product": count_operations(lambda: inverse.mul(G[0])),
        "element": count_operations(lambda: inverse.element(0, 1)),
        "slide": count_operations(lambda: window.update_mul(G[0])),
    }


def timed(call: Callable[[], Any], repeats: int = 2) -> float:
    """Least CPU seconds of a few calls."""
    spent = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        spent.append(time.process_time() - begin)
    return max(min(spent), 1e-7)


def times(sizes: Sequence[tuple[int, int]], rng: np.random.Generator) -> list[dict[str, float]]:
    """For each (m, d): seconds of set-up, product, slide with product, and of the set-up by one triangular solve.

    Up to d = 2000 also those of the ``dense`` inverse, the matrix formed and inverted.
    """
    rows = []
    for m, d in sizes:
        G = torch.from_numpy(rng.normal(size=(m, d)).astype(np.float32))
        inverse, window = StaticFisherInverse(G), DynamicFisherInverse(m, d)
        window.G.copy_(G)
        window.S.copy_(G.double() @ G.double().T)
        window.n_updates = m
        x = G[0].clone()
        calls: dict[str, Callable[[], Any]] = {
            "setup": partial(StaticFisherInverse, G),
            "product": partial(inverse.mul, x),
            "slide": partial(window.update_mul, x),
            "solve": partial(solved_vectors, G),
        }
        if d <= 2000:
            calls["dense"] = partial(_dense, G)
        rows.append({name: timed(call) for name, call in calls.items()})
    return rows


def _dense(G: torch.Tensor) -> torch.Tensor:
    return torch.linalg.inv(1e-5 * torch.eye(G.shape[1]) + G.T @ G / len(G))
