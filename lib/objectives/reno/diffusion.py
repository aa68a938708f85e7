"""The paper's one-step generators, by the package diffusers, which is imported when it is used.

    from lib.objectives.reno.diffusion import diffusers_backend
    from lib.objectives.reno.reward_models import paper_rewards
    optimizer = NoiseOptimizer(diffusers_backend("sd-turbo"), paper_rewards())
    result = optimizer.run(["A red dog and a green cat"], seed=0)

Written after the official code's settings. The paper's weights are large and need a GPU; tests run all four backends through
diffusers itself with tiny random weights on a CPU, in single and in half precision, where that package is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lib import checks
from lib.objectives.reno.reward_models import imported


@dataclass(frozen=True)
class Backend:
    """Where a generator comes from and how it makes an image in one step; guidance is off in all.

    weights, variant : of the pipeline
    pipeline : class of diffusers
    vae : weights of another decoder
    denoiser : (weights, subfolder or file) of another denoiser
    scheduler : class of diffusers, None for the pipeline's own
    scheduler_weights : whose settings the scheduler has, None for the pipeline's
    scheduler_settings : in place of those
    timesteps : the one step, None for what the scheduler gives for one
    output : of the scheduler's step that is decoded
    scaling : of latents before they are decoded, None for the decoder's own
    wide_decoder : whether it works in float32
    """

    weights: str
    pipeline: str
    variant: str | None = "fp16"
    vae: str | None = None
    denoiser: tuple[str, str] | None = None
    scheduler: str | None = None
    scheduler_weights: str | None = None
    scheduler_settings: dict[str, Any] = field(default_factory=dict)
    timesteps: tuple[int, ...] | None = None
    output: str = "prev_sample"
    scaling: float | None = None
    wide_decoder: bool = False


_DMD = "PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512"
#: Settings of the official code.
BACKENDS = {
    "sd-turbo": Backend("stabilityai/sd-turbo", "StableDiffusionPipeline", scaling=0.18215),
    "sdxl-turbo": Backend(
        "stabilityai/sdxl-turbo", "StableDiffusionXLPipeline", vae="madebyollin/sdxl-vae-fp16-fix",
        scheduler="EulerAncestralDiscreteScheduler", scheduler_settings={"timestep_spacing": "trailing"},
    ),
    "pixart": Backend(
        "PixArt-alpha/PixArt-XL-2-1024-MS", "PixArtAlphaPipeline", variant=None, denoiser=(_DMD, "transformer"),
        scheduler="DDPMScheduler", scheduler_weights=_DMD, timesteps=(400,), output="pred_original_sample",
    ),
    "hyper-sd": Backend(
        "stabilityai/stable-diffusion-xl-base-1.0", "StableDiffusionXLPipeline",
        denoiser=("ByteDance/Hyper-SD", "Hyper-SDXL-1step-Unet.safetensors"),
        scheduler="LCMScheduler", timesteps=(800,), wide_decoder=True,
    ),
}  # fmt: skip


def diffusers_backend(
    name: str, dtype: torch.dtype = torch.float16, device: Any = "cuda", seed: Any = 0
) -> DiffusersGenerator:  # fmt: skip
    """One of the paper's one-step models as a generator for `NoiseOptimizer`.

    Parameters
    ----------
    name : {"sd-turbo", "sdxl-turbo", "pixart", "hyper-sd"}
    dtype, device
        The paper's are float16 on one GPU; sd-turbo with all rewards takes some 15 GB, hyper-sd more than 40.
    seed : int
        Of the noise that an ancestral scheduler adds, the same in every call.

    Raises
    ------
    ImportError
        Without diffusers and transformers; for hyper-sd also huggingface_hub and safetensors.
    ValueError
        For another name.
    """
    checks.choice("name", name, tuple(BACKENDS))
    settings, seed = BACKENDS[name], checks.integer("seed", seed, low=0)
    diffusers = imported("diffusers", "diffusers transformers")
    imported("transformers", "transformers")
    parts: dict[str, Any] = {}
    if settings.vae:
        parts["vae"] = diffusers.AutoencoderKL.from_pretrained(settings.vae, torch_dtype=dtype)
    if settings.denoiser and settings.pipeline == "PixArtAlphaPipeline":
        source, folder = settings.denoiser
        kind = getattr(diffusers, "PixArtTransformer2DModel", None) or diffusers.Transformer2DModel
        parts["transformer"] = kind.from_pretrained(source, subfolder=folder, torch_dtype=dtype)
    elif settings.denoiser:
        path = imported("huggingface_hub", "huggingface_hub").hf_hub_download(*settings.denoiser)
        config = diffusers.UNet2DConditionModel.load_config(settings.weights, subfolder="unet")
        parts["unet"] = diffusers.UNet2DConditionModel.from_config(config).to(dtype)
        parts["unet"].load_state_dict(imported("safetensors.torch", "safetensors").load_file(path))
    if settings.variant:
        parts["variant"] = settings.variant
    pipe = getattr(diffusers, settings.pipeline).from_pretrained(settings.weights, torch_dtype=dtype, **parts)
    if settings.scheduler:
        kind = getattr(diffusers, settings.scheduler)
        pipe.scheduler = (
            kind.from_pretrained(settings.scheduler_weights, subfolder="scheduler")
            if settings.scheduler_weights
            else kind.from_config(pipe.scheduler.config, **settings.scheduler_settings)
        )
    return DiffusersGenerator(pipe.to(device), settings, dtype, device, seed)


class DiffusersGenerator:
    """One step of a pipeline of diffusers, differentiable in its noise and the same in every call.

    Parameters
    ----------
    pipe : DiffusionPipeline
    settings : Backend
    dtype, device, seed
        See `diffusers_backend`.

    Attributes
    ----------
    noise_shape : tuple of int
        (4, 64, 64) of the 512-pixel models, (4, 128, 128) of hyper-sd.
    """

    def __init__(self, pipe: Any, settings: Backend, dtype: torch.dtype, device: Any, seed: int = 0) -> None:
        self.pipe, self.settings, self.dtype, self.device, self.seed = pipe, settings, dtype, device, seed
        self.denoiser = getattr(pipe, "transformer", None) or pipe.unet
        self.vae, self.text_encoder = pipe.vae, pipe.text_encoder
        self.text_encoder_2 = getattr(pipe, "text_encoder_2", None)
        if settings.wide_decoder:
            self.vae.to(dtype=torch.float32)
        for module in (self.denoiser, self.vae, self.text_encoder, self.text_encoder_2):
            if module is not None:
                module.eval()
                module.requires_grad_(False)
        for module in (self.denoiser, self.vae):  # from diffusers 0.33 on this also works in evaluation mode
            module.enable_gradient_checkpointing()
        config = self.denoiser.config
        self.noise_shape = (config.in_channels, config.sample_size, config.sample_size)
        self._known: tuple[tuple[str, ...], dict[str, Any]] | None = None

    def __call__(self, noise: Tensor, prompts: Any) -> Tensor:
        """Images (n, 3, H, W) in [0, 1] of noise (n, 4, h, w)."""
        settings, scheduler = self.settings, self.pipe.scheduler
        if settings.timesteps:
            scheduler.set_timesteps(timesteps=list(settings.timesteps), device=self.device)
        else:
            scheduler.set_timesteps(1, device=self.device)
        given, latents = self._conditions(prompts), noise.to(self.dtype) * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            output = self._denoise(scheduler.scale_model_input(latents, t), t, given)
            fresh = [torch.Generator(self.device).manual_seed(self.seed) for _ in range(len(latents))]
            latents = getattr(scheduler.step(output, t, latents, generator=fresh), settings.output)
        latents = latents / (settings.scaling or self.vae.config.scaling_factor)
        decoded = self.vae.decode(latents.float() if settings.wide_decoder else latents).sample
        return (decoded / 2 + 0.5).clamp(0, 1).to(self.dtype)

    def _denoise(self, latents: Tensor, t: Any, given: dict[str, Any]) -> Tensor:
        if hasattr(self.pipe, "unet"):
            return self.denoiser(latents, t, return_dict=False, **given)[0]
        steps = torch.as_tensor(t, device=latents.device).reshape(1).expand(len(latents))
        output = self.denoiser(latents, timestep=steps, return_dict=False, **given)[0]
        return output.chunk(2, dim=1)[0] if output.shape[1] == 2 * latents.shape[1] else output  # without learned variances

    def _conditions(self, prompts: Any) -> dict[str, Any]:
        """What the denoiser knows of the prompts; does not depend on noise, so it is made once."""
        key = tuple(prompts)
        if self._known is None or self._known[0] != key:
            with torch.no_grad():
                self._known = key, self._encoded(list(prompts))
        return self._known[1]

    def _encoded(self, prompts: list[str]) -> dict[str, Any]:
        if not hasattr(self.pipe, "unet"):  # PixArt
            states, mask, *_ = self.pipe.encode_prompt(
                prompts, do_classifier_free_guidance=False, device=self.device, max_sequence_length=120
            )
            conditions = {"resolution": None, "aspect_ratio": None}
            return {"encoder_hidden_states": states, "encoder_attention_mask": mask, "added_cond_kwargs": conditions}
        settings = {"device": self.device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        if self.text_encoder_2 is None:
            return {"encoder_hidden_states": self.pipe.encode_prompt(prompts, **settings)[0]}
        states, _, pooled, _ = self.pipe.encode_prompt(prompts, **settings)
        side = self.noise_shape[1] * self.pipe.vae_scale_factor
        sizes = torch.tensor([[side, side, 0, 0, side, side]] * len(prompts), dtype=states.dtype, device=states.device)
        return {"encoder_hidden_states": states, "added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}
