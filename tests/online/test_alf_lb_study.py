"""Text, language model, instances, rivals and protocols of the chapter."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn import functional

from lib.online import alf_lb as al
from lib.online.alf_lb import InvStep, SqrtStep, study


def toy(n=4000):
    return study.Text(np.random.default_rng(0).integers(0, 9, size=n), list("abcdefghi"), np.zeros(1, dtype=np.int64))


def test_text_is_the_whole_book_in_order():
    text = study.bible(512)
    assert len(text.tokens) == 914_661
    assert len(text.words) == 512
    assert len(text.starts) == 66
    assert (np.diff(text.starts) > 0).all()
    assert (
        " ".join(text.words[k] for k in text.tokens[text.starts[39] + 6 : text.starts[39] + 12]) == "jesus christ , the son of"
    )
    assert np.bincount(text.tokens)[1:].argmax() == 0  # the most frequent word is number 1
    text.starts[0] = 5
    assert study.bible(512).starts[0] == 0


def test_training_repeats_itself_and_shares_data():
    a, b = (study.race(toy(), ["none", "sign"], 4, seed=1, d=8, n_experts=4, context=16) for _ in range(2))
    np.testing.assert_array_equal(a["sign"].losses, b["sign"].losses)
    np.testing.assert_array_equal(a["sign"].loads, b["sign"].loads)
    assert a["none"].losses[0] == a["sign"].losses[0]  # the same first weights and batch
    assert (a["none"].prices == 0).all()
    assert a["sign"].loads.sum() == 4 * 2 * 8 * 16 * 2
    np.testing.assert_allclose(a["none"].violation, al.max_violation(a["none"].loads).mean(1))
    assert a["none"].late() == pytest.approx(a["none"].violation[-1])


def test_prices_of_training_are_those_of_its_loads():
    run = study.race(toy(), ["root"], 5, seed=2, d=8, n_experts=4, context=16)["root"]
    p, L = np.zeros((2, 4)), 8 * 16 * 2 / 4
    for n in range(5):
        p = p + 0.1 / np.sqrt(n + 1) * (L - run.loads[n]) / L
        np.testing.assert_allclose(run.prices[n], p, atol=1e-12)


def test_held_out_loss_is_the_mean_over_words():
    text = toy()
    run = study.train(text.tokens, text.tokens[:97], 1, np.zeros((1, 2), int), context=16, n_words=9, d=8, n_experts=4)
    rows = torch.from_numpy(text.tokens[:97])
    with torch.no_grad():
        out = run.model(rows[:96].reshape(6, 16))
    assert run.valid == pytest.approx(functional.cross_entropy(out.flatten(0, 1), rows[1:97]).item())


def test_a_later_word_does_not_change_an_earlier_one():
    model = study.LanguageModel(20, d=16, heads=2, n_experts=4, k=2, d_ff=8, context=8)
    words = torch.arange(8)[None]
    other = words.clone()
    other[0, -1] = 15
    torch.testing.assert_close(model(words)[:, :-1], model(other)[:, :-1])


def test_router_scores_are_what_the_layer_saw():
    model = study.LanguageModel(20, d=16, heads=2, n_experts=4, k=2, d_ff=8, context=8, step=SqrtStep(0.1))
    scores = study.router_scores(model, np.arange(16).reshape(2, 8))
    for s, layer in zip(scores, model.layers, strict=True):
        np.testing.assert_array_equal(al.topk_assign(s, 2).sum(0), layer.last_load.numpy())
        assert int(layer.balancer.pending.sum()) == 0
    assert model.training


def test_population_is_solved():
    whole = study.population(study.sigmoid_scores(600, 4, 0.5, seed=0), K=1)
    exact = al.solve_assignment_lp(whole.gamma, 1)
    assert whole.best == pytest.approx(exact.fun / 150, abs=2e-5)
    assert whole.best >= exact.fun / 150 - 1e-12
    assert whole.prices.sum() == pytest.approx(0, abs=1e-12)
    batch = whole.draw(7, 3)(np.random.default_rng(0))
    assert batch.shape == (3, 7, 4)
    assert set(batch[0, 0]) <= set(whole.gamma.ravel())


def test_growth_of_a_known_objective():
    """Two uniform scores: F grows like 4 |q|^2 / 2 for a step q along (1, -1), up to terms of third order."""
    whole = study.population(np.random.default_rng(0).random((20_000, 2)), K=1)
    assert 3.0 < whole.mu * study.growth_of_objective(whole, 2, seed=0) < 4.5
    assert whole.mu == pytest.approx(4, rel=0.15)


def test_growth_is_judged_along_the_slowest_direction():
    """Two pairs of experts that share few tokens: random directions miss the slow one, its eigenvector does not."""
    rng = np.random.default_rng(1)
    scores = 0.1 * rng.random((20_000, 4))
    scores[:10_000, :2] += 0.5
    scores[10_000:, 2:] += 0.5
    scores[::20] = 0.1 * rng.random((1000, 4))
    whole = study.population(scores, K=1)
    growths = [study.growth_of_objective(whole, n, seed=0) for n in (1, 4)]
    assert growths[0] == pytest.approx(growths[1], rel=0.3)


def test_added_tells_logarithm_root_and_line_apart():
    at = np.array([1, 4, 16, 64])
    for shape, ratio in ((np.log(at), 1), (np.sqrt(at), 2), (at.astype(float), 4)):
        late, early = study.added(study.RegretRun(at, shape[:, None], shape[:, None], np.zeros((65, 1, 2))))[0]
        assert late / early == pytest.approx(ratio)


def test_drift_changes_once():
    sample = study.drifting(3, 4000, 1, change=2, spread=2.0, seed=1)
    rng = np.random.default_rng(0)
    means = [sample(rng).mean(axis=(0, 1)) for _ in range(4)]
    np.testing.assert_allclose(means[0], means[1], atol=0.03)
    np.testing.assert_allclose(means[2], means[3], atol=0.03)
    assert np.abs(means[1] - means[2]).max() > 0.1


@pytest.mark.parametrize(("E", "K"), [(3, 1), (4, 2), (6, 4), (8, 2)])
def test_sinkhorn_is_the_program_at_low_temperature(E, K):
    g = study.sigmoid_scores(72, E, seed=3)
    exact = al.solve_assignment_lp(g, K).fun
    gaps = [al.dual_value(g, study.sinkhorn_prices(g, K, tau, 400, once=True), K) / exact - 1 for tau in (0.3, 0.1, 0.003)]
    assert gaps[0] > gaps[1] > gaps[2] - 1e-12
    assert -1e-12 < gaps[2] < 2e-4


def test_plain_sinkhorn_is_the_program_for_one_expert_a_token_and_another_one_for_more():
    for K, near in ((1, True), (2, False)):
        g = study.sigmoid_scores(72, 8, seed=3)
        exact = al.solve_assignment_lp(g, K).fun
        assert (al.dual_value(g, study.sinkhorn_prices(g, K, 0.003, 400), K) / exact - 1 < 1e-4) == near


def test_sinkhorn_solves_its_smooth_dual():
    g, K, tau = study.sigmoid_scores(40, 4, seed=2), 2, 0.05

    def dual(v):
        return tau * np.logaddexp(0, (g + v[:4] + v[4:, None]) / tau).sum() - K * v[4:].sum() - 20 * v[:4].sum()

    found = minimize(dual, np.r_[np.zeros(4), np.full(40, -0.5)], method="BFGS", options={"gtol": 1e-8, "maxiter": 2000})
    p = study.sinkhorn_prices(g, K, tau, 400, once=True)
    np.testing.assert_allclose(p, found.x[:4] - found.x[:4].mean(), atol=1e-4)


def test_routings_against_the_exact_program():
    table = study.routings(study.sigmoid_scores(40, 4, seed=0), 1, np.zeros(4), n_iter=300)
    assert table["exact"]["affinity"] == pytest.approx(1)
    assert table["exact"]["gap"] == pytest.approx(0, abs=1e-9)
    assert table["top-K"]["affinity"] > 1
    assert table["top-K"] == table["trained prices"]
    assert 0 <= table["balanced here"]["gap"] < 1e-3
    assert 0 <= table["Sinkhorn"]["gap"] < 1e-3


def test_fixed_batch_measures():
    g = study.sigmoid_scores(32, 4, seed=1, lead=2)
    best = [al.solve_assignment_lp(x, 1).fun for x in g]
    run = study.fixed_batch(g, 1, InvStep(0.5), 200, best)
    np.testing.assert_array_equal(run.deviation, np.abs(run.trace.loads[-50:] - 8).max((0, 2)))
    change = np.diff(run.trace.lagrangian, axis=0)
    near = np.abs(run.trace.loads[:-1] - 8).max(-1) <= 3
    rises = change > 1e-9 * (1 + np.abs(run.trace.lagrangian[1:]))
    np.testing.assert_allclose(run.rising_near, (rises & near).sum(0) / near.sum(0))
    assert max(run.identity, run.excess, run.unpaid, -run.margin) < 1e-9


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="heads must divide"):
        study.LanguageModel(10, d=10, heads=3)
    with pytest.raises(ValueError, match="batches must have 2 rows"):
        study.train(np.zeros(100, int), np.zeros(70, int), 2, np.zeros((1, 2), int), n_words=3)
    with pytest.raises(ValueError, match="n_words"):
        study.train(np.full(100, 5), np.zeros(70, int), 1, np.zeros((1, 2), int), n_words=3, d=8, n_experts=4)
    with pytest.raises(ValueError, match="names must be one of"):
        study.race(toy(), ["dense"], 1, seed=0)
    with pytest.raises(TypeError, match="whole must be a Population"):
        study.growth_of_objective(3)
