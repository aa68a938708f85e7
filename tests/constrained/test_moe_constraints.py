"""TODO: the checks of moe_constraints, the exact ones first."""

from lib.constrained import moe_constraints


def test_module_says_what_it_implements():
    assert "TODO" not in moe_constraints.__doc__
