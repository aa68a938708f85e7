"""Proximal policy optimization with several rewards, a value head for each, and multipliers that weigh them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.callbacks import run_asks_to_stop
from lib.networks import Rollouts, Transformer, clipped_surrogate, gae, generate, response_log_probs
from lib.policies.constrained_rlhf.language_models import LanguageModel
from lib.policies.constrained_rlhf.multipliers import KLController, LagrangeMultipliers
from lib.policies.constrained_rlhf.settings import Batch, History, PPOConfig, normalized, with_value_heads

_NO_BATCH: Any = None
#: Variants, and the kind of their constraints.
VARIANTS: dict[str, str | None] = {"ppo": None, "ppo_sat": None, "mu": "inequality", "all": "upper", "xi": "equality"}
Tokens = list[int]
#: Prompts, responses without their end token, references (None where there are none) to rewards, shape (B,).
RewardModel = Callable[[list[Tokens], list[Tokens], list[Tokens] | None], Any]


class ConstrainedPPO:
    """Proximal policy optimization of a policy that stays near a base policy, with rewards at, above or below thresholds.

    ========= ==================================== ===================
    variant   maximize                             subject to
    ========= ==================================== ===================
    "ppo"     r_0 + sum alpha_i r_i                nothing
    "ppo_sat" r_0 - sum alpha_i (r_i - theta_i)^2  nothing
    "mu"      r_0                                  v_i >= theta_i
    "all"     r_0 + sum r_i                        v_i <= theta_i
    "xi"      r_0                                  v_i = theta_i
    ========= ==================================== ===================

    r_0 is minus the coefficient beta times the divergence from the base policy, paid token by token; the other rewards are paid
    with the last token. Every reward has a linear value head on the policy's last state. A run can be pickled or copied in the
    middle, and goes on alike.

    Parameters
    ----------
    policy : Transformer or LanguageModel
        The base policy; it is copied, and left as it is. Value heads are added where their number does not fit.
    reward_models : sequence of N functions, or a function
        ``model(prompts, responses, references)`` of lists of token lists, the responses without their end token, returns (B,)
        rewards; references are those given to `fit`, or None.
    thresholds : array_like, shape (N,), optional
        theta, for every variant but "ppo".
    variant : {"ppo", "ppo_sat", "mu", "all", "xi"}
    config : PPOConfig, optional
        The paper's settings by default.
    alphas : array_like, shape (N,), optional
        Fixed weights, of the rewards of "ppo" and of the squared distances of "ppo_sat"; ones by default (for the latter, the
        paper's).
    end, pad : int
        Token that ends a response; another one for padding, which is never drawn.
    seed : int or Generator

    Attributes
    ----------
    policy, reference : Transformer or LanguageModel
        In training, and the base policy.
    multipliers : LagrangeMultipliers or None
        None for "ppo" and "ppo_sat".
    controller : KLController
    history : History
    batch : Batch
        Of the last iteration.

    Raises
    ------
    TypeError, ValueError
        For thresholds or weights of a wrong length, an unknown variant, rewards of a wrong shape or that are no finite numbers.

    Examples
    --------
    >>> from lib.networks import Transformer
    >>> from lib.policies.constrained_rlhf import ConstrainedPPO, PPOConfig
    >>> base = Transformer(vocab_size=10, context=12, width=16, n_heads=2, seed=0)
    >>> lengths = lambda prompts, responses, references: [len(response) / 6 for response in responses]
    >>> config = PPOConfig(episodes=8, minibatch=4, epochs=1, lr=1e-3, max_new=6)
    >>> run = ConstrainedPPO(base, lengths, thresholds=[0.5], variant="xi", config=config, end=9, pad=0, seed=0)
    >>> run.fit([[1, 2], [3]], iterations=2).array("values").shape
    (2, 1)
    """

    def __init__(
        self, policy: Transformer | LanguageModel, reward_models: Sequence[RewardModel] | RewardModel, thresholds: Any = None,
        variant: str = "xi", config: PPOConfig | None = None, *, alphas: Any = None, end: int, pad: int, seed: Any = 0,
    ) -> None:  # fmt: skip
        if not isinstance(policy, Transformer | LanguageModel):
            raise TypeError(f"policy must be a Transformer or a LanguageModel, got {checks.shown(policy)}")
        self.variant = checks.choice("variant", variant, tuple(VARIANTS))
        self.config = PPOConfig() if config is None else config
        self.reward_models = [checks.function("reward_models", model) for model in _several(reward_models)]
        if not self.reward_models:
            raise ValueError("reward_models must hold at least one function, got none")
        n = len(self.reward_models)
        self.end = checks.integer("end", end, low=0, high=policy.vocab_size - 1)
        self.pad = checks.integer("pad", pad, low=0, high=policy.vocab_size - 1)
        if self.end == self.pad:
            raise ValueError(f"pad must differ from end, got {pad} for both")
        self.thresholds = self._given("thresholds", thresholds, n, variant != "ppo")
        if alphas is not None and VARIANTS[variant] is not None:
            raise ValueError(f"alphas are the fixed weights of 'ppo' and 'ppo_sat', not of {variant!r}")
        self.alphas = np.ones(n) if alphas is None else self._given("alphas", alphas, n, True)
        self._rng, start = checks.generator("seed", seed).spawn(2)
        self.policy: Any = with_value_heads(policy, n + 1)
        self.reference: Any = copy.deepcopy(policy).requires_grad_(False)
        kind, own = VARIANTS[variant], self.config
        self.multipliers = None if kind is None else LagrangeMultipliers(
            self.thresholds, kind, own.multiplier_lr, own.multiplier_momentum, own.multiplier_squash,
            own.multiplier_max_grad, start,
        )  # fmt: skip
        self.controller = KLController(own.beta, own.kl_target)
        self.parameters = [p for p in self.policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(self.parameters, lr=own.lr)
        self.history, self.batch = History(), _NO_BATCH

    @staticmethod
    def _given(name: str, value: Any, n: int, needed: bool) -> np.ndarray:
        if value is None:
            if needed:
                raise ValueError(f"{name} must be given, {n} of them")
            return np.full(n, np.nan)
        return checks.array(name, value, shape=(n,)).astype(float)

    # ---------------------------------------------------------------------------------------------------------- the loop

    def fit(
        self, prompts: Sequence[Sequence[int]], references: Sequence[Sequence[int]] | None = None, iterations: int = 100,
        callback: Callable[[ConstrainedPPO], Any] | None = None,
    ) -> History:  # fmt: skip
        """Train for some iterations, 100 in the paper; a second call goes on from where the first one ended.

        Parameters
        ----------
        prompts : sequence of token sequences
            Drawn with replacement.
        references : sequence of token sequences, optional
            One for each prompt; handed to the reward models.
        iterations : int
        callback : function, optional
            Gets the run after each iteration; a true answer or StopIteration ends it.

        Returns
        -------
        History
            Of all iterations so far.
        """
        iterations = checks.integer("iterations", iterations, low=1)
        if callback is not None:
            checks.function("callback", callback)
        for _ in range(iterations):
            self.step(prompts, references)
            if run_asks_to_stop(callback, self):
                break
        return self.history

    def step(self, prompts: Sequence[Sequence[int]], references: Sequence[Sequence[int]] | None = None) -> np.ndarray:
        """One iteration: sample, score, estimate advantages, update. Returns the means of the rewards, (N,)."""
        _check_pairs(prompts, references)
        config = self.config
        rows = self._rng.integers(len(prompts), size=config.episodes)
        asked = [list(prompts[i]) for i in rows]
        self.batch = batch = self.collect(asked, None if references is None else [list(references[i]) for i in rows])
        clipped = []
        for _ in range(config.epochs):
            order = torch.from_numpy(self._rng.permutation(config.episodes))
            clipped += [self._update(batch, part) for part in order.split(config.minibatch)]
        self._record(batch, float(np.mean(clipped)))
        mask = batch.rollouts.mask
        self.controller.step(float(batch.log_ratio[mask].mean()))
        return self.history.values[-1]

    def collect(self, prompts: list[Tokens], references: list[Tokens] | None = None) -> Batch:
        """Episodes on given prompts, with their rewards and advantages."""
        config = self.config
        drawn = self._draw(prompts, self._rng)
        scores = self.score(prompts, _texts(drawn, self.end), references)
        with torch.no_grad():
            old, states = response_log_probs(self.policy, drawn, config.temperature)
            values = self.policy.values(states)
            reference, _ = response_log_probs(self.reference, drawn, config.temperature)
        log_ratio = torch.where(drawn.mask, old - reference, 0.0)
        rewards = torch.zeros_like(values)
        rewards[..., 0] = -self.controller.beta * log_ratio  # (1)
        last = drawn.lengths - 1
        rewards[torch.arange(len(last)), last, 1:] = torch.as_tensor(self.paid(scores)).to(values)
        advantages = gae(rewards, values, drawn.mask, config.gamma, config.lam)
        return Batch(drawn, scores, rewards, advantages, advantages + values, log_ratio)

    def score(self, prompts: list[Tokens], responses: list[Tokens], references: list[Tokens] | None = None) -> np.ndarray:
        """What the reward models say of responses, shape (B, N)."""
        found = []
        for i, model in enumerate(self.reward_models):
            try:
                found.append(checks.array(f"the answer of reward model {i}", model(prompts, responses, references)))
            except TypeError as error:
                raise TypeError(f"reward model {i}: {error}") from error
            if found[-1].shape != (len(prompts),):
                raise ValueError(f"reward model {i} must return shape ({len(prompts)},), got {found[-1].shape}")
        return np.stack(found, 1).astype(float)

    def paid(self, scores: np.ndarray) -> np.ndarray:
        """What is paid with the last token for scores (B, N): the scores, for "ppo_sat" minus squared distances."""
        return -((scores - self.thresholds) ** 2) if self.variant == "ppo_sat" else scores  # (4)

    def advantage(self, advantages: Tensor, mask: Tensor) -> Tensor:
        """Advantage of each token, (b, T), from those of divergence and rewards, (b, T, 1 + N): normalized and mixed."""
        if self._sums():
            return normalized(self._mix(advantages)[..., None], mask)[..., 0]
        return self._mix(normalized(advantages, mask, self.config.kl_std_floor))

    def losses(self, batch: Batch, rows: Tensor | slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
        """Surrogate loss and value loss of some episodes, with their graph, and the share of clipped ratios."""
        config, mask, old = self.config, batch.rollouts.mask[rows], batch.rollouts.log_probs[rows]
        logs, states = response_log_probs(self.policy, batch.rollouts, config.temperature, rows)
        surrogate = clipped_surrogate(logs, old, self.advantage(batch.advantages[rows], mask), mask, config.clip)
        errors = (self.policy.values(states) - batch.targets[rows])[mask].square().mean(0)
        value = config.kl_value_coef * errors[0] + config.value_coef * errors[1:].sum()
        clipped = ((logs.detach() - old)[mask].exp() - 1).abs().gt(config.clip).double().mean()
        return surrogate, value, clipped

    def respond(self, prompts: Sequence[Sequence[int]], seed: Any = 0) -> list[Tokens]:
        """A response to each prompt from the policy as it is, without its end token; the run's random numbers stay."""
        _check_pairs(prompts, None)
        return _texts(self._draw([list(prompt) for prompt in prompts], checks.generator("seed", seed)), self.end)

    def set_thresholds(self, thresholds: Any) -> None:
        """Replace the thresholds, shape (N,), of a run that goes on."""
        if self.variant == "ppo":
            raise ValueError("thresholds have no part in the variant 'ppo'")
        self.thresholds = self._given("thresholds", thresholds, len(self.reward_models), True)
        if self.multipliers is not None:
            self.multipliers.set_thresholds(self.thresholds)

    def approach(
        self, thresholds: Any, prompts: Sequence[Sequence[int]], references: Sequence[Sequence[int]] | None = None,
        iterations: int = 10, within: float = 0.05,
    ) -> np.ndarray:  # fmt: skip
        """Go on with other thresholds until every reward is near its own, or the iterations are used; returns the rewards.

        The step of the search for thresholds within one run, with `nelder_mead_thresholds`.

        Parameters
        ----------
        thresholds : array_like, shape (N,)
        prompts, references : as for `fit`
        iterations : int
            At most; a tenth of the run in the paper.
        within : float
            How near, as a share of the threshold; 0.05 in the paper.
        """
        iterations, within = checks.integer("iterations", iterations, low=1), checks.number("within", within, low=0)
        self.set_thresholds(thresholds)
        for _ in range(iterations):
            values = self.step(prompts, references)
            if (np.abs(values - self.thresholds) <= within * np.abs(self.thresholds)).all():
                break
        return values

    # ----------------------------------------------------------------------------------------------------------- its parts

    def _draw(self, prompts: list[Tokens], rng: np.random.Generator) -> Rollouts:
        config = self.config
        return generate(
            self.policy, prompts, config.max_new, end=self.end, pad=self.pad, temperature=config.temperature,
            top_k=config.top_k, min_new=config.min_new, seed=rng,
        )  # fmt: skip

    def _sums(self) -> bool:
        """Whether advantages are mixed before they are normalized."""
        normalize = self.config.normalize
        return self.multipliers is None if normalize == "auto" else normalize == "sum"

    def _coefficients(self) -> np.ndarray:
        """What weighs the advantages of the divergence and of the rewards, (1 + N,)."""
        if self.multipliers is None:
            return np.concatenate([[1.0], self.alphas])
        first, rest = self.multipliers.coefficients()
        return np.concatenate([[float(first)], rest.numpy()])

    def _mix(self, advantages: Tensor) -> Tensor:
        if self.multipliers is not None:
            return self.multipliers.mix(advantages[..., 0], advantages[..., 1:])
        return advantages @ torch.as_tensor(self._coefficients()).to(advantages)

    def _update(self, batch: Batch, rows: Tensor) -> float:
        surrogate, value, clipped = self.losses(batch, rows)
        self.optimizer.zero_grad()
        (surrogate + value).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        self.optimizer.step()
        if self.multipliers is not None:
            self.multipliers.update(batch.scores[rows.numpy()].mean(0))  # (3)
        return float(clipped)

    def _record(self, batch: Batch, clipped: float) -> None:
        history, coefficients = self.history, self._coefficients()
        weights = coefficients[1:] if self.multipliers is None else self.multipliers.weights().numpy()
        for name, value in (
            ("values", batch.scores.mean(0)), ("weights", weights), ("coefficients", coefficients),
            ("thresholds", self.thresholds.copy()), ("kl", float(batch.log_ratio.sum(1).mean())),
            ("beta", self.controller.beta), ("length", float(batch.rollouts.lengths.double().mean())), ("clipped", clipped),
        ):  # fmt: skip
            getattr(history, name).append(value)
        history.episodes += len(batch.scores)


def _several(models: Any) -> list[Any]:
    if callable(models):
        return [models]
    if isinstance(models, str | bytes) or not hasattr(models, "__iter__"):
        raise TypeError(f"reward_models must be functions, got {checks.shown(models)}")
    return list(models)


def _texts(drawn: Rollouts, end: int) -> list[Tokens]:
    """Responses as lists of tokens, without their end token."""
    rows = zip(drawn.responses.tolist(), drawn.lengths.tolist(), strict=True)
    return [row[: n - 1] if row[n - 1] == end else row[:n] for row, n in rows]


def _check_pairs(prompts: Any, references: Any) -> None:
    for name, texts in (("prompts", prompts), ("references", references)):
        if isinstance(texts, str | bytes) or not (texts is None or hasattr(texts, "__len__")):
            raise TypeError(f"{name} must be a sequence of token sequences, got {checks.shown(texts)}")
    if prompts is None or not len(prompts):
        raise ValueError("prompts must hold at least one prompt, got none")
    if references is not None and len(references) != len(prompts):
        raise ValueError(f"references must be as many as the {len(prompts)} prompts, got {len(references)}")
