"""The package torchgfn as peer: the same network on the same paths has the same losses, and both samplers reach the target.

torchgfn wants NumPy below 2, so it is not installed with this project; where it is missing, these tests are skipped. They were
run with torchgfn 2.4.1, tensordict 0.15.3, torch 2.13.0 and NumPy 2.4.6 (the bound overridden) on Python 3.11.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.objectives import mogfn

pytest.importorskip("gfn.gflownet", reason="torchgfn is not installed")

HORIZON, BETA = 6, 8.0
SMALL = {"hidden": (32, 32), "hidden_z": (16,), "encoding": "raw", "beta": BETA}
OMEGAS = mogfn.simplex_grid(2, 11)


@pytest.fixture(autouse=True)
def double():
    """torchgfn computes in the default precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


class OnObservation(torch.nn.Module):
    def __init__(self, policy):
        super().__init__()
        self.policy = policy

    def forward(self, obs):
        return obs.double() @ self.policy.on_obs.T


class OnCondition(OnObservation):
    def forward(self, cond):
        return self.policy.of_condition(cond)


class Together(OnObservation):
    def forward(self, parts):
        return self.policy.rest(sum(parts.chunk(2, -1)))


class Zeros(torch.nn.Module):
    """Equal scores of all parents, whatever the condition."""

    def forward(self, x):
        return torch.zeros(*x.shape[:-1], 2)


class LogZ(torch.nn.Module):
    def __init__(self, sampler):
        super().__init__()
        self.sampler, self.network = sampler, sampler.z_network

    def forward(self, cond):
        return self.sampler.z_offset + self.network(cond)


def peer(sampler, kind="trajectory_balance"):
    """The grid, the policy and the loss of torchgfn, on the networks of a sampler."""
    from gfn.estimators import ConditionalDiscretePolicyEstimator
    from gfn.gflownet import LogPartitionVarianceGFlowNet, TBGFlowNet
    from gfn.gym import HyperGrid
    from gfn.preprocessors import KHotPreprocessor

    ours = sampler.env

    class Grid(HyperGrid):
        """torchgfn's grid and moves with the scalarized reward, a condition per path."""

        is_conditional, condition_dim = True, 2

        def sample_conditions(self, batch_shape):
            return torch.full((*batch_shape, 2), 0.5)

        def reward(self, states):
            rewards = torch.from_numpy(ours.rewards)[tuple(states.tensor.unbind(-1))]
            return mogfn.scalarize(rewards, states.conditions) ** BETA

    env = Grid(ndim=2, height=ours.horizon, validate_modes=False)
    hot = KHotPreprocessor(height=ours.horizon, ndim=2)
    policy = sampler.policy
    forward = ConditionalDiscretePolicyEstimator(
        OnObservation(policy), OnCondition(policy), Together(policy), env.n_actions, preprocessor=hot
    )
    backward = ConditionalDiscretePolicyEstimator(Zeros(), Zeros(), Zeros(), env.n_actions, preprocessor=hot, is_backward=True)
    if kind == "vargrad":
        return env, LogPartitionVarianceGFlowNet(forward, backward)
    return env, TBGFlowNet(forward, backward, logZ=LogZ(sampler))


def paths_of(sampler, trajectories):
    """What our loss needs of torchgfn's paths: by our network, our backward policy and our rewards, path by path."""
    grid, found = sampler.env, []
    for k in range(trajectories.batch_size):
        length = int(trajectories.terminating_idx[k])
        cells, actions = trajectories.states.tensor[:length, k], trajectories.actions.tensor[:length, k, 0]
        omega = trajectories.states.conditions[0, k]
        scores = sampler.policy(grid.observe(cells), omega.expand(length, 2)).masked_fill(~grid.allowed(cells), -torch.inf)
        found.append(
            (
                scores.log_softmax(1)[torch.arange(length), actions].sum(),
                BETA * mogfn.scalarize(grid.evaluate(cells[-1:].numpy())[0], omega).log(),
                grid.log_backward(cells[1:]).sum(),
            )
        )
    return SimpleNamespace(
        **dict(zip(("log_pf", "log_r", "log_pb"), (torch.stack(x) for x in zip(*found, strict=True)), strict=True))
    )


def drawn(n=64, steps=20, **settings):
    """A sampler after a few updates, and torchgfn's paths of its policy, each with a preference of its own."""
    sampler = mogfn.MOGFN(mogfn.HyperGrid(["branin", "currin"], horizon=HORIZON), seed=0, **SMALL, **settings)
    sampler.fit(steps, 32)
    env, flow = peer(sampler, sampler.loss)
    torch.manual_seed(0)
    omega = torch.from_numpy(np.random.default_rng(0).dirichlet([1.0, 1.0], n))
    if sampler.loss == "vargrad":
        omega = omega[:1].expand(n, 2).clone()
    return sampler, env, flow, flow.sample_trajectories(env, n=n, conditions=omega, save_logprobs=True)


def gradients(loss, sampler):
    return torch.autograd.grad(loss, [*sampler.policy.parameters(), *sampler.z_network.parameters()], allow_unused=True)


