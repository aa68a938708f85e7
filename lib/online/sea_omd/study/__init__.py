"""What the chapter's experiments use: streams with known noise and drift, streams of real data, rivals, races."""

from lib.online.sea_omd.study.rivals import OFTRL, OGD, ONS, Ader, AdaGradNorm, CoinBetting
from lib.online.sea_omd.study.streams import RandomOrder, Stream, stream

__all__ = ["OFTRL", "OGD", "ONS", "AdaGradNorm", "Ader", "CoinBetting", "RandomOrder", "Stream", "stream"]
