"""TA-LPG: gradients, the backward network, tasks, evolution strategies, drifts; against oracles."""

from __future__ import annotations

import copy
import inspect
import itertools
import pickle

import numpy as np
import pytest
import torch

from lib.policies import temporal_lpg as ta
from lib.policies.temporal_lpg import agents, envs, es, meta, rules

F64 = torch.float64
SMALL = ta.Agent(workers=4, steps=3, lr_actor=4.0)


def random_rollout(rng, P=2, L=3, E=2, W=4, S=5, A=3, m=4):
    theta, psi = (torch.as_tensor(rng.standard_normal((P, E, S, X))) for X in (A, m))
    s, s_next = (torch.as_tensor(rng.integers(S, size=(P, L, E, W))) for _ in range(2))
    a = torch.as_tensor(rng.integers(A, size=(P, L, E, W)))
    r, d = torch.as_tensor(rng.standard_normal((P, L, E, W))), torch.as_tensor((rng.random((P, L, E, W)) < 0.3) * 1.0)
    pi = agents.at_state(torch.softmax(theta, -1), s).gather(-1, a.unsqueeze(-1)).squeeze(-1)
    return theta, psi, agents.Rollout(s, a, r, d, s_next, pi)


def random_inputs(rng, P=2, L=5, B=3, m=4):
    r, pi = torch.as_tensor(rng.standard_normal((P, L, B))), torch.as_tensor(rng.random((P, L, B)))
    d = torch.as_tensor((rng.random((P, L, B)) < 0.3) * 1.0)
    y, y_next = (torch.softmax(torch.as_tensor(rng.standard_normal((P, L, B, m))), -1) for _ in range(2))
    return r, d, pi, y, y_next


@pytest.fixture
def rng():
    return np.random.default_rng(3)


# --- (1), (6), (7), (8): the agent ---


@pytest.mark.parametrize("S", [1, 5])
def test_closed_form_gradients_are_autograd_of_the_loss(rng, S):
    theta, psi, rollout = random_rollout(rng, S=S)
    pi_hat = torch.as_tensor(rng.standard_normal(rollout.r.shape))
    y_hat = torch.softmax(torch.as_tensor(rng.standard_normal((*rollout.r.shape, 4))), -1)
    actor, critic = agents.agent_gradients(theta, psi, rollout, pi_hat, y_hat, 0.7)
    for p, e in itertools.product(range(2), range(2)):
        one, two = theta[p, e].clone().requires_grad_(), psi[p, e].clone().requires_grad_()
        s = rollout.s[p, :, e]
        ta.lpg_loss(one[s], two[s], rollout.a[p, :, e], pi_hat[p, :, e], y_hat[p, :, e], 0.7).backward()
        torch.testing.assert_close(actor[p, e], one.grad, rtol=0, atol=1e-10)
        torch.testing.assert_close(critic[p, e], two.grad, rtol=0, atol=1e-10)


def test_minus_advantages_are_the_policy_gradient(rng):
    theta, psi, rollout = random_rollout(rng)
    gain = torch.as_tensor(rng.standard_normal(rollout.r.shape))
    y = agents.at_state(torch.softmax(psi, -1), rollout.s)
    actor, critic = agents.agent_gradients(theta, psi, rollout, -gain, y)
    assert critic.abs().max() < 1e-7  # the prediction is its own target
    logits = theta.clone().requires_grad_()
    chosen = agents.at_state(torch.log_softmax(logits, -1), rollout.s).gather(-1, rollout.a.unsqueeze(-1)).squeeze(-1)
    (-(chosen * gain).mean((1, 3)).sum()).backward()
    torch.testing.assert_close(actor, logits.grad, rtol=0, atol=1e-6)


