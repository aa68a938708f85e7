"""Several rewards as one, and the two things that a run needs: a generator of images and what it leaves behind."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from lib import checks
from lib.objectives.reno.norms import changes, widened

#: Names that histories use beside those of the rewards.
RESERVED = ("total", "norm")


@runtime_checkable
class OneStepGenerator(Protocol):
    """A map from noise (n, ...) and n prompts to n images with entries in [0, 1], differentiable in the noise.

    The map must be deterministic: noise that a sampler adds on its way must be the same in every call. Optional attributes
    ``dtype`` and ``device`` say which noise is drawn for it; by default that of its weights, without any float32 on the CPU.
    """

    noise_shape: tuple[int, ...]

    @abstractmethod
    def __call__(self, noise: Tensor, prompts: Any) -> Tensor: ...


class FunctionGenerator:
    """Makes a `OneStepGenerator` of any function of noise and prompts.

    Parameters
    ----------
    function : callable
        ``function(noise, prompts)`` returns images, shape (n, ...). A module stays one: it is frozen during a run.
    noise_shape : tuple of int
        Of one sample.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.reno import FunctionGenerator
    >>> generator = FunctionGenerator(lambda noise, prompts: noise.sigmoid(), noise_shape=(3, 2, 2))
    >>> generator(torch.zeros(1, 3, 2, 2), ["a red cat"]).shape
    torch.Size([1, 3, 2, 2])
    """

    def __init__(self, function: Callable[[Tensor, Any], Tensor], noise_shape: Sequence[int]) -> None:
        self.function = checks.function("function", function)
        self.noise_shape = tuple(checks.integer("noise_shape", size, low=1) for size in noise_shape)
        if not self.noise_shape:
            raise ValueError("noise_shape must not be empty")

    def __call__(self, noise: Tensor, prompts: Any) -> Tensor:
        return self.function(noise, prompts)


class RewardEnsemble(nn.Module):
    """A weighted sum of reward models, each of which scores images for prompts: the sum of equation (1).

    A reward of weight 0 is measured and does not pull, so that a run can watch a reward that is left out.

    Parameters
    ----------
    rewards : mapping of str to (callable, float)
        Name -> reward and weight. ``reward(images, prompts)`` returns the scores, shape (n,), more is better.

    Attributes
    ----------
    weights : dict of str to float

    Raises
    ------
    TypeError, ValueError
        For no rewards, names that are taken ("total", "norm"), negative weights, or weights that are all zero.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.reno import RewardEnsemble
    >>> rewards = RewardEnsemble({"cosine": (torch.nn.CosineSimilarity(), 2.0)})  # prompts are given by their codes
    >>> values, total = rewards(torch.ones(1, 4), torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    >>> total.round(decimals=4)
    tensor([1.4142])
    """

    def __init__(self, rewards: Mapping[str, tuple[Callable[[Tensor, Any], Tensor], float]]) -> None:
        super().__init__()
        if not isinstance(rewards, Mapping):
            raise TypeError(f"rewards must be a mapping of names to (reward, weight), got {checks.shown(rewards)}")
        if not rewards:
            raise ValueError("rewards must not be empty")
        self._scores: dict[str, Callable[[Tensor, Any], Tensor]] = {}
        self.weights: dict[str, float] = {}
        for number, (name, pair) in enumerate(rewards.items()):
            if not isinstance(name, str) or name in RESERVED or not name:
                raise ValueError(f"names of rewards must be texts other than {RESERVED}, got {name!r}")
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(f"rewards[{name!r}] must be (reward, weight), got {checks.shown(pair)}")
            self._scores[name] = checks.function(f"rewards[{name!r}]", pair[0])
            self.weights[name] = checks.number(f"weight of {name!r} in rewards", pair[1], low=0)
            if isinstance(pair[0], nn.Module):
                self.add_module(f"reward_{number}", pair[0])
        if not any(self.weights.values()):
            raise ValueError("rewards must hold at least one weight above zero")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rewards, in order."""
        return tuple(self._scores)

    def forward(self, images: Tensor, prompts: Any) -> tuple[dict[str, Tensor], Tensor]:
        """Score of every reward, shape (n,) each, and their weighted sum, shape (n,); half precision is summed in float32."""
        values: dict[str, Tensor] = {}
        total: Any = 0.0
        for name, score in self._scores.items():
            weight = self.weights[name]
            with contextlib.nullcontext() if weight else torch.no_grad():
                before = changes(images)
                value = score(images, prompts)
            if changes(images) != before:
                raise ValueError(f"reward {name!r} must not change the images in place: other rewards see them too")
            if not isinstance(value, Tensor) or value.is_complex():
                raise TypeError(f"reward {name!r} must return a tensor of real numbers, got {checks.shown(value)}")
            value = widened(value)
            if tuple(value.shape) != (len(images),):
                raise ValueError(f"reward {name!r} must return shape ({len(images)},), got {tuple(value.shape)}")
            if not torch.isfinite(value.detach()).all():
                raise ValueError(f"reward {name!r} must be finite, got NaN or infinity")
            values[name] = value
            if weight:
                total = total + weight * value  # (1)
        if not torch.isfinite(total.detach()).all():
            raise ValueError("rewards must have a weighted sum that is finite: their weights are too large")
        return values, total


@contextlib.contextmanager
def frozen(*parts: Any) -> Iterator[None]:
    """Modules in evaluation mode and without gradients of their weights; afterwards as they were."""
    modules = {id(m): m for part in parts for root in _roots(part) for m in root.modules()}.values()
    weights = {id(p): p for module in modules for p in module.parameters(recurse=False)}.values()
    modes, wanted = [module.training for module in modules], [weight.requires_grad for weight in weights]
    try:
        for module in modules:
            module.training = False
        for weight in weights:
            weight.requires_grad_(False)
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
        for weight, want in zip(weights, wanted, strict=True):
            weight.requires_grad_(want)


def home(generator: Any) -> tuple[torch.dtype, Any]:
    """Type and device of the noise that a generator takes."""
    weights = (weight for root in _roots(generator) for weight in root.parameters() if weight.is_floating_point())
    weight = next(weights, torch.empty(0))
    return getattr(generator, "dtype", weight.dtype), getattr(generator, "device", weight.device)


def _roots(part: Any) -> list[nn.Module]:
    """A part itself where it is a module, else the modules among its attributes."""
    if isinstance(part, nn.Module):
        plain = [score for score in getattr(part, "_scores", {}).values() if not isinstance(score, nn.Module)]
        return [part, *(module for score in plain for module in _roots(score))]
    held = [getattr(part, "__self__", None), *getattr(part, "__dict__", {}).values()]
    held += [inner for outer in held if isinstance(outer, list | tuple | dict)
             for inner in (outer.values() if isinstance(outer, dict) else outer)]  # fmt: skip
    return [value for value in held if isinstance(value, nn.Module)]
