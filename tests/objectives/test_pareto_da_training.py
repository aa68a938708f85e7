"""The run of ParetoDA step by step, and the estimator: who moves whom, schedules, saving, bad input."""

from __future__ import annotations

import copy
import inspect
import io
import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from lib.objectives.pareto_da import Adaptation, ParetoDA, min_norm_weights, pareto_weights
from lib.objectives.pareto_da.adaptation import lr_at, ramp_at
from lib.objectives.pareto_da.estimator import split_target
from lib.objectives.pareto_da.losses import held_out_height
from lib.objectives.pareto_da.networks import mlp


def batches(seed=0, n=24, d=5, K=3):
    g = torch.Generator().manual_seed(seed)
    x = [torch.rand(n, d, generator=g, dtype=torch.float64) for _ in range(3)]
    return x[0], torch.randint(K, (n,), generator=g), x[1] + 0.3, x[2] + 0.3


def run_of(method="pareto", net=None, **settings):
    torch.manual_seed(3)
    made = mlp([5, 8, 6], last=True) if net is None else net
    return Adaptation(made.double(), 6, 3, method=method, ramp=2.0, lr=0.05, hidden=8, seed=1, **settings)


class Reversal(torch.autograd.Function):
    """The usual gradient reversal layer, as an oracle."""

    @staticmethod
    def forward(ctx, x, lam):
        ctx.lam = lam
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.lam * grad, None


def test_domain_gradient_is_that_through_a_reversal_layer():
    run, batch = run_of(), batches()
    run.step(*batch)
    found = run.gradients(*batch).G[1]
    f = Reversal.apply(run.net(torch.cat([batch[0], batch[2]])), ramp_at(1, 2.0))
    logits = run.domain(f)[:, 0]
    label = torch.cat([torch.ones(24), torch.zeros(24)]).double()
    halves = nn.functional.binary_cross_entropy_with_logits(logits, label, reduction="none").view(2, 24).mean(1)
    oracle = torch.autograd.grad(halves.mean(), run.shared)
    torch.testing.assert_close(found, torch.cat([g.reshape(-1) for g in oracle]))


def test_source_and_target_gradients_are_autograds():
    run, batch = run_of(), batches()
    told = run.gradients(*batch)
    loss = nn.functional.cross_entropy(run.head(run.net(batch[0])), batch[1])
    torch.testing.assert_close(told.G[0], torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, run.shared)]))
    for x, found, value in ((batch[2], told.G[2], told.losses[2]), (batch[3], told.guide, told.val_loss)):
        f = run.net(x)
        p = torch.softmax(run.head(f), 1) * torch.sigmoid(run.classwise(f.detach()).detach())
        rho = p / p.sum(1, keepdim=True)
        surrogate = -(rho * rho.log()).sum(1).mean() + (rho.mean(0) * rho.mean(0).log()).sum()
        torch.testing.assert_close(found, torch.cat([g.reshape(-1) for g in torch.autograd.grad(surrogate, run.shared)]))
        assert value == pytest.approx(float(surrogate.detach()), rel=1e-12)


def test_at_the_first_step_the_alignment_does_not_move_the_features():
    assert (run_of().gradients(*batches()).G[1] == 0).all()


def test_head_feels_the_source_only_and_discriminators_never_move_the_features():
    run, batch = run_of(), batches()
    told = run.gradients(*batch)
    loss = nn.functional.cross_entropy(run.head(run.net(batch[0])), batch[1])
    for found, oracle in zip(told.head, torch.autograd.grad(loss, list(run.head.parameters())), strict=True):
        torch.testing.assert_close(found, oracle)
    f = run.net(torch.cat([batch[0], batch[2]])).detach()
    q_s, q_t = run.classwise(f[:24]), run.classwise(f[24:])
    share = (torch.softmax(run.head(f[24:]), 1) * torch.sigmoid(q_t)).detach()
    share = share / share.sum(1, keepdim=True)
    loss_c = -(torch.sigmoid(-q_s[range(24), batch[1]]).log().mean() + (share * torch.sigmoid(q_t).log()).sum(1).mean()) / 2
    for found, oracle in zip(told.classwise, torch.autograd.grad(loss_c, list(run.classwise.parameters())), strict=True):
        torch.testing.assert_close(found, oracle)


