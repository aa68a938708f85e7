"""The losses, reward models and one-step generators of the paper: formulas, and stand-ins for the packages behind them."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lib.objectives import reno
from lib.objectives.reno import diffusion, losses, reward_models

torch.set_num_threads(1)


def features(n=3, k=5, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.standard_normal((n, k))), torch.from_numpy(rng.standard_normal((n, k)))


# ---------------------------------------------------------------------------------------------------------------- losses


def test_losses_are_those_of_the_table():
    image, text = features()
    cos = torch.nn.functional.cosine_similarity(image, text)
    torch.testing.assert_close(losses.hps_loss(image, text), 1 - cos)
    torch.testing.assert_close(losses.clip_loss(image, text, math.log(100.0)), 100 - 100 * cos)
    torch.testing.assert_close(losses.pickscore_loss(image, text, torch.tensor(4.0).double()), 30 - math.exp(4.0) * cos)
    score = torch.tensor([0.16717362830052426, 1.2005130249059315])
    torch.testing.assert_close(losses.image_reward_loss(score), torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(losses.image_reward_loss(score, mean=0.0, std=2.0), 2 - score / 2)
    torch.testing.assert_close(losses.aesthetic_loss(torch.tensor([6.5])), torch.tensor([3.5]))
    assert losses.PAPER_WEIGHTS == {"hps": 5.0, "image_reward": 1.0, "clip": 0.01, "pickscore": 0.05, "aesthetic": 0.0}


def test_losses_do_not_mix_samples_and_do_not_feel_lengths():
    image, text = features()
    whole = losses.clip_loss(image, text, 1.0)
    torch.testing.assert_close(torch.cat([losses.clip_loss(image[i : i + 1], text[i : i + 1], 1.0) for i in range(3)]), whole)
    torch.testing.assert_close(losses.clip_loss(3 * image, text / 7, 1.0), whole)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: losses.hps_loss(torch.ones(2, 3), torch.ones(3, 3)), ValueError, "one shape"),
        (lambda: losses.hps_loss(torch.ones(3), torch.ones(3)), ValueError, "image_features"),
        (lambda: losses.hps_loss(torch.ones(2, 3), torch.full((2, 3), math.nan)), ValueError, "text_features"),
        (lambda: losses.aesthetic_loss(torch.ones(2, 1)), ValueError, "score"),
        (lambda: losses.preprocess(torch.ones(3, 8, 8)), ValueError, "images"),
        (lambda: losses.preprocess([1.0]), TypeError, "images"),
    ],
)
def test_bad_features_are_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(("height", "width"), [(512, 512), (300, 400), (400, 300), (100, 130), (224, 224)])
def test_preprocessing_is_that_of_pillow(height, width):
    images = torch.from_numpy(np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32))
    found = losses.preprocess(images)
    assert found.shape == (1, 3, 224, 224)
    short = min(height, width)
    size = (int(224 * height / short), int(224 * width / short))
    for channel in range(3):
        resized = np.asarray(Image.fromarray(images[0, channel].numpy()).resize(size[::-1], Image.Resampling.BICUBIC))
        top, left = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
        wanted = (resized[top : top + 224, left : left + 224] - losses.CLIP_MEAN[channel]) / losses.CLIP_STD[channel]
        np.testing.assert_allclose(found[0, channel].numpy(), wanted, atol=1e-4)


def test_a_text_is_encoded_once_and_the_reward_is_the_negative_loss():
    asked = []

    def text_features(prompts):
        asked.append(prompts)
        return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(prompts), 3)

    model = nn.Linear(3, 3)
    reward = losses.FeatureReward(lambda pixels: model(pixels.mean((2, 3))), text_features, losses.hps_loss, model)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    found = reward(images, ["a", "b"])
    wanted = (
        torch.nn.functional.cosine_similarity(model(losses.preprocess(images).mean((2, 3))), torch.tensor([[1.0, 0, 0]])) - 1
    )
    torch.testing.assert_close(found, wanted)
    assert torch.autograd.grad(found.sum(), images)[0].abs().max() > 0
    reward(images, ["a", "b"])
    reward(images, ("a", "c"))
    assert asked == [["a", "b"], ["a", "c"]]


# ---------------------------------------------------------------------------------------------- stand-ins of the packages


class Config(SimpleNamespace):
    pass


class Denoiser(nn.Module):
    def __init__(self, channels=4, doubled=False, side=8):
        super().__init__()
        self.config = Config(in_channels=4, sample_size=side)
        self.layer, self.doubled, self.seen = nn.Conv2d(4, 4 * (1 + doubled), 1), doubled, []

    def enable_gradient_checkpointing(self):
        self.checkpointed = True

    def forward(self, latents, timestep=None, return_dict=True, **given):
        self.seen.append((timestep, given))
        told = given["encoder_hidden_states"].mean((1, 2)).view(-1, 1, 1, 1)
        return (self.layer(latents + told.to(latents.dtype)),)

    @classmethod
    def load_config(cls, *source, **settings):
        CALLS.append(("load_config", source, settings))
        return "config"

    @classmethod
    def from_config(cls, config):
        assert config == "config"
        return cls(side=16)

    def load_state_dict(self, state):
        assert state == "weights"

    @classmethod
    def from_pretrained(cls, *source, **settings):
        CALLS.append((cls.__name__, source, settings))
        return cls(doubled=cls.__name__ == "Transformer")


class Transformer(Denoiser):
    pass


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.config = nn.Conv2d(4, 3, 1), Config(scaling_factor=0.5)

    enable_gradient_checkpointing = Denoiser.enable_gradient_checkpointing

    def decode(self, latents):
        self.seen = latents
        return SimpleNamespace(sample=3 * self.layer(latents))

    @classmethod
    def from_pretrained(cls, *source, **settings):
        CALLS.append(("AutoencoderKL", source, settings))
        return cls()


class Scheduler:
    """One step that adds fresh noise, as ancestral ones do."""

    init_noise_sigma = 14.6

    def __init__(self, name="own", config="own config", **settings):
        self.name, self.config, self.settings, self.steps = name, config, settings, []

    def set_timesteps(self, num_inference_steps=None, device=None, timesteps=None):
        self.steps.append((num_inference_steps, timesteps))
        self.timesteps = torch.tensor(timesteps or [999])

    def scale_model_input(self, latents, t):
        return latents / 2

    def step(self, output, t, latents, generator):
        fresh = torch.cat([torch.randn(1, *output.shape[1:], generator=g) for g in generator])
        return SimpleNamespace(prev_sample=latents / 10 + output + fresh, pred_original_sample=output - latents / 5 + fresh)


def scheduler_class(name):
    return SimpleNamespace(
        from_config=lambda config, **settings: Scheduler(name, config, **settings),
        from_pretrained=lambda *source, **settings: CALLS.append((name, source, settings)) or Scheduler(name),
    )


class Text(nn.Module):
    pass


class Pipe:
    vae_scale_factor = 8

    def __init__(self, name, parts):
        self.name, self.scheduler, self.vae = name, Scheduler(), parts.get("vae") or Decoder()
        self.text_encoder, self.asked = Text(), []
        if name == "PixArtAlphaPipeline":
            self.transformer = parts["transformer"]
        else:
            self.unet = parts.get("unet") or Denoiser()
        if "XL" in name:
            self.text_encoder_2 = Text()

    def to(self, device):
        self.placed = device
        return self

    def encode_prompt(self, prompts, **settings):
        self.asked.append((prompts, settings))
        states = torch.tensor([float(len(p)) for p in prompts]).view(-1, 1, 1).expand(-1, 2, 3)
        if "PixArt" in self.name:
            return states, torch.ones(len(prompts), 2), None, None
        return (states, None, states[:, 0], None) if "XL" in self.name else (states, None)


CALLS: list = []


@pytest.fixture
def packages(monkeypatch):
    """Stand-ins of diffusers, transformers and the rest; returns the calls that were made."""
    CALLS.clear()
    torch.manual_seed(0)

    def pipeline(name):
        def from_pretrained(source, **parts):
            CALLS.append((name, (source,), {k: v for k, v in parts.items() if not isinstance(v, nn.Module)}))
            return Pipe(name, parts)

        return SimpleNamespace(from_pretrained=from_pretrained)

    pipelines = {n: pipeline(n) for n in ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "PixArtAlphaPipeline")}
    schedulers = {n: scheduler_class(n) for n in ("EulerAncestralDiscreteScheduler", "DDPMScheduler", "LCMScheduler")}
    fake = SimpleNamespace(
        AutoencoderKL=Decoder, UNet2DConditionModel=Denoiser, PixArtTransformer2DModel=Transformer, **pipelines, **schedulers
    )

    def hf_hub_download(*source):
        CALLS.append(("download", source, {}))
        return "path"

    monkeypatch.setitem(sys.modules, "diffusers", fake)
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=hf_hub_download))
    monkeypatch.setitem(sys.modules, "safetensors", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "safetensors.torch", SimpleNamespace(load_file=lambda path: "weights"))
    return CALLS


def backend(name, **settings):
    return diffusion.diffusers_backend(name, dtype=torch.float32, device="cpu", **settings)


FP32 = {"torch_dtype": torch.float32}
SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
DMD = "PixArt-alpha/PixArt-Alpha-DMD-XL-2-512x512"
WANTED = {
    "sd-turbo": [("StableDiffusionPipeline", ("stabilityai/sd-turbo",), FP32 | {"variant": "fp16"})],
    "sdxl-turbo": [
        ("AutoencoderKL", ("madebyollin/sdxl-vae-fp16-fix",), FP32),
        ("StableDiffusionXLPipeline", ("stabilityai/sdxl-turbo",), FP32 | {"variant": "fp16"}),
    ],
    "pixart": [
        ("Transformer", (DMD,), FP32 | {"subfolder": "transformer"}),
        ("PixArtAlphaPipeline", ("PixArt-alpha/PixArt-XL-2-1024-MS",), FP32),
        ("DDPMScheduler", (DMD,), {"subfolder": "scheduler"}),
    ],
    "hyper-sd": [
        ("download", ("ByteDance/Hyper-SD", "Hyper-SDXL-1step-Unet.safetensors"), {}),
        ("load_config", (SDXL,), {"subfolder": "unet"}),
        ("StableDiffusionXLPipeline", (SDXL,), FP32 | {"variant": "fp16"}),
    ],
}
STEPS = {"sd-turbo": (1, None), "sdxl-turbo": (1, None), "pixart": (None, [400]), "hyper-sd": (None, [800])}


@pytest.mark.parametrize("name", diffusion.BACKENDS)
def test_generators_are_loaded_with_the_official_settings(packages, name):
    generator = backend(name)
    assert packages == WANTED[name]
    assert generator.noise_shape == ((4, 16, 16) if name == "hyper-sd" else (4, 8, 8))
    scheduler = generator.pipe.scheduler
    names = {"sd-turbo": "own", "sdxl-turbo": "EulerAncestralDiscreteScheduler", "pixart": "DDPMScheduler"}
    assert scheduler.name == names.get(name, "LCMScheduler")
    assert scheduler.settings == ({"timestep_spacing": "trailing"} if name == "sdxl-turbo" else {})
    for module in (generator.denoiser, generator.vae):
        assert module.checkpointed
        assert not module.training
        assert not any(p.requires_grad for p in module.parameters())


@pytest.mark.parametrize("name", diffusion.BACKENDS)
def test_an_image_is_one_step_of_the_scheduler(packages, name):
    generator = backend(name, seed=3)
    noise = torch.randn(2, *generator.noise_shape, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    images = generator(noise, ["cat", "a dog"])
    fresh = torch.randn(1, *generator.noise_shape, generator=torch.Generator().manual_seed(3))
    latents = noise * 14.6
    told = torch.tensor([3.0, 5.0]).view(2, 1, 1, 1)
    output = generator.denoiser.layer(latents / 2 + told)
    stepped = output[:, :4] - latents / 5 if name == "pixart" else latents / 10 + output
    scaled = (stepped + fresh) / (0.18215 if name == "sd-turbo" else 0.5)
    wanted = (3 * generator.vae.layer(scaled) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(images, wanted)
    assert generator.pipe.scheduler.steps == [STEPS[name]]
    assert torch.autograd.grad((images * torch.arange(3.0).view(1, 3, 1, 1)).sum(), noise)[0].abs().max() > 0
    assert generator(noise, ["cat", "a dog"]).equal(images)  # the noise of the scheduler is the same
    torch.testing.assert_close(generator(noise[1:], ["a dog"])[0], images[1])
    assert [prompts for prompts, _ in generator.pipe.asked] == [["cat", "a dog"], ["a dog"]]
    assert all(not settings["do_classifier_free_guidance"] for _, settings in generator.pipe.asked)
    assert not backend(name, seed=4)(noise, ["cat", "a dog"]).equal(images)


def test_larger_models_are_told_their_size_and_pixart_its_step(packages):
    generator = backend("hyper-sd")
    generator(torch.ones(2, 4, 16, 16), ["cat", "dog"])
    told = generator.denoiser.seen[-1][1]["added_cond_kwargs"]
    assert told["time_ids"].tolist() == [[128, 128, 0, 0, 128, 128]] * 2
    assert told["text_embeds"].shape == (2, 3)
    generator = backend("pixart")
    generator(torch.ones(2, 4, 8, 8), ["cat", "dog"])
    step, given = generator.denoiser.seen[-1]
    assert step.tolist() == [400, 400]
    assert given["encoder_attention_mask"].shape == (2, 2)
    assert generator.pipe.asked[0][1]["max_sequence_length"] == 120


def test_the_wide_decoder_gets_single_precision(packages):
    generator = diffusion.diffusers_backend("hyper-sd", dtype=torch.bfloat16, device="cpu")
    generator.denoiser.to(torch.bfloat16)
    images = generator(torch.ones(1, 4, 16, 16, dtype=torch.bfloat16), ["cat"])
    assert generator.vae.seen.dtype == torch.float32
    assert images.dtype == torch.bfloat16


def test_a_generator_is_optimized_from_end_to_end(packages):
    generator = backend("sd-turbo")
    bright = {"red": (lambda images, prompts: images[:, 0].mean((1, 2)), 10.0)}
    run = reno.NoiseOptimizer(generator, bright, n_iter=10)
    assert run.lr == reno.auto_lr(256)
    assert (run.run(["cat", "dog"], seed=0).gain > 0).all()


@pytest.mark.parametrize("missing", ["diffusers", "transformers"])
def test_a_missing_package_is_named(packages, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"needs the package {missing}"):
        backend("sd-turbo")


def test_other_names_are_refused(packages):
    with pytest.raises(ValueError, match="name must be one of 'sd-turbo'"):
        backend("sd3")
    with pytest.raises(ValueError, match="seed"):
        backend("sd-turbo", seed=-1)


# ---------------------------------------------------------------------------------------------------------- reward models


class Clip(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.name, self.layer, self.logit_scale = name, nn.Linear(3, 4), nn.Parameter(torch.tensor(math.log(100.0)))

    def get_image_features(self, pixels):
        found = self.layer(pixels.mean((2, 3)))
        return SimpleNamespace(pooler_output=found) if "laion" in self.name else found

    def get_text_features(self, tokens):
        return tokens

    encode_image, encode_text = get_image_features, get_text_features

    def load_state_dict(self, state):
        assert state == "hps weights"


class Tokens(dict):
    def to(self, device):
        return self


class Blip(nn.Module):
    def tokenizer(self, prompts, padding, truncation, max_length, return_tensors):
        assert (padding, truncation, max_length, return_tensors) == ("max_length", True, 35, "pt")
        ids = torch.tensor([[float(len(p))] * 35 for p in prompts])
        return SimpleNamespace(input_ids=ids, attention_mask=torch.ones(len(prompts), 35))

    def visual_encoder(self, pixels):
        return pixels.mean((2, 3)).unsqueeze(1).expand(-1, 7, 3)

    def text_encoder(self, ids, attention_mask, encoder_hidden_states, encoder_attention_mask, return_dict):
        assert encoder_attention_mask.shape == (len(ids), 7)
        return SimpleNamespace(last_hidden_state=encoder_hidden_states + ids[:, :1, None])


class ImageReward(nn.Module):
    mean, std = 0.5, 2.0

    def __init__(self):
        super().__init__()
        self.blip, self.mlp = Blip(), nn.Linear(3, 1)


def tokenizer(prompts, **settings):
    assert settings == {"return_tensors": "pt", "padding": True, "max_length": 77, "truncation": True}
    return Tokens(tokens=torch.tensor([[1.0, 0.0, 0.0, float(len(p))] for p in prompts]))


@pytest.fixture
def models(packages, monkeypatch):
    loaded = {}

    def load(name, *args):
        loaded[name] = ImageReward() if "Reward" in name else Clip(name)
        return loaded[name]

    def auto(name):
        assert name == "laion/CLIP-ViT-H-14-laion2B-s32B-b79K"
        return tokenizer

    fakes = {
        "transformers": SimpleNamespace(
            CLIPModel=SimpleNamespace(from_pretrained=load), AutoTokenizer=SimpleNamespace(from_pretrained=auto)
        ),
        "open_clip": SimpleNamespace(
            create_model=load,
            get_tokenizer=lambda name: (
                lambda prompts: tokenizer(prompts, return_tensors="pt", padding=True, max_length=77, truncation=True)["tokens"]
            ),
        ),
        "ImageReward": SimpleNamespace(load=load),
    }
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, name, fake)
    monkeypatch.setattr(torch, "load", lambda path, map_location, weights_only: {"state_dict": "hps weights"})
    return loaded


def test_reward_models_are_the_papers_with_its_weights(models, packages):
    rewards = reward_models.paper_rewards(dtype=torch.float32, device="cpu")
    assert rewards.weights == {"hps": 5.0, "image_reward": 1.0, "clip": 0.01, "pickscore": 0.05}
    assert ("download", ("xswu/HPSv2", "HPS_v2.1_compressed.pt"), {}) in packages
    images, prompts = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)), ["cat", "a dog"]
    values, total = rewards(images, prompts)
    pixels = losses.preprocess(images).mean((2, 3))
    text = torch.tensor([[1.0, 0.0, 0.0, 3.0], [1.0, 0.0, 0.0, 5.0]])
    cos = {n: losses.cosines(models[m].layer(pixels), text) for n, m in (("hps", "ViT-H-14"), ("clip", reward_models.CLIP),
                                                                         ("pickscore", reward_models.PICKSCORE))}  # fmt: skip
    torch.testing.assert_close(values["hps"], cos["hps"] - 1)
    torch.testing.assert_close(values["clip"], 100 * cos["clip"] - 100, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(values["pickscore"], 100 * cos["pickscore"] - 30, rtol=1e-4, atol=1e-3)
    score = models["ImageReward-v1.0"].mlp(pixels + torch.tensor([[3.0], [5.0]])).squeeze(1)
    torch.testing.assert_close(values["image_reward"], (score - 0.5) / 2 - 2)
    torch.testing.assert_close(
        total, 5 * values["hps"] + values["image_reward"] + 0.01 * values["clip"] + 0.05 * values["pickscore"]
    )
    assert not any(m.training for m in rewards.modules() if m is not rewards)


def test_reward_models_can_be_chosen_and_weighed(models):
    rewards = reward_models.paper_rewards(("clip", "pickscore"), torch.float32, "cpu", weights={"pickscore": 0.0})
    assert rewards.weights == {"clip": 0.01, "pickscore": 0.0}
    with pytest.raises(ValueError, match="names must be one of 'hps'"):
        reward_models.paper_rewards(("aesthetic",))


def test_a_package_that_fails_is_told_from_one_that_is_missing(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import a_package_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"broken_package cannot be imported.*a_package_that_nobody_has"):
        reward_models.imported("broken_package", "broken-package")
    with pytest.raises(
        ImportError, match="needs the package a_package_that_nobody_has, which is not installed: pip install it"
    ):
        reward_models.imported("a_package_that_nobody_has", "it")


@pytest.mark.parametrize(
    ("name", "missing"),
    [("clip", "transformers"), ("hps", "open_clip"), ("hps", "huggingface_hub"), ("image_reward", "ImageReward")],
)
def test_missing_reward_packages_are_named(models, monkeypatch, name, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"needs the package {missing}"):
        reward_models.paper_rewards((name,), torch.float32, "cpu")
