"""Agents that balance a pole: the cart's physics, populations, mirror losses, meta-training of drifts, races."""

import math

import numpy as np
import pytest
import torch

from lib.policies.temporal_lpg import CartPole, ControlAgent, DriftES, DriftNet, dpo_drift, ppo_drift, train_control
from lib.policies.temporal_lpg.control import LIMIT, _Life, _Luck, mirror_losses
from lib.policies.temporal_lpg.drift import candidate_drift
from lib.policies.temporal_lpg.study import EPSILONS, control_race, dpo, drift_start, ppo, timed

SMALL = ControlAgent(carts=4, steps=8, epochs=2, minibatches=2, hidden=8)


def one_step(state, right):
    """Barto, Sutton and Anderson's equations, one cart, double precision."""
    x, v, a, w = state
    push = ((10.0 if right else -10.0) + 0.05 * w**2 * math.sin(a)) / 1.1
    turn = (9.8 * math.sin(a) - math.cos(a) * push) / (0.5 * (4 / 3 - 0.1 * math.cos(a) ** 2 / 1.1))
    pull = push - 0.05 * turn * math.cos(a) / 1.1
    return [x + 0.02 * v, v + 0.02 * pull, a + 0.02 * w, w + 0.02 * turn]


def test_carts_follow_the_equations_and_fall_at_the_bounds():
    rng = np.random.default_rng(0)
    starts = rng.uniform(-0.05, 0.05, (6, 4))
    carts, states = CartPole(torch.as_tensor(starts)), [list(s) for s in starts]
    fell = np.zeros(6, dtype=bool)
    for _ in range(60):
        right = rng.random(6) < 0.8
        down, over = carts.step(torch.as_tensor(right))
        states = [one_step(s, r) for s, r in zip(states, right, strict=True)]
        assert np.allclose(carts.state.numpy(), states, atol=1e-9)
        expected = [abs(s[0]) > 2.4 or abs(s[2]) > math.radians(12) for s in states]
        assert down.tolist() == expected == over.tolist()
        fell |= down.numpy()
    assert fell.all()


def test_carts_are_those_of_gymnasium():
    gym = pytest.importorskip("gymnasium")
    env = gym.make("CartPole-v1").unwrapped
    rng = np.random.default_rng(1)
    env.reset(seed=0)
    carts = CartPole(torch.as_tensor(np.array(env.state, dtype=float))[None])
    for _ in range(40):
        right = bool(rng.random() < 0.5)
        state, _, terminated, _, _ = env.step(int(right))
        down, _ = carts.step(torch.tensor([right]))
        assert np.allclose(carts.state[0].numpy(), state, atol=1e-5)
        assert bool(down) == terminated
        if terminated:
            break


def test_episodes_end_after_five_hundred_steps_without_a_fall():
    carts = CartPole(torch.zeros(2, 4, dtype=torch.float64))
    carts.age[0] = LIMIT - 1
    fell, over = carts.step(torch.tensor([True, True]))
    assert not fell.any()
    assert over.tolist() == [True, False]
    carts.restart(over, torch.full((2, 4), 0.01, dtype=torch.float64))
    assert carts.age.tolist() == [0, 1]
    assert carts.state[0].tolist() == [0.01] * 4


def test_the_loss_with_ppo_s_drift_has_the_gradient_of_clipped_ppo():
    torch.manual_seed(0)
    logp, old, gain = torch.randn(3, 200), torch.randn(3, 200) * 0.1, torch.randn(3, 200)
    logp = (old + 0.5 * logp).requires_grad_()
    ours = mirror_losses(logp, old, gain, ppo([0.2, 0.3, 0.1]), 0.5)
    ratio, width = torch.exp(logp - old), torch.tensor([[0.2], [0.3], [0.1]])
    clipped = torch.minimum(ratio * gain, torch.clamp(ratio, 1 - width, 1 + width) * gain)
    (a,), (b,) = (torch.autograd.grad(v.sum(), logp, retain_graph=True) for v in (ours, -clipped.mean(1)))
    assert torch.allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("aware", [False, True])
