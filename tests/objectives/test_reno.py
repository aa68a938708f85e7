"""TODO: the checks of reno, the exact ones first."""

from lib.objectives import reno


def test_module_says_what_it_implements():
    assert "TODO" not in reno.__doc__
