"""The paper's generators through the real package diffusers: tiny pipelines of random weights, built from configurations.

Nothing is downloaded: each pipeline is saved to a folder, and `diffusers_backend` loads it from there by the same calls that
load the paper's weights. Skipped where diffusers and transformers are not installed. Seen to pass on a CPU with torch 2.13.0,
diffusers 0.42.1, transformers 5.24.0, safetensors 0.8.0, huggingface_hub 2.4.0; and with the official code's diffusers 0.30.0
and transformers 4.38.2 (there with torch 2.12.1).
"""

import copy
import json
from dataclasses import replace

import pytest
import torch

from lib.objectives import reno
from lib.objectives.reno import diffusion, reward_models

diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)
PROMPTS = ["a red cat", "two dogs"]
BRIGHT = {"red": (lambda images, prompts: images[:, 0].float().mean((1, 2)), 1.0)}


def tokenizer(folder):
    """Letters as CLIP's tokens."""
    letters = [chr(code) for code in range(97, 123)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)


def text_config(**settings):
    size = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 52, "eos_token_id": 53, "pad_token_id": 53}
    return transformers.CLIPTextConfig(vocab_size=54, max_position_embeddings=16, projection_dim=32, **size, **ends, **settings)


def decoder():
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    return diffusers.AutoencoderKL(block_out_channels=[8, 8], norm_num_groups=4, latent_channels=4, **blocks)


def unet(**settings):
    return diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, norm_num_groups=4, attention_head_dim=(2, 4),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **settings,
    )  # fmt: skip


def stable(folder):
    """A folder with a tiny Stable Diffusion."""
    pipe = diffusers.StableDiffusionPipeline(
        unet=unet(cross_attention_dim=32), vae=decoder(), text_encoder=transformers.CLIPTextModel(text_config()),
        scheduler=diffusers.EulerDiscreteScheduler(timestep_spacing="trailing"), tokenizer=tokenizer(folder / "words"),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder / "pipe")
    return str(folder / "pipe")


def large(folder):
    """A folder with a tiny Stable Diffusion XL, its decoder beside it, and weights of another denoiser."""
    both = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "transformer_layers_per_block": (1, 2)}
    settings = {"cross_attention_dim": 64, "use_linear_projection": True, "projection_class_embeddings_input_dim": 80, **both}
    pipe = diffusers.StableDiffusionXLPipeline(
        unet=unet(**settings), vae=decoder(), text_encoder=transformers.CLIPTextModel(text_config()),
        text_encoder_2=transformers.CLIPTextModelWithProjection(text_config()), tokenizer=tokenizer(folder / "words"),
        tokenizer_2=tokenizer(folder / "more words"), scheduler=diffusers.EulerDiscreteScheduler(), add_watermarker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder / "pipe")
    decoder().save_pretrained(folder / "vae")
    from safetensors.torch import save_file

    save_file(unet(**settings).state_dict(), folder / "unet.safetensors")
    return str(folder / "pipe")


class Words:
    """Stands in for T5's tokenizer, whose vocabulary is a download."""

    model_max_length = 120

    def __call__(self, prompts, max_length=120, **settings):
        rows = [[ord(letter) % 100 for letter in prompt][:max_length] for prompt in prompts]
        ids = torch.tensor([row + [0] * (max_length - len(row)) for row in rows])
        return transformers.BatchEncoding({"input_ids": ids, "attention_mask": (ids > 0).long()})

    def batch_decode(self, ids):
        return [str(row) for row in ids]


def alpha(folder):
    """A folder with the parts of a tiny PixArt-alpha that can be saved."""
    size = {
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": 16,
        "caption_channels": 32,
        "num_layers": 2,
    }
    kind = {"norm_type": "ada_norm_single", "num_embeds_ada_norm": 1000, "use_additional_conditions": False}
    transformer = diffusers.PixArtTransformer2DModel(sample_size=8, patch_size=2, in_channels=4, out_channels=8, **size, **kind)
    torch.nn.init.normal_(transformer.proj_out.weight)
    transformer.save_pretrained(folder / "transformer")
    diffusers.DDPMScheduler().save_pretrained(folder / "scheduler")
    words = transformers.T5Config(vocab_size=100, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    return transformers.T5EncoderModel(words)


@pytest.fixture(params=diffusion.BACKENDS)
def generator(request, tmp_path, monkeypatch):
    """Each backend with its own settings, but for where its weights lie."""
    torch.manual_seed(0)
    name, settings = request.param, diffusion.BACKENDS[request.param]
    places = {"weights": "", "variant": None}
    if name == "pixart":
        encoder, vae = alpha(tmp_path), decoder()
        pipe = diffusers.PixArtAlphaPipeline
        monkeypatch.setattr(pipe, "from_pretrained", lambda source, torch_dtype, transformer: pipe(
            tokenizer=Words(), text_encoder=copy.deepcopy(encoder), vae=copy.deepcopy(vae), transformer=transformer,
            scheduler=diffusers.DDPMScheduler(),
        ).to(torch_dtype))  # fmt: skip
        places |= {"denoiser": (str(tmp_path), "transformer"), "scheduler_weights": str(tmp_path)}
    else:
        places["weights"] = stable(tmp_path) if name == "sd-turbo" else large(tmp_path)
        places["vae"] = str(tmp_path / "vae") if settings.vae else None
    if name == "hyper-sd":
        places["denoiser"] = (str(tmp_path), "unet.safetensors")
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda folder, name: f"{folder}/{name}")
    monkeypatch.setitem(diffusion.BACKENDS, name, replace(settings, **places))
    return diffusion.diffusers_backend(name, dtype=torch.float32, device="cpu")


