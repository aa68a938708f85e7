"""DRIVE: the exact checks first, then groups, samplers, tasks and training."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
import warnings

import numpy as np
import pytest
import torch

from lib import networks
from lib.policies import drive
from lib.policies.drive import language, language_models, training

SUM = drive.Problem(("all", "same", "sum"))
EVEN = drive.Problem(("even", "square", "sum"))
HARD = drive.Problem(("even", "square", "sum", "minus", "pos", "double", "largest"))
NEVER = drive.Problem(("neg", "clock", "smallest"))


def tokens(text):
    """Tokens of a program written with one space between tokens, the end token included."""
    pieces, rest = [], text
    for piece in rest.replace(", default=0", ",default=0").split():
        pieces.append(language.TOKEN[", default=0" if piece == ",default=0" else piece])
    return [*pieces, language.END]


def toy_policy(seed=0, share=0.1, problems=(SUM,), width=24, steps=100):
    """A small policy that solves a problem in about that share of its samples, else writes a wrong program."""
    policy = networks.Transformer(drive.ProgramTask.vocab_size, 56, width=width, n_heads=2, seed=seed).double()
    prompts, answers = [], []
    for problem in problems:
        wrong = tokens("max ( x )") if problem.words[2] == "sum" else tokens("sum ( x )")
        for i in range(20):
            prompts.append(problem.prompt)
            answers.append(problem.answer if i < 20 * share else wrong)
    networks.fit_supervised(policy, prompts, answers, steps=steps, batch=20, lr=1e-2, seed=seed + 1)
    return policy


@pytest.fixture(scope="module")
def toy():
    return toy_policy()


def weights_of(policy):
    return torch.cat([p.detach().flatten() for p in policy.parameters()])


# --------------------------------------------------------------------------------------------------------- exact numbers


def test_informative_probability_exact():
    assert drive.informative_probability(0.01, 8) == pytest.approx(0.077255, abs=1e-6)
    assert drive.informative_probability(0.01, 64) == pytest.approx(0.474404, abs=1e-6)
    assert drive.informative_probability(0.01, 80) == pytest.approx(0.552477, abs=1e-5)
    assert drive.informative_probability(0.5, 8) == pytest.approx(1 - 2 / 256)
    assert [drive.informative_probability(p, 8) for p in (0.0, 1.0)] == [0.0, 0.0]
    assert drive.informative_probability(0.3, 1) == 0.0
    assert drive.informative_probability(1e-12, 8) == pytest.approx(8e-12, rel=1e-9)


@pytest.mark.parametrize("G", [2, 3, 5])
def test_informative_probability_by_enumeration(G):
    p = np.array([0.0, 0.05, 0.5, 0.9, 1.0])
    mixed = [o for o in itertools.product((0, 1), repeat=G) if 0 < sum(o) < G]
    wanted = sum(p ** sum(o) * (1 - p) ** (G - sum(o)) for o in mixed)
    assert np.allclose(drive.informative_probability(p, G), wanted, atol=1e-14)


def test_pass_at_k_exact():
    assert drive.pass_at_k(10, 3, 5) == pytest.approx(1 - 21 / 252, abs=1e-12)
    assert drive.pass_at_k(8, 0, 8) == 0.0
    assert drive.pass_at_k(8, 1, 8) == 1.0
    assert drive.pass_at_k(8, [0, 2, 8], 1).tolist() == [0.0, 0.25, 1.0]


def test_pass_at_k_by_all_subsets():
    for n, c, k in itertools.product([6], range(7), range(1, 7)):
        outcomes = [1] * c + [0] * (n - c)
        assert drive.pass_at_k(n, c, k) == pytest.approx(np.mean([max(s) for s in itertools.combinations(outcomes, k)]))


@pytest.mark.parametrize(("n", "c", "k"), [(4, 1, 5), (4, 5, 1), (4, -1, 1), (0, 0, 1), (4, 1.5, 2), (4, 1, 0)])
def test_pass_at_k_refuses(n, c, k):
    with pytest.raises(ValueError, match=r"k|c|n"):
        drive.pass_at_k(n, c, k)


def test_group_advantages():
    found = drive.group_advantages([[1.0, 1.0, 1.0], [0.1, 0.1, 0.1], [0.0, 0.0, 1.0]])
    assert (found[:2] == 0).all()
    assert found[2].sum().item() == pytest.approx(0, abs=1e-12)
    assert found[2, 2].item() == pytest.approx(2 / math.sqrt(3), rel=1e-5)
    rewards = np.random.default_rng(0).random((5, 8))
    one, other = drive.group_advantages(rewards, 0.0), drive.group_advantages(3 * rewards - 7, 0.0)
    assert torch.allclose(one, other, atol=1e-12)
    with pytest.raises(ValueError, match="R"):
        drive.group_advantages([[1.0]])


@pytest.mark.parametrize(("c", "G"), [(1, 8), (1, 64), (3, 8), (7, 8), (40, 64)])
def test_success_advantage_is_that_of_a_success(c, G):
    found = drive.group_advantages([[1.0] * c + [0.0] * (G - c)], 0.0)[0, 0].item()
    assert drive.success_advantage(c, G) == pytest.approx(found, rel=1e-12)


def test_success_advantage_numbers():
    assert drive.success_advantage(1, 64) == pytest.approx(7.9 * 0.99, abs=0.06)
    assert drive.success_advantage(1, 8) == pytest.approx(2.6458 * 0.93541, abs=1e-3)
    assert drive.success_advantage(0, 8) == drive.success_advantage(8, 8) == 0.0


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("p", [0.0, 0.03, 0.5, 0.9, 1.0])
def test_expected_drift_by_autograd_over_all_outcomes(p, normalize):
    G, total = 5, 0.0
    for outcomes in itertools.product((0.0, 1.0), repeat=G):
        chance = math.prod(p if o else 1 - p for o in outcomes)
        if not chance or len(set(outcomes)) == 1:
            continue
        logit = torch.logit(torch.tensor(p, dtype=torch.float64)).requires_grad_()
        rewards = torch.tensor(outcomes, dtype=torch.float64)
        logs = torch.where(rewards > 0, torch.nn.functional.logsigmoid(logit), torch.nn.functional.logsigmoid(-logit))
        gains = drive.group_advantages([outcomes], 0.0)[0] if normalize else rewards - rewards.mean()
        total += chance * torch.autograd.grad((gains * logs).mean(), logit)[0].item()
    assert drive.expected_drift(p, G, normalize) == pytest.approx(total, abs=1e-12)
    if not normalize:
        assert drive.expected_drift(p, G, False) == pytest.approx(p * (1 - p) * (G - 1) / G, abs=1e-12)


def test_expected_drift_of_arrays():
    found = drive.expected_drift([0.0, 0.1, 0.5], 8)
    assert found.shape == (3,)
    assert 0 == found[0] < found[1] < found[2]


# ------------------------------------------------------------------------------------------------------------------ loss


def sampled(seed=0, n=6, T=3):
    rng = np.random.default_rng(seed)
    chosen = torch.from_numpy(rng.integers(2, size=(n, T)))
    adv = torch.from_numpy(rng.normal(size=n))
    mask = torch.arange(T) < torch.from_numpy(rng.integers(1, T + 1, size=(n, 1)))
    return chosen, adv, mask


def logs_of(logits, chosen):
    return logits.log_softmax(1)[None].expand(len(chosen), -1, -1).gather(2, chosen[..., None])[..., 0]


@pytest.mark.parametrize("agg", ["token_mean", "sequence_mean"])
@pytest.mark.parametrize("clip", [0.2, math.inf])
def test_gradient_of_the_loss_equals_finite_differences(agg, clip):
    chosen, adv, mask = sampled()
    old = logs_of(torch.zeros(3, 2, dtype=torch.float64), chosen)
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 2)) * 0.3).requires_grad_()
    loss = drive.grpo_loss(logs_of(logits, chosen), old, adv, mask, clip, agg)
    found = torch.autograd.grad(loss, logits)[0]
    for place in itertools.product(range(3), range(2)):
        shift = torch.zeros(3, 2, dtype=torch.float64)
        shift[place] = 1e-6
        up, down = (drive.grpo_loss(logs_of(logits.detach() + s, chosen), old, adv, mask, clip, agg) for s in (shift, -shift))
        assert found[place].item() == pytest.approx((up - down).item() / 2e-6, abs=1e-6)


def test_first_inner_step_is_reinforce():
    chosen, adv, mask = sampled(2)
    logits = torch.from_numpy(np.random.default_rng(3).normal(size=(3, 2))).requires_grad_()
    logs = logs_of(logits, chosen)
    found = torch.autograd.grad(drive.grpo_loss(logs, logs.detach(), adv, mask), logits, retain_graph=True)[0]
    wanted = torch.autograd.grad(-(logs * adv[:, None])[mask].mean(), logits)[0]
    assert torch.allclose(found, wanted, atol=1e-12)


def test_aggregations_weigh_long_answers_apart():
    chosen, adv, _ = sampled(4, n=2)
    logs = logs_of(torch.zeros(3, 2, dtype=torch.float64), chosen)
    mask = torch.tensor([[True, False, False], [True, True, True]])
    adv = torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert drive.grpo_loss(logs, logs, adv, mask).item() == pytest.approx(-(1 - 3) / 4)
    assert drive.grpo_loss(logs, logs, adv, mask, agg="sequence_mean").item() == pytest.approx(0, abs=1e-12)


def test_a_clipped_ratio_gives_no_gradient():
    logits = torch.tensor([[0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    chosen = torch.tensor([[1]])
    old = logs_of(torch.zeros(1, 2, dtype=torch.float64), chosen)
    loss = drive.grpo_loss(logs_of(logits, chosen), old, torch.ones(1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool))
    assert (torch.autograd.grad(loss, logits)[0] == 0).all()


@pytest.mark.parametrize(
    "change", [{"adv": torch.ones(2)}, {"mask": torch.ones(6, 3)}, {"agg": "sum"}, {"clip": -0.1}, {"logp": torch.ones(6, 2)}]
)
def test_loss_refuses(change):
    arguments = {"logp": torch.zeros(6, 3), "logp_old": torch.zeros(6, 3), "adv": torch.ones(6), "mask": torch.ones(6, 3) > 0}
    with pytest.raises((TypeError, ValueError)):
        drive.grpo_loss(**(arguments | change))


# -------------------------------------------------------------------------------------------------------------- language


def test_references_are_python_and_pass_their_tests():
    problems = [*language.singles(), HARD]
    task = drive.ProgramTask(problems)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for problem in problems:
            assert task.check(problem, problem.answer, hidden=True) == drive.CheckResult(True, 24), problem
            for x in language.TESTS:
                assert eval(task.reference(problem), {"x": list(x)}) == problem.outputs([x])[0]


def test_problems_know_their_level():
    assert [p.level for p in (SUM, EVEN, HARD)] == ["easy", "medium", "hard"]
    assert drive.Problem(("even", "same", "sum")).level == drive.Problem(("all", "size", "sum")).level == "easy"
    assert str(HARD) == "even square sum minus pos double largest"
    for words in (("even",), ("even", "square"), ("sum", "even", "square"), (*EVEN.words, "plus"), (*HARD.words, "sum")):
        with pytest.raises(ValueError, match="words"):
            drive.Problem(words)


def test_words_and_pieces_of_programs_are_different_tokens():
    assert len(set(language.VOCABULARY)) == len(language.VOCABULARY) == drive.ProgramTask.vocab_size
    assert max(len(p.answer) for p in language.singles()) == 21
    assert len({language.TESTS + language.HIDDEN}) == 1
    assert len(set(language.TESTS + language.HIDDEN)) == 24
    assert {len(x) for x in language.TESTS} >= {0, 1}


def test_a_constant_target_is_degenerate():
    assert language.is_degenerate(drive.Problem((*EVEN.words, "minus", *EVEN.words)))
    assert not language.is_degenerate(EVEN)


# ----------------------------------------------------------------------------------------------------------------- check


def test_check_counts_tests():
    task = drive.ProgramTask([EVEN])
    assert task.check(EVEN, EVEN.answer) == drive.CheckResult(True, 10)
    assert task.check(EVEN, EVEN.answer[:-1]) == drive.CheckResult(False, 0, "truncated")
    assert task.check(EVEN, [*EVEN.answer, 5, 5]).passed
    assert task.check(EVEN, tokens("1 ( x )")).error == "forbidden"
    assert task.check(EVEN, tokens("max ( x ) ) (")).error == "syntax"
    assert task.check(EVEN, tokens("max ( x )")).error == "error"
    partial = task.check(EVEN, tokens("sum ( [ v * v for v in x ] )"))
    assert not partial.passed
    assert 0 < partial.n_passed < 10
    assert partial.error == ""
    assert task.reward(EVEN, EVEN.answer) == 1.0
    assert task.reward(EVEN, tokens("0")) == 0.0


def test_truth_values_and_lists_are_no_integers():
    count = drive.Problem(("big", "same", "count"))
    assert drive.ProgramTask([count]).check(count, tokens("[ x ]")).error in ("error", "forbidden")
    assert drive.ProgramTask([SUM]).check_source(SUM, "0 > 1").n_passed == 0


def test_hidden_tests_catch_a_program_that_knows_the_visible_ones():
    task = drive.ProgramTask([SUM])
    # no visible list has eight entries
    shown = "sum(x) if len(x) != 8 else 0"
    assert task.check_source(SUM, shown).passed
    assert not task.check_source(SUM, shown, hidden=True).passed


def test_cached_and_uncached_checks_agree():
    rng = np.random.default_rng(0)
    cached, plain = drive.ProgramTask([EVEN, HARD]), drive.ProgramTask([EVEN, HARD], cache=False)
    for _ in range(300):
        problem = (EVEN, HARD)[rng.integers(2)]
        answer = list(problem.answer)
        answer[rng.integers(len(answer) - 1)] = int(rng.integers(3, language.TOKEN["*"] + 1))
        for hidden in (False, True, False):
            assert cached.check(problem, answer, hidden) == plain.check(problem, answer, hidden)


def test_no_warning_leaves_the_checker():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = drive.ProgramTask([SUM], cache=False)
        for text in ("1 ( x )", "0in x", "( 1 ) ( 2 )", "0if x else 1", "1 [ 2 ]", "x is 1", "'\\d'"):
            assert not task.check_source(SUM, text).passed


def test_task_gives_prompts_and_references():
    task = drive.ProgramTask([SUM, HARD])
    assert task.prompts == [SUM.prompt, HARD.prompt]
    assert task.difficulty == ["easy", "hard"]
    assert [len(p) for p in task.prompts] == [4, 8]
    assert task.reference(SUM) == "sum ( [ v for v in x ] )"
    assert pickle.loads(pickle.dumps(task)).problems == task.problems
    for bad in ([], ["even square sum"]):
        with pytest.raises(ValueError, match="problems"):
            drive.ProgramTask(bad)


# -------------------------------------------------------------------------------------------------------------- samplers


def test_hardest_is_stable_and_exact():
    rates = [0.5, 0.1, 0.1, 0.0, 1.0, 0.1]
    assert drive.hardest(rates, 3).tolist() == [3, 1, 2]
    assert drive.hardest(rates, 99).tolist() == [3, 1, 2, 5, 0, 4]
    assert drive.hardest(rates, 3, above=0.0).tolist() == [1, 2, 5]
    assert drive.hardest(rates, 9, above=0.0, below=0.5).tolist() == [1, 2, 5]


def test_hard_focus_keeps_exactly_the_lowest():
    rng = np.random.default_rng(0)
    for _ in range(50):
        rates = rng.integers(0, 5, size=20) / 4
        focus = drive.HardFocus(range(20), 7, rates)
        wanted = sorted(range(20), key=lambda i: rates[i])[:7]
        assert list(focus.pool) == wanted
        assert focus.pass_rates.tolist() == rates[wanted].tolist()
        assert set(focus.draw(7, rng)) == set(wanted)


def test_hard_focus_refuses():
    assert drive.HardFocus("abc", 1, lambda pool: [len(pool) / 4, 0.0, 0.5]).pool == ("b",)
    with pytest.raises(ValueError, match="estimator"):
        drive.HardFocus("abc", 1, [0.5])
    with pytest.raises(ValueError, match="leave no problem"):
        drive.HardFocus("abc", 1, [0.0, 0.0, 0.0], above=0)
    with pytest.raises(ValueError, match="pool"):
        drive.Uniform([])


def test_uniform_draws_all_alike():
    sampler, rng = drive.Uniform(range(10)), np.random.default_rng(0)
    counts = np.bincount([i for _ in range(1000) for i in sampler.draw(4, rng)], minlength=10)
    assert abs(counts - 400).max() < 70
    many = np.bincount(sampler.draw(23, rng), minlength=10)
    assert many.sum() == 23
    assert many.min() >= 2
    assert many.max() == 3


def test_priority_prefers_half_solved_problems():
    sampler, rng = drive.Priority("abc", memory=1.0), np.random.default_rng(0)
    assert len(set(sampler.weights())) == 1
    for problem, successes in zip("abc", (0, 32, 64), strict=True):
        sampler.observe(problem, successes, 64)
    assert sampler.weights().argmax() == 1
    drawn = [sampler.draw(1, rng)[0] for _ in range(500)]
    assert drawn.count("b") > 400
    assert sampler.weights()[0] == pytest.approx(1 / 66 * 65 / 66)


def test_priority_forgets():
    sampler = drive.Priority("a", memory=0.5, prior=1.0)
    sampler.observe("a", 8, 8)
    sampler.observe("a", 0, 8)
    assert sampler.counts["a"] == (4.0, 12.0)


def test_schedule_is_the_papers():
    schedule = drive.PreGRPOSchedule()
    assert schedule.phases == ((72, 64), (50, 32), (25, 32))
    assert schedule.rollouts == 64
    rates = np.random.default_rng(0).random(175)
    kept = schedule.select(rates, 2)
    assert kept.tolist() == np.argsort(rates)[:25].tolist()
    assert drive.PreGRPOSchedule(((3, 1),), above=0.0).select([0.0, 0.2, 0.1]).tolist() == [2, 1]


@pytest.mark.parametrize("settings", [{"phases": ()}, {"phases": ((0, 1),)}, {"rollouts": 1}, {"above": 2.0}])
def test_schedule_refuses(settings):
    with pytest.raises(ValueError, match=r"phases|rollouts|above"):
        drive.PreGRPOSchedule(**settings)


# ------------------------------------------------------------------------------------------------------------ evaluation


def test_evaluation_counts(toy):
    task = drive.ProgramTask([SUM, NEVER])
    found = drive.evaluate(toy, task, task.problems, samples=64, max_new=14, seed=0)
    assert found.successes.shape == (2,)
    assert found.successes[1] == 0
    assert 0.02 < found.pass_rates[0] < 0.3
    assert found.pass_at(64).tolist() == [1.0, 0.0]
    assert found.pass_at(1).tolist() == found.pass_rates.tolist()
    assert sum(found.errors.values()) == 128 - found.successes.sum()
    assert found.truncated == found.errors.get("truncated", 0) / 128


def test_entropy_costs_no_draw_and_can_be_left_out(toy):
    task = drive.ProgramTask([SUM, NEVER])
    whole, less = (drive.evaluate(toy, task, task.problems, 8, 14, entropy=e, seed=0) for e in (True, False))
    assert whole.successes.tolist() == less.successes.tolist()
    assert (whole.errors, whole.length) == (less.errors, less.length)
    assert math.isnan(less.entropy)
    with pytest.raises(TypeError, match="entropy"):
        drive.evaluate(toy, task, task.problems, 8, 14, entropy=None)


def test_a_short_window_truncates(toy):
    task = drive.ProgramTask([SUM])
    found = drive.evaluate(toy, task, [SUM], samples=32, max_new=3, seed=0)
    assert found.truncated == 1.0
    assert found.length == 3
    assert found.successes.tolist() == [0]


def test_chunks_do_not_change_what_is_counted(toy, monkeypatch):
    task = drive.ProgramTask([SUM, SUM, SUM])
    whole = drive.evaluate(toy, task, task.problems, samples=8, max_new=14, seed=0)
    monkeypatch.setattr("lib.policies.drive.evaluation.CHUNK", 8)
    parts = drive.evaluate(toy, task, task.problems, samples=8, max_new=14, seed=0)
    assert whole.samples == parts.samples
    assert parts.successes.shape == (3,)
    assert parts.entropy == pytest.approx(whole.entropy, abs=0.2)


def test_token_entropy_by_enumeration(toy):
    drawn = networks.generate(toy, [SUM.prompt] * 5, 8, end=language.END, pad=language.PAD, seed=0)
    scores = toy(drawn.tokens, drawn.attended)[:, drawn.prompt_length - 1 : -1].detach()
    scores[..., language.PAD] = -1e9
    p = scores.softmax(2)
    wanted = -(p * p.clamp(min=1e-300).log()).sum(2)[drawn.mask].mean().item()
    assert drive.token_entropy(toy, drawn) == pytest.approx(wanted, abs=1e-9)
    flat = networks.Transformer(10, 8, width=16, n_heads=2, seed=0).double()
    for parameter in flat.parameters():
        torch.nn.init.zeros_(parameter)
    drawn = networks.generate(flat, [[1, 2]], 4, end=9, pad=0, seed=0)
    assert drive.token_entropy(flat, drawn) == pytest.approx(math.log(9))


def test_cached_sampling_gives_the_log_probabilities_of_a_full_forward(toy):
    drawn = networks.generate(toy, [SUM.prompt, HARD.prompt] * 8, 20, end=language.END, pad=language.PAD, seed=0)
    again, _ = networks.response_log_probs(toy, drawn)
    assert torch.allclose(again, drawn.log_probs, atol=1e-9)


# -------------------------------------------------------------------------------------------------------------- training


SMALL = drive.GRPOConfig(prompts=2, rollouts=8, max_new=14)


@pytest.mark.slow
def test_a_rare_success_is_learned():
    learned = 0
    for seed in range(3):
        policy = toy_policy(seed=10 * seed)
        task, config = drive.ProgramTask([SUM]), drive.GRPOConfig(prompts=1, rollouts=64, max_new=14, lr=2e-3)
        before = drive.evaluate(policy, task, [SUM], 200, 14, seed=1).pass_rates[0]
        assert 0.03 < before < 0.25
        drive.train_grpo(policy, task, drive.Uniform([SUM]), config, steps=30, seed=seed)
        learned += drive.evaluate(policy, task, [SUM], 200, 14, seed=2).pass_rates[0] > 0.6
    assert learned >= 2


def test_groups_that_tell_nothing_change_nothing(toy):
    policy, task = copy.deepcopy(toy), drive.ProgramTask([NEVER])
    before = weights_of(policy)
    history = drive.train_grpo(policy, task, drive.Uniform([NEVER]), SMALL, steps=2, seed=0)
    assert history.informative == [0.0, 0.0]
    assert torch.equal(weights_of(policy), before)


def test_history_counts(toy):
    task = drive.ProgramTask([SUM, NEVER])
    seen = []
    history = drive.train_grpo(
        copy.deepcopy(toy),
        task,
        drive.Uniform(task.problems),
        SMALL,
        steps=4,
        seed=0,
        callback=lambda t: seen.append(len(t.history)),
    )
    assert seen == [1, 2, 3, 4]
    assert history.programs == [16, 32, 48, 64]
    assert all(0 <= share <= 0.5 for share in history.informative)  # one problem of two is never solved
    assert len(history.reward) == len(history.entropy) == len(history.truncated) == len(history.length) == len(history) == 4
    assert all(0 < entropy < math.log(50) for entropy in history.entropy)
    assert history.measured == 0


def test_a_first_step_is_adam_on_the_loss(toy):
    policy, task = copy.deepcopy(toy), drive.ProgramTask([SUM])
    config = drive.GRPOConfig(prompts=1, rollouts=16, max_new=14, lr=1e-3, clip_norm=math.inf)
    trainer = drive.Trainer(policy, task, drive.Uniform([SUM]), config, seed=5)
    rng = copy.deepcopy(trainer.rng)
    trainer.step()
    rng.choice(1, size=0, replace=False)
    drawn = networks.generate(toy, [SUM.prompt] * 16, 14, end=language.END, pad=language.PAD, seed=rng)
    rewards = np.array(
        [task.reward(SUM, row[:n]) for row, n in zip(drawn.responses.tolist(), drawn.lengths.tolist(), strict=True)]
    )
    assert trainer.history.reward == [rewards.mean()]
    adv = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6)
    other = copy.deepcopy(toy)
    logs, _ = networks.response_log_probs(other, drawn)
    (-(logs * torch.from_numpy(adv)[:, None]).sum() / drawn.mask.sum()).backward()
    torch.optim.Adam(other.parameters(), lr=1e-3).step()
    assert torch.allclose(weights_of(policy), weights_of(other), atol=1e-9)


@pytest.mark.parametrize("kind", [drive.Uniform, drive.DynamicSampling, drive.Priority])
def test_a_trainer_resumes_where_it_was(toy, kind):
    task = drive.ProgramTask([SUM, NEVER])
    trainer = drive.Trainer(copy.deepcopy(toy), task, kind(task.problems), SMALL, seed=3)
    trainer.run(2)
    other = pickle.loads(pickle.dumps(trainer))
    trainer.run(2)
    other.run(2)
    assert torch.equal(weights_of(trainer.policy), weights_of(other.policy))
    assert trainer.history.programs == other.history.programs
    assert np.array_equal(trainer.history.entropy, other.history.entropy, equal_nan=True)


def test_same_seed_same_run(toy):
    task = drive.ProgramTask([SUM])
    runs = [copy.deepcopy(toy) for _ in range(3)]
    for policy, seed in zip(runs, (1, 1, 2), strict=True):
        drive.train_grpo(policy, task, drive.Uniform([SUM]), SMALL, steps=2, seed=seed)
    assert torch.equal(weights_of(runs[0]), weights_of(runs[1]))
    assert not torch.equal(weights_of(runs[0]), weights_of(runs[2]))


def test_dynamic_sampling_trains_on_informative_groups_and_counts_all(toy, monkeypatch):
    task, used = drive.ProgramTask([SUM, NEVER]), []
    real = training.grpo_loss
    monkeypatch.setattr(training, "grpo_loss", lambda *a: used.append(a[2]) or real(*a))
    sampler = drive.DynamicSampling(task.problems, max_draws=6)
    history = drive.train_grpo(copy.deepcopy(toy), task, sampler, SMALL, steps=3, seed=0)
    assert all((adv.unflatten(0, (-1, 8)).abs().sum(1) > 0).all() for adv in used)
    assert all(len(adv) <= 16 for adv in used)
    assert history.programs[-1] > 3 * 16
    nothing = drive.train_grpo(copy.deepcopy(toy), task, drive.DynamicSampling([NEVER], 2), SMALL, steps=1, seed=0)
    assert nothing.programs == [32]
    assert math.isnan(nothing.entropy[0])


def test_joined_answers_keep_their_log_probabilities(toy):
    task = drive.ProgramTask([SUM, HARD])
    rng = np.random.default_rng(0)
    parts = [
        networks.generate(toy, [p.prompt] * 3, n, end=task.end, pad=task.pad, seed=rng)
        for p, n in ((SUM, 4), (HARD, 12), (SUM, 9))
    ]
    whole = training.joined(parts)
    logs, _ = networks.response_log_probs(toy, whole)
    assert torch.allclose(logs, whole.log_probs, atol=1e-9)
    assert whole.lengths.tolist() == [n for part in parts for n in part.lengths.tolist()]
    some = training.rows_of(whole, np.array([True, False] * 4 + [True]))
    assert torch.equal(some.log_probs, whole.log_probs[::2])


def test_a_budget_of_programs_ends_a_run(toy):
    task = drive.ProgramTask([SUM])
    trainer = drive.Trainer(copy.deepcopy(toy), task, drive.Uniform([SUM]), SMALL, seed=0)
    assert trainer.run(9, programs=40).programs == [16, 32, 48]
    assert trainer.run(9, programs=16).programs == [16, 32, 48, 64]
    stopped = drive.train_grpo(
        copy.deepcopy(toy), task, drive.Uniform([SUM]), SMALL, steps=5, callback=lambda t: len(t.history) == 2
    )
    assert len(stopped) == 2


def test_several_updates_of_one_batch_are_clipped(toy):
    task = drive.ProgramTask([SUM])
    moved = []
    for updates in (1, 4):
        policy = copy.deepcopy(toy)
        config = drive.GRPOConfig(prompts=1, rollouts=32, max_new=14, updates=updates)
        drive.train_grpo(policy, task, drive.Uniform([SUM]), config, steps=1, seed=0)
        moved.append((weights_of(policy) - weights_of(toy)).norm().item())
    assert moved[1] > moved[0] > 0


def test_curriculum_selects_the_hardest_and_shrinks(toy):
    others = [drive.Problem((f, "clock", "smallest")) for f in ("neg", "odd", "big")]
    task = drive.ProgramTask([SUM, *others])
    schedule = drive.PreGRPOSchedule(phases=((3, 1), (2, 2)), rollouts=4)
    history = drive.train_pre_grpo(copy.deepcopy(toy), task, task.problems, schedule, SMALL, samples=32, seed=0)
    first, second = history.selected
    assert first[0] == tuple(others)  # never solved, in their order
    assert second[0] == tuple(others[:2])
    assert history.measured == 32 * (4 + 3)
    assert history.programs == [8, 16, 24]
    assert history.informative == [0.0, 0.0, 0.0]


def test_curriculum_can_leave_out_what_is_never_solved(toy):
    task = drive.ProgramTask([SUM, NEVER])
    schedule = drive.PreGRPOSchedule(phases=((2, 2),), rollouts=8, above=0.0)
    history = drive.train_pre_grpo(copy.deepcopy(toy), task, task.problems, schedule, SMALL, samples=64, seed=0)
    assert history.selected[0][0] == (SUM,)
    with pytest.raises(ValueError, match="leave no problem"):
        drive.train_pre_grpo(copy.deepcopy(toy), task, [NEVER], schedule, SMALL, samples=4, seed=0)
    stopped = drive.train_pre_grpo(
        copy.deepcopy(toy),
        task,
        task.problems,
        drive.PreGRPOSchedule(((2, 2), (1, 2)), 4),
        SMALL,
        samples=4,
        callback=lambda t: True,
    )
    assert len(stopped) == 1
    assert len(stopped.selected) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"prompts": 0},
        {"rollouts": 1},
        {"lr": 0.0},
        {"lr": "0.1"},
        {"clip": 0.0},
        {"agg": "mean"},
        {"updates": 1.5},
        {"eps": -1},
    ],
)
def test_settings_are_refused(settings):
    with pytest.raises((TypeError, ValueError), match=next(iter(settings))):
        drive.GRPOConfig(**settings)


def test_trainer_refuses_other_kinds(toy):
    task = drive.ProgramTask([SUM])
    for name, changed in (("policy", (None, drive.Uniform([SUM]))), ("sampler", (toy, [SUM]))):
        with pytest.raises(TypeError, match=name):
            drive.Trainer(changed[0], task, changed[1])
    with pytest.raises(TypeError, match="config"):
        drive.Trainer(toy, task, drive.Uniform([SUM]), {"prompts": 2})


# ------------------------------------------------------------------------------------------------------- language models


def test_trl_is_named_when_it_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trl", None)
    with pytest.raises(ModuleNotFoundError, match="pip install trl"):
        language_models.train_with_trl([], stage=1)
    with pytest.raises(ValueError, match="stage"):
        language_models.train_with_trl([], stage=3)


def test_trl_gets_the_papers_settings(monkeypatch):
    made = {}

    class Fake:
        GRPOConfig = staticmethod(lambda **settings: settings)

        class GRPOTrainer:
            def __init__(self, **given):
                made.update(given)

            def train(self):
                made["trained"] = True

    monkeypatch.setitem(__import__("sys").modules, "trl", Fake)
    language_models.train_with_trl("rows", stage=2, max_steps=3)
    assert made["trained"]
    assert made["model"] == "tencent/DRIVE-SFT"
    assert made["train_dataset"] == "rows"
    settings = made["args"]
    assert (settings["num_generations"], settings["max_completion_length"], settings["max_steps"]) == (64, 32768, 3)
    assert (settings["beta"], settings["epsilon"], settings["loss_type"]) == (0.0, 0.2, "grpo")
    assert language_models.PAPER_SETTINGS[1]["num_generations"] == 8


def test_the_last_block_of_a_completion_is_run():
    text = "```python\nprint(0)\n```\nbetter:\n```py\nprint(int(input()) + 1)\n```"
    assert language_models.program_of(text) == "print(int(input()) + 1)\n"
    assert language_models.program_of([{"role": "assistant", "content": text}]) == "print(int(input()) + 1)\n"
    assert language_models.program_of("print(1)") is None
    assert language_models.program_of([{"role": "assistant", "content": None}]) is None
    reward = language_models.reward_function()
    wanted = [{"input": "1", "output": "2\n"}, {"input": "5", "output": "6"}]
    assert reward(completions=[text, text, "nothing"], tests=[wanted, [*wanted, {"input": "0", "output": "0"}], wanted]) == [
        1.0,
        0.0,
        0.0,
    ]
    with pytest.raises(ValueError, match="tests"):
        language_models.passes("print(1)", [])


def test_rows_of_a_phase():
    class Rows(list):
        def select(self, places):
            return [self[place] for place in places]

    schedule = drive.PreGRPOSchedule(((2, 1), (1, 1)))
    assert language_models.hardest_of(Rows("abc"), [0.5, 0.1, 0.3], 0, schedule) == ["b", "c"]
    assert language_models.hardest_of(Rows("abc"), [0.5, 0.1, 0.3], 1, schedule) == ["b"]
    with pytest.raises(ValueError, match="pass_rates"):
        language_models.hardest_of(Rows("abc"), [0.5])


# --- odd use ---


def test_priority_takes_what_a_group_can_show_and_nothing_else():
    sampler = drive.Priority("ab", memory=1.0)
    for problem, successes, tries in (("z", 1, 2), ("a", 5, 2), ("a", -1, 2), ("a", float("nan"), 2), ("a", 0, 0)):
        with pytest.raises(ValueError, match=r"problem|successes|tries"):
            sampler.observe(problem, successes, tries)
    sampler.observe("a", 10**18, 10**18)
    sampler.observe("b", 10**18, 10**18)
    assert (sampler.weights() > 0).all()
    assert sorted(sampler.draw(2, 0)) == ["a", "b"]


@pytest.mark.parametrize("phases", [((2.5, 1),), (2, 1), "ab", ((2, 1, 1),), 3, None])
def test_phases_that_are_no_pairs_of_counts_are_named(phases):
    with pytest.raises((TypeError, ValueError), match="phases"):
        drive.PreGRPOSchedule(phases=phases)


@pytest.mark.parametrize(("p", "G"), [(0.1, 4), (0.5, 3), (0.9, 5)])
def test_expected_drift_is_the_mean_over_all_groups(p, G):
    for normalize in (True, False):
        mean = 0.0
        for bits in itertools.product((0, 1), repeat=G):
            rewards = np.array(bits, dtype=float)
            gains = rewards - rewards.mean()
            if normalize and 0 < sum(bits) < G:
                gains = gains / rewards.std(ddof=1)
            mean += np.prod(np.where(rewards == 1, p, 1 - p)) * np.mean(gains * (rewards - p))
        assert drive.expected_drift(p, G, normalize) == pytest.approx(mean, abs=1e-12)


def test_tokens_outside_the_vocabulary_and_words_that_are_none_are_named():
    problem = drive.Problem(["all", "same", "sum"])  # a list will do
    assert problem == drive.Problem(("all", "same", "sum"))
    task = drive.ProgramTask([problem])
    assert task.check(problem, problem.answer).passed
    for token in (-3, 999):
        with pytest.raises(ValueError, match="tokens must be"):
            task.check(problem, [token, task.end])
    for words in (None, "all same sum", 3):
        with pytest.raises(TypeError, match="words"):
            drive.Problem(words)
