"""TODO: the checks of drive, the exact ones first."""

from lib.policies import drive


def test_module_says_what_it_implements():
    assert "TODO" not in drive.__doc__
