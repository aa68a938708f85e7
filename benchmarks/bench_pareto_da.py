"""ParetoDA: cost of the linear program in every step, against HiGHS, and of a step against the base method."""

from __future__ import annotations

import numpy as np
import pytest

from lib.objectives.pareto_da import min_norm_weights, pareto_weights
from lib.objectives.pareto_da.study import Variant, conv_starts, random_program, stepper, warm_starts

#: Peer -> why ours takes longer.
SLOWER = {
    "DANN": "the method solves a small program in every step",
}

SIZES = (2, 4, 8, 16)


@pytest.mark.parametrize(("solver", "peer"), [("vertices", None), ("highs", "SciPy HiGHS")])
def test_program(benchmark, solver, peer):
    benchmark.extra_info.update(slug="pareto_da", work="one guided program of three objectives", peer=peer)
    benchmark(pareto_weights, *random_program(0), solver=solver)


@pytest.mark.parametrize(("method", "peer"), [("pareto", None), ("dann", "DANN"), ("mgda", "MGDA")])
def test_step(benchmark, method, peer):
    benchmark.extra_info.update(slug="pareto_da", work="one step on batches of 32 digits", peer=peer)
    benchmark(stepper(warm_starts(["M-O"], 400, 1, [0])[0], Variant(method, method)))


@pytest.mark.parametrize(("method", "peer"), [("pareto", None), ("dann", "DANN"), ("mgda", "MGDA")])
def test_step_with_convolutions(benchmark, method, peer):
    benchmark.extra_info.update(slug="pareto_da", work="one step on batches of 32 images of 16 x 16", peer=peer)
    benchmark(stepper(conv_starts(["M-O"], 400, 1, [0])[0], Variant(method, method)))


@pytest.mark.parametrize("size", SIZES)
def test_cost_grows_with_objectives(benchmark, size):
    benchmark.extra_info.update(slug="pareto_da", work="one guided program by HiGHS", size=size)
    benchmark(pareto_weights, *random_program(0, size, 20), solver="highs")


@pytest.mark.parametrize("size", SIZES)
def test_min_norm_grows_with_objectives(benchmark, size):
    benchmark.extra_info.update(slug="pareto_da", work="weights of the shortest combination", size=size)
    C, _ = random_program(np.random.default_rng(0), size, 20)
    benchmark(min_norm_weights, C)