def test_at_state_and_its_adjoint_are_the_loop(rng):
    theta, _, rollout = random_rollout(rng)
    rows, sums = agents.at_state(theta, rollout.s), torch.zeros_like(theta)
    for p, t, e, w in itertools.product(*map(range, rollout.s.shape)):
        assert torch.equal(rows[p, t, e, w], theta[p, e, rollout.s[p, t, e, w]])
        sums[p, e, rollout.s[p, t, e, w]] += rows[p, t, e, w]
    torch.testing.assert_close(agents.add_at_state(rows, rollout.s, 5), sums)


def test_clipping_is_for_each_agent(rng):
    gradient = torch.as_tensor(rng.standard_normal((2, 3, 4, 5)))
    gradient[0, 0] *= 1e-3
    short = agents.clipped(gradient, 0.5)
    norms = short.flatten(2).norm(dim=2)
    torch.testing.assert_close(short[0, 0], gradient[0, 0])
    torch.testing.assert_close(norms.flatten()[1:], torch.full((5,), 0.5, dtype=F64))


def test_sampling_follows_the_probabilities(rng):
    p = torch.tensor([0.2, 0.5, 0.3], dtype=F64)
    drawn = agents.sample(p.cumsum(-1).expand(20000, 3), torch.as_tensor(rng.random(20000)))
    assert np.abs(np.bincount(drawn.numpy(), minlength=3) / 20000 - p.numpy()).max() < 0.015


def test_a_life_is_its_updates_by_hand(rng):
    rule, env = ta.LPG(m=4, hidden=6, seed=1), ta.GaussianBandits.sample(1, 3, seed=2)
    told = ta.train_agent(rule, env, 4, SMALL, seed=5)
    luck, theta, psi, state = np.random.default_rng(5), env.zeros(1, 10), env.zeros(1, 4), env.start(1, 4)
    with torch.no_grad():
        for n in range(1, 5):
            rollout, state = agents.collect(env, torch.softmax(theta, -1), state, 3, luck)
            y = agents.at_state(torch.softmax(psi, -1), rollout.s)
            flat = [v.flatten(2, 3) for v in (rollout.r, rollout.d, rollout.pi, y, y)]
            pi_hat, y_hat = (v.unflatten(2, (3, 4)) for v in rule(*flat, n=n, N=4))
            one, two = agents.agent_gradients(theta, psi, rollout, pi_hat, y_hat)
            theta, psi = theta - 4.0 * agents.clipped(one, 0.5), psi - 4.0 * agents.clipped(two, 0.5)
    torch.testing.assert_close(told.theta, theta)
    torch.testing.assert_close(told.psi, psi)
    assert told.entropy.shape == told.update_norm.shape == (4, 1)
    assert told.entropy[0, 0] == pytest.approx(np.log(10), abs=1e-6)


def test_a_rule_of_zeros_leaves_the_agent_uniform():
    rule, env = ta.LPG(hidden=4, seed=0), ta.GaussianBandits.sample(1, 50, seed=2)
    told = ta.train_agent(rule, env, 5, SMALL, vectors=np.zeros((1, rule.size)), seed=5)
    assert told.score[0] == pytest.approx(env.means.mean(-1)[0].numpy(), abs=1e-12)


# --- (2)-(5): the rule ---


def test_gru_is_torchs(rng):
    cell, P, H = torch.nn.GRUCell(7, 6, dtype=F64), 1, 6
    weights = {"recur": cell.weight_hh[None], "recur_bias": cell.bias_hh[None]}
    x, h = torch.as_tensor(rng.standard_normal((5, 7))), torch.as_tensor(rng.standard_normal((5, H)))
    projected = (x @ cell.weight_ih.T + cell.bias_ih)[None]
    torch.testing.assert_close(rules.gru_step(weights, projected, h[None])[0], cell(x, h))
    torch.testing.assert_close(rules.gru_step(weights, projected, None)[0], cell(x, torch.zeros_like(h)))
    assert P == 1


