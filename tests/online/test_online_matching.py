"""TODO: the checks of online_matching, the exact ones first."""

from lib.online import online_matching


def test_module_says_what_it_implements():
    assert "TODO" not in online_matching.__doc__
