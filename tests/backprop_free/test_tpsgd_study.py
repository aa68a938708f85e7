"""The study of tpSGD: rivals against autograd and against the method's own modules, races, protocols."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lib import experiment
from lib.backprop_free import tpsgd
from lib.backprop_free.tpsgd import study
from lib.backprop_free.tpsgd.study import protocols, steps
from lib.backprop_free.tpsgd.study.plan import CHOOSING, Plan


def stream(*axes):
    return experiment.rng(0, *axes)


@pytest.fixture(scope="module")
def task():
    return study.draw_task("digits", stream("task"), n=64, n_valid=40, n_test=40)


#: One pair, no momentum: a step is minus the rate times the gradient.
ONE = study.Setting(
    widths=(6, 5), epochs=1, batch=64, momentum=0.0, lrs=(0.5,), hidden=dict.fromkeys(study.RULES, (0.5,)), frozen=(0.5,)
)


def start_of(rule, task, setting=ONE):
    return study.train(rule, task, replace(setting, epochs=0), stream)


def gradients(rule, task):
    """Minus the one step that a rule takes on all rows, over its rate."""
    before, after = start_of(rule, task), study.train(rule, task, ONE, stream)
    return [(a[0] - b[0]) / 0.5 for a, b in zip(before.weights, after.weights, strict=True)]


def network(task, rule="BP"):
    """The rule's start as plain tensors, for autograd."""
    start = start_of(rule, task)
    W = [w[0].clone().requires_grad_() for w in start.weights]
    y1 = torch.tanh(task.X @ W[0])
    y2 = torch.tanh(y1.detach() @ W[1]) if rule != "BP" else torch.tanh(y1 @ W[1])
    logits = (y2.detach() if rule != "BP" else y2) @ W[2]
    return start, W, y1, y2, logits