def test_the_rule_is_its_formula_step_by_step(rng):
    rule, (r, d, pi, y, y_next) = ta.LPG(m=4, hidden=6, embed=5, seed=1), random_inputs(rng, P=1)
    pi_hat, y_hat = rule(r, d, pi, y, y_next, n=3, N=20)
    cell = torch.nn.GRUCell(7, 6, dtype=F64)
    named = {"weight_ih": rule.input, "weight_hh": rule.recur, "bias_ih": rule.input_bias, "bias_hh": rule.recur_bias}
    for name, value in named.items():
        getattr(cell, name).data.copy_(value.data)

    def phi(v):
        return (torch.relu(v @ rule.embed1.T + rule.embed1_bias) @ rule.embed2.T + rule.embed2_bias)[..., 0]

    h = torch.zeros(3, 6, dtype=F64)
    for t in reversed(range(5)):
        parts = [r[0, t], d[0, t], pi[0, t], phi(y[0, t]), phi(y_next[0, t]) * (1 - d[0, t])]
        parts += [torch.full((3,), 3 / 20, dtype=F64), torch.full((3,), np.log(20), dtype=F64)]
        h = cell(torch.stack(parts, -1), h * (1 - d[0, t])[:, None])
        top = torch.relu(h)
        torch.testing.assert_close(pi_hat[0, t], (top @ rule.pi.T + rule.pi_bias)[:, 0])
        torch.testing.assert_close(y_hat[0, t], torch.softmax(top @ rule.y.T + rule.y_bias, -1))


def test_the_past_and_what_follows_an_end_are_not_seen(rng):
    rule, (r, d, pi, y, y_next) = ta.LPG(m=4, hidden=6, seed=1), random_inputs(rng)
    d[:] = 0
    before = rule(r, d, pi, y, y_next, n=1, N=5)[0]
    changed = r.clone()
    changed[:, 2] += 1
    after = rule(changed, d, pi, y, y_next, n=1, N=5)[0]
    assert torch.equal(before[:, 3:], after[:, 3:])
    assert (before[:, :3] != after[:, :3]).all()
    d[:, 1] = 1
    assert torch.equal(rule(r, d, pi, y, y_next, n=1, N=5)[0][:, :2], rule(changed, d, pi, y, y_next, n=1, N=5)[0][:, :2])


def test_a_population_is_the_loop_over_candidates(rng):
    rule, inputs = ta.LPG(m=4, hidden=6, seed=1), random_inputs(rng, P=3)
    vectors = torch.as_tensor(rng.standard_normal((3, rule.size)))
    pi_hat, y_hat = rule(*inputs, n=2, N=9, vectors=vectors)
    for p in range(3):
        one = ta.LPG(m=4, hidden=6).load_vector(vectors[p])
        alone = one(*(v[p : p + 1] for v in inputs), n=2, N=9)
        torch.testing.assert_close(pi_hat[p : p + 1], alone[0])
        torch.testing.assert_close(y_hat[p : p + 1], alone[1])


def test_without_time_weights_it_is_lpg_exactly(rng):
    aware, inputs = ta.LPG(m=4, hidden=6, seed=1), random_inputs(rng)
    plain = ta.LPG(m=4, hidden=6, time_aware=False)
    with torch.no_grad():
        aware.input[:, 5:] = 0
        for name, value in aware.named_parameters():
            getattr(plain, name).copy_(value[:, :5] if name == "input" else value)
    torch.testing.assert_close(aware(*inputs, n=2, N=9)[0], plain(*inputs)[0], rtol=0, atol=1e-13)


def test_vector_and_back():
    rule = ta.LPG(hidden=5, seed=1)
    assert torch.equal(ta.LPG(hidden=5).load_vector(rule.vector()).vector(), rule.vector())
    weights = rule.weights(rule.vector()[None])
    assert all(torch.equal(weights[name][0], value) for name, value in rule.named_parameters())


@pytest.mark.parametrize(
    ("change", "word"),
    [({"n": 6}, "n must"), ({"n": -1}, "n must|of n"), ({"N": 0}, "N"), ({"n": None}, "n must"), ({"n": np.nan}, "n must")],
)
def test_the_clock_is_checked(rng, change, word):
    with pytest.raises((ValueError, TypeError), match=word):
        ta.LPG(m=4, hidden=6)(*random_inputs(rng), **({"n": 1, "N": 5} | change))


