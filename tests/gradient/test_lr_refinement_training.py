"""Schedulers, the recorder, and stacks of runs: against torch's own optimizers and schedulers, run for run."""

import io
import pickle
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lib.gradient.lr_refinement import (
    SCHEDULES,
    ArrayLR,
    GradNormRecorder,
    LinearDecayLR,
    RefinedLR,
    refine_schedule,
)
from lib.gradient.lr_refinement.study import (
    CharTransformer,
    batch_rows,
    compare_schedules,
    grid_rates,
    image_sets,
    keel_problem,
    logistic_task,
    minibatch_rows,
    network_task,
    prepare_images,
    race,
    shipped_text,
    train_schedule_free,
    train_stack,
    train_transformer,
    tune,
)
from lib.gradient.lr_refinement.study.network import (
    as_module,
    evaluate_networks,
    network_gradients,
    network_losses,
    start_networks,
)
from lib.gradient.lr_refinement.study.sweeps import Task
from lib.problems.logistic import LogisticRegression, SoftmaxRegression

OPTIMIZERS = {
    "sgd": lambda params, lr: torch.optim.SGD(params, lr=lr),
    "momentum": lambda params, lr: torch.optim.SGD(params, lr=lr, momentum=0.9),
    "adam": lambda params, lr: torch.optim.Adam(params, lr=lr),
    "adamw": lambda params, lr: torch.optim.AdamW(params, lr=lr),
    "rmsprop": lambda params, lr: torch.optim.RMSprop(params, lr=lr),
}
any_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def quadratic(seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    params = [torch.randn(3, 2, generator=generator, dtype=dtype, requires_grad=True) for _ in range(2)]
    scales = torch.linspace(0.5, 3, 6, dtype=dtype).view(3, 2)
    return params, lambda: sum((scales * p**2).sum() for p in params) / 2


def train(params, loss, optimizer, scheduler, n_steps):
    rates = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss().backward()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


# Schedulers


def test_cosine_factors_give_the_rates_of_cosine_annealing():
    params, loss = quadratic()
    ours, theirs = (torch.optim.SGD(params, lr=0.3) for _ in range(2))
    found = train(params, loss, ours, ArrayLR(ours, SCHEDULES["cosine"](20)), 20)
    expected = train(params, loss, theirs, torch.optim.lr_scheduler.CosineAnnealingLR(theirs, 20), 20)
    np.testing.assert_allclose(found, expected, atol=1e-15)


def test_linear_decay_gives_the_rates_of_torch_linear_lr():
    params, loss = quadratic()
    ours, theirs = (torch.optim.SGD(params, lr=0.3) for _ in range(2))
    found = train(params, loss, ours, LinearDecayLR(ours, 20), 20)
    reference = torch.optim.lr_scheduler.LinearLR(theirs, start_factor=0.95, end_factor=0.0, total_iters=19)
    np.testing.assert_allclose(found, train(params, loss, theirs, reference, 20), atol=1e-14)
    assert found[-1] == 0


def test_warm_up_rises_to_the_peak_and_then_decays_linearly():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    factors = LinearDecayLR(optimizer, total_steps=12, warmup_steps=2).factors
    np.testing.assert_allclose(factors, [1 / 3, 2 / 3, *SCHEDULES["linear"](10)])


@any_optimizer
def test_resumed_run_goes_on_as_if_never_stopped(make):
    factors = refine_schedule(np.linspace(2, 1, 12), power=1)
    params, loss = quadratic()
    whole = make(params, 0.1)
    train(params, loss, whole, ArrayLR(whole, factors), 12)

    again, loss2 = quadratic()
    first = make(again, 0.1)
    scheduler = ArrayLR(first, factors)
    train(again, loss2, first, scheduler, 5)
    saved = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "scheduler": scheduler.state_dict()}, saved)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    second = make(again, 123.0)
    resumed = ArrayLR(second, state["scheduler"]["factors"])
    second.load_state_dict(state["optimizer"])
    resumed.load_state_dict(state["scheduler"])
    train(again, loss2, second, resumed, 7)
    for a, b in zip(params, again, strict=True):
        assert torch.equal(a, b)


