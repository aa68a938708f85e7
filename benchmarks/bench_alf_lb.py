"""Load balancing without auxiliary loss: one iteration against the exact program and Sinkhorn; dispatch of a layer; growth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.online.alf_lb import InvStep, LoadBalancer, SparseMoE, SqrtStep, alf_lb, solve_assignment_lp
from lib.online.alf_lb.study import sigmoid_scores, sinkhorn_prices

#: Peer -> why ours takes longer.
SLOWER = {
    "Sinkhorn, 50 sweeps": "the peer takes 50 sweeps, ours 100 iterations",
}

GAMMA = sigmoid_scores(256, 16, seed=0)
ROUTERS = {
    None: lambda: alf_lb(GAMMA, 2, SqrtStep(0.1), 100),
    "linear program": lambda: solve_assignment_lp(GAMMA, 2),
    "Sinkhorn, 50 sweeps": lambda: sinkhorn_prices(GAMMA, 2),
}


@pytest.mark.parametrize("peer", list(ROUTERS))
def test_route_a_batch(benchmark, peer):
    benchmark.extra_info.update(slug="alf_lb", work="256 tokens, 16 experts, 2 a token; ours: 100 iterations", peer=peer)
    benchmark.pedantic(ROUTERS[peer], rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("peer", [None, "dense"])
@pytest.mark.parametrize("n_experts", [16, 64])
def test_dispatch(benchmark, peer, n_experts):
    benchmark.extra_info.update(
        slug="alf_lb", work=f"layer of {n_experts} experts, 512 tokens, forward and backward", peer=peer
    )
    torch.manual_seed(0)
    layer = SparseMoE(32, n_experts, 2, 64, balancer=LoadBalancer(n_experts, 2), dispatch=peer or "sorted")
    h = torch.randn(512, 32)
    benchmark.pedantic(lambda: layer(h).square().mean().backward(), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("n_tokens", [250, 1000, 4000])
def test_growth(benchmark, n_tokens):
    benchmark.extra_info.update(slug="alf_lb", work="100 iterations, 16 experts, n tokens", size=n_tokens)
    gamma = sigmoid_scores(n_tokens, 16, seed=0)
    out = benchmark.pedantic(lambda: alf_lb(gamma, 2, InvStep(0.2), 100), rounds=3, warmup_rounds=1)
    assert np.isfinite(out.p).all()