@pytest.mark.parametrize("method", ["pareto", "mgda", "sum", "dann", "source"])
def test_weights_are_those_of_the_method(method):
    run, batch = run_of(method), batches()
    run.step(*batch)
    told = run.gradients(*batch)
    C, a = (told.G @ told.G.T).numpy(), (told.G @ told.guide).numpy()
    direction, record = run.combine(told)
    expected = {
        "pareto": lambda: 3 * pareto_weights(C, a, held_out_height(told.val_loss, 3)).x,
        "mgda": lambda: 3 * min_norm_weights(C),
        "sum": lambda: [1, 1, 1],
        "dann": lambda: [1, 1, 0],
        "source": lambda: [1, 0, 0],
    }[method]()
    np.testing.assert_allclose(record["weights"], expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(direction, torch.tensor(np.array(expected, dtype=float)) @ told.G)


def test_one_step_is_nesterovs_on_the_direction():
    run, batch = run_of("sum"), batches()
    before, told = [p.detach().clone() for p in run.shared], run.gradients(*batch)
    direction, _ = run.combine(told)
    run.step(*batch)
    at = 0
    for p, old in zip(run.shared, before, strict=True):
        g = direction[at : at + p.numel()].view_as(p) + 1e-3 * old
        torch.testing.assert_close(p.detach(), old - 0.05 * (g + 0.9 * g))
        at += p.numel()


def test_own_rule_gets_copies_and_its_weights_are_used():
    seen = []

    def rule(C, a, height):
        seen.append((C.copy(), height))
        C[:] = 0
        return [0.2, 0.0, 1.5]

    run, batch = run_of(rule), batches()
    told = run.step(*batch)
    assert told["weights"] == (0.2, 0.0, 1.5)
    assert (told["gram"] == seen[0][0]).all()
    assert seen[0][1] == pytest.approx(told["val_loss"] + math.log(3))


def test_scales_act_on_the_gradients_of_the_features_alone():
    plain, scaled, batch = run_of(), run_of(scales=(0.5, 1.0, 2.0)), batches()
    a, b = plain.gradients(*batch), scaled.gradients(*batch)
    torch.testing.assert_close(b.G, a.G * torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64))
    torch.testing.assert_close(b.head[0], a.head[0])


def test_schedules_are_the_papers():
    assert ramp_at(700, 500.0) == pytest.approx(2 / (1 + math.exp(-700 / 500)) - 1, rel=1e-14)
    assert lr_at(1000, 0.3) == pytest.approx(0.3 * 2**-0.75, rel=1e-14)
    defaults = {k: p.default for k, p in inspect.signature(Adaptation).parameters.items()}
    assert (defaults["lr"], defaults["momentum"], defaults["weight_decay"], defaults["ramp"]) == (1e-3, 0.9, 1e-3, 500.0)
    estimator = ParetoDA()
    assert (estimator.held_out, estimator.momentum, estimator.weight_decay) == (0.1, 0.9, 1e-3)
    assert (estimator.refine, estimator.lp_mode, estimator.method) == ("bayes", "guided", "pareto")


def test_factor_of_the_backbones_rate():
    slow, batch = run_of("sum", net_lr_factor=0.1), batches()
    fast = run_of("sum")
    start = [p.detach().clone() for p in fast.shared]
    slow.step(*batch)
    fast.step(*batch)
    for p, q, old in zip(slow.shared, fast.shared, start, strict=True):
        torch.testing.assert_close(p.detach() - old, 0.1 * (q.detach() - old))
    torch.testing.assert_close(slow.head.weight, fast.head.weight)


def test_saved_in_the_middle_it_goes_on_alike():
    once, batch = run_of(), batches()
    once.warm_up(batch[0], batch[1])
    for i in range(2):
        once.step(*batches(i))
    copies = [copy.deepcopy(once), pickle.loads(pickle.dumps(once)), run_of()]
    copies[2].load_state_dict(once.state_dict())
    for i in range(2, 4):
        for run in (once, *copies):
            run.step(*batches(i))
    for run in copies:
        assert run.step_count == 4
        for p, q in zip([*run.shared, *run.others], [*once.shared, *once.others], strict=True):
            assert torch.equal(p, q)


def test_held_out_data_leave_no_trace_in_batch_normalization():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.ReLU())

        def forward(self, x):
            return self.inner(x)

    one, other, batch = run_of(net=Net()), run_of(net=Net()), batches()
    other.load_state_dict(one.state_dict())
    one.gradients(*batch)
    other.gradients(*batch[:3], batch[3] + 100)
    for a, b in zip(one.net.buffers(), other.net.buffers(), strict=True):
        assert torch.equal(a, b)


def test_single_precision_is_kept():
    run = Adaptation(mlp([5, 6], last=True), 6, 3, hidden=4)
    x, y, z, v = batches()
    told = run.step(x.float(), y, z.float(), v.float())
    assert run.gradients(x.float(), y, z.float(), v.float()).G.dtype == torch.float32
    assert np.isfinite(told["gram"]).all()