def test_the_gradient_reaches_the_noise(generator):
    noise = torch.randn(2, *generator.noise_shape, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    images = generator(noise, PROMPTS)
    assert images.shape == (2, 3, 16, 16)
    assert 0 <= images.detach().min() < images.detach().max() <= 1
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    slope = torch.autograd.grad((weights * images).sum(), noise)[0]
    assert torch.isfinite(slope).all()
    assert (slope.flatten(1).norm(dim=1) > 1e-6).all()
    step = 1e-2 * slope / slope.norm()
    with torch.no_grad():
        above, below = ((weights * generator(noise + sign * step, PROMPTS)).sum() for sign in (1, -1))
    assert ((above - below) / 2e-2).item() == pytest.approx(slope.norm().item(), rel=0.05)


def test_the_map_is_a_function_of_noise_and_prompt_in_each_sample(generator):
    noise = torch.randn(2, *generator.noise_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        images = generator(noise, PROMPTS)
        assert generator(noise, PROMPTS).equal(images)
        torch.testing.assert_close(generator(noise[1:], PROMPTS[1:])[0], images[1], rtol=1e-4, atol=1e-4)
        assert not generator(noise, PROMPTS[::-1]).allclose(images, atol=1e-6)
        assert not generator(noise[[1, 0]], PROMPTS).allclose(images, atol=1e-3)


def test_the_climb_runs_and_leaves_the_weights(generator):
    before = [weight.clone() for weight in generator.denoiser.parameters()]
    result = reno.NoiseOptimizer(generator, BRIGHT, n_iter=8, lr=1.0).run(PROMPTS, seed=0)
    assert (result.gain > 0).all()
    assert all(torch.equal(a, b) for a, b in zip(before, generator.denoiser.parameters(), strict=True))
    assert all(weight.grad is None for weight in generator.denoiser.parameters())


@pytest.mark.parametrize("name", ["clip", "pickscore"])
def test_rewards_of_transformers_climb(name, tmp_path, monkeypatch):
    torch.manual_seed(0)
    vision = {"image_size": 224, "patch_size": 56, "hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 4}
    sizes = {"vision_config": {**vision, "num_hidden_layers": 2}, "text_config": text_config().to_dict(), "projection_dim": 32}
    model = transformers.CLIPModel(transformers.CLIPConfig(**sizes))
    words = tokenizer(tmp_path / "words")
    model.save_pretrained(tmp_path / "model")
    words.save_pretrained(tmp_path / "model")
    own = transformers.CLIPModel.from_pretrained
    monkeypatch.setattr(transformers.CLIPModel, "from_pretrained", lambda name: own(str(tmp_path / "model")))
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda name: words)
    rewards = reward_models.paper_rewards((name,), torch.float32, "cpu")
    canvas = reno.FunctionGenerator(lambda noise, prompts: noise.sigmoid(), (3, 64, 64))
    result = reno.NoiseOptimizer(canvas, rewards, n_iter=6, lr=20.0).run(PROMPTS, seed=0)
    assert (result.gain > 0).all()
    with torch.no_grad():
        tokens = words(PROMPTS, return_tensors="pt", padding=True)
        text = model.get_text_features(**tokens)
        text = getattr(text, "pooler_output", text)
        cosines = torch.nn.functional.cosine_similarity(rewards._scores[name].image_features(
            reward_models.preprocess(result.images)), text)  # fmt: skip
    scale, top = model.logit_scale.exp().item(), {"clip": 100, "pickscore": 30}[name]
    torch.testing.assert_close(result.rewards_best[name], scale * cosines - top, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_climbs(generator, dtype):
    name = next(name for name, settings in diffusion.BACKENDS.items() if settings is generator.settings)
    half = diffusion.diffusers_backend(name, dtype=dtype, device="cpu")
    noise = torch.randn(2, *half.noise_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        single, images = generator(noise, PROMPTS), half(noise.to(dtype), PROMPTS)
    assert images.dtype == dtype
    torch.testing.assert_close(images.float(), single, rtol=0, atol=0.1)
    result = reno.NoiseOptimizer(half, BRIGHT, n_iter=6, lr=1.0).run(PROMPTS, noise=noise.to(dtype))
    assert result.noise.dtype == dtype
    assert (result.gain > 0).all()
