"""TODO: the checks of mogfn, the exact ones first."""

from lib.objectives import mogfn


def test_module_says_what_it_implements():
    assert "TODO" not in mogfn.__doc__