def test_bad_batches_are_refused():
    run, (x, y, z, v) = run_of(), batches()
    with pytest.raises(ValueError, match="labels"):
        run.step(x, y + 5, z, v)
    with pytest.raises(ValueError, match="x_target"):
        run.step(x, y, z * math.nan, v)
    with pytest.raises(ValueError, match="x_held_out"):
        run.step(x, y, z, v[:0])
    with pytest.raises(ValueError, match="net must return"):
        Adaptation(mlp([5, 7]).double(), 6, 3).step(x, y, z, v)
    with pytest.raises(ValueError, match="net must have parameters"):
        Adaptation(nn.ReLU(), 6, 3)


def test_warm_up_refuses_what_would_end_in_nan():
    run, (x, y, _, _) = run_of(), batches()
    for bad, word in (
        (x * math.nan, "x must be finite"),
        (x[:0], "x must not be empty"),
        (x * 1e120, "losses must stay finite"),
    ):
        with pytest.raises(ValueError, match=word):
            run.warm_up(bad, y[: len(bad)])
    with pytest.raises(ValueError, match="lr"):
        run.warm_up(x, y, lr=-1.0)
    assert run.warm_count == 0


def test_batches_of_other_shapes_are_named():
    run, (x, y, z, v) = run_of(), batches()
    with pytest.raises(ValueError, match="x_target must have shape"):
        run.step(x, y, z[:, :3], v)
    with pytest.raises(ValueError, match="x_held_out must have shape"):
        run.step(x, y, z, v[:, :3])
    with pytest.raises(ValueError, match="losses must stay finite"):
        run.step(x * 1e120, y, z, v)
    with pytest.raises(ValueError, match="at least 2 samples"):
        run_of(net=nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6))).step(x, y, z, v[:1])
    assert run.step(x[:1], y[:1], z[:1], v[:1])["losses"][2] == pytest.approx(0.0, abs=1e-12)  # one sample says nothing


def test_parameters_that_no_loss_uses_do_no_harm():
    net = nn.ModuleDict({"used": nn.Linear(5, 6), "spare": nn.Linear(5, 6)}).double()
    net.forward = lambda x: net["used"](x)
    run, batch = run_of(net=net, weight_decay=0.0), batches()
    run.net.forward = lambda x: run.net["used"](x)
    before = copy.deepcopy(run.net["spare"].state_dict())
    run.warm_up(batch[0], batch[1])
    run.step(*batch)
    assert all(torch.equal(before[k], v) for k, v in run.net["spare"].state_dict().items())


def test_a_frozen_layer_stays_and_moves_once_it_is_freed():
    net = mlp([5, 8, 6], last=True)
    net[0].requires_grad_(False)
    run, batch = run_of(net=net), batches()
    first = run.net[0].weight.clone()
    run.step(*batch)
    assert torch.equal(run.net[0].weight, first)
    run.net[0].requires_grad_(True)
    run.step(*batch)
    assert not torch.equal(run.net[0].weight, first)


def test_prediction_leaves_every_layer_in_its_mode():
    run = run_of(net=nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)))
    run.net[1].eval()
    run.predict_logits(batches()[0])
    assert [part.training for part in run.net.modules()] == [True, True, False, True]


def test_state_is_read_without_unpickling():
    once, batch = run_of(), batches()
    once.step(*batch)
    file = io.BytesIO()
    torch.save(once.state_dict(), file)
    file.seek(0)
    again = run_of()
    again.load_state_dict(torch.load(file, weights_only=True))
    np.testing.assert_array_equal(again.history[0]["gram"], once.history[0]["gram"])
    assert again.step(*batch)["losses"] == once.step(*batch)["losses"]
    with pytest.raises(ValueError, match="state must hold"):
        again.load_state_dict({"net": {}})


def test_half_precision_losses_are_summed_in_single():
    run = Adaptation(mlp([5, 6], last=True).bfloat16(), 6, 3, hidden=4, seed=0)
    x, y, z, v = batches()
    told = run.step(x.bfloat16(), y, z.bfloat16(), v.bfloat16())
    full = copy.deepcopy(run.head).float()(run.net(x.bfloat16()).float())
    assert full.dtype == torch.float32
    rounded = torch.tensor(told["losses"], dtype=torch.float64).bfloat16().double()
    assert not torch.equal(rounded, torch.tensor(told["losses"], dtype=torch.float64))


def test_seeds_of_64_bits():
    first = [Adaptation(nn.Linear(4, 8), 8, 2, seed=s).head.weight for s in (2**63 - 1, 2)]
    assert not torch.equal(*first)
    with pytest.raises(ValueError, match="seed"):
        Adaptation(nn.Linear(4, 8), 8, 2, seed=2**70)


# ---------------------------------------------------------------------------------------------------------- estimator