def test_every_group_keeps_its_own_peak():
    groups = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (1.0, 0.1)]
    optimizer = torch.optim.SGD(groups)
    scheduler = LinearDecayLR(optimizer, 4)
    optimizer.step()
    scheduler.step()
    np.testing.assert_allclose(scheduler.get_last_lr(), [0.5, 0.05])


def test_going_past_the_end_is_refused():
    params, loss = quadratic()
    optimizer = torch.optim.SGD(params, lr=0.1)
    scheduler = LinearDecayLR(optimizer, 3)
    train(params, loss, optimizer, scheduler, 3)
    assert scheduler.get_last_lr() == [0.0]
    with pytest.raises(ValueError, match="has 3 steps, this is step 4"):
        scheduler.step()


def test_refined_scheduler_is_the_refined_schedule():
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
    norms = np.linspace(3, 1, 40)
    np.testing.assert_array_equal(RefinedLR(optimizer, norms, power=1).factors, refine_schedule(norms, 1))


@pytest.mark.parametrize("longer", [False, True])
def test_a_state_of_another_schedule_is_refused(longer):
    params, loss = quadratic()
    optimizer = torch.optim.SGD(params, lr=0.1)
    scheduler = LinearDecayLR(optimizer, 5)
    train(params, loss, optimizer, scheduler, 3)
    state = scheduler.state_dict()
    if longer:
        message = r"of 5 steps, this one has 10; .*state\['factors'\]"
        again = LinearDecayLR(torch.optim.SGD(params, lr=0.1), 10)
    else:
        message = r"at step 4 its factor is 0, here 0.2"
        again = ArrayLR(torch.optim.SGD(params, lr=0.1), [0.8, 0.6, 0.4, 0.2, 0.2])
    with pytest.raises(ValueError, match=message):
        again.load_state_dict(state)
    assert again.last_epoch == 0
    for broken in ({}, None, {"last_epoch": 3}):
        with pytest.raises(ValueError, match="state_dict"):
            again.load_state_dict(broken)


def test_a_group_added_in_the_middle_starts_at_its_rate_and_decays_with_the_others():
    p, q = (torch.zeros(1, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.SGD([p], lr=1.0)
    scheduler = LinearDecayLR(optimizer, 5)
    optimizer.step()
    scheduler.step()
    optimizer.add_param_group({"params": [q], "lr": 0.3})
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.6, 0.3])
    saved = None
    rates = []
    for step in range(3):
        optimizer.step()
        scheduler.step()
        rates.append(scheduler.get_last_lr())
        if step == 0:
            saved = scheduler.state_dict()
    np.testing.assert_allclose(rates, [[0.4, 0.2], [0.2, 0.1], [0, 0]], atol=1e-15)
    alone = LinearDecayLR(torch.optim.SGD([p], lr=1.0), 5)
    with pytest.raises(ValueError, match="2 parameter groups, the optimizer 1"):
        alone.load_state_dict(saved)


def test_a_group_added_where_the_factor_is_zero_brings_its_peak():
    p, q = (torch.zeros(1, requires_grad=True) for _ in range(2))
    optimizer = torch.optim.SGD([p], lr=1.0)
    scheduler = ArrayLR(optimizer, [0.0, 1.0])
    optimizer.add_param_group({"params": [q], "lr": 0.3})
    optimizer.step()
    scheduler.step()
    assert scheduler.get_last_lr() == [1.0, 0.3]


def test_schedulers_work_inside_a_sequence():
    p = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=1.0)
    parts = [torch.optim.lr_scheduler.ConstantLR(optimizer, 0.5, 2), LinearDecayLR(optimizer, 4)]
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, parts, milestones=[2])
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, [0.5, 0.5, 0.75, 0.5, 0.25, 0])


