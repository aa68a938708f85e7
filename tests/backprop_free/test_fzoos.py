"""TODO: the checks of fzoos, the exact ones first."""

from lib.backprop_free import fzoos


def test_module_says_what_it_implements():
    assert "TODO" not in fzoos.__doc__