def shifted(n=150, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = rng.normal(size=(n, 2)) * 0.5 + 3 * np.array([[0, 0], [1, 0], [0, 1]])[y]
    return X, np.array(["a", "b", "c"])[y], X + np.array([0.8, -0.8])


def test_estimator_is_deterministic_and_predicts_labels():
    X, y, Z = shifted()
    model = ParetoDA(iterations=4, warmup=4, random_state=0)
    first, second = clone(model).fit(X, y, Z), clone(model).fit(X, y, Z)
    np.testing.assert_array_equal(first.predict_proba(Z), second.predict_proba(Z))
    assert set(first.predict(Z)) <= {"a", "b", "c"}
    assert first.predict(Z).shape == (150,)
    assert np.isfinite(first.history_["losses"]).all()
    assert first.history_["weights"].shape == (4, 3)
    other = clone(model).set_params(random_state=1).fit(X, y, Z)
    assert not np.array_equal(other.predict_proba(Z), first.predict_proba(Z))


def test_methods_share_everything_but_the_direction():
    X, y, Z = shifted()
    models = [ParetoDA(method=m, iterations=1, warmup=3, random_state=0).fit(X, y, Z) for m in ("sum", "pareto")]
    np.testing.assert_array_equal(models[0].held_out_rows_, models[1].held_out_rows_)
    assert models[0].history_["losses"][0].tolist() == models[1].history_["losses"][0].tolist()


def test_held_out_part_guides_and_does_not_train():
    guides, trains = split_target(50, 0.1, seed=0)
    assert sorted([*guides, *trains]) == list(range(50))
    assert len(guides) == 5
    with pytest.raises(ValueError, match="held_out"):
        split_target(5, 0.01, seed=0)


def test_own_module_and_images():
    X, y, Z = np.random.default_rng(0).random((40, 1, 4, 4)), np.arange(40) % 2, np.random.default_rng(1).random((40, 1, 4, 4))
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 6), nn.ReLU())
    before = copy.deepcopy(net.state_dict())
    model = ParetoDA(net=net, features=6, iterations=2, warmup=2, dtype="float32", random_state=0).fit(X, y, Z)
    assert model.predict_proba(Z).shape == (40, 2)
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"held_out": 0.0}, "held_out"), ({"held_out": 0.001}, "held_out"), ({"iterations": -1}, "iterations"),
     ({"lr": "0.1"}, "lr"), ({"method": "best"}, "method"), ({"net": 3}, "net"), ({"dtype": "float16"}, "dtype"),
     ({"ramp": 0}, "ramp"), ({"refine": "maybe"}, "refine"), ({"batch_size": 0}, "batch_size"), ({"features": 0}, "features")],
)  # fmt: skip
def test_bad_settings_are_refused(settings, word):
    with pytest.raises((TypeError, ValueError), match=word):
        ParetoDA(iterations=1, warmup=1).set_params(**settings).fit(*shifted())


def test_bad_targets_are_refused():
    X, y, Z = shifted()
    for bad in (Z[:, :1], Z * np.nan, Z[:0]):
        with pytest.raises(ValueError, match="X_target"):
            ParetoDA(iterations=1, warmup=1).fit(X, y, bad)
    with pytest.raises(ValueError, match="X_target must hold at least 2"):
        ParetoDA(iterations=1, warmup=1).fit(X, y, Z[:1])
    with pytest.raises(ValueError, match="two classes"):
        ParetoDA(iterations=1, warmup=1).fit(X, np.zeros(150), Z)


def test_columns_of_the_target_are_those_of_the_source():
    pandas = pytest.importorskip("pandas")
    X, y, Z = shifted()
    model, source = ParetoDA(iterations=1, warmup=1), pandas.DataFrame(X, columns=["a", "b"])
    with pytest.raises(ValueError, match="X_target must have the columns"):
        model.fit(source, y, pandas.DataFrame(Z, columns=["b", "a"]))
    assert model.fit(source, y, pandas.DataFrame(Z, columns=["a", "b"])).n_iter_ == 2


def test_units_that_overflow_are_told_and_never_end_in_nan():
    X, y, Z = shifted()
    with pytest.raises(ValueError, match="scale the inputs"):
        ParetoDA(iterations=0, warmup=50, random_state=0).fit(X * 1e6, y)
    model = ParetoDA(iterations=1, warmup=1, dtype="float32", random_state=0).fit(X, y, Z)
    with pytest.raises(ValueError, match="X must be of about the size"):
        model.predict(X * 1e200)


def test_a_fit_without_target_forgets_the_held_out_rows_of_another():
    X, y, Z = shifted()
    model = ParetoDA(iterations=1, warmup=1, random_state=0).fit(X, y, Z)
    assert len(model.held_out_rows_) == 15
    assert len(model.fit(X, y).held_out_rows_) == 0


def test_device_is_named():
    with pytest.raises(ValueError, match="device"):
        ParetoDA(device="nowhere").fit(*shifted())