@pytest.mark.parametrize("copy", [pickle.loads, None], ids=["pickle", "deepcopy"])
def test_copies_of_a_training_state_go_on_alike(copy):
    params, loss = quadratic()
    optimizer = torch.optim.SGD(params, lr=0.1, momentum=0.9)
    scheduler, recorder = LinearDecayLR(optimizer, 6), GradNormRecorder(params).attach(optimizer)
    train(params, loss, optimizer, scheduler, 3)
    bundle = (params, optimizer, scheduler, recorder)
    params2, optimizer2, scheduler2, recorder2 = copy(pickle.dumps(bundle)) if copy else deepcopy(bundle)
    recorder2.attach(optimizer2)
    scales = torch.linspace(0.5, 3, 6, dtype=torch.float64).view(3, 2)
    train(params, loss, optimizer, scheduler, 3)
    train(params2, lambda: sum((scales * p**2).sum() for p in params2) / 2, optimizer2, scheduler2, 3)
    assert all(torch.equal(a, b) for a, b in zip(params, params2, strict=True))
    np.testing.assert_array_equal(recorder.norms, recorder2.norms)
    assert recorder.norms.shape == (6,)


def test_schedulers_name_bad_input():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with pytest.raises(ValueError, match=r"factors .* got -1\.0 at index 1"):
        ArrayLR(optimizer, [1, -1])
    with pytest.raises(TypeError, match="optimizer must be"):
        ArrayLR([], [1.0])
    with pytest.raises(ValueError, match="warmup_steps must be an integer at least 0 and at most 8, got -1"):
        LinearDecayLR(optimizer, 10, warmup_steps=-1)
    with pytest.raises(ValueError, match=r"warmup_steps .* got 9"):
        LinearDecayLR(optimizer, 10, warmup_steps=9)
    with pytest.raises(TypeError, match=r"warmup_steps must be an integer .* got 2\.5"):
        LinearDecayLR(optimizer, 10, warmup_steps=2.5)
    assert LinearDecayLR(optimizer, 10.0, warmup_steps=2.0).factors == LinearDecayLR(optimizer, 10, warmup_steps=2).factors
    with pytest.raises(ValueError, match="index 1"):
        RefinedLR(optimizer, [1, 0, 1])
    with pytest.raises(ValueError, match="norms must be finite"):
        RefinedLR(optimizer, [1, float("nan"), 1])


# Recorder


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("l1", 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recorded_norms_are_those_of_the_whole_gradient(norm, order, dtype):
    params, loss = quadratic(dtype=dtype)
    optimizer = torch.optim.SGD(params, lr=0.1)
    recorder, expected = GradNormRecorder(iter(params), norm).attach(optimizer), []
    for _ in range(4):
        optimizer.zero_grad()
        loss().backward()
        expected.append(float(torch.cat([p.grad.flatten() for p in params]).norm(order)))
        optimizer.step()
    np.testing.assert_allclose(recorder.norms, expected, rtol=1e-6)
    assert recorder.norms.dtype == np.float64


@any_optimizer
def test_recording_does_not_change_the_run(make):
    runs = []
    for record in (False, True):
        params, loss = quadratic()
        optimizer = make(params, 0.1)
        if record:
            recorder = GradNormRecorder(params).attach(optimizer)
        train(params, loss, optimizer, LinearDecayLR(optimizer, 6), 6)
        runs.append(params)
    assert recorder.norms.shape == (6,)
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_recorder_stops_resumes_and_survives_saving():
    params, loss = quadratic()
    optimizer = torch.optim.SGD(params, lr=0.1)
    with GradNormRecorder(params).attach(optimizer) as first:
        train(params, loss, optimizer, LinearDecayLR(optimizer, 3), 3)
    train(params, loss, optimizer, LinearDecayLR(optimizer, 3), 3)
    assert len(first.norms) == 3
    second = GradNormRecorder(params)
    second.load_state_dict(first.state_dict())
    second.attach(optimizer)
    train(params, loss, optimizer, LinearDecayLR(optimizer, 2), 2)
    np.testing.assert_array_equal(second.norms[:3], first.norms)
    assert second.norms.shape == (5,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1000, 100_000])