def test_shapes_are_checked(rng):
    r, d, pi, y, y_next = random_inputs(rng)
    with pytest.raises(ValueError, match="y_next must have shape"):
        ta.LPG(m=4, hidden=6)(r, d, pi, y, y_next[..., :3], n=1, N=5)
    with pytest.raises(ValueError, match="vectors"):
        ta.LPG(m=4, hidden=6)(r, d, pi, y, y_next, n=1, N=5, vectors=torch.zeros(1, 3))
    with pytest.raises(ValueError, match="actions"):
        ta.lpg_loss(torch.zeros(3, 2), torch.zeros(3, 2), torch.tensor([0, 1, 2]), torch.zeros(3), torch.ones(3, 2))


# --- tasks ---


def test_bandits_pay_their_means(rng):
    env = ta.GaussianBandits(rng.standard_normal((1, 2, 3)))
    s, a = env.start(1, 5000), torch.as_tensor(rng.integers(3, size=(1, 2, 5000)))
    r, d, _ = env.step(s, a, rng)
    for e, arm in itertools.product(range(2), range(3)):
        assert r[0, e][a[0, e] == arm].mean().item() == pytest.approx(env.means[0, e, arm].item(), abs=0.12)
    assert (d == 1).all()
    assert (env.optimum() >= env.score(env.zeros(4, 3))).all()


def test_pairs_share_tasks_and_luck(rng):
    rule, env = ta.LPG(hidden=4, seed=0), ta.GridWorld.sample(3, 1, rng, side=3)
    vectors = np.concatenate([[rule.vector().numpy()] * 3] * 2)
    score = ta.train_agent(rule, env, 3, SMALL, vectors=vectors, seed=1).score
    assert np.array_equal(score[:3], score[3:])
    with pytest.raises(ValueError, match="candidates"):
        ta.train_agent(rule, env, 3, SMALL, vectors=vectors[:4], seed=1)


def simulate(level, policy, uniforms):
    """One episode by rules in words, without tables: the oracle."""
    side, cells, total = level.side, level.side**2, 0.0
    cell, exists = int(level.first[0, 0]) % cells, [True] * level.objects.shape[2]
    for t in range(int(level.limit[0, 0])):
        bits = sum(2**i for i, there in enumerate(exists) if there)
        action = int((uniforms[t, 0] > np.cumsum(policy[cell + cells * bits])[:-1]).sum())
        to = np.array(divmod(cell, side)) + envs.MOVES[action]
        if (to >= 0).all() and (to < side).all() and not level.walls[0, 0, to[0] * side + to[1]]:
            cell = to[0] * side + to[1]
        was = list(exists)
        for i in range(len(exists)):
            if was[i] and level.objects[0, 0, i] == cell:
                total += level.rewards[0, 0, i]
                exists[i] = False
                if uniforms[t, 1] < level.ends[i]:
                    return total
            elif not was[i] and uniforms[t, 2 + i] < level.backs[i]:
                exists[i] = True
    return total


def test_exact_scores_are_those_of_an_independent_simulation(rng):
    level = ta.GridWorld.sample(1, 1, 4, side=3, n_walls=1, limits=(8, 8))
    level.ends, level.backs = np.array([0.4, 0.1]), np.array([0.3, 0.5])
    level._tables(level.ends[None, None], level.backs[None, None])
    theta = torch.as_tensor(rng.standard_normal((1, 1, level.n_states, 5)))
    policy = torch.softmax(theta, -1)[0, 0].numpy()
    returns = [simulate(level, policy, rng.random((8, 4))) for _ in range(4000)]
    assert np.mean(returns) == pytest.approx(level.score(theta).item(), abs=4 * np.std(returns) / 4000**0.5)
    assert (level.optimum() >= level.score(theta)).all()


