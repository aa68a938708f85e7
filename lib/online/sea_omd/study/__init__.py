"""What the chapter's experiments use: streams with known noise and drift, streams of real data, rivals, races."""

from lib.online.sea_omd.study.protocols import Tuned, against_any, contestants, dynamic_race, race, tuned
from lib.online.sea_omd.study.real import LogisticStream, arrival, signed_rows
from lib.online.sea_omd.study.rivals import OFTRL, OGD, ONS, Ablated, AdaGradNorm, Ader, CoinBetting
from lib.online.sea_omd.study.squares import SquaresStream, largest_on_ball
from lib.online.sea_omd.study.streams import RandomOrder, Stream, stream

__all__ = [
    "OFTRL",
    "OGD",
    "ONS",
    "Ablated",
    "AdaGradNorm",
    "Ader",
    "CoinBetting",
    "LogisticStream",
    "RandomOrder",
    "SquaresStream",
    "Stream",
    "Tuned",
    "against_any",
    "arrival",
    "contestants",
    "dynamic_race",
    "largest_on_ball",
    "race",
    "signed_rows",
    "stream",
    "tuned",
]