@pytest.mark.parametrize(("norm", "order"), [("l1", 1), ("l2", 2)])
def test_low_precision_neither_overflows_nor_loses_digits(dtype, size, norm, order):
    p = torch.zeros(size, dtype=dtype, requires_grad=True)
    p.grad = torch.full_like(p, 1.01)
    big = torch.zeros(3, dtype=dtype, requires_grad=True)
    big.grad = torch.full_like(big, 300.0)  # its square overflows in half precision
    recorder = GradNormRecorder([p, big], norm)
    recorder.record()
    expected = torch.cat([p.grad, big.grad]).double().norm(order)
    assert recorder.norms[0] == pytest.approx(float(expected), rel=1e-5)


def test_recorder_takes_what_torch_optimizers_take():
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
    model(torch.ones(1, 3)).sum().backward()
    groups = [{"params": model[0].parameters(), "lr": 1.0}, {"params": model[1].weight}, {"params": [model[1].bias]}]
    found = []
    for params in (model.parameters(), model.named_parameters(), groups, [*model.parameters(), model[0].weight]):
        recorder = GradNormRecorder(params)
        recorder.record()
        found.append(recorder.norms[0])
    assert len(set(found)) == 1


def test_complex_and_empty_gradients():
    p, q = torch.zeros(2, dtype=torch.complex64, requires_grad=True), torch.zeros(0, requires_grad=True)
    p.grad, q.grad = torch.full_like(p, 3 + 4j), torch.zeros(0)
    recorder = GradNormRecorder([q, p], "l1")
    recorder.record()
    assert recorder.norms.tolist() == [10.0]


def test_recorder_takes_sparse_gradients_and_skips_missing_ones():
    table = torch.nn.Embedding(5, 2, sparse=True)
    idle = torch.zeros(3, requires_grad=True)
    table(torch.tensor([1, 1, 3])).sum().backward()
    recorder = GradNormRecorder([table.weight, idle])
    recorder.record()
    assert recorder.norms[0] == pytest.approx((2 * 2**2 + 2 * 1) ** 0.5)


def test_recorder_names_bad_use():
    p = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=0.1)
    for params in (p, "ab", 3, [p, None], ["p"], {"params": [p]}):
        with pytest.raises(TypeError, match="params"):
            GradNormRecorder(params)
    with pytest.raises(ValueError, match="'l2', 'l1', got 'l3'"):
        GradNormRecorder([p], "l3")
    with pytest.raises(ValueError, match="empty"):
        GradNormRecorder([])
    with pytest.raises(TypeError, match="optimizer"):
        GradNormRecorder([p]).attach([p])
    with pytest.raises(ValueError, match="state must be"):
        GradNormRecorder([p]).load_state_dict({"norms": [1.0]})
    recorder = GradNormRecorder([p]).attach(optimizer)
    with pytest.raises(RuntimeError, match="attached already"):
        recorder.attach(optimizer)
    with pytest.raises(RuntimeError, match=r"step 0; call backward"):
        optimizer.step()
    with pytest.raises(ValueError, match="holds l2 norms"):
        GradNormRecorder([p], "l1").load_state_dict(recorder.state_dict())


# Stacks of runs


