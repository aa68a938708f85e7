"""TODO: the checks of constrained_rlhf, the exact ones first."""

from lib.policies import constrained_rlhf


def test_module_says_what_it_implements():
    assert "TODO" not in constrained_rlhf.__doc__
