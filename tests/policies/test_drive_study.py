"""The study of the drive chapter: division of problems, shipped policies, second stages at equal programs, exact cases."""

import itertools

import numpy as np
import pytest
import torch

from lib.policies import drive
from lib.policies.drive import study
from lib.policies.drive.language import HIDDEN, TESTS
from lib.policies.drive.study import make_weights, weights

SMALL = study.Plan(
    stage1=1, prompts1=1, broad=12, pool=6, keep=(4, 3), phases=(1, 1), prompts2=1, rollouts=8, fresh=4, n_test=2
)


@pytest.fixture(scope="module")
def shipped():
    return study.load_policy("stage 1")[0]


# ------------------------------------------------------------------------------------------------------------- problems


def test_no_two_problems_have_the_same_words_or_outputs():
    given = study.problems()
    every = [*given.training, *(q for level in drive.LEVELS for q in given.held_out[level])]
    assert len({q.words for q in every}) == len(every)
    assert len({q.outputs(TESTS) for q in every}) == len(every)
    assert len({q.outputs(TESTS + HIDDEN) for q in every}) == len(every)


def test_problems_are_not_degenerate_and_stand_at_their_level():
    given = study.problems()
    assert not any(drive.is_degenerate(q) for q in given.training)
    for level, some in given.held_out.items():
        assert {q.level for q in some} == {level}
        assert len(some) == study.HELD_OUT[level]


def test_demonstrated_problems_are_training_problems_and_not_in_the_pool_of_the_second_stage():
    given = study.problems()
    assert set(given.demonstrated) <= set(given.training)
    assert not set(given.pool(120)) & set(given.demonstrated)
    assert not set(given.pool(120)) & set(given.broad(240))
    assert {q.level for q in given.pool(5)} == {"hard"}


def test_the_broad_set_holds_all_levels_and_sizes_are_those_asked_for():
    given = study.problems()
    for n in (12, 240):
        assert len(given.broad(n)) == n
    assert {q.level for q in given.broad(240)} == set(drive.LEVELS)
    assert len(given.tests(2)) == 6
    for bad in (0, 121, 2.5, "3", None):
        with pytest.raises((TypeError, ValueError)):
            given.pool(bad)
    with pytest.raises(ValueError, match="hard problems"):
        given.broad(5000)


def test_the_division_depends_on_its_seed_only():
    assert study.problems(0) == study.problems.__wrapped__(0)
    assert study.problems(0).training != study.problems(1).training


def test_demonstrations_are_right_wordy_or_wrong_as_asked():
    rng, given = np.random.default_rng(0), study.problems()
    task = drive.ProgramTask(given.demonstrated)

    def share(**noise):
        shown = itertools.islice(itertools.cycle(given.demonstrated), 400)
        return np.mean([task.check(q, study.demonstration(q, rng, **noise), hidden=True).passed for q in shown])

    assert share(wrong=0.0, wordy=1.0) == 1.0  # zeros in front change no output
    assert share(wrong=1.0, wordy=0.0) < 0.1  # another word is nearly always another function
    assert 0.68 < share() < 0.85
    longer = study.demonstration(given.demonstrated[0], rng, wrong=0, wordy=1)
    assert 2 <= len(longer) - len(given.demonstrated[0].answer) <= 8
    for bad in (-0.1, 1.1, np.nan, "0.2"):
        with pytest.raises((TypeError, ValueError)):
            study.demonstration(given.demonstrated[0], rng, wrong=bad)


# ------------------------------------------------------------------------------------------------------------- policies


def test_shipped_policies_have_their_origin_and_fit_every_prompt_and_answer():
    base, origin = study.load_policy("base")
    assert {"command", "commit", "torch", "numpy", "cpu", "cpu_seconds"} <= set(origin)
    given = study.problems()
    longest = max(len(q.prompt) + len(q.answer) for q in given.training)
    assert longest <= weights.CONTEXT
    assert base.tokens.weight.dtype == torch.float64
    assert study.load_policy("base", "single")[0].tokens.weight.dtype == torch.float32


