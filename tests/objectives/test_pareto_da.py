"""TODO: the checks of pareto_da, the exact ones first."""

from lib.objectives import pareto_da


def test_module_says_what_it_implements():
    assert "TODO" not in pareto_da.__doc__
