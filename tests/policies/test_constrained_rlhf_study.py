"""The study of constrained RLHF: text, the learned reward, the evaluation score, bandits, runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from lib import weights as files
from lib.policies import constrained_rlhf as crl
from lib.policies.constrained_rlhf import study
from lib.policies.constrained_rlhf.study import calibrate, fixed, make_weights, protocols, weights
from lib.policies.constrained_rlhf.study.text import END, MOST, PAD, PROMPT, UNKNOWN

TEXT = study.corpus()


@pytest.fixture(scope="module")
def base():
    return study.load()


@pytest.fixture(scope="module")
def setting():
    return study.Setting(study.Plan(iterations=2, episodes=8, epochs=1, n_eval=6, eval_every=1), seed=0)


# ----------------------------------------------------------------------------------------------------------------- text


def test_clauses_end_at_marks_and_drop_commas():
    assert study.clauses("He went, and came; who? I will go") == [
        ["he", "went", "and", "came", ";"], ["who", "?"], ["i", "will", "go"],
    ]  # fmt: skip
    with pytest.raises(TypeError, match="text"):
        study.clauses(3)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("and why is thy countenance fallen ?", "question"),
        ("shall we go up ?", "question"),
        ("thou shalt not steal .", "command"),
        ("let him be seen ;", "command"),
        ("for i will give it unto thee .", "promise"),
        ("then will i answer :", "promise"),
        ("and he died .", "statement"),
        ("and the let was long .", "statement"),
    ],
)
def test_intents_by_rule(line, wanted):
    assert study.INTENTS[study.intent(line.split())] == wanted
    with pytest.raises(TypeError, match="words"):
        study.intent(line)


def test_pairs_are_within_the_vocabulary_and_the_splits_apart():
    seen = {}
    for split, pairs in TEXT.pairs.items():
        assert len(pairs) == len(TEXT.intents[split]) > 1000
        for prompt, reference in pairs:
            assert 1 <= len(prompt) <= PROMPT
            assert reference[-1] == END
            assert len(reference) <= study.MAX_NEW
            assert 3 <= len(reference) - 2 <= MOST
            assert UNKNOWN not in reference
            assert PAD not in reference
        seen[split] = {(*prompt, -1, *reference) for prompt, reference in pairs}
    shared = seen["train"] & seen["test"]
    assert len(shared) < 0.02 * len(seen["test"])  # formulas that the book repeats


def test_words_and_tokens():
    line = ["and", "god", "said"]
    assert TEXT.decode(TEXT.encode(line)) == "and god said"
    assert TEXT.encode(["zzz"]) == [UNKNOWN]
    assert TEXT.decode([PAD, END]) == ""
    with pytest.raises(TypeError):
        TEXT.encode("and god")
    rows = TEXT.draw("test", 50, 0)
    assert len(set(rows.tolist())) == 50
    assert rows.tolist() == TEXT.draw("test", 50, 0).tolist()
    with pytest.raises(ValueError, match="split"):
        TEXT.draw("nowhere", 1, 0)


# ----------------------------------------------------------------------------------------------------- the learned reward


def test_intent_model_is_a_stationary_point_and_beats_the_largest_class():
    model = study.fit_intents(TEXT, ridge=1e-2, split="test")
    x = np.zeros((len(TEXT.pairs["test"]), len(TEXT.words)))
    for row, (_, reference) in enumerate(TEXT.pairs["test"]):
        x[row, [t for t in reference if t != END]] = 1
    labels = torch.from_numpy(TEXT.intents["test"])
    w = torch.tensor(model.weights, requires_grad=True)
    logits = torch.from_numpy(x) @ w + torch.from_numpy(model.bias)
    counts = torch.bincount(labels).double()
    balance = len(labels) / (4 * counts)
    loss = (torch.nn.functional.cross_entropy(logits, labels, balance, reduction="sum")) / len(labels)
    (loss + 0.5e-2 * w.square().sum()).backward()
    assert w.grad.abs().max() < 1e-4


def test_shipped_intent_model_makes_few_mistakes(base):
    most = (TEXT.intents["test"] == 0).mean()
    found = study.accuracy(base.intents, TEXT)
    assert most + 0.1 < found < 1
    assert found == pytest.approx(base.origin["accuracy"], abs=0.01)
    tokens, mask = torch.tensor([[5, 6, END, PAD]]).numpy(), np.array([[True, True, True, False]])
    assert base.intents.predict(tokens, mask).tolist() == base.intents.predict(tokens[:, ::-1][:, 2:], mask[:, :2]).tolist()


def test_intent_reward_is_agreement(base):
    reward = study.IntentReward(base.intents)
    ask, tell = TEXT.encode(["who", "art", "thou", "?"]), TEXT.encode(["and", "he", "died", "."])
    assert reward([[3]] * 3, [ask, tell, ask], [ask, tell, tell]).tolist() == [1, 1, 0]


def test_bags_refuse_bad_input():
    with pytest.raises(ValueError, match="mask"):
        study.bags([[3]], [[1]], 5)
    with pytest.raises(ValueError, match="tokens"):
        study.bags([[9]], [[True]], 5)


# ---------------------------------------------------------------------------------------------------- evaluation score


def test_meteor_reward_ignores_the_end():
    assert study.meteor_reward([[3]], [[5, 6, 7]], [[5, 6, 7, END]])[0] == pytest.approx(4 * (1 - 0.5 / 27))


def test_score_is_linear_between_its_ends():
    low, high = np.array(study.LOW), np.array(study.HIGH)
    assert study.score((low + high) / 2) == pytest.approx(0.5)
    better = (low + high) / 2
    better[0] = high[0]
    assert study.score(better) == pytest.approx(0.5 + 0.5 / 6 / 1)  # of six metrics each weighs a sixth
    assert (high > low).all()


def test_metrics_by_hand():
    said = [TEXT.encode(["and", "he", "went", "out"]), TEXT.encode(["and", "he", "went", "in"])]
    found = study.metrics(TEXT, said, said)
    assert found[:3] == pytest.approx(1)
    assert found[3:].tolist() == [4, 1.5, 1.0]  # and he went (twice), he went out, he went in


def test_collapsed_responses_score_below_references():
    references = [reference for _, reference in TEXT.pairs["validation"][:100]]
    collapsed = [TEXT.encode(["and", "he", "died", "."])] * 100
    ours, theirs = (study.score(study.metrics(TEXT, said, references)) for said in (collapsed, references))
    assert ours < theirs


# -------------------------------------------------------------------------------------------------------------- bandits


@pytest.mark.parametrize("rho", [-0.8, 0.0, 0.8])
def test_instance_has_the_moments_it_says(rho):
    toy = study.instance(rho, responses=60, seed=3)
    assert toy.bandit.values([0, 0]) == pytest.approx([0, 0], abs=1e-10)
    assert toy.bandit.covariance([0, 0]) == pytest.approx(np.array([[1, rho], [rho, 1]]), abs=1e-10)


def test_single_and_joint_points_are_maxima():
    toy = study.instance(0.5, responses=200, seed=1)
    grid = np.linspace(-1.6, 1.6, 81)
    best = max(toy.score([a, b]) for a in grid for b in grid)
    mu, values = study.joint_point(toy)
    assert toy.score(mu) >= best - 1e-9
    assert values == pytest.approx(toy.bandit.values(mu))
    for reward in (0, 1):
        alone, theta = study.single_point(toy, reward)
        way = np.eye(2)[reward]
        assert toy.score(alone * way) >= max(toy.score(m * way) for m in grid if m >= 0) - 1e-6
        assert theta == pytest.approx(toy.bandit.values(alone * way)[reward])


def test_a_reward_that_never_helps_has_its_point_at_the_start():
    toy = study.instance(0.0, responses=100, seed=0)
    harmful = dataclasses.replace(toy, gold=-toy.bandit.rewards[0])
    assert study.single_point(harmful, 0)[0] == 0


def test_primal_oracle_meets_thresholds():
    toy = study.instance(0.3, responses=50, seed=5)
    theta = toy.bandit.values([0.1, -0.05])
    pi = study.primal(toy.bandit, theta)
    assert toy.bandit.rewards @ pi == pytest.approx(theta, abs=1e-8)
    assert pi.sum() == pytest.approx(1)


# ----------------------------------------------------------------------------------------------------------------- runs


def test_every_run_trains_and_is_looked_at(setting):
    for name in study.RUNS:
        run = study.run(setting, name)
        looks = [1, 2] if name in study.ENDS else [0, 1, 2]
        assert run.tested == looks
        assert len(run.test) == len(looks)
        assert run.scores().shape == (len(looks),)
        assert run.seconds > 0
        assert len(run.validation) == (3 if name in study.STOPPED else 0)
        if name in study.STOPPED:
            assert run.rewards("validation").shape == (3, 2)
            assert 0 <= run.best() <= 2


def test_runs_of_a_setting_share_the_start_and_repeat(setting):
    one, two = study.run(setting, "xi-PPO"), study.run(setting, "PPO")
    assert one.test[0].score == two.test[0].score
    again = study.run(setting, "xi-PPO")
    assert again.scores().tolist() == one.scores().tolist()


def test_looking_does_not_change_what_is_learned(setting):
    rare = study.Setting(dataclasses.replace(setting.plan, eval_every=2), seed=0)
    often, seldom = study.run(setting, "mu-PPO"), study.run(rare, "mu-PPO")
    assert seldom.tested == [0, 2]
    assert seldom.test[-1].score == often.test[-1].score


def test_frozen_multipliers_stay(setting):
    history = study.run(setting, "frozen").history.array("weights")
    assert np.ptp(history) == 0
    assert history[0] == pytest.approx(0.5, abs=0.01)


def test_thresholds_of_the_runs(setting):
    joint = np.array(study.THRESHOLDS)
    wanted = {
        "xi-PPO low": 0.9 * joint, "xi-PPO": joint, "xi-PPO high": 1.1 * joint, "xi-PPO plain": joint,
        "xi-PPO single": study.SINGLE, "xi-PPO first": study.FIRST,
    }  # fmt: skip
    for name, theta in wanted.items():
        run = study.run(setting, name)
        assert run.history.array("thresholds")[-1] == pytest.approx(theta)


def test_looks_at_the_end_are_those_of_a_run_with_all_looks(setting):
    last = study.run(setting, "xi-PPO plain")
    whole = study.follow(setting, setting.trainer("xi", **protocols.RUNS["xi-PPO plain"][3]), ("test",))
    assert whole.tested == [0, 1, 2]
    assert whole.scores()[1:].tolist() == last.scores().tolist()


def test_plain_multipliers_are_not_squashed_and_have_their_own_rate(setting):
    rates = {"xi-PPO plain": fixed.XI_PLAIN_RATE, "mu-PPO plain": fixed.MU_PLAIN_RATE}
    for name, kind in (("xi-PPO plain", "equality"), ("mu-PPO plain", "inequality")):
        variant, _, theta, own = study.RUNS[name]
        multipliers = setting.trainer(variant, None, theta, **own).multipliers
        assert (multipliers.kind, multipliers.squash, multipliers.lr) == (kind, False, rates[name])
        assert multipliers.weights().tolist() == [0.5, 0.5]
        assert multipliers.coefficients()[0] == 1  # (6)


def test_every_method_is_tuned_inside_its_grid(setting):
    for chosen, grid in ((study.ALPHAS, study.GRID), (study.SAT_ALPHAS, study.SAT_GRID)):
        assert all(min(axis) < value < max(axis) for value, axis in zip(chosen, grid, strict=True))
        assert all(value in axis for value, axis in zip(chosen, grid, strict=True))
    for rate in (fixed.XI_RATE, fixed.XI_PLAIN_RATE, fixed.MU_PLAIN_RATE):
        assert rate in study.RATES[1:-1]
    for rate in (fixed.MU_RATE, fixed.ALL_RATE):
        assert rate in study.SIGMOID_RATES[1:-1]
    assert len(study.RATES) == len(study.SIGMOID_RATES)
    assert np.size(study.GRID) == np.size(study.SAT_GRID)
    made = {name: setting.trainer(v, alphas, theta, **own) for name, (v, alphas, theta, own) in study.RUNS.items()}
    assert made["PPO-SAT"].alphas.tolist() == list(study.SAT_ALPHAS)
    assert made["All-PPO"].multipliers.lr == fixed.ALL_RATE
    assert made["mu-PPO"].multipliers.lr == fixed.MU_RATE
    assert made["xi-PPO"].multipliers.lr == setting.plan.multiplier_lr == fixed.XI_RATE


def test_calibration_prints_what_is_fixed(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(calibrate, "PLAN", study.Plan(iterations=2, episodes=4, epochs=1, n_eval=8, eval_every=1))
    assert calibrate.main(["--looks", str(tmp_path / "looks.npz")]) == 0
    lines = capsys.readouterr().out.splitlines()
    looks = np.load(tmp_path / "looks.npz")
    assert looks["rewards"].shape == (11 * 3, 2)
    assert looks["scores"].shape == (11 * 3,)
    (seen,) = (line for line in lines if line.startswith("SEEN ="))
    ends = looks["rewards"].reshape(11, 3, 2)[:, -1].max(0)
    np.testing.assert_allclose([float(value) for value in seen.split("[")[1].rstrip("]").split(",")], ends, atol=5e-4)
    for name, grid in (("ALPHAS", study.GRID), ("SAT_ALPHAS", study.SAT_GRID)):
        (line,) = (line for line in lines if line.startswith(f"{name} ="))
        assert all(float(value) in axis for value, axis in zip(line.split("(")[1].rstrip(")").split(","), grid, strict=True))
    for name in ("XI_RATE", "MU_RATE", "XI_PLAIN_RATE", "MU_PLAIN_RATE", "ALL_RATE"):
        (line,) = (line for line in lines if line.startswith(f"{name} ="))
        assert float(line.split("=")[1]) in (study.SIGMOID_RATES if name in ("MU_RATE", "ALL_RATE") else study.RATES)
    for name in ("LOW", "HIGH", "SEEN", "SINGLE", "FIRST", "THRESHOLDS"):
        assert sum(line.startswith(f"{name} =") for line in lines) == 1
    assert sum("score by look" in line for line in lines) == 11 + 9 + 5 * 5


def test_calibration_refuses_a_file_without_a_folder(capsys, tmp_path):
    with pytest.raises(SystemExit):
        calibrate.main(["--looks", str(tmp_path / "none" / "looks.npz")])
    assert "--looks" in capsys.readouterr().err


def test_search_stays_within_its_budget(setting):
    found = study.search(setting, evaluations=3)
    assert found.tried.shape == (3, 2)
    assert len(found.scores) == 3
    assert found.theta.tolist() == found.tried[found.scores.argmax()].tolist()
    assert found.samples > found.run.history.episodes


def test_validation_and_test_prompts_are_apart(setting):
    assert setting.rows["validation"].tolist() != setting.rows["test"].tolist()
    texts = {split: {tuple(TEXT.pairs[split][row][1]) for row in setting.rows[split]} for split in ("validation", "test")}
    assert not texts["validation"] & texts["test"]


def test_unknown_run_and_split(setting):
    with pytest.raises(ValueError, match="name"):
        study.run(setting, "PPO++")
    with pytest.raises(ValueError, match="split"):
        study.run(setting, "PPO").scores("train")


# -------------------------------------------------------------------------------------------------------------- weights


def test_shipped_file_says_where_it_comes_from(base):
    assert base.origin["command"].startswith("python -m lib.policies.constrained_rlhf.study.make_weights")
    assert base.losses[-100:].mean() < base.losses[:10].mean() - 2


def test_base_policy_ends_too_early(base):
    pairs = TEXT.pairs["validation"][:60]
    said = study.sample(base.policy, [prompt for prompt, _ in pairs], seed=0)
    assert np.mean([len(words) for words in said]) < np.mean([len(reference) for _, reference in pairs]) - 3


def test_load_checks_the_hash(tmp_path):
    wrong = tmp_path / "weights.npz"
    wrong.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="SHA-256"):
        study.load(path=wrong)
    with pytest.raises(FileNotFoundError):
        study.load(path=tmp_path / "none.npz")


def test_pack_is_read_back(tmp_path, monkeypatch):
    policy = study.new_policy()
    model = study.IntentModel(np.zeros((1503, 4)), np.array([1.0, 0, 0, 0]))
    data = weights.pack(policy, model, np.arange(3.0), {"command": "x"})
    path = tmp_path / "own.npz"
    path.write_bytes(data)
    monkeypatch.setattr(files, "read", lambda slug, sha, path: path.read_bytes())
    again = study.load(n_values=3, dtype="float32", path=path)
    assert again.origin == {"command": "x"}
    assert again.policy.value_heads.weight.abs().max() == 0
    close = torch.allclose(again.policy.tokens.weight, policy.tokens.weight, atol=1e-3)
    assert close
    assert again.intents.bias.tolist() == [1, 0, 0, 0]


def test_demonstrations_are_mostly_cut():
    prompts, answers = make_weights.demonstrations(TEXT, seed=0)
    references = [reference for _, reference in TEXT.pairs["train"]]
    cut = [a != r for a, r in zip(answers, references, strict=True)]
    assert len(prompts) == len(answers)
    assert 0.6 < np.mean(cut) < 0.8
    for answer, reference in zip(answers[:500], references, strict=False):
        assert answer[-1] == END
        assert answer[:-1] == reference[: len(answer) - 1]


def test_make_weights_refuses_bad_options():
    with pytest.raises(SystemExit):
        make_weights.main(["--steps", "0"])


def test_plan_has_four_updates_a_pass():
    assert protocols.Plan(episodes=64).config().minibatch == 16
    assert crl.PPOConfig().beta == 0.2
