"""Multi-objective GFlowNets: updates against the rival's and another library's, the exact distributions, how they grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.objectives import mogfn

#: Peer -> why ours takes longer.
SLOWER = {
    "pymoo": "both call compiled code; ours checks the points first",
}

torch.set_num_threads(1)
SLUG = "mogfn"
UPDATES = "10 updates, 16 by 16 cells, batch 128"


@pytest.mark.parametrize("method", [mogfn.MOGFN, mogfn.MOReinforce])
def test_updates(benchmark, method):
    peer = None if method is mogfn.MOGFN else "MO-Reinforce, the same policy"
    benchmark.extra_info.update(slug=SLUG, work=UPDATES, peer=peer)
    sampler = method(mogfn.HyperGrid(["branin", "currin"], horizon=16), seed=0)
    sampler.fit(50)
    benchmark.pedantic(lambda: sampler.fit(10, total=10_000), rounds=5)


def test_updates_torchgfn(benchmark):
    """A plain GFlowNet of torchgfn 2, which has no preferences: one reward, a policy of the same size."""
    pytest.importorskip("tensordict")
    pytest.importorskip("gfn")
    from gfn.estimators import DiscretePolicyEstimator
    from gfn.gflownet import TBGFlowNet
    from gfn.gym import HyperGrid
    from gfn.preprocessors import KHotPreprocessor
    from gfn.samplers import Sampler
    from gfn.utils.modules import MLP

    benchmark.extra_info.update(slug=SLUG, work=UPDATES, peer="trajectory balance without preferences (torchgfn)")
    env = HyperGrid(ndim=2, height=16)
    seen = KHotPreprocessor(height=16, ndim=2)

    def policy(outputs, backward):
        module = MLP(input_dim=seen.output_dim, output_dim=outputs, hidden_dim=64, n_hidden_layers=3)
        return DiscretePolicyEstimator(module, env.n_actions, preprocessor=seen, is_backward=backward)

    forward = policy(env.n_actions, False)
    network = TBGFlowNet(pf=forward, pb=policy(env.n_actions - 1, True))
    optimizer = torch.optim.Adam([{"params": network.pf_pb_parameters(), "lr": 5e-3},
                                  {"params": network.logz_parameters(), "lr": 5e-2}])  # fmt: skip
    sampler = Sampler(estimator=forward)

    def updates():
        for _ in range(10):
            paths = sampler.sample_trajectories(env, n=128, save_logprobs=True)
            optimizer.zero_grad()
            network.loss(env, paths, recalculate_all_logprobs=False).backward()
            optimizer.step()

    benchmark.pedantic(updates, rounds=5, warmup_rounds=2)


def test_volume(benchmark):
    benchmark.extra_info.update(slug=SLUG, work="hypervolume of 200 points, 3 objectives", peer=None)
    benchmark(mogfn.hypervolume, np.random.default_rng(0).random((200, 3)))


def test_volume_pymoo(benchmark):
    indicator = pytest.importorskip("pymoo.indicators.hv").HV(ref_point=np.zeros(3))
    benchmark.extra_info.update(slug=SLUG, work="hypervolume of 200 points, 3 objectives", peer="pymoo")
    benchmark(indicator, -np.random.default_rng(0).random((200, 3)))


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_growth_of_the_exact_distribution(benchmark, size):
    benchmark.extra_info.update(slug=SLUG, work="exact distribution of 11 preferences, side of the grid", size=size)
    sampler = mogfn.MOGFN(mogfn.HyperGrid(["branin", "currin"], horizon=size), seed=0)
    benchmark.pedantic(sampler.terminal_distribution, args=(mogfn.simplex_grid(2, 11),), rounds=3)


@pytest.mark.parametrize("size", [9, 18, 36, 72])
def test_growth_of_the_oracle(benchmark, size):
    benchmark.extra_info.update(slug=SLUG, work="oracle of three bigrams, letters of a string", size=size)
    benchmark.pedantic(mogfn.NGramTask, args=(["AV", "VC", "CA"], size - 2, size), rounds=3)
