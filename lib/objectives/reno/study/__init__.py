"""What only the chapter's experiments use: scenes, the small text-to-image system and its training, watched runs."""

from lib.objectives.reno.study.layouts import DOMAINS, FAMILIES, PLACES, sample_layouts
from lib.objectives.reno.study.protocols import (
    VERDICTS,
    OnSphere,
    Plan,
    Watched,
    agreement,
    climb,
    first_noise,
    landscape,
    other_prompts,
    pull,
    scores,
    spectrum,
    verdicts,
)
from lib.objectives.reno.study.scenes import COLORS, SLICES, describe, real_scenes, sample_prompts, understand
from lib.objectives.reno.study.training import REWARDS, Steps
from lib.objectives.reno.study.weights import DigitSystem, LayoutSystem, load_layouts, load_system

__all__ = [
    "COLORS",
    "DOMAINS",
    "FAMILIES",
    "PLACES",
    "REWARDS",
    "SLICES",
    "VERDICTS",
    "DigitSystem",
    "LayoutSystem",
    "OnSphere",
    "Plan",
    "Steps",
    "Watched",
    "agreement",
    "climb",
    "describe",
    "first_noise",
    "landscape",
    "load_layouts",
    "load_system",
    "other_prompts",
    "pull",
    "real_scenes",
    "sample_layouts",
    "sample_prompts",
    "scores",
    "spectrum",
    "understand",
    "verdicts",
]