def test_candidates_have_the_drifts_of_their_networks(aware):
    nets = [DriftNet(aware, 6, seed=k) for k in range(3)]
    together = candidate_drift(nets[0], np.stack([net.vector().numpy() for net in nets]))
    p, gain = torch.rand(3, 20) + 0.5, torch.randn(3, 20)
    for i, net in enumerate(nets):
        alone = net(p[i].double(), gain[i].double(), 0.3)
        assert torch.allclose(together(p, gain, 0.3)[i].double(), alone, atol=1e-5)
    with pytest.raises(ValueError, match="columns"):
        candidate_drift(nets[0], np.zeros((2, 5)))


def test_closed_drifts_are_those_of_the_package():
    p, gain = torch.rand(2, 50, dtype=torch.float64) + 0.3, torch.randn(2, 50, dtype=torch.float64)
    assert np.allclose(dpo(p, gain).numpy(), dpo_drift(p.numpy(), gain.numpy()))
    for row, width in enumerate((0.1, 0.4)):
        assert np.allclose(
            ppo([0.1, 0.4])(p, gain, 0.0)[row].numpy(), ppo_drift(p[row].numpy(), gain[row].numpy(), width), atol=1e-7
        )


def test_a_population_is_a_loop_over_candidates():
    nets = [DriftNet(hidden=6, seed=k) for k in range(3)]
    vectors = np.stack([net.vector().numpy() for net in nets])
    together = train_control(nets[0], 2, SMALL, vectors=vectors, lucks=1, seed=4)
    for i, net in enumerate(nets):
        alone = train_control(net, 2, SMALL, seed=4)
        assert np.allclose(together.entropy[:, i], alone.entropy[:, 0], atol=1e-5)
        assert np.allclose(together.away[:, i], alone.away[:, 0], atol=1e-4)


def test_who_shares_luck_and_drift_lives_the_same_life():
    result = train_control(ppo([0.2]), 2, SMALL, population=6, lucks=3, seed=0)
    assert np.array_equal(result.entropy[:, :3], result.entropy[:, 3:])
    assert np.array_equal(result.score[:3], result.score[3:])
    assert len(np.unique(result.entropy[1])) == 3


def test_advantages_are_the_recursion_with_cut_episodes():
    agent = ControlAgent(carts=3, steps=40, hidden=4, minibatches=1)
    life = _Life(agent, _Luck(np.random.default_rng(0), 2, 2))
    life.carts.age[0, 0] = LIMIT - 5  # one episode is cut off without a fall
    seen, real = [], life.carts.step

    def step(right):
        before, out = life.carts.state, real(right)
        seen.append((before, life.carts.state, *out))
        return out

    life.carts.step = step
    _, _, _, scaled, target, _ = life.rollout()
    with torch.no_grad():
        gains = np.zeros((2, 41, 3))
        for t in reversed(range(40)):
            before, after, fell, over = seen[t]
            now, then = life.value(before).numpy(), life.value(after).numpy()
            delta = 1 + 0.99 * then * ~fell.numpy() - now
            gains[:, t] = delta + 0.99 * 0.95 * gains[:, t + 1] * ~over.numpy()
        values = np.stack([life.value(s[0]).numpy() for s in seen], 1)
    flat = gains[:, :40].reshape(2, -1)
    assert any(bool((over & ~fell).any()) for _, _, fell, over in seen)
    assert np.allclose(target.numpy(), flat + values.reshape(2, -1), atol=1e-4)
    expected = (flat - flat.mean(1, keepdims=True)) / flat.std(1, ddof=1, keepdims=True)
    assert np.allclose(scaled.numpy(), expected, atol=1e-3)