def test_rollouts_have_the_exact_mean(rng):
    level = ta.GridWorld.sample(1, 1, 4, side=3, limits=(6, 6))
    theta = torch.as_tensor(rng.standard_normal((1, 1, level.n_states, 5)))
    rollout, (s, t) = agents.collect(level, torch.softmax(theta, -1), level.start(1, 4000), 6, rng)
    alive = torch.cat([torch.ones_like(rollout.d[:, :1]), (1 - rollout.d[:, :-1]).cumprod(1)], 1)
    returns = (rollout.r * alive).sum(1)[0, 0]
    assert returns.mean().item() == pytest.approx(level.score(theta).item(), abs=4 * returns.std().item() / 4000**0.5)
    assert (s[t == 0] == level.first[0, 0]).all()


def test_tables_are_distributions_and_start_is_free(rng):
    env = ta.GridWorld.sample(3, 2, rng, side=4)
    total = env.prob.sum(-1)
    assert ((total > 0) & (total <= 1 + 1e-12)).all()
    assert total.max() == pytest.approx(1)
    at = env.first % 16
    assert not np.take_along_axis(env.walls, at.numpy()[..., None], -1).any()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"side": 1}, "side"),
        ({"p_end": 1.5}, "p_end"),
        ({"objects": 9}, "objects"),
        ({"limit": 0}, "limit"),
        ({"start": 0.5}, "start"),
    ],
)
def test_bad_levels_are_refused(change, word):
    one = np.ones((1, 1, 1))
    good = {"side": 3, "objects": 3 * one, "rewards": one, "p_end": one, "p_back": one, "start": one[0], "limit": 4 * one[0]}
    bad = {name: value if name == "side" else value * np.ones_like(good[name]) for name, value in change.items()}
    ta.GridWorld(**good)
    with pytest.raises((ValueError, TypeError), match=word):
        ta.GridWorld(**(good | bad))


# --- (9), (10): evolution strategies ---


def test_pairs_are_mirrored_and_ranked():
    search = ta.OpenES(np.zeros(3), pairs=4, sigma=0.2, seed=0)
    asked = search.ask()
    assert np.array_equal(asked[:4], -asked[4:])
    scores = np.array([1.0, 0, 5, 2, 0, 1, 5, 1])
    assert es.pair_weights(scores).tolist() == [0.5, -0.5, 0, 0.5]
    assert np.array_equal(es.pair_weights(np.exp(scores)), es.pair_weights(scores))
    eps = asked[:4] / 0.2
    assert search.tell(scores) == pytest.approx(np.array([0.5, -0.5, 0, 0.5]) @ eps / (4 * 0.2))
    assert search.mean == pytest.approx(0.01 * np.sign(es.pair_weights(scores) @ eps), rel=1e-4)  # Adam's first step
    assert search.lr == pytest.approx(0.01 * 0.999)


def test_adam_is_torchs(rng):
    search, point = ta.OpenES(np.ones(4), pairs=3, decay=1.0, seed=0), torch.ones(4, dtype=F64, requires_grad=True)
    adam = torch.optim.Adam([point], lr=0.01)
    for _ in range(5):
        search.ask()
        point.grad = -torch.as_tensor(search.tell(rng.random(6)))
        adam.step()
    assert search.mean == pytest.approx(point.detach().numpy(), rel=1e-6)  # epsilon stands elsewhere in torch


def test_the_mean_direction_is_that_of_the_gradient():
    wanted, total = np.array([3.0, -1.0, 0.5]), np.zeros(3)
    search = ta.OpenES(np.zeros(3), pairs=4000, seed=1)
    for _ in range(3):
        search.mean = np.zeros(3)
        total += search.tell(search.ask() @ wanted)
    assert total @ wanted / np.linalg.norm(total) / np.linalg.norm(wanted) > 0.999