def test_trajectory_balance_is_that_of_torchgfn_on_the_same_paths():
    sampler, env, flow, trajectories = drawn()
    ours = paths_of(sampler, trajectories)
    log_z = sampler._log_z(trajectories.states.conditions[0])
    loss = mogfn.TrajectoryBalanceLoss()(ours.log_pf, ours.log_r, log_pb=ours.log_pb, log_z=log_z)
    theirs = flow.loss(env, trajectories)
    assert len(set(trajectories.terminating_idx.tolist())) > 3  # paths of different lengths
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    assert loss.item() > 0.1
    pf, pb = flow.get_pfs_and_pbs(trajectories)
    torch.testing.assert_close(ours.log_pf, pf.sum(0))
    torch.testing.assert_close(ours.log_pb, pb.sum(0))
    for a, b in zip(gradients(loss, sampler), gradients(theirs, sampler), strict=True):
        torch.testing.assert_close(a, b)


def test_vargrad_is_the_log_partition_variance_of_torchgfn():
    sampler, env, flow, trajectories = drawn(loss="vargrad", group=8)
    ours = paths_of(sampler, trajectories)
    loss = mogfn.TrajectoryBalanceLoss()(ours.log_pf, ours.log_r, log_pb=ours.log_pb)
    theirs = flow.loss(env, trajectories)
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
    for a, b in zip(gradients(loss, sampler), gradients(theirs, sampler), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)


def test_our_paths_have_that_loss_in_torchgfn_too():
    """The other direction: one training step of ours, told to torchgfn as states and actions."""
    from gfn.containers import Trajectories

    from lib.objectives.mogfn.sampler import roll_out

    sampler, env, flow, _ = drawn()
    omega, n = torch.from_numpy(np.random.default_rng(1).dirichlet([1.0, 1.0], 32)), 32
    paths = roll_out(sampler.env, sampler.policy, omega, 0.3, np.random.default_rng(2))
    lengths = torch.bincount(paths.rows, minlength=n)
    states = torch.full((int(lengths.max()) + 1, n, 2), -1)
    actions = env.actions_from_batch_shape((int(lengths.max()), n)).tensor
    for k in range(n):
        mine = paths.rows == k
        states[: lengths[k], k] = paths.seen[mine].reshape(-1, 2, HORIZON).argmax(2)
        actions[: lengths[k], k, 0] = paths.actions[mine]
    told = env.States(states, conditions=omega.expand(len(states), n, 2).clone())
    theirs = flow.loss(env, Trajectories(env, told, actions=env.Actions(actions), terminating_idx=lengths))
    scores = sampler.policy(paths.seen, omega, paths.rows).masked_fill(~paths.allowed, -torch.inf).log_softmax(1)
    log_pf = torch.zeros(n).index_add(0, paths.rows, scores.gather(1, paths.actions[:, None])[:, 0])
    log_r = BETA * mogfn.scalarize(sampler.env.evaluate(paths.final.numpy()), omega).log()
    loss = mogfn.TrajectoryBalanceLoss()(log_pf, log_r, log_pb=paths.log_pb, log_z=sampler._log_z(omega))
    assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)


@pytest.mark.slow
def test_both_samplers_reach_the_exact_target_with_the_same_training():
    """Equal networks, first weights, rates, batches and updates; torchgfn's own loop of draws, losses and steps."""
    ours, other = (mogfn.MOGFN(mogfn.HyperGrid(["branin", "currin"], horizon=HORIZON), seed=0, **SMALL) for _ in "ab")
    target = ours.env.target(OMEGAS, BETA)
    apart = lambda sampler: np.abs(sampler.terminal_distribution(OMEGAS) - target).sum((1, 2)).mean() / 2  # noqa: E731
    start, steps = apart(ours), 300
    ours.fit(steps, 64)
    other.fit(1, 64)  # sets where log Z starts, from the first batch
    env, flow = peer(other)
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for step in range(steps - 1):
        omega = torch.from_numpy(rng.dirichlet([1.0, 1.0], 64))
        drawn = flow.sample_trajectories(env, n=64, conditions=omega, save_logprobs=False, epsilon=0.01)
        for group in other.optimizer.param_groups:
            group["lr"] = group["base"] * (1.0 if step < 0.75 * steps else 0.1)
        other.optimizer.zero_grad()
        flow.loss(env, drawn).backward()
        torch.nn.utils.clip_grad_norm_(other.policy.parameters(), other.clip_norm)
        other.optimizer.step()
    found = apart(ours), apart(other)
    assert max(found) < 0.1 < start / 3, (found, start)
    assert 0.5 < found[0] / found[1] < 2, found


def test_both_samplers_draw_as_the_exact_distribution_says():
    sampler, env, flow, _ = drawn(steps=150)
    omega, n = torch.tensor([[0.3, 0.7]]), 4000
    exact = sampler.terminal_distribution([0.3, 0.7]).ravel()
    torch.manual_seed(1)
    theirs = flow.sample_trajectories(env, n=n, conditions=omega.expand(n, 2).clone()).terminating_states.tensor.numpy()
    for cells in (sampler.sample([0.3, 0.7], n, seed=1), theirs):
        seen = np.bincount(np.ravel_multi_index(tuple(cells.T), (HORIZON,) * 2), minlength=HORIZON**2) / n
        assert ((seen - exact) ** 2 / np.maximum(exact, 1e-4)).sum() * n < 36 + 6 * np.sqrt(72)