def test_backpropagation_is_autograd(task):
    _, W, _, _, logits = network(task)
    expected = torch.autograd.grad(nn.functional.cross_entropy(logits, task.y), W)
    for a, b in zip(gradients("BP", task), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", ["tpSGD", "DRTP", "DFA"])
def test_local_rules_are_autograd_of_their_losses(task, rule):
    start, W, y1, y2, logits = network(task, rule)
    y, p = torch.eye(10, dtype=torch.float64)[task.y], torch.softmax(logits, 1).detach()
    losses = {
        "tpSGD": lambda out, P: 0.5 * ((out - y @ P) ** 2).sum(),
        "DRTP": lambda out, P: -(out * (y @ P)).sum(),
        "DFA": lambda out, P: (out * ((p - y) @ P)).sum(),
    }
    total = losses[rule](y1, start.patterns[0]) + losses[rule](y2, start.patterns[1])
    expected = torch.autograd.grad(total / 64 + nn.functional.cross_entropy(logits, task.y), W)
    for a, b in zip(gradients(rule, task), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_frozen_layers_stay_and_the_head_is_trained(task):
    first, second, head = gradients("frozen", task)
    assert not first.any()
    assert not second.any()
    assert head.any()


def test_rules_share_start_and_order(task):
    starts = [start_of(rule, task) for rule in study.RULES]
    for other in starts[1:]:
        for a, b in zip(starts[0].weights, other.weights, strict=True):
            assert torch.equal(a[0], b[0])


def test_copies_do_not_touch_each_other(task):
    many = replace(ONE, epochs=3, batch=16, momentum=0.9, lrs=(0.1, 0.5), hidden={"tpSGD": (0.01, 0.1)})
    both = study.train("tpSGD", task, many, stream)
    alone = study.train("tpSGD", task, replace(many, lrs=(0.5,), hidden={"tpSGD": (0.1,)}), stream)
    np.testing.assert_allclose(both.test[:, 3], alone.test[:, 0])
    torch.testing.assert_close(both.weights[0][3], alone.weights[0][0], rtol=1e-10, atol=1e-12)


def test_the_stacked_trainer_is_the_method(task):
    """Ten epochs of the study's trainer and of `TPSequential` end at the same weights."""
    setting = replace(ONE, epochs=3, batch=16, momentum=0.9, lrs=(0.1,), hidden={"tpSGD": (0.05,)})
    stacked, start = study.train("tpSGD", task, setting, stream), start_of("tpSGD", task)
    model = tpsgd.TPSequential.dense([64, 6, 5, 10]).double()
    with torch.no_grad():
        layers = [*(block.module for block in model.blocks), model.head]
        for layer, W in zip(layers, start.weights, strict=True):
            layer.weight.copy_(W[0].T)
        for block, P in zip(model.blocks, start.patterns, strict=True):
            block.target.P.copy_(P)
    found = study.fit("tpSGD", lambda loss: model, task, setting, stream)
    np.testing.assert_allclose(found.test, stacked.test)
    torch.testing.assert_close(layers[0].weight.T.detach(), stacked.weights[0][0], rtol=1e-9, atol=1e-11)


def test_only_named_layers_are_trained_from_a_start(task):
    begun = study.train("tpSGD", task, ONE, stream)
    after = study.train("tpSGD", task, ONE, stream, start=begun, only=[0])
    assert not torch.equal(begun.weights[0], after.weights[0])
    assert torch.equal(begun.weights[1], after.weights[1])
    assert torch.equal(begun.weights[2], after.weights[2])
    assert begun.accuracy_on(task.X_test, task.y_test) == begun.accuracy


def test_recurrent_rules_agree_with_the_modules():
    small = study.draw_task("digits", stream("task"), n=32, n_valid=20, n_test=20).shaped(8, 8)
    setting = replace(ONE, widths=(6,), batch=32, clip=float("inf"))
    for rule, time in (("tpSGD", "layer"), ("tpSGD", "last"), ("tpSGD", "all")):
        outcome, known = study.train_recurrent(rule, small, setting, stream, time=time)
        rng, patterns = stream("weights", 0), stream("patterns", 0)
        target = tpsgd.LocalTarget(10, 6, seed=patterns)
        layer = tpsgd.TPRNN(8, target, time, seed=rng).double()
        head = study.linear(6, 10, rng).double()
        with torch.no_grad():  # the study draws in another order
            draws = stream("weights", 0)
            W_h = 0.95 * np.linalg.qr(draws.normal(size=(6, 6)))[0]
            W_x = tpsgd.blocks.xavier(8, 6, draws)
            V = tpsgd.blocks.xavier(6, 10, draws)
            for p, v in ((layer.W_h, W_h), (layer.W_x, W_x), (head.weight, V.T)):
                p.copy_(torch.tensor(v))
        model = tpsgd.TPSequential([layer], head)
        model.train_step(small.X, small.y, model.optimizers(torch.optim.SGD, lr=0.5))
        expected = float(study.accuracy(model(small.X_test).detach(), small.y_test))
        assert outcome.accuracy == pytest.approx(expected)
        assert known.shape == (8,)


def test_backpropagation_through_time_beats_frozen_weights():
    small = study.draw_task("digits", stream("task"), n=300, n_valid=100, n_test=200).shaped(8, 8)
    setting = study.Setting(widths=(32,), epochs=4, lrs=(0.1,), hidden=dict.fromkeys(study.RULES, (0.1,)), clip=1.0)
    found = {rule: study.train_recurrent(rule, small, setting, stream)[0].accuracy for rule in study.RULES}
    assert min(found["BP"], found["tpSGD"], found["local heads"]) > found["frozen"]


def test_on_digits_tpsgd_is_between_frozen_layers_and_backpropagation():
    """Within five points of backpropagation, above frozen layers; with eight layers above DRTP, too."""
    task = study.draw_task("digits", stream("big"), n=800, n_valid=200, n_test=300)
    setting = study.Setting(epochs=5)
    one = {rule: study.train(rule, task, setting, stream).accuracy for rule in ("BP", "tpSGD", "frozen")}
    assert one["BP"] - one["tpSGD"] <= 0.05
    assert one["tpSGD"] > one["frozen"]
    deep = study.deeper(setting, 8)
    many = {rule: study.train(rule, task, deep, stream).accuracy for rule in ("tpSGD", "DRTP", "frozen")}
    assert many["tpSGD"] > max(many["DRTP"], many["frozen"])


PLAN = Plan(seed=0, n=64, few=32, n_test=40, bits=64)


def test_rates_are_chosen_on_another_draw_and_used_once():
    tasks = PLAN.tasks("digits", "digits")
    assert [len(task.X) for task in tasks] == [32, 64, 64]
    assert [len(task.X_valid) for task in tasks] == [40, 40, 1]
    many = replace(ONE, epochs=2, batch=16, lrs=(0.1, 0.5), hidden={"tpSGD": (0.01, 0.1)})
    found = protocols.dense(PLAN, tasks, "tpSGD", many)
    other = partial(experiment.rng, CHOOSING)
    first = study.train("tpSGD", tasks[0], many, other)
    best = np.argsort(-first.valid[-1], kind="stable")[:3]
    second = study.train("tpSGD", tasks[1], replace(many, pairs=tuple(many.grid("tpSGD")[k] for k in best)), other)
    assert found.chosen == second.chosen == found.tried.chosen
    assert found.test.shape == (3, 1)  # the start and two passes, one pair
    assert found.tried.valid.shape == (1, 3)  # judged at the end only
    np.testing.assert_array_equal(found.tried.valid[-1], second.valid[-1])
    np.testing.assert_array_equal(found.tried.tried.valid[-1], first.valid[-1])
    one = replace(many, lrs=found.chosen[:1], hidden={"tpSGD": found.chosen[1:]})
    assert found.accuracy == study.train("tpSGD", tasks[2], one, partial(experiment.rng, 0)).accuracy
    assert found.at_edge == found.tried.at_edge


def test_frozen_layers_are_tuned_by_their_only_rate():
    small = replace(ONE, epochs=1, frozen=(0.1, 0.2, 0.3))
    found = protocols.dense(PLAN, PLAN.tasks("digits", "digits"), "frozen", small)
    assert found.tried.tried.valid.shape == (1, 3)
    assert found.chosen[1] == 0


@pytest.mark.parametrize(("name", "n"), [("digits", 1797), ("letter", 20_000)])
def test_no_draw_chooses_by_rows_that_another_is_judged_by(name, n):
    """Sets without a split of their own are divided once, whatever the draw."""
    (X, y), (X_test, y_test) = study.tasks._load(name)
    experiment.seed_everything(5)
    again = study.tasks._load(name)
    for known, found in zip((X, y, X_test, y_test), (*again[0], *again[1]), strict=True):
        np.testing.assert_array_equal(known, found)
    assert len(X) + len(X_test) == n


def test_every_rule_tries_equally_many_settings():
    setting = study.Setting()
    assert {len(setting.grid(rule)) for rule in study.RULES} == {25}


def test_summed_local_losses_take_the_methods_step(task):
    images = task.shaped(1, 8, 8)
    make = lambda loss: study.conv_net([(4, 3, 1, 2)], stream, loss=loss, side=8)  # noqa: E731
    setting = replace(ONE, epochs=2, batch=16, momentum=0.9, lrs=(0.1,), hidden={"tpSGD": (0.05,)})
    found = study.fit("tpSGD", make, images, setting, stream)
    model, order = make("l2").double(), stream("batches", 0)
    optimizers = model.optimizers(torch.optim.SGD, lr=0.1, hidden_scale=0.5, momentum=0.9)
    for _ in range(2):
        for rows in study.dense._batches(64, 16, order):
            model.train_step(images.X[rows], images.y[rows], optimizers)
    assert found.accuracy == float(study.accuracy(model(images.X_test).detach(), images.y_test))


def test_local_heads_are_drawn_from_the_runs_seed():
    net = study.conv_net(study.SHALLOW, stream)
    heads = [study.with_heads(net, 10, experiment.rng(seed, "heads", 0)).blocks[0].classify.weight for seed in (0, 0, 1)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert not hasattr(net.blocks[0], "classify")


def test_local_heads_on_recurrent_layers_read_the_last_state():
    block = study.LocalHead(tpsgd.TPRNN(4, tpsgd.LocalTarget(3, 8), sequence=True), 3)
    x, labels = torch.rand(5, 6, 4), torch.tensor([0, 1, 2, 0, 1])
    out, loss = block.local_loss(x, labels)
    assert out.shape == (5, 6, 8)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(block.classify(block.block(x)[:, -1]), labels))


def test_memory_counts_patterns_and_local_classifiers():
    made = {n: steps.memory(steps.example("dense", n, stream, batch=16, width=32)) for n in (2, 3)}
    grown = {rule: made[3][rule].total - made[2][rule].total for rule in made[2]}
    assert grown["tpSGD"] == 10 * 32 * 4
    assert grown["local heads"] == 2 * (10 * 32 + 10) * 4  # weights and biases, and their momentum
    assert grown["BP"] > 3 * grown["tpSGD"]
    assert not steps.example("dense", 2, stream, batch=16, width=32)["BP"].held


def test_choice_uses_the_choosing_rows_only():
    valid, test = np.array([[0, 0, 0], [0.5, 0.7, 0.705]]), np.array([[0, 0, 0], [0.9, 0.6, 0.8]])
    setting = study.Setting(lrs=(0.1,), hidden={"tpSGD": (0.01, 0.02, 0.03)})
    outcome = study.Outcome("tpSGD", setting, valid, test)
    assert (outcome.best, outcome.accuracy, outcome.chosen) == (2, 0.8, (0.1, 0.03))
    assert not outcome.at_edge  # the one inside is as good within 0.01
    equal = study.Outcome("tpSGD", setting, np.round(valid, 1), test)
    assert (equal.best, equal.accuracy) == (1, 0.6)
    assert study.Outcome("tpSGD", setting, valid[:, [1, 0, 0]], test).at_edge


def test_rows_of_a_task_are_apart_and_scaled():
    task = study.draw_task("digits", stream("apart"), n=200, n_valid=100, n_test=100)
    assert abs(float(task.X.mean())) < 1e-12
    rows = torch.cat([task.X, task.X_valid, task.X_test])
    assert len(torch.unique(rows, dim=0)) == 400
    with pytest.raises(ValueError, match="at most"):
        study.draw_task("digits", stream("apart"), n=2000, n_valid=1, n_test=1)
    assert study.draw_task("digits", stream("apart"), n=20, n_valid=10, n_test=10, bits=32).X.dtype == torch.float32


def test_local_heads_train_a_classifier_and_let_nothing_out():
    block = study.LocalHead(tpsgd.TPBlock(nn.Linear(4, 8), tpsgd.LocalTarget(3, 8)), 3)
    x, labels = torch.rand(5, 4, requires_grad=True), torch.tensor([0, 1, 2, 0, 1])
    out, loss = block.local_loss(x, labels)
    expected = nn.functional.cross_entropy(block.classify(torch.tanh(block.block.module(x))), labels)
    torch.testing.assert_close(loss, expected)
    assert not out.requires_grad
    assert torch.autograd.grad(loss, x, allow_unused=True) == (None,)


def test_convolutional_networks_have_the_shapes_that_they_say():
    for layers in (study.SHALLOW, study.DEEP):
        net = study.conv_net(layers, stream)
        x, labels = torch.rand(3, 1, 14, 14), torch.tensor([0, 1, 2])
        assert net(x).shape == (3, 10)
        assert all(np.isfinite(net.layerwise_losses(x, labels)))
    assert (study.conv_net(study.SHALLOW, stream, positive=True).blocks[0].target.P >= 0).all()


def test_the_small_example_learns_its_three_digits():
    three = protocols.three_digits(stream, [0, 200])
    assert three["accuracy"][-1] > 0.95
    gap = np.linalg.norm(three["outputs"] - three["patterns"][:, three["labels"]], axis=-1).mean(axis=2)
    assert (gap[1] < gap[0]).all()


def test_readouts_are_those_of_least_squares(task):
    trained = study.train("tpSGD", task, replace(ONE, widths=(16, 16), epochs=2), stream)
    known = protocols.readouts(trained, task)
    y, P = trained.outputs(task.X_test)[0].numpy(), trained.patterns[0].numpy()
    q = np.linalg.lstsq(P.T, y.T, rcond=None)[0].T
    assert known[0] == pytest.approx(np.mean(q.argmax(1) == task.y_test.numpy()))
    assert known[-1] == pytest.approx(trained.accuracy)


def test_frozen_networks_see_their_features_once(task):
    """The head on stored features is the head on top of layers that do not move."""
    images, rates = task.shaped(8, 8), {"lrs": (0.5,), "frozen": (0.1, 0.5)}
    no_step = replace(ONE, epochs=2, batch=16, hidden={"tpSGD": (1e-300,)}, **rates)
    frozen, _ = study.train_recurrent("frozen", images, no_step, stream)
    still, _ = study.train_recurrent("tpSGD", images, no_step, stream)
    np.testing.assert_allclose(frozen.test[:, 1], still.test[:, 0])
    make = lambda loss: study.conv_net([(4, 3, 1, 2)], stream, loss=loss, side=8)  # noqa: E731
    frozen = study.fit("frozen", make, task.shaped(1, 8, 8), no_step, stream)
    still = study.fit("tpSGD", make, task.shaped(1, 8, 8), no_step, stream)
    np.testing.assert_allclose(frozen.test[:, 1], still.test[:, 0])