@pytest.mark.parametrize(
    ("name", "settings", "make"),
    [
        ("sgd", {}, lambda p, lr: torch.optim.SGD(p, lr=lr)),
        ("sgd", {"momentum": 0.9}, lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9)),
        ("adam", {}, lambda p, lr: torch.optim.Adam(p, lr=lr)),
    ],
    ids=["sgd", "momentum", "adam"],
)
def test_each_run_of_a_stack_is_the_run_of_torch(name, settings, make):
    rng = np.random.default_rng(3)
    x, y = torch.from_numpy(rng.normal(size=(40, 9))), torch.from_numpy(rng.integers(0, 4, 40))
    start = start_networks(9, [rng, rng], n_classes=4)
    rows = torch.stack([minibatch_rows(40, 8, 12, rng) for _ in range(2)], 1)
    schedules = np.stack([SCHEDULES["linear"](12), SCHEDULES["flat"](12)], 1)[:, None]
    eta = grid_rates(schedules, [0.01, 0.03])
    wide = [p.expand(-1, 4, *p.shape[2:]) for p in start]
    result = train_stack(
        lambda t, P: network_gradients(P, x[rows[t]][:, None], y[rows[t]]), wide, eta, name, record=("l1", "l2"), **settings
    )
    for s in range(2):
        for r in range(4):
            module = as_module(start, s)
            optimizer = make(module.parameters(), [0.01, 0.03][r % 2])
            scheduler = ArrayLR(optimizer, schedules[:, 0, r // 2])
            recorders = {n: GradNormRecorder(module.parameters(), n).attach(optimizer) for n in ("l1", "l2")}
            for t in range(12):
                optimizer.zero_grad()
                cross_entropy(module(x[rows[t, s]]), y[rows[t, s]]).backward()
                optimizer.step()
                scheduler.step()
            expected = [p.detach().T.flatten() if p.ndim == 2 else p.detach() for p in module.parameters()]
            for a, b in zip(result.params, expected, strict=True):
                torch.testing.assert_close(a[s, r].flatten(), b, rtol=1e-9, atol=1e-11)
            for n, recorder in recorders.items():
                np.testing.assert_allclose(result.norms[n][:, s, r], recorder.norms, rtol=1e-6)


def test_stack_leaves_its_start_alone_and_repeats_itself():
    start = [torch.ones(2, 3, 4)]
    eta = torch.rand(5, 1, 3)
    first, second = (train_stack(lambda t, P: P, start, eta).params[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(start[0], torch.ones(2, 3, 4))


def test_grid_puts_schedules_outermost():
    eta = grid_rates(np.array([[[1.0, 10.0]]]), [1, 2, 3])
    assert eta.flatten().tolist() == [1, 2, 3, 10, 20, 30]


def test_minibatches_cover_each_epoch_once():
    rows = minibatch_rows(10, 3, 7, np.random.default_rng(0))
    assert rows.shape == (7, 3)
    assert len(set(rows[:3].flatten().tolist())) == len(set(rows[3:6].flatten().tolist())) == 9
    with pytest.raises(ValueError, match="batch_size must be an integer at least 1 and at most 10, got 11"):
        minibatch_rows(10, 11, 1, np.random.default_rng(0))


def test_stack_names_bad_input():
    start, eta = [torch.ones(1, 2, 1)], torch.ones(3, 1, 2)
    with pytest.raises(ValueError, match="'sgd', 'adam', got 'lbfgs'"):
        train_stack(lambda t, P: P, start, eta, "lbfgs")
    with pytest.raises(ValueError, match=r"record .* got 'l0'"):
        train_stack(lambda t, P: P, start, eta, record=("l0",))
    with pytest.raises(ValueError, match=r"\(T, S, 2\), got \(3, 1, 1\)"):
        train_stack(lambda t, P: P, start, eta[..., :1])


def small_task(n_steps=30, seed=1):
    """Two seeds of noisy gradient descent on x^2/2 in two dimensions."""
    noise = torch.from_numpy(np.random.default_rng(seed).normal(size=(n_steps, 2, 1, 2)))
    scores = lambda P: {"loss": P[0].square().sum(-1) / 2, "distance": P[0].norm(dim=-1)}  # noqa: E731
    return Task(lambda t, P: [P[0] + noise[t]], [torch.ones(2, 1, 2, dtype=torch.float64)], scores, n_steps)


def final_loss(task, factors, rate):
    eta = torch.from_numpy(rate * np.broadcast_to(factors, (task.n_steps, 2))[:, :, None].copy())
    return task.scores(train_stack(task.gradient, task.start, eta).params)["loss"][:, 0].numpy()


def test_comparison_takes_each_schedule_at_its_best_rate():
    task, rates = small_task(), [0.01, 0.1, 0.5, 1.0, 50.0]
    found = compare_schedules(task, ["flat", "linear", "refined l1", "mirrored l2"], rates, chunk=2)
    for name in ("flat", "linear"):
        losses = [final_loss(task, SCHEDULES[name](30)[:, None], rate).mean() for rate in rates]
        assert found.losses[name] == pytest.approx(min(losses), rel=1e-8)
        assert found.rates[name] == rates[int(np.argmin(losses))]
    assert all(found.interior.values())
    np.testing.assert_allclose(found.refined["mirrored l2"][:, 1], refine_schedule(found.norms["l2"][:, 1], 2, start="reflect"))
    np.testing.assert_allclose(found.refined["refined l1"][:, 0], refine_schedule(found.norms["l1"][:, 0], 1))
    assert not compare_schedules(task, ["linear"], rates[:2]).interior["linear"]


@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_comparison_does_not_depend_on_how_runs_share_stacks(chunk):
    task, rates = small_task(), [0.03, 0.1, 0.5, 1.0]
    together = compare_schedules(task, ["cosine", "linear", "refined l1"], rates, chunk=chunk)
    for name in ("cosine", "refined l1"):
        alone = compare_schedules(task, ["linear", name], rates, chunk=5)
        assert together.losses[name] == pytest.approx(alone.losses[name], rel=1e-8)
        assert together.rates[name] == alone.rates[name]


def test_comparison_names_bad_input():
    with pytest.raises(ValueError, match="unknown schedules"):
        compare_schedules(small_task(), ["linear", "square"], [1.0])
    with pytest.raises(ValueError, match="'linear' must be among"):
        race(small_task(), small_task(), {"flat": 1.0})


@pytest.mark.parametrize("target", [0.01, 1.0, 7.0])
def test_tuning_goes_on_until_the_best_rate_is_no_edge(target):
    tuned = tune(lambda rates: {"loss": np.log(np.array([rates]) / target) ** 2}, center=1.0, n_rates=3)
    assert tuned.interior == (target != 0.01)  # too far for eight more rates
    if tuned.interior:
        assert abs(np.log2(tuned.rate / target)) <= 0.25 + 1e-9
        assert min(tuned.tried) < tuned.rate < max(tuned.tried)
    else:
        assert len(tuned.tried) == 11


def test_tuning_survives_runs_that_diverge():
    tuned = tune(lambda rates: {"loss": np.where(np.array([rates]) > 1.1, np.nan, 1 / np.array([rates]))}, 1.0, 3)
    assert tuned.rate == 1.0
    assert tuned.interior


def test_race_tunes_on_some_seeds_and_judges_on_others():
    tuning, judged = small_task(seed=1), small_task(seed=2)
    found = race(tuning, judged, {"cosine": 0.3, "linear": 0.3, "refined l2": 0.3}, n_rates=3)
    for name in ("cosine", "linear"):
        tuned = found.tuned[name]
        assert tuned.interior
        losses = {rate: final_loss(tuning, SCHEDULES[name](30)[:, None], rate).mean() for rate in tuned.tried}
        assert tuned.rate == min(losses, key=losses.get)
        np.testing.assert_allclose(found.scores["loss"][name], final_loss(judged, SCHEDULES[name](30)[:, None], tuned.rate))
    own = np.stack([refine_schedule(norms, 2) for norms in found.norms["l2"].T], axis=1)
    np.testing.assert_allclose(found.refined["refined l2"], own)
    rate = found.tuned["refined l2"].rate
    np.testing.assert_allclose(found.scores["loss"]["refined l2"], final_loss(judged, own, rate))
    assert found.edges == 0


def test_schedule_free_stack_is_the_package_run_by_run():
    schedulefree = pytest.importorskip("schedulefree")
    task = small_task()
    scores = train_schedule_free(task, [0.1, 0.5])
    for k, rate in enumerate([0.1, 0.5]):
        for s in range(2):
            p = task.start[0][s, 0].clone().requires_grad_()
            optimizer = schedulefree.SGDScheduleFree([p], lr=rate)
            optimizer.train()
            for t in range(30):
                full = p.detach().expand(2, 1, 2)
                p.grad = task.gradient(t, [full])[0][s, 0]
                optimizer.step()
            optimizer.eval()
            assert scores["loss"][s, k] == pytest.approx(p.detach().square().sum().item() / 2, rel=1e-9)
    with pytest.raises(ValueError, match="'sgd', 'adamw', got 'adam'"):
        train_schedule_free(task, [0.1], "adam")


# Network, transformer, text


def test_stacked_losses_and_errors_are_those_of_the_modules():
    rng = np.random.default_rng(0)
    params = start_networks(16, [rng, rng, rng])
    x, y = torch.from_numpy(rng.random((50, 16))), torch.from_numpy(rng.integers(0, 10, 50))
    losses, errors = evaluate_networks(params, x, y, chunk=17)
    torch.testing.assert_close(network_losses(params, x[None, None], y[None]), losses)
    for s in range(3):
        logits = as_module(params, s)(x)
        torch.testing.assert_close(losses[s, 0], cross_entropy(logits, y))
        assert errors[s, 0] == pytest.approx(float((logits.argmax(1) != y).float().mean()))


def test_images_are_scaled_and_cropped():
    images = np.zeros((1, 28, 28), dtype=np.uint8)
    images[0, 0, 0], images[0, 4, 5] = 51, 255
    assert prepare_images(images).nonzero().tolist() == [[0, 0], [0, 4 * 28 + 5]]
    assert prepare_images(images)[0, 0] == 0.2
    assert prepare_images(images, 20).nonzero().tolist() == [[0, 1]]
    small = prepare_images(images, 14)
    assert small.nonzero().tolist() == [[0, 0], [0, 2 * 14 + 2]]
    torch.testing.assert_close(small[0, [0, 30]], torch.tensor([0.05, 0.25], dtype=torch.float64))
    with pytest.raises(ValueError, match="14, 20, 28, got 7"):
        prepare_images(images, 7)


def test_image_sets_hold_both_splits():
    images, labels = np.full((3, 28, 28), 255, dtype=np.uint8), np.array([2, 0, 1], dtype=np.uint8)
    sets = image_sets(lambda split: (images, labels) if split == "train" else (images[:1], labels[:1]), 14)
    assert [sets[split][0].shape for split in ("train", "test")] == [(3, 196), (1, 196)]
    assert sets["train"][0].unique().tolist() == [1.0]
    assert sets["train"][1].tolist() == [2, 0, 1]


def test_network_task_scores_training_loss_and_test_error():
    rng = np.random.default_rng(0)
    train = torch.from_numpy(rng.random((70, 6))), torch.from_numpy(rng.integers(0, 3, 70))
    test = torch.from_numpy(rng.random((30, 6))), torch.from_numpy(rng.integers(0, 3, 30))
    task = network_task(train, test, 4, [np.random.default_rng(s) for s in range(2)], batch_size=8)
    scores = task.scores(task.start)
    torch.testing.assert_close(scores["loss"], evaluate_networks(task.start, *train)[0])
    held_out, error = evaluate_networks(task.start, *test)
    torch.testing.assert_close((scores["held_out"], scores["error"]), (held_out, error))
    same = network_task(train, test, 4, [np.random.default_rng(s) for s in range(2)], batch_size=8)
    assert all(torch.equal(a, b) for a, b in zip(task.gradient(3, task.start), same.gradient(3, task.start), strict=True))


def test_keel_problems_are_named_with_their_classes():
    two, four, mail = keel_problem("vehicle0"), keel_problem("vehicle (4)"), keel_problem("spambase (2)")
    assert (type(two), type(four), type(mail)) == (LogisticRegression, SoftmaxRegression, LogisticRegression)
    assert (four.n_classes, four.dim, len(four.y)) == (4, 76, 846)
    assert not four.is_separable()
    assert keel_problem("segment (7)").is_separable()  # one class is a plane away from the others
    with pytest.raises(ValueError, match="vehicle has 4 classes, the name says 3"):
        keel_problem("vehicle (3)")
    with pytest.raises(ValueError, match="got 'vehicle'"):
        keel_problem("vehicle")


def test_batches_grow_only_where_an_epoch_would_be_long():
    assert [batch_rows(n, 150) for n in (10, 846, 2400, 2401, 6435)] == [10, 16, 16, 17, 43]
    assert all(n // batch_rows(n, 150) <= 150 for n in range(1, 8000))
    with pytest.raises(ValueError, match="epoch_steps must be an integer at least 1, got 0"):
        batch_rows(846, 0)


def test_multiclass_stack_learns_and_scores():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    problem = SoftmaxRegression(X, (X + rng.normal(size=X.shape)).argmax(1) + (X[:, 0] > 1))
    task = logistic_task(problem, 20, 6, [np.random.default_rng(s) for s in range(2)])
    for optimizer in ("sgd", "adam"):
        losses = compare_schedules(task, ["flat", "linear", "refined l1"], [0.01, 0.1, 1.0], optimizer).losses.values()
        assert all(problem.minimum().fun <= loss < 0.8 * np.log(3) for loss in losses)


def test_logistic_task_uses_each_seeds_own_minibatches():
    X = np.random.default_rng(0).normal(size=(30, 2))
    problem = LogisticRegression(X, (X[:, 0] + X[:, 1] ** 2 > 0.5).astype(int))
    task = logistic_task(problem, 2, 7, [np.random.default_rng(s) for s in (1, 2)])
    w = torch.ones(2, 1, 3, dtype=torch.float64)
    for s, seed in enumerate((1, 2)):
        rows = minibatch_rows(30, 7, task.n_steps, np.random.default_rng(seed))
        torch.testing.assert_close(task.gradient(5, [w])[0][s, 0], problem.gradient(w[s, 0], rows[5]))


def test_text_is_the_same_everywhere():
    text, alphabet = shipped_text(np.random.default_rng(0))
    lines = "".join(alphabet[i] for i in text.tolist()).splitlines()
    assert len(text) == 352132
    assert {"LATIN SMALL LETTER A", "SNOWMAN"} <= set(lines)
    assert lines == [line for line in lines if line and not line.startswith("CJK ")]


def test_transformer_does_not_see_the_future():
    torch.manual_seed(0)
    model = CharTransformer(11)
    ids = torch.randint(11, (2, 30))
    changed = ids.clone()
    changed[:, 20:] = 0
    torch.testing.assert_close(model(ids)[:, :20], model(changed)[:, :20])
    assert not torch.allclose(model(ids)[:, 20:], model(changed)[:, 20:])


def test_transformer_runs_are_repeatable_and_leave_the_global_generator_alone():
    text, alphabet = shipped_text(np.random.default_rng(0))
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, second = (train_transformer(text, len(alphabet), SCHEDULES["linear"](6), 0.01, seed=4) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(first.norms, second.norms)
    other = train_transformer(text, len(alphabet), SCHEDULES["linear"](6), 0.01, seed=5)
    assert not np.array_equal(first.norms, other.norms)
    assert first.train_loss < 4.0
