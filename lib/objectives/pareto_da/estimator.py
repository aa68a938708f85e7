"""ParetoDA as a scikit-learn classifier: labeled source data and unlabeled target data in, labels of the target out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from lib import checks

from .adaptation import METHODS, Adaptation
from .losses import REFINEMENTS
from .networks import BACKBONES, NETS, backbone, conv_net, mlp, seeded
from .weights import MODES

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class ParetoDA(ClassifierMixin, BaseEstimator):
    """Classifier that adapts from a labeled source to an unlabeled target, without a weight to tune between its losses.

    Warm-up on the source alone, then `Adaptation.step` on random batches (drawn with replacement) of source, target and a
    held-out part of the target. Inputs are used as they are: bring their features to about unit size, source and target alike.

    Parameters
    ----------
    net : None, nn.Module, "conv", "resnet50" or "resnet101"
        Features; None is a small network of linear layers and ReLU, "conv" `conv_net` for images (n, colors, height, width). A
        module gets inputs (n, ...) and is copied; the other names need torchvision and images (n, 3, 224, 224).
    method : {"pareto", "mgda", "sum", "dann", "source"} or callable
        As in `Adaptation`.
    refine : {"bayes", "logits", "none"}
        As in `refine_predictions`.
    lp_mode : {"guided", "descent", "dominance"}
        As in `pareto_weights`.
    held_out : float
        Share of the target that is set aside as the guide, between 0 and 1; 0.1 in the paper.
    iterations, warmup : int
        Adaptation steps and steps before them on the source; at least 0 (30000 and 0 in the paper, from ImageNet weights).
    batch_size : int
        Of each of the three batches; 32 in the paper. Mutual information wants at least twice as many as there are classes.
    lr, warmup_lr : float
        Learning rates; 1e-3 in the paper for ``lr``.
    momentum, weight_decay : float
        0.9 (Nesterov) and 1e-3, as in the paper.
    ramp : float or None
        Time scale of the reversal's factor in steps; None takes a tenth of ``iterations`` (500 in the paper).
    features, hidden : int
        Features of the small network, units of its hidden layer and of the discriminators'; a module must return ``features``.
    norm : bool
        Whether the domain discriminator has batch normalization, as in the paper's demo.
    dtype : {"float64", "float32"}
        Of the networks.
    device : str or None
        As torch names it; None is the CPU.
    random_state : int, Generator or None
        Of first weights, held-out part and batches.

    Attributes
    ----------
    classes_ : array, shape (K,)
    adaptation_ : Adaptation
        The run, with its networks.
    history_ : dict of arrays
        For each adaptation step: ``losses`` (T, 3) and ``weights`` (T, 3) of source, domain and target; ``val_loss`` (T,);
        ``conflicts`` (T,) whether source and domain gradients disagree; ``infeasible`` (T,); ``modes`` (T,).
    held_out_rows_ : int array
        Rows of ``X_target`` that only guided; empty where ``fit`` got no target.
    n_iter_, n_features_in_ : int

    Raises
    ------
    ValueError
        In ``fit``: parameters out of range, fewer than two classes, a target too small to be split, losses that overflow.
    ImportError
        For a named backbone without torchvision.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.objectives.pareto_da import ParetoDA
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(200) % 2
    >>> X = rng.normal(size=(200, 2)) + 3 * y[:, None]
    >>> shifted = rng.normal(size=(200, 2)) + 3 * y[:, None] + [1.0, -2.0]
    >>> model = ParetoDA(iterations=60, warmup=60, lr=0.02, random_state=0).fit(X, y, shifted)
    >>> bool(model.score(shifted, y) > 0.9)
    True
    """

    def __init__(
        self,
        net: Any = None,
        method: Any = "pareto",
        refine: str = "bayes",
        lp_mode: str = "guided",
        held_out: float = 0.1,
        iterations: int = 200,
        warmup: int = 300,
        batch_size: int = 64,
        lr: float = 0.02,
        warmup_lr: float = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 1e-3,
        ramp: float | None = None,
        features: int = 64,
        hidden: int = 64,
        norm: bool = False,
        dtype: str = "float64",
        device: str | None = None,
        random_state: Any = None,
    ) -> None:
        self.net = net
        self.method = method
        self.refine = refine
        self.lp_mode = lp_mode
        self.held_out = held_out
        self.iterations = iterations
        self.warmup = warmup
        self.batch_size = batch_size
        self.lr = lr
        self.warmup_lr = warmup_lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.ramp = ramp
        self.features = features
        self.hidden = hidden
        self.norm = norm
        self.dtype = dtype
        self.device = device
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike, X_target: npt.ArrayLike | None = None) -> ParetoDA:
        """Train on source X, shape (n, ...), its labels y, and target inputs; without a target on the source alone."""
        counts = self._check_parameters()
        rows, labels = validate_data(self, X, y, dtype=np.float64, allow_nd=self.net is not None)
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y must hold at least two classes, got 1 class")
        rng, adapt = checks.generator("random_state", self.random_state), X_target is not None
        start, split, draws = (np.random.default_rng(s) for s in rng.integers(2**63, size=3))
        self.adaptation_ = self._adaptation(rows.shape[1:], start, "source" if not adapt else self.method)
        source, truth = self._tensor(rows), torch.from_numpy(index).to(self.device or "cpu")
        target, aside, self.held_out_rows_ = source, source, np.empty(0, dtype=np.int64)
        if adapt:
            given = self._target(X_target, rows.shape[1:])
            self.held_out_rows_, kept = split_target(len(given), float(self.held_out), split)
            target, aside = self._tensor(given[kept]), self._tensor(given[self.held_out_rows_])
        iterations, warmup, size = counts
        for (i,) in index_batches(draws, warmup, size, len(source)):
            self.adaptation_.warm_up(source[i], truth[i], lr=float(self.warmup_lr))
        for i, j, k in index_batches(draws, iterations, size, len(source), len(target), len(aside)):
            self.adaptation_.step(source[i], truth[i], target[j], aside[k])
        self.n_iter_ = warmup + iterations
        self.history_ = summary(self.adaptation_.history)
        return self

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities of the classes, shape (n, K), by the classifier (the refinement only trains)."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, reset=False, allow_nd=self.net is not None)
        parts = [self.adaptation_.predict_logits(self._tensor(part)) for part in np.array_split(rows, -(-len(rows) // 4096))]
        logits = torch.cat(parts).double()
        if not torch.isfinite(logits).all():
            raise ValueError("X must be of about the size of the training inputs, got logits that are not finite")
        return torch.softmax(logits, 1).cpu().numpy()

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Class of each row, shape (n,)."""
        chosen = self.predict_proba(X).argmax(1)
        return self.classes_[chosen]

    def _check_parameters(self) -> tuple[int, int, int]:
        if not callable(self.method):
            checks.choice("method", self.method, METHODS)
        checks.choice("refine", self.refine, REFINEMENTS)
        checks.choice("lp_mode", self.lp_mode, MODES)
        checks.choice("dtype", self.dtype, DTYPES)
        checks.number("held_out", self.held_out, above=0, below=1)
        checks.positive("lr", self.lr)
        checks.positive("warmup_lr", self.warmup_lr)
        if self.ramp is not None:
            checks.positive("ramp", self.ramp)
        if not (self.net is None or isinstance(self.net, nn.Module)):
            checks.choice("net", self.net, NETS)
        try:
            torch.device(self.device or "cpu")
        except (RuntimeError, TypeError):
            raise ValueError(f"device must be None or a device of torch, got {checks.shown(self.device)}") from None
        counts = checks.integer("iterations", self.iterations, low=0), checks.integer("warmup", self.warmup, low=0)
        return *counts, checks.integer("batch_size", self.batch_size, low=1)

    def _adaptation(self, shape: tuple[int, ...], rng: np.random.Generator, method: Any) -> Adaptation:
        hidden, seed = checks.integer("hidden", self.hidden, low=1), int(rng.integers(2**31))
        features = checks.integer("features", self.features, low=1)
        with seeded(seed):
            if self.net is None:
                net: nn.Module = mlp([*shape, hidden, features], last=True)
            elif isinstance(self.net, str):
                net = conv_net(shape, features) if self.net == "conv" else backbone(self.net, features)
            else:
                net = self.net
        ramp = max(self.iterations / 10, 1.0) if self.ramp is None else self.ramp
        run = Adaptation(net, features, len(self.classes_), method=method, refine=self.refine, lp_mode=self.lp_mode, lr=self.lr,
                         momentum=self.momentum, weight_decay=self.weight_decay, ramp=ramp, hidden=hidden,
                         norm=self.norm, net_lr_factor=0.1 if self.net in BACKBONES else 1.0, seed=seed + 1)  # fmt: skip
        for part in (run.net, run.head, run.domain, run.classwise):
            part.to(self.device or "cpu", DTYPES[self.dtype])
        return run

    def _tensor(self, rows: npt.NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self.device or "cpu", DTYPES[self.dtype])

    def _target(self, X_target: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        given = checks.array("X_target", X_target).astype(np.float64)
        if given.shape[1:] != shape:
            raise ValueError(f"X_target must hold inputs of shape {shape}, as X does, got shape {given.shape}")
        if len(given) < 2:
            raise ValueError("X_target must hold at least 2 samples, one of them to be held out, got 1")
        names, columns = getattr(self, "feature_names_in_", None), getattr(X_target, "columns", None)
        if names is not None and columns is not None and list(names) != list(columns):
            raise ValueError(f"X_target must have the columns of X in their order, got {checks.shown(list(columns))}")
        return given


def split_target(
    n: int, held_out: float, seed: int | np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows of a target set that guide, and those that train; both in order.

    Parameters
    ----------
    n : int
        Number of samples, at least 2.
    held_out : float
        Share that guides, between 0 and 1; 0.1 in the paper.
    seed : int or Generator

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, or where one of the parts would be empty.

    Examples
    --------
    >>> from lib.objectives.pareto_da.estimator import split_target
    >>> guides, trains = split_target(20, 0.1, seed=0)
    >>> len(guides), len(trains)
    (2, 18)
    """
    share, rng = checks.number("held_out", held_out, above=0, below=1), checks.generator("seed", seed)
    count = round(checks.integer("n", n, low=2) * share)
    if not 1 <= count < n:
        raise ValueError(f"held_out must leave samples in both parts, got {share:g} of {n} samples")
    order = rng.permutation(n)
    return np.sort(order[:count]), np.sort(order[count:])


def index_batches(rng: np.random.Generator, steps: int, size: int, *lengths: int) -> Iterator[list[Tensor]]:
    """For each step one batch of row numbers for each length, drawn with replacement."""
    for _ in range(steps):
        yield [torch.from_numpy(rng.integers(n, size=size)) for n in lengths]


def summary(history: list[dict[str, Any]]) -> dict[str, npt.NDArray[Any]]:
    """The records of a run as arrays, one row for each step; see ``history_`` of `ParetoDA`."""
    grams = np.array([told["gram"] for told in history]).reshape(-1, 3, 3)
    return {
        "losses": np.array([told["losses"] for told in history]).reshape(-1, 3),
        "val_loss": np.array([told["val_loss"] for told in history]),
        "weights": np.array([told["weights"] for told in history]).reshape(-1, 3),
        "grams": grams,
        "guides": np.array([told["guide"] for told in history]).reshape(-1, 3),
        "conflicts": grams[:, 0, 1] < 0,
        "infeasible": np.array([told["mode"] == "uniform" for told in history], dtype=bool),
        "modes": np.array([told["mode"] for told in history], dtype=str),
    }
