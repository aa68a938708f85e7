"""TODO: the paper's title (authors, year, venue, arXiv number).

TODO: what is implemented and what is not; symbol -> name -> shape -> equation number.
"""

__all__: list[str] = []
