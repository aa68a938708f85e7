"""Presets, seeds and determinism."""

import random
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from lib import experiment, papers


def test_presets_change_the_settings():
    values = {preset: experiment.start("anyloss", preset).values for preset in papers.PRESETS}
    assert values["smoke"] != values["book"] != values["full"]


def test_changes_replace_settings_and_none_keeps_them():
    name, value = next(iter(papers.sheet("anyloss").values("book").items()))
    config = experiment.start("anyloss", "book", **{name: 1})
    assert getattr(config, name) == 1
    assert config.changed == {name: 1}
    assert getattr(experiment.start("anyloss", "book", **{name: None}), name) == value


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"preset": "bok"}, ValueError, "unknown preset 'bok'; allowed: smoke, book, full"),
        ({"seed": -1}, ValueError, "seed must be an integer at least 0, got -1"),
        ({"seed": 1.5}, TypeError, "seed must be an integer at least 0, got 1.5"),
        ({"seed": True}, TypeError, "seed must be an integer"),
        ({"seed": "1"}, TypeError, "seed must be an integer"),
        ({"seed": float("nan")}, ValueError, "seed must be an integer"),
        ({"n_flods": 3}, ValueError, "anyloss has no setting n_flods; its settings: "),
    ],
)
def test_bad_arguments_say_what_is_allowed(arguments, error, message):
    with pytest.raises(error, match=message):
        experiment.start("anyloss", **arguments)


def test_unknown_setting_names_the_known_ones():
    with pytest.raises(AttributeError, match="'depth' is not a setting of anyloss"):
        _ = experiment.start("anyloss").depth


def test_start_seeds_every_generator():
    def draws(seed):
        experiment.start("anyloss", "smoke", seed)
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    first, again, other = draws(1), draws(1), draws(2)
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_start_keeps_every_library_to_one_thread():
    torch.set_num_threads(2)
    experiment.start("anyloss", "smoke")
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert {pool["num_threads"] for pool in threadpool_info()} <= {1}
    torch.use_deterministic_algorithms(False)


def test_axes_give_independent_generators_that_do_not_move():
    a, b = (experiment.rng(0, "data", fold).random(2000) for fold in (0, 1))
    np.testing.assert_array_equal(a, experiment.rng(0, "data", 0).random(2000))
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.1  # 4 standard errors of 2000 independent pairs
    assert experiment.rng(0, "noise", 0).random() != a[0]
    assert experiment.rng(1, "data", 0).random() != a[0]
    assert experiment.rng(0, "1").random() != experiment.rng(0, 1).random()


def test_seeds_are_the_same_in_every_process():
    # CRC-32 and SeedSequence are specified; a change here would silently change every stored result.
    assert experiment.seed_for(0, "data", 3) == 2510041057


def test_axes_are_what_prints_alike_in_every_process():
    assert experiment.seed_for(0, "data", np.int64(3)) == experiment.seed_for(0, "data", 3)
    assert experiment.seed_for(0, (1, np.float64(0.5))) == experiment.seed_for(0, (1, 0.5))
    for axis in (object(), print, np.zeros(3), {"a": 1}):
        with pytest.raises(TypeError, match="axes must be texts, numbers or tuples of these, got "):
            experiment.rng(0, axis)
    for seed, error in [(-1, ValueError), (0.5, TypeError), ("0", TypeError), (None, TypeError)]:
        with pytest.raises(error, match="seed must be an integer"):
            experiment.rng(seed, "data")


def test_time_ratio_sees_the_slower_one_and_takes_turns():
    assert experiment.time_ratio(lambda: sum(range(200_000)), lambda: sum(range(2_000)), repeats=3) > 5
    calls = []
    experiment.time_ratio(lambda: calls.append("ours"), lambda: calls.append("reference"), repeats=2)
    assert calls == ["ours", "reference"] * 2
    for bad, error in [(0, ValueError), (1.5, TypeError), ("2", TypeError)]:
        with pytest.raises(error, match="repeats must be an integer at least 1"):
            experiment.time_ratio(int, int, repeats=bad)
    with pytest.raises(TypeError, match="reference must be a function"):
        experiment.time_ratio(int, 3)


def test_cpu_seconds_count_work_and_finished_children_and_not_sleep():
    config = experiment.start("anyloss", "smoke")
    before = config.cpu_seconds()
    time.sleep(0.3)
    assert config.cpu_seconds() - before < 0.3
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    child = config.cpu_seconds() - before
    assert child >= 0.48  # the clocks tick every hundredth
    begin = time.process_time()
    while time.process_time() < begin + 0.3:
        pass
    assert config.cpu_seconds() - before >= child + 0.25  # the clock ticks every hundredth


def test_peak_memory_is_that_of_this_process():
    before = experiment.peak_memory_mb()
    ballast = np.ones(40_000_000)
    assert experiment.peak_memory_mb() - before > 0 or before > ballast.nbytes / 1e6
    assert 50 < experiment.peak_memory_mb() < 20_000


def test_without_unix_modules_lib_imports_and_memory_is_told_by_psutil(monkeypatch):
    pytest.importorskip("psutil")
    monkeypatch.setitem(sys.modules, "resource", None)  # as on Windows
    assert 50 < experiment.peak_memory_mb() < 20_000
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert np.isnan(experiment.peak_memory_mb())
    code = (
        "import sys\nfor name in ('resource', 'fcntl'): sys.modules[name] = None\nimport lib.record, lib.experiment, lib.claims"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