def test_scores_without_candidates_are_refused():
    search = ta.OpenES(np.zeros(2), pairs=2, seed=0)
    with pytest.raises(ValueError, match="asked"):
        search.tell(np.zeros(4))
    search.ask()
    with pytest.raises(ValueError, match="scores"):
        search.tell(np.zeros(3))


# --- meta-training ---


@pytest.mark.parametrize("kind", ["es", "windows", "windows in grids"])
def test_meta_training_can_be_stopped_and_goes_on(kind):
    sampler = ta.GridWorld.sample if "grids" in kind else ta.GaussianBandits.sample

    def make():
        rule = ta.LPG(m=4, hidden=4, seed=0)
        if kind == "es":
            return ta.MetaES(rule, sampler, SMALL, pairs=3, lifetimes=(2, 5), seed=1)
        return ta.MetaGradient(rule, sampler, SMALL, agents=3, unroll=2, lifetimes=(2, 4), seed=1)

    once, again = make(), make()
    for _ in range(4):
        once.step()
    for _ in range(2):
        again.step()
    copied = copy.deepcopy(again)
    again = pickle.loads(pickle.dumps(again))
    for _ in range(2):
        again.step()
        copied.step()
    assert torch.equal(once.rule.vector(), again.rule.vector())
    assert torch.equal(once.rule.vector(), copied.rule.vector())
    assert not torch.equal(once.rule.vector(), ta.LPG(m=4, hidden=4, seed=0).vector())


def test_window_gradient_is_that_of_finite_differences():
    def loss(vector, grad=False):
        search = ta.MetaGradient(ta.LPG(m=3, hidden=3, embed=2, seed=0), ta.GaussianBandits.sample,
                                 ta.Agent(4, 1, 0.5, 0.5, 0.5, 100.0), agents=2, unroll=2, seed=1)  # fmt: skip
        search.CLIP, search.optimizer = 1e9, torch.optim.SGD(search.rule.parameters(), lr=1.0)
        search.rule.load_vector(vector)
        found = []
        outer, regularizer = search._outer, search._regularizer
        search._outer = lambda theta: found.append(outer(theta)) or found[-1]
        search._regularizer = lambda *both: found.append(regularizer(*both)) or found[-1]
        search.step()
        return (torch.as_tensor(vector) - search.rule.vector()).numpy() if grad else sum(found).item()

    first = ta.LPG(m=3, hidden=3, embed=2, seed=0).vector().numpy()
    slope = loss(first, grad=True)
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.standard_normal(len(first))
        numeric = (loss(first + 1e-5 * direction) - loss(first - 1e-5 * direction)) / 2e-5
        assert slope @ direction == pytest.approx(numeric, rel=1e-4, abs=1e-7)


def test_the_outer_loss_is_its_formula(rng):
    search = ta.MetaGradient(ta.LPG(m=4, hidden=4, seed=0), ta.GaussianBandits.sample, SMALL, agents=3, seed=1)
    theta, twin = torch.as_tensor(rng.standard_normal((1, 3, 1, 10))), copy.deepcopy(search)
    found = search._outer(theta).item()
    p = torch.softmax(theta, -1)
    seen, _ = agents.collect(twin.env, p, twin.state, 3, twin.rng)
    gain = (seen.r - seen.r.mean()) / seen.r.std()  # every pull is an episode, and the values are zero
    entropy = -(p * torch.log(p)).sum(-1).mean()
    assert found == pytest.approx(-(torch.log(seen.pi) * gain).mean().item() - 0.05 * entropy.item(), abs=1e-6)
    wanted = 0.2 * torch.stack([seen.r[0, :, e].mean() for e in range(3)])
    torch.testing.assert_close(search.value[0, :, 0, 0], wanted)
    pi_hat, y_hat = torch.full((2, 3), 2.0), torch.full((2, 3, 4), 0.25)
    assert search._regularizer(pi_hat, y_hat).item() == pytest.approx(5e-3 * 4 + 1e-3 * 0.25 - 1e-3 * np.log(4), abs=1e-6)


