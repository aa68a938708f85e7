"""The problems: the paper's biodiesel plant, its barycentric image on MNIST, a counterfactual, and a jump."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.backprop_free.directional_attacks.problem import SurrogateProblem
from lib.backprop_free.directional_attacks.study import networks
from lib.backprop_free.directional_attacks.study.train import standardized

Array = NDArray[np.float64]
#: Minutes and watts for one unit of the variables; time points of a run; the highest energy, power times time.
PLANT_SCALE, PLANT_POINTS, MOST_ENERGY = (120.0, 20.0), 100, 500.0
MOST_TIME, MOST_POWER, TEMPERATURES = 120.0, 20.0, (20.0, 65.0)
PLANT_PENALTY, MARGIN, MARGIN_PENALTY, IMAGE_BOX = 1000.0, 0.5, 30.0, 10.0
OUTPUTS = ("probabilities", "logits", "features")


class Task(NamedTuple):
    """A problem, where to start, and the settings that all methods share."""

    problem: SurrogateProblem
    x0: Array
    r0: float
    r_dsm: tuple[float, float]
    r_atk: tuple[float, float]


class _Plant:
    def __init__(self) -> None:
        self.scale = torch.tensor(PLANT_SCALE, dtype=torch.float64)
        self.steps = torch.arange(1, PLANT_POINTS + 1, dtype=torch.float64) / PLANT_POINTS

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        time, power = x * self.scale
        return networks.bio_pinn(torch.stack([time * self.steps, power.expand(PLANT_POINTS)], dim=1)).reshape(-1)


def _yield(y: torch.Tensor) -> torch.Tensor:
    """Biodiesel over the oils that are left, mean over time."""
    table = y.reshape(-1, 6)
    return (table[:, 4] / table[:, :3].sum(dim=1)).mean()


def _plant_limits(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    time, power = x[0] * PLANT_SCALE[0], x[1] * PLANT_SCALE[1]
    table = y.reshape(-1, 6)
    low, high = TEMPERATURES
    inputs = torch.stack([-time, time - MOST_TIME, -power, power - MOST_POWER, power * time - MOST_ENERGY])
    return torch.cat([inputs, -table[:, :5].reshape(-1), low - table[:, 5], table[:, 5] - high])


def plant() -> Task:
    """The paper's biodiesel plant: heating time and microwave power (in 120 minutes and 20 watts) for the highest yield.

    The network gives concentrations at 100 times of a run. Start: 40 minutes at 6 watts; radii as in the paper.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> task = study.plant()
    >>> round(task.problem.value(task.x0), 4)
    0.5131
    """
    problem = SurrogateProblem(_Plant(), _yield, constraints=_plant_limits, penalty_scale=PLANT_PENALTY, n=2)
    return Task(problem, np.array([40.0, 6.0]) / PLANT_SCALE, 1e-3, (1e-6, 0.1), (1e-6, 1.0))


class _Mixture:
    def __init__(self, images: torch.Tensor, output: str) -> None:
        self.images, self.output = images, output

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.read(torch.tensordot(torch.softmax(x, dim=0), self.images, dims=1))

    def read(self, image: torch.Tensor) -> torch.Tensor:
        if self.output == "features":
            return networks.mnist_features(image)
        logits = networks.mnist_logits(image)
        return logits if self.output == "logits" else torch.softmax(logits, dim=0)


class _Distance:
    def __init__(self, target: torch.Tensor) -> None:
        self.target = target

    def __call__(self, y: torch.Tensor) -> torch.Tensor:
        return -((y - self.target) ** 2).sum()

    def slope(self, y: torch.Tensor) -> torch.Tensor:
        return -2 * (y - self.target)


def _image_box(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x - IMAGE_BOX) * (x + IMAGE_BOX)


def barycenter(images: ArrayLike, output: str = "probabilities") -> Task:
    """Which mixture of images does the network take for the first of them?

    The variables are the logits of the mixture's weights, within +-10. Start: all equal; radii as in the paper.

    Parameters
    ----------
    images : array_like, shape (n, 28, 28)
        Entries in [0, 1]; the first one is the target.
    output : {"probabilities", "logits", "features"}
        What of the network is compared, by the squared distance (the paper: probabilities).

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.directional_attacks import study
    >>> task = study.barycenter(np.eye(28)[None].repeat(3, axis=0))
    >>> abs(task.problem.value(task.x0)) < 1e-12
    True
    """
    stack = checks.array("images", images, shape=(None, 28, 28), low=0, high=1)
    checks.choice("output", output, OUTPUTS)
    mixture = _Mixture(torch.tensor(stack, dtype=torch.float64), output)
    with torch.no_grad():
        target = mixture.read(mixture.images[0])
    distance = _Distance(target)
    problem = SurrogateProblem(mixture, distance, distance.slope, constraints=_image_box, n=len(stack))
    return Task(problem, np.zeros(len(stack)), 1.0, (1e-5, 10.0), (1e-6, 10.0))


def dictionary(images: ArrayLike, n: int = 100, *, seed: Any = None) -> Array:
    """Images drawn at random, the one of which the network of `barycenter` is least sure first.

    A target of which the network is sure makes the problem with probabilities flat.

    Parameters
    ----------
    images : array_like, shape (N, 28, 28)
        Digits like those of MNIST, entries 0 to 255.
    n : int
        How many to draw, at most N.
    seed : None, int or Generator
        Of the choice.

    Returns
    -------
    array, shape (n, 28, 28)
        Entries in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from lib.backprop_free.directional_attacks import study
    >>> study.dictionary(np.eye(28)[None] * np.arange(1.0, 7.0)[:, None, None], 5, seed=0).shape
    (5, 28, 28)
    """
    stack = checks.array("images", images, shape=(None, 28, 28), low=0, high=255)
    n = checks.integer("n", n, low=1, high=len(stack))
    drawn = np.asarray(stack[checks.generator("seed", seed).permutation(len(stack))[:n]], dtype=float) / 255
    with torch.no_grad():
        surest = [float(torch.softmax(networks.mnist_logits(torch.tensor(image)), 0).max()) for image in drawn]
    return drawn[np.argsort(np.round(surest, 9), kind="stable")]


class _Patient:
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, networks.tabular_logits(x)])


class _Near:
    def __init__(self, start: torch.Tensor) -> None:
        self.start = start

    def __call__(self, y: torch.Tensor) -> torch.Tensor:
        return -((y[: len(self.start)] - self.start) ** 2).sum()

    def slope(self, y: torch.Tensor) -> torch.Tensor:
        return torch.cat([-2 * (y[: len(self.start)] - self.start), y.new_zeros(len(y) - len(self.start))])


class _OtherClass:
    def __init__(self, wanted: int) -> None:
        self.wanted = wanted

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (MARGIN - (y[-2 + self.wanted] - y[-1 - self.wanted])).reshape(1)


@cache
def _rows() -> Array:
    return standardized()[0]


def counterfactual(patient: int) -> Task:
    """The least change of a patient's 30 standardized measurements for which the network gives the other answer.

    The other class must lead by a margin of 0.5 in the logits; penalty scale 30. Start: the patient, who does not meet it.

    Parameters
    ----------
    patient : int
        Row of the breast cancer set, 0 to 568.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> task = study.counterfactual(0)
    >>> task.problem.value(task.x0) < -1000
    True
    """
    start = _rows()[checks.integer("patient", patient, low=0, high=len(_rows()) - 1)]
    x0 = torch.tensor(start)
    wanted = 1 - int(networks.tabular_logits(x0).argmax())
    near, other = _Near(x0), _OtherClass(wanted)
    problem = SurrogateProblem(_Patient(), near, near.slope, other, MARGIN_PENALTY, n=len(start))
    return Task(problem, start.copy(), 1.0, (1e-5, 10.0), (1e-6, 10.0))


def _identity(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


def _jump(y: torch.Tensor) -> torch.Tensor:
    inside = ((y > 0.9) & (y < 1.1)).all()
    return -(y**2).sum() + 2.0 * inside


def jump() -> Task:
    """A hill at the origin, and a small square around (1, 1) where the objective jumps: attacks and polls do not see it.

    Examples
    --------
    >>> from lib.backprop_free.directional_attacks import study
    >>> task = study.jump()
    >>> float(round(task.problem.value([0.91, 0.91]), 4)), task.x0
    (0.3438, array([0.3, 0.2]))
    """
    return Task(SurrogateProblem(_identity, _jump, n=2), np.array([0.3, 0.2]), 1.5, (1e-6, 10.0), (1e-6, 10.0))