def test_clipped_steps_are_those_of_every_candidate_alone():
    agent = ControlAgent(carts=4, steps=8, epochs=1, minibatches=1, hidden=8, clip=1e-3, lr=1e-2)
    both = train_control(ppo([0.2]), 1, agent, population=2, lucks=2, seed=0)
    assert (both.away > 0).all()
    with pytest.raises(ValueError, match="clip"):
        ControlAgent(clip=0.0)


def test_agents_learn_to_balance():
    agent = ControlAgent(carts=8, steps=64)
    early, late = (train_control(ppo([0.2]), n, agent, population=8, seed=0).score.mean() for n in (1, 12))
    assert late > 2 * early


def test_starts_are_ppo_without_a_clock():
    blind, aware = drift_start(False, 7), drift_start(True, 7)
    p, gain = (torch.as_tensor(v.ravel()) for v in np.meshgrid(np.linspace(0.5, 2, 40), np.linspace(-2, 2, 9)))
    target = ppo_drift(p.numpy(), gain.numpy())
    for net, clock in ((blind, None), (aware, 0.0), (aware, 1.0)):
        with torch.no_grad():
            assert np.abs(net(p, gain, clock).numpy() - target).max() < 0.1
    assert not aware.first[:, 8:].any()


def test_a_drift_without_a_clock_stays_itself_with_time_weights_of_zero():
    blind, aware = DriftNet(False, 32, seed=0), DriftNet(True, 32, seed=1)
    [row] = timed(blind.vector().numpy()[None])
    p, gain = torch.rand(1, 30) + 0.5, torch.randn(1, 30)
    a = candidate_drift(blind, blind.vector().numpy()[None])(p, gain, 0.7)
    assert torch.allclose(a, candidate_drift(aware, row[None])(p, gain, 0.7))
    assert np.array_equal(timed(aware.vector().numpy()[None])[0], aware.vector().numpy())
    with pytest.raises(ValueError, match="columns"):
        timed(np.zeros((1, 5)))


def test_meta_training_is_repeatable_and_leaves_its_start_alone():
    start = DriftNet(hidden=4, seed=0)
    before = start.vector().clone()
    ends = []
    for _ in range(2):
        search = DriftES(start, SMALL, lifetime=2, pairs=3, seed=5)
        scores = [search.step() for _ in range(2)]
        ends.append((search.vector, np.array(scores)))
    assert torch.equal(start.vector(), before)
    assert np.array_equal(ends[0][0], ends[1][0])
    assert np.array_equal(ends[0][1], ends[1][1])
    assert not np.array_equal(ends[0][0], before.numpy())


def test_a_race_chooses_clipping_on_agents_of_its_own():
    rows = drift_start(False, 0, 200).vector().numpy()[None]
    found = control_race({"LPO": rows, "TA-LPO": timed(rows)}, [1, 3], 2, 0, SMALL)
    assert np.allclose(found["LPO"], found["TA-LPO"])  # the same drift, the same agents
    assert found["grid"].shape == (2, len(EPSILONS))
    assert np.array_equal(found["PPO"], found["grid"][[0, 1], found["chosen"]])


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="starts"):
        CartPole(torch.zeros(3))
    with pytest.raises(ValueError, match="minibatches"):
        ControlAgent(carts=3, steps=5, minibatches=4)
    with pytest.raises(TypeError, match="agent"):
        train_control(ppo([0.2]), 2, {"lr": 1})
    with pytest.raises(ValueError, match="lucks"):
        train_control(ppo([0.2]), 2, SMALL, population=2, lucks=3)
    with pytest.raises(ValueError, match="vectors"):
        train_control(ppo([0.2]), 2, SMALL, vectors=np.zeros((2, 3)))
    with pytest.raises(ValueError, match="lifetime"):
        train_control(ppo([0.2]), 0, SMALL)
    with pytest.raises(TypeError, match="drift"):
        DriftES(ppo([0.2]), SMALL)
