"""M-FAC: the static set-up against a dense inverse and one triangular solve, optimizer steps against Adam, growth with size."""

from __future__ import annotations

import pytest
import torch

from lib.gradient.mfac import MFAC, DynamicFisherInverse, StaticFisherInverse
from lib.gradient.mfac.study import solved_vectors

#: Peer -> why ours takes longer.
SLOWER = {
    "one triangular solve": "the recursion also gives the coefficients for any later query of single entries",
    "torch.optim.Adam": "M-FAC keeps 128 gradients and multiplies by all of them in a step, Adam keeps two vectors",
}

M = 64


@pytest.fixture(scope="module")
def grads():
    return torch.randn(M, 1500, generator=torch.Generator().manual_seed(0))


def dense(G):
    return torch.linalg.inv(1e-5 * torch.eye(G.shape[1]) + G.T @ G / len(G))


@pytest.mark.parametrize(
    ("make", "peer"),
    [(StaticFisherInverse, None), (solved_vectors, "one triangular solve"), (dense, "torch.linalg.inv of the d x d matrix")],
    ids=["ours", "solve", "dense"],
)
def test_setup(benchmark, grads, make, peer):
    benchmark.extra_info.update(slug="mfac", work="inverse of 64 gradients of length 1500", peer=peer)
    benchmark(make, grads)


@pytest.mark.parametrize(
    ("make", "peer"),
    [(lambda p: MFAC(p, 1e-6, 128), None), (lambda p: torch.optim.Adam(p, 1e-6), "torch.optim.Adam")],
    ids=["ours", "adam"],
)
def test_step(benchmark, make, peer):
    params = [torch.nn.Parameter(torch.zeros(20_000))]
    optimizer, generator = make(params), torch.Generator().manual_seed(0)
    for _ in range(128):  # the window is full
        params[0].grad = torch.randn(20_000, generator=generator)
        optimizer.step()
    benchmark.extra_info.update(slug="mfac", work="a step of 20,000 weights, window of 128", peer=peer)
    benchmark(optimizer.step)


@pytest.mark.parametrize("size", [10_000, 40_000, 160_000])
def test_window(benchmark, size):
    window, generator = DynamicFisherInverse(M, size), torch.Generator().manual_seed(0)
    for _ in range(M):
        window.update(torch.randn(size, generator=generator))
    g = torch.randn(size, generator=generator)
    benchmark.extra_info.update(slug="mfac", work="slide a window of 64 and multiply", size=size)
    benchmark(window.update_mul, g)


@pytest.mark.parametrize("size", [10_000, 40_000, 160_000])
def test_blocks(benchmark, size):
    G = torch.randn(M, size, generator=torch.Generator().manual_seed(0))
    benchmark.extra_info.update(slug="mfac", work="static set-up of 64 gradients, blocks of 128", size=size)
    benchmark.pedantic(StaticFisherInverse, args=(G, 1e-5, 128), rounds=3)