def test_a_changed_file_of_weights_is_refused(tmp_path):
    path = tmp_path / "drive.weights.npz"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="SHA-256"):
        study.load_policy("base", path=path)
    with pytest.raises(FileNotFoundError, match="make_weights"):
        study.load_policy("base", path=tmp_path / "none.npz")
    for stage, precision in (("stage 2", "double"), ("base", "half")):
        with pytest.raises(ValueError, match="must be one of"):
            study.load_policy(stage, precision)


def test_packed_policies_come_back_in_half_precision(tmp_path, monkeypatch):
    import hashlib

    data = weights.pack({stage: study.new_policy(3) for stage in study.STAGES}, {"command": "x"})
    monkeypatch.setattr(weights, "WEIGHTS_SHA256", hashlib.sha256(data).hexdigest())
    path = tmp_path / "drive.weights.npz"
    path.write_bytes(data)
    again, origin = weights.load_policy("stage 1", "single", path)
    assert origin == {"command": "x"}
    for ours, theirs in zip(again.parameters(), study.new_policy(3).parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-3)


def test_the_script_writes_what_it_says(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(make_weights, "DEMONSTRATIONS", 20)
    out = tmp_path / "drive.weights.npz"
    assert make_weights.main(["--supervised", "1", "--steps", "1", "--seed", "2", "--out", str(out)]) == 0
    assert "SHA-256" in capsys.readouterr().out
    assert out.stat().st_size < 2e6
    with pytest.raises(SystemExit):
        make_weights.main(["--steps", "0"])


def test_stage_one_lifts_the_shipped_policy(shipped):
    plan = study.Plan(n_test=16)
    before = study.held_out(study.load_policy("base")[0], plan, 0)
    after = study.held_out(shipped, plan, 0)
    assert study.pass_rate(after, "easy") > study.pass_rate(before, "easy")
    assert 0.02 < study.pass_rate(after, "hard") < 0.6


# ------------------------------------------------------------------------------------------------------------ protocols


@pytest.mark.parametrize("arm", list(study.ARMS))
def test_second_stages_draw_equal_numbers_of_programs_and_leave_the_start_alone(arm, shipped):
    before = [p.clone() for p in shipped.parameters()]
    end = study.second_stage(arm, shipped, SMALL, np.random.default_rng(3))
    assert all(torch.equal(a, b) for a, b in zip(before, shipped.parameters(), strict=True))
    programs = end.history.programs[-1]
    wanted = 8 * SMALL.prompts1 * SMALL.steps
    assert programs == wanted if arm != "dynamic" else wanted <= programs < wanted + 8 * 8
    curriculum = arm in ("hardest", "solvable", "stage 2 only")
    assert bool(end.history.measured) == curriculum
    assert [len(kept) for kept, _ in end.history.selected] == (
        [4, 3] if curriculum and arm != "solvable" else [len(k) for k, _ in end.history.selected]
    )
    if arm == "solvable":
        assert min(rates.min() for _, rates in end.history.selected) > 0
    assert end.seconds > 0


def test_second_stages_are_repeatable(shipped):
    first, second = (study.second_stage("whole", shipped, SMALL, np.random.default_rng(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.policy.parameters(), second.policy.parameters(), strict=True))


def test_plans_refuse_unequal_steps():
    with pytest.raises(ValueError, match="equal numbers of programs"):
        study.Plan(prompts1=16, prompts2=4, rollouts=64)
    with pytest.raises(ValueError, match="one entry a phase"):
        study.Plan(keep=(40, 20), phases=(1, 1, 1))
    with pytest.raises(ValueError, match="must be one of"):
        study.second_stage("easiest", study.new_policy(), SMALL, 0)


def test_held_out_evaluations_are_of_their_level(shipped):
    found = study.held_out(shipped, SMALL, 1)
    assert list(found) == list(drive.LEVELS)
    assert all(len(e.successes) == 2 and e.samples == 8 for e in found.values())
    without = study.held_out(shipped, SMALL, 1, entropy=False)
    assert np.isfinite(found["hard"].entropy)
    assert np.isnan(without["hard"].entropy)
    assert all((without[level].successes == found[level].successes).all() for level in drive.LEVELS)
    whole = drive.evaluate(shipped, drive.ProgramTask(study.problems().tests(2)), study.problems().tests(2), 8, 48, seed=1)
    assert np.concatenate([e.successes for e in found.values()]).tolist() == whole.successes.tolist()


def test_clusters_hold_every_problem_once_and_an_unchanged_policy_gains_nothing(shipped):
    plan = study.Plan(broad=24, fresh=16)
    gains = study.cluster_gains(shipped, shipped, plan, np.random.default_rng(0))
    assert sum(n for _, n in gains.values()) == 24
    total = sum(gain * n for gain, n in gains.values() if n) / 24
    assert abs(total) < 0.15
    bounds = [high - low + 1 for low, high in study.CLUSTERS.values()]
    assert sum(bounds) == 17


def test_rare_cases_are_solved_now_and_then():
    pool, rates = study.problems().pool(6), [0.0, 0.5, 0.125, 0.125, 0.0, 0.25]
    draws = [study.rare_cases(pool, rates, 3, seed) for seed in range(10)]
    assert all(set(cases[:2]) == {pool[2], pool[3]} and cases[2] == pool[5] for cases in draws)
    assert len({cases[0] for cases in draws}) == 2  # equals come in random order
    assert len(study.rare_cases(pool, rates, 9, 0)) == 4
    with pytest.raises(ValueError, match="one rate for each"):
        study.rare_cases(pool, rates[:3], 1, 0)


def test_single_cases_record_each_group_in_order(shipped):
    cases = study.problems().pool(3)[:2]
    found = study.single_case(shipped, cases, 4, 3, SMALL, 0)
    task = drive.ProgramTask(cases)
    for case, (passed, programs) in found.items():
        assert passed.shape == (3, 4)
        assert len(programs) == 12
        # Truncated answers have no end token: they fail, whatever their text says.
        right = [task.check_source(case, program).passed for program in programs]
        assert all(text for text, yes in zip(right, passed.ravel(), strict=True) if yes)


def test_standard_errors_are_those_of_paired_differences():
    first = drive.Evaluation(np.array([0, 2, 4]), 4, 0.1, 0.0, 9.0, {})
    second = drive.Evaluation(np.array([2, 2, 4]), 4, 0.1, 0.0, 9.0, {})
    assert study.standard_error(first, second, 33) == pytest.approx(np.std([0.5, 0, 0], ddof=1) / 33**0.5)


# --------------------------------------------------------------------------------------------------------------- theory


@pytest.mark.parametrize("group", [2, 3, 8])
@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_exact_cases_agree_with_the_closed_forms(p, group):
    assert study.enumerated_informative(p, group) == pytest.approx(drive.informative_probability(p, group), abs=1e-12)
    assert study.traced_drift(p, group) == pytest.approx(drive.expected_drift(p, group), rel=1e-10)


def test_entropy_slope_is_the_derivative():
    rng = np.random.default_rng(1)
    logits, update = torch.tensor(rng.normal(size=5), requires_grad=True), rng.normal(size=5)
    p = logits.softmax(0)
    (slope,) = torch.autograd.grad(-(p * p.log()).sum(), logits)
    assert study.entropy_slope(logits.detach().numpy(), update) == pytest.approx(float(slope.numpy() @ update), rel=1e-10)
    assert study.entropy_slope([2.0, 0.0], [1.0, 0.0]) < 0 < study.entropy_slope([2.0, 0.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="shape"):
        study.entropy_slope([1.0, 2.0], [1.0])


def test_enumerated_pass_at_k():
    assert study.enumerated_pass_at_k([1, 1, 1] + [0] * 7, 5) == pytest.approx(0.916667, abs=1e-6)
    for outcomes, k in (([0] * 17, 2), ([0, 1], 3), ([0, 2], 1), ([], 1)):
        with pytest.raises((TypeError, ValueError)):
            study.enumerated_pass_at_k(outcomes, k)
