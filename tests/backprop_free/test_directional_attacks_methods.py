"""The four methods: exact first steps, constants of the paper, budgets, resuming, stops, bad input, the limits of each."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch

from lib.backprop_free import directional_attacks as da
from lib.backprop_free.directional_attacks import machines, study
from lib.backprop_free.directional_attacks.problem import SurrogateProblem

CENTER = np.linspace(-1, 1, 10)
METHODS = {
    "hybrid": da.maximize_hybrid, "cdsm": da.maximize_cdsm, "attacks": da.maximize_attacks,
    "lines": da.maximize_random_line_search,
}  # fmt: skip


def bowl(center=CENTER):
    goal = torch.tensor(center)
    return SurrogateProblem(lambda x: x - goal, lambda y: -(y**2).sum(), n=len(center))


def slanted(calls=None):
    weight = torch.tensor(np.random.default_rng(0).standard_normal((6, 4)))

    def phi(x):
        if calls is not None:
            calls.append(1)
        return torch.tanh(weight @ x)

    return SurrogateProblem(phi, lambda y: -((y - 0.3) ** 2).sum(), constraints=lambda x, y: x - 0.4, penalty_scale=2.0, n=4)


def call(name, problem, x0, **changes):
    changes = {"seed": 0} | changes
    if name == "attacks":
        changes.pop("seed")
    return METHODS[name](problem, x0, **changes)


def test_constants_are_those_of_the_paper():
    assert (machines.SUFFICIENT_GAIN, machines.TINY) == (1e-3, 1e-10)
    assert (machines.GROWS_MUCH, machines.GROWS, machines.SHRINKS) == (1.3, 1.1, 1.3)
    assert (machines.ATTACKS_AHEAD, machines.ATTACKS_SHRINK) == (1.1, 1.5)
    assert (machines.LINE_LENGTHS, machines.LINES_SHRINK) == ((1.1, 1.0, 1 / 1.1), 1.3)
    defaults = {name: p.default for name, p in inspect.signature(da.maximize_hybrid).parameters.items()}
    assert defaults["r0"] == 1.0
    assert defaults["r_dsm"] == (1e-5, 10.0)
    assert defaults["r_atk"] == (1e-6, 10.0)
    assert defaults["max_eval"] == 20_000
    assert defaults["attack"] == "fgsm"
    assert defaults["poll"] == "n+1"
    assert inspect.signature(da.maximize_cdsm).parameters["poll"].default == "2n"


@pytest.mark.parametrize("name", METHODS)
def test_evaluations_are_counted_once_and_never_exceed_the_budget(name):
    for budget in (1, 2, 7, 40, 133):
        calls = []
        res = call(name, slanted(calls), np.zeros(4), max_eval=budget, r0=0.3)
        assert res.nfev == min(budget, len(res.history["best"])) <= budget
        assert len(calls) == res.nfev + res.njev
        assert len(res.history["value"]) == res.nfev
        assert (np.diff(res.history["best"]) >= 0).all()
        assert res.fun == res.history["best"][-1] == res.history["value"].max()
        assert res.status == (0 if res.success else 1)
        assert not (res.nfev == budget and res.success and budget < 40)


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_trace_and_another_seed_another(name):
    first, second = (call(name, slanted(), np.zeros(4), max_eval=60, r0=0.3) for _ in range(2))
    np.testing.assert_array_equal(first.history["value"], second.history["value"])
    if name != "attacks":
        other = call(name, slanted(), np.zeros(4), max_eval=60, r0=0.3, seed=1)
        assert not np.array_equal(other.history["value"][:20], first.history["value"][:20])


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("cut", [1, 5, 18, 47])
def test_a_run_goes_on_as_if_it_had_not_stopped(name, cut):
    options = {"covering": "farthest"} if name in ("hybrid", "cdsm") else {}
    whole = call(name, slanted(), np.zeros(4), max_eval=90, r0=0.3, **options)
    part = call(name, slanted(), np.zeros(4), max_eval=cut, r0=0.3, **options)
    state = copy.deepcopy(part.state) if cut % 2 else pickle.loads(pickle.dumps(part.state))
    rest = METHODS[name](slanted(), max_eval=90 - cut, state=state)
    again = METHODS[name](slanted(), max_eval=90 - cut, state=state)
    joined = np.append(part.history["value"], rest.history["value"])
    np.testing.assert_array_equal(joined, whole.history["value"])
    np.testing.assert_array_equal(again.x, rest.x)
    np.testing.assert_array_equal(rest.x, whole.x)
    assert rest.nit + part.nit == whole.nit


def test_state_of_another_method_is_refused():
    part = call("cdsm", bowl(), CENTER + 1, max_eval=5)
    with pytest.raises(TypeError, match="state"):
        da.maximize_hybrid(bowl(), state=part.state)


@pytest.mark.parametrize("name", METHODS)
def test_a_bowl_is_solved(name):
    options = {} if name == "attacks" else {"max_eval": 5000, "r_dsm": (1e-8, 10.0)}
    res = call(name, bowl(), CENTER + 1.3, **options)
    if name == "attacks":
        assert res.success
    assert res.fun > (-1e-6 if name != "lines" else -0.1)


def test_cdsm_reaches_rounding_on_a_bowl():
    for seed in range(3):
        res = da.maximize_cdsm(bowl(), CENTER + 1.3, r_dsm=(1e-8, 10.0), max_eval=5000, seed=seed)
        assert res.fun > -1e-12


def first_hybrid_step(gain, r0=0.5):
    """One iteration on a linear function whose attack gains this share of the value."""
    weight = torch.tensor([3.0, -1.0], dtype=torch.float64)
    base = 4 * r0 / gain

    def f(y):
        return y.sum() + base

    problem = SurrogateProblem(lambda x: weight * x, f, n=2)
    return da.maximize_hybrid(problem, np.zeros(2), r0=r0, max_eval=2, seed=0), base


def test_a_large_gain_skips_the_direct_search_and_a_small_one_does_not():
    res, base = first_hybrid_step(2e-3)
    assert list(res.history["tag"]) == ["attack"]
    np.testing.assert_allclose(res.x, [0.5, -0.5])
    assert res.fun == pytest.approx(base + 2.0)
    assert res.history["r_atk"][0] == pytest.approx(1.3 * 0.5)
    assert res.history["r_dsm"][0] == 0.5
    res, _ = first_hybrid_step(0.5e-3)
    assert len(res.history["tag"]) == 0  # the iteration is not over
    assert res.state["machine"]["r_atk"] == pytest.approx(1.1 * 0.5)
    assert res.state["machine"]["tag"] == "attack+"
    assert machines.enough(1.001 + 1e-9, 1.0, 1e-3)
    assert not machines.enough(1.0009, 1.0, 1e-3)
    assert machines.enough(1e-13, 0.0, 1e-3)
    assert not machines.enough(0.99e-13, 0.0, 1e-3)


def test_radii_follow_the_steps():
    res = da.maximize_hybrid(slanted(), np.zeros(4), r0=0.3, max_eval=600, seed=3)
    seen, (low_a, high_a), (low_d, high_d) = res.history, (1e-6, 10.0), (1e-5, 10.0)
    atk, dsm = np.append(0.3, seen["r_atk"]), np.append(0.3, seen["r_dsm"])
    kinds = set()
    for k, tag in enumerate(seen["tag"]):
        kinds.add(tag)
        factor = 1.3 if tag == "attack" else 1.1 if tag.startswith("attack+") else 1 / 1.3
        assert atk[k + 1] == pytest.approx(np.clip(factor * atk[k], low_a, high_a))
        if tag == "attack":
            wanted = 2 * dsm[k] if dsm[k] <= low_d else dsm[k]
        elif tag.endswith(("poll", "search")):
            wanted = 2 * dsm[k]
        elif tag.endswith("covering") or dsm[k] <= low_d:
            wanted = dsm[k]
        else:
            wanted = dsm[k] / 2
        assert dsm[k + 1] == pytest.approx(np.clip(wanted, low_d, high_d))
    assert len(kinds) >= 4


def test_radii_of_the_direct_search_follow_its_steps():
    res = da.maximize_cdsm(slanted(), np.full(4, -1.0), r0=0.3, max_eval=600, seed=1)
    dsm = np.append(0.3, res.history["r_dsm"])
    factors = {"poll": 2.0, "search": 1.0, "covering": 1.0, "failure": 0.5}
    for k, tag in enumerate(res.history["tag"]):
        assert dsm[k + 1] == pytest.approx(np.clip(factors[tag] * dsm[k], 1e-5, 10))
    assert set(res.history["tag"]) >= {"poll", "failure"}
    steps = res.history["step"]
    assert set(steps) == {"start", "covering", "search", "poll"}


def test_length_of_the_search_step_grows_with_the_root():
    seen = []
    problem = SurrogateProblem(lambda x: x, lambda y: -(y**2).sum(), n=3)
    original = problem.outputs
    problem.outputs = lambda x: (seen.append(np.array(x)), original(x))[1]
    res = da.maximize_cdsm(problem, np.zeros(3), r0=0.2, r_dsm=(1e-3, 0.5), covering=None, seed=0)
    trials = np.array(seen)[res.history["step"] == "search"]
    wanted = np.minimum(0.2 * np.sqrt(np.arange(1, len(trials) + 1)), 0.5)
    np.testing.assert_allclose(abs(trials).max(axis=1), wanted)
    polled = np.array(seen)[res.history["step"] == "poll"]
    np.testing.assert_allclose(abs(polled[:6]).max(axis=1), 0.2)
    assert res.fun == 0
    assert res.success


def test_attacks_alone_by_hand():
    problem = SurrogateProblem(lambda x: x, lambda y: -(y**2).sum(), n=1)
    res = da.maximize_attacks(problem, [1.0], r0=1.0, r_atk=(0.05, 10.0))
    # 1.1: to -0.1, better. Then 1.21 and 1.1 fail, r = 1.1/1.5; and so on until a step is at most twice the distance.
    assert res.history["value"][:4] == pytest.approx([-1.0, -0.01, -(1.11**2), -1.0])
    np.testing.assert_allclose(res.history["r_atk"][:2], [1.1, 1.1 / 1.5])
    assert res.success
    assert res.state["machine"]["r_atk"] < 0.05


def test_random_lines_by_hand():
    def cliff(y):
        return -(y.abs().sum() > 0).double()

    res = da.maximize_random_line_search(SurrogateProblem(lambda x: x, cliff, n=2), [0.0, 0.0], r0=0.5, r_dsm=(0.2, 1), seed=0)
    radii = res.history["r_dsm"]
    np.testing.assert_allclose(radii[:3], 0.5)  # n + 1 failures first
    np.testing.assert_allclose(radii[3:], np.clip(0.5 / 1.3 ** np.arange(1, len(radii) - 2), 0.2, 1))
    assert res.nfev == 1 + 6 * len(radii)
    slope = SurrogateProblem(lambda x: x, lambda y: y.sum(), n=2)
    grows = da.maximize_random_line_search(slope, [0.0, 0.0], r0=0.1, max_eval=40, seed=0)
    steps = abs(np.diff(grows.history["x"], axis=0)).max(axis=1)
    np.testing.assert_allclose(grows.history["r_dsm"][steps > 0], steps[steps > 0])


def test_attacks_that_never_move_leave_the_direct_search():
    task = study.jump()
    options = {"r0": 0.5, "r_dsm": (1e-3, 10.0), "max_eval": 400, "seed": 4}
    ours = da.maximize_hybrid(task.problem, task.x0, attack=study.zero_attack, r_atk=(0.49, 0.5), **options)
    steps, values = ours.history["step"], ours.history["value"]
    # The same stream: after an attack that fails, the trials are those of cDSM with the same poll. (A search that succeeds
    # doubles the hybrid's radius, so the two agree until the first such success.)
    plain = da.maximize_cdsm(task.problem, task.x0, poll="n+1", **options)
    kept = values[steps != "attack"]
    gains = [t for t in ours.history["tag"] if t.endswith("search")]
    alike = len(kept) if not gains else int(np.flatnonzero(np.diff(ours.history["best"]) > 0)[0]) // 2
    m = min(alike, len(plain.history["value"]))
    assert m > 3
    np.testing.assert_array_equal(kept[:m], plain.history["value"][:m])
    assert all(tag.startswith("failure+") for tag in ours.history["tag"])


def test_covering_escapes_where_a_poll_stays():
    found = [study.reaches_jump("cdsm", 3000, seed=seed) for seed in range(4)]
    stays = [study.reaches_jump("cdsm", 3000, seed=seed, covering=None, search=False) for seed in range(4)]
    assert all(found)
    assert not any(stays)
    assert all(study.reaches_jump("hybrid", 4000, seed=seed) for seed in range(3))
    assert study.reaches_jump("cdsm", 3000, seed=0, covering="farthest")


def test_no_number_is_a_failure_and_a_start_without_one_an_error():
    def holes(y):
        return torch.where(y.sum() > 0.5, torch.nan, torch.where(y.sum() < -3, torch.inf, y.sum()))

    problem = SurrogateProblem(lambda x: x, holes, n=2)
    for name in METHODS:
        res = call(name, problem, np.zeros(2), max_eval=200, r0=0.5)
        assert np.isfinite(res.fun)
        assert 0 <= res.fun <= 0.5
    with pytest.raises(ValueError, match="x0"):
        da.maximize_cdsm(problem, np.ones(2), seed=0)


@pytest.mark.parametrize("name", METHODS)
def test_a_callback_can_stop(name):
    for answer in ("true", "raise"):
        seen = []

        def stop(intermediate_result, seen=seen, answer=answer):
            seen.append(intermediate_result.nit)
            if len(seen) == 3:
                if answer == "raise":
                    raise StopIteration
                return True

        res = call(name, bowl(), CENTER + 1, callback=stop)
        assert (res.status, res.success, res.nit, seen) == (99, False, 3, [1, 2, 3])


@pytest.mark.parametrize("gain", [0.0, np.inf])
def test_limits_of_the_sufficient_gain(gain):
    tags = da.maximize_hybrid(slanted(), np.full(4, -1.0), r0=0.1, max_eval=150, sufficient_gain=gain, seed=0).history["tag"]
    assert any(tag == "attack" for tag in tags) == (gain == 0)
    assert any(tag.startswith("attack+") for tag in tags) == (gain == np.inf)


def test_an_own_attack_is_used_and_checked():
    def half(phi, x, u, radius):
        return 0.5 * da.directional_attack(phi, x, u, radius)

    res = da.maximize_attacks(bowl(), CENTER + 1, attack=half, max_eval=2)
    np.testing.assert_allclose(res.x, CENTER + 1 - 0.55)
    for bad in (lambda *a: torch.ones(3), lambda *a: 5 * torch.ones(10), lambda *a: torch.full((10,), torch.nan)):
        with pytest.raises(ValueError, match="attack"):
            da.maximize_attacks(bowl(), CENTER, attack=bad)


def test_float32_networks_are_run_in_float32():
    kinds = set()

    def phi(x):
        kinds.add(x.dtype)
        return x * 2

    problem = SurrogateProblem(phi, lambda y: -(y**2).sum(), n=2, dtype=torch.float32)
    res = da.maximize_hybrid(problem, [1.0, 2.0], seed=0)
    assert kinds == {torch.float32}
    assert res.success
    assert res.x.dtype == np.float64
    assert abs(res.x).max() < 1e-3


@pytest.mark.parametrize(
    ("change", "match"),
    [({"r0": 0.0}, "r0"), ({"r_dsm": (1.0, 0.1)}, "r_dsm"), ({"r_atk": (0.0, 1.0)}, "r_atk"), ({"max_eval": 0}, "max_eval"),
     ({"attack": "cw"}, "attack"), ({"loss": "l1"}, "loss"), ({"sufficient_gain": -1.0}, "sufficient_gain"),
     ({"poll": "3n"}, "poll"),
     ({"covering": "all"}, "covering"), ({"covering_radius": -1.0}, "covering_radius"), ({"search": 1}, "search"),
     ({"seed": -1}, "seed"),
     ({"callback": 3}, "callback"), ({"x0": np.zeros(3)}, "x0"), ({"x0": None}, "x0"), ({"x0": np.full(10, np.nan)}, "x0"),
     ({"stop_at_minimum": 0}, "stop_at_minimum"), ({"problem": abs}, "problem"), ({"state": {}}, "state")],
)  # fmt: skip
def test_bad_settings_are_refused_by_name(change, match):
    with pytest.raises((ValueError, TypeError), match=match):
        da.maximize_hybrid(**{"problem": bowl(), "x0": CENTER + 1} | change)


def test_nothing_to_try_is_refused():
    with pytest.raises(ValueError, match="stop_at_minimum"):
        da.maximize_cdsm(bowl(), CENTER, covering=None, stop_at_minimum=False)


def test_small_radii_first_is_no_success_at_the_limit_of_the_budget():
    res = da.maximize_hybrid(bowl(), CENTER + 1, max_eval=30, seed=0)
    assert not res.success
    assert res.message == "max_eval evaluations are made"