def test_advantages_are_the_sum_by_hand(rng):
    _, _, rollout = random_rollout(rng, P=1, E=1, W=1, L=4)
    value = torch.as_tensor(rng.standard_normal((1, 1, 5)))
    found, total = meta.advantages(rollout, value)[0, :, 0, 0], 0.0
    for t in reversed(range(4)):
        s, s_next, r, d = (getattr(rollout, name)[0, t, 0, 0] for name in ("s", "s_next", "r", "d"))
        delta = r + 0.99 * (1 - d) * value[0, 0, s_next] - value[0, 0, s]
        total = delta + 0.99 * 0.95 * (1 - d) * total
        assert found[t].item() == pytest.approx(total.item())


def test_ended_lives_are_renewed():
    rule = ta.LPG(m=4, hidden=4, seed=0)
    search = ta.MetaGradient(rule, ta.GaussianBandits.sample, SMALL, agents=6, unroll=2, lifetimes=(2, 8), seed=1)
    for _ in range(6):
        means = search.env.means.clone()
        over = search.n[0] + 2 >= search.lifetime[0]
        search.step()
        assert (search.theta[0, over] == 0).all()
        assert (search.theta[0, ~over] != 0).any(-1).all()
        assert torch.equal((search.env.means != means).any(-1)[0], over)
        assert (search.n < search.lifetime).all()


def test_better_candidates_win():
    """A few generations on short bandits raise the score."""
    rule = ta.LPG(m=4, hidden=6, seed=0)
    search = ta.MetaES(
        rule, ta.GaussianBandits.sample, ta.Agent(4, 1, 4.0), pairs=24, tasks=2, lifetimes=(5, 10), lr=0.05, seed=1
    )
    env, first = ta.GaussianBandits.sample(1, 200, seed=5), copy.deepcopy(rule)
    for _ in range(25):
        search.step()
    before, after = (ta.train_agent(r, env, 10, ta.Agent(4, 1, 4.0), seed=2).score.mean() for r in (first, rule))
    assert after > before + 0.05


# --- the paper's constants ---


def defaults(target):
    return {name: p.default for name, p in inspect.signature(target).parameters.items()}


def test_defaults_are_the_papers():
    assert (defaults(ta.LPG)["m"], defaults(ta.LPG)["hidden"], defaults(ta.LPG)["embed"]) == (8, 256, 16)
    assert defaults(ta.Agent) == {"workers": 64, "steps": 20, "lr_actor": 40.0, "lr_critic": 4.0, "alpha_y": 0.5, "clip": 0.5}
    told = defaults(ta.OpenES)
    assert [told[k] for k in ("pairs", "sigma", "lr", "decay", "lr_least")] == [512, 0.1, 0.01, 0.999, 1e-5]
    assert [defaults(ta.MetaES)[k] for k in ("pairs", "tasks", "lifetimes", "sigma", "lr")] == [512, 1, (10, 250), 0.1, 0.01]
    assert [defaults(ta.MetaGradient)[k] for k in ("unroll", "lifetimes", "lr")] == [5, (10, 250), 1e-4]
    weights = [getattr(ta.MetaGradient, k) for k in ("ENTROPY", "TARGET_ENTROPY", "PENALTY", "TARGET", "CLIP")]
    assert weights == [0.05, 1e-3, 5e-3, 1e-3, 0.5]
    assert defaults(ta.lpg_loss)["alpha_y"] == 0.5
    assert [defaults(meta.advantages)[k] for k in ("discount", "decay")] == [0.99, 0.95]
    assert (ta.DriftNet.SHIFT, defaults(ta.DriftNet)["hidden"], defaults(ta.ppo_drift)["epsilon"]) == (1e-6, 128, 0.2)
    assert [defaults(ta.dpo_drift)[k] for k in ("alpha", "beta")] == [2.0, 0.6]
    assert (rules.TINY, len(envs.MOVES)) == (1e-8, 5)
