"""The paper's four reward models, loaded from the hub by the packages that know them, each imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lib import checks
from lib.objectives.reno.losses import (
    PAPER_WEIGHTS,
    FeatureReward,
    clip_loss,
    hps_loss,
    image_reward_loss,
    pickscore_loss,
    preprocess,
)
from lib.objectives.reno.rewards import RewardEnsemble

CLIP = "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
PICKSCORE = "yuvalkirstain/PickScore_v1"
HPS = ("xswu/HPSv2", "HPS_v2.1_compressed.pt")


def imported(name: str, install: str) -> Any:
    """A package, or an ImportError that names it and says whether it is missing or fails."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name not in (None, name, name.partition(".")[0]):
            raise ImportError(f"the package {name} cannot be imported, because of what it needs itself: {error}") from error
        raise ImportError(f"this needs the package {name}, which is not installed: pip install {install}") from error


def paper_rewards(
    names: Sequence[str] = ("hps", "image_reward", "clip", "pickscore"),
    dtype: torch.dtype = torch.float16,
    device: Any = "cuda",
    weights: Mapping[str, float] | None = None,
) -> RewardEnsemble:
    """The paper's reward models with its weights; some 8 GB of downloads on first use.

    Parameters
    ----------
    names : sequence of {"hps", "image_reward", "clip", "pickscore"}
    dtype, device
        The paper's are float16 on one GPU.
    weights : mapping, optional
        In place of `PAPER_WEIGHTS`; 0 for a reward that is only watched.

    Raises
    ------
    ImportError
        Without transformers ("clip", "pickscore"), open_clip and huggingface_hub ("hps"), or ImageReward ("image_reward").

    Notes
    -----
    image-reward 1.5 was seen to work with transformers 4.38.2, timm 0.6.13, setuptools below 70 and openai-clip, which it needs
    and does not ask for; it cannot be imported beside transformers 5. "clip" and "pickscore" work with both.
    """
    for name in names:
        checks.choice("names", name, tuple(LOADERS))
    chosen = {**PAPER_WEIGHTS, **(weights or {})}
    return RewardEnsemble({name: (LOADERS[name](dtype, device).to(device, dtype).eval(), chosen[name]) for name in names})


def _clip(dtype: torch.dtype, device: Any, name: str = CLIP, loss: Any = clip_loss) -> nn.Module:
    transformers = imported("transformers", "transformers")
    model = transformers.CLIPModel.from_pretrained(name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(CLIP)

    def text_features(prompts: list[str]) -> Tensor:
        tokens = tokenizer(prompts, return_tensors="pt", padding=True, max_length=77, truncation=True).to(device)
        return _tensor(model.get_text_features(**tokens))

    return FeatureReward(
        lambda pixels: _tensor(model.get_image_features(pixels)),
        text_features,
        lambda image, text: loss(image, text, model.logit_scale),
        model,
    )


def _pickscore(dtype: torch.dtype, device: Any) -> nn.Module:
    return _clip(dtype, device, PICKSCORE, pickscore_loss)


def _hps(dtype: torch.dtype, device: Any) -> nn.Module:
    open_clip = imported("open_clip", "open-clip-torch")
    path = imported("huggingface_hub", "huggingface_hub").hf_hub_download(*HPS)
    model = open_clip.create_model("ViT-H-14")
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
    tokenizer = open_clip.get_tokenizer("ViT-H-14")
    return FeatureReward(
        model.encode_image, lambda prompts: model.encode_text(tokenizer(prompts).to(device)), hps_loss, model
    )  # fmt: skip


def _image_reward(dtype: torch.dtype, device: Any) -> nn.Module:
    return ImageReward(imported("ImageReward", "image-reward").load("ImageReward-v1.0"))


class ImageReward(nn.Module):
    """ImageReward-v1.0: BLIP reads the prompt (at most 35 tokens) with the image in view; a small network scores that."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, prompts: Any) -> Tensor:
        """The reward of each image, shape (n,)."""
        blip = self.model.blip
        tokens = blip.tokenizer(list(prompts), padding="max_length", truncation=True, max_length=35, return_tensors="pt")
        seen = blip.visual_encoder(preprocess(images))
        read = blip.text_encoder(
            tokens.input_ids.to(images.device),
            attention_mask=tokens.attention_mask.to(images.device),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:-1], dtype=torch.long, device=images.device),
            return_dict=True,
        ).last_hidden_state[:, 0]
        return -image_reward_loss(self.model.mlp(read.to(images.dtype)).squeeze(1), self.model.mean, self.model.std)


def _tensor(found: Any) -> Tensor:
    """Features, which newer versions of transformers wrap."""
    return getattr(found, "pooler_output", found)


LOADERS = {"hps": _hps, "image_reward": _image_reward, "clip": _clip, "pickscore": _pickscore}
