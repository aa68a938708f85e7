"""TODO: the checks of sea_omd, the exact ones first."""

from lib.online import sea_omd


def test_module_says_what_it_implements():
    assert "TODO" not in sea_omd.__doc__
