"""Both reward models, and the evaluation score, which no method optimizes: overlap with references and diversity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib import checks
from lib.networks import Rollouts, Transformer, generate
from lib.policies.constrained_rlhf.scores import bleu, chrf, distinct_ngrams, meteor, rouge
from lib.policies.constrained_rlhf.study.fixed import HIGH, LOW
from lib.policies.constrained_rlhf.study.intents import IntentModel
from lib.policies.constrained_rlhf.study.text import END, MAX_NEW, PAD, Corpus

#: The rewards, in the order of thresholds and multipliers.
REWARDS = ("intent", "METEOR")
#: METEOR as a reward is multiplied by this, so that both rewards have about the sizes that they have in the paper.
SCALE = 4.0
#: What the evaluation score is made of: overlap, then diversity.
METRICS = ("BLEU-2", "chrF", "ROUGE-2", "longest", "distinct trigrams", "single trigrams")
OVERLAP = 3


class IntentReward:
    """1 where the learned model gives a response the intent that it gives its reference, else 0.

    Parameters
    ----------
    model : IntentModel

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> reward = study.IntentReward(study.load().intents)
    >>> reward([[3]], [[5, 6]], [[5, 6, 1]]).tolist()
    [1.0]
    """

    def __init__(self, model: IntentModel) -> None:
        self.model = model

    def __call__(self, prompts: Any, responses: Any, references: Any) -> np.ndarray:
        """Rewards (B,) of lists of token lists."""
        return (self._labels(responses) == self._labels(references)).astype(float)

    def _labels(self, texts: Any) -> np.ndarray:
        found = np.zeros((len(texts), len(self.model.weights)))
        for row, text in enumerate(texts):
            found[row, [token for token in text if token not in (PAD, END)]] = 1.0
        return (found @ self.model.weights + self.model.bias).argmax(1)


def meteor_reward(prompts: Any, responses: Any, references: Any) -> np.ndarray:
    """METEOR of every response, times `SCALE`, (B,), of lists of token lists; end tokens do not count.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.meteor_reward([[3]], [[5, 6]], [[7, 8, 1]]).tolist()
    [0.0]
    """
    return SCALE * np.array([meteor(a, [t for t in b if t != END]) for a, b in zip(responses, references, strict=True)])


@dataclass(frozen=True)
class Evaluation:
    """What one evaluation found: means of both rewards (2,), metrics (6,), the score, mean length."""

    rewards: np.ndarray
    metrics: np.ndarray
    score: float
    length: float


def metrics(text: Corpus, responses: Any, references: Any) -> np.ndarray:
    """BLEU-2, chrF, ROUGE-2, longest response in words, and different and single trigrams per response; shape (6,).

    Parameters
    ----------
    text : Corpus
    responses, references : sequences of sequences of int
        Of tokens; the end is left out.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> said = [[5, 6, 7]]
    >>> study.metrics(study.corpus(), said, said)[3:].tolist()
    [3.0, 1.0, 1.0]
    """
    ours, theirs = ([text.decode(row).split() for row in rows] for rows in (responses, references))
    overlap = [bleu(ours, theirs, 2), chrf([" ".join(w) for w in ours], [" ".join(w) for w in theirs]), rouge(ours, theirs, 2)]
    distinct, single = distinct_ngrams(ours, 3)
    return np.array([*overlap, max(map(len, ours)), distinct / len(ours), single / len(ours)], dtype=float)


def score(found: Any) -> float:
    """The evaluation score of metrics (6,): mean of overlap and diversity, each scaled by `LOW` and `HIGH`, not cut.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.score(study.LOW), study.score(study.HIGH)
    (0.0, 1.0)
    """
    low, high = np.array(LOW), np.array(HIGH)
    scaled = (checks.array("found", found, shape=(len(METRICS),)).astype(float) - low) / (high - low)
    return float((scaled[:OVERLAP].mean() + scaled[OVERLAP:].mean()) / 2)


def words_of(rollouts: Rollouts) -> list[list[int]]:
    """Tokens of every response, without padding and the end."""
    rows = zip(rollouts.responses.tolist(), rollouts.lengths.tolist(), strict=True)
    return [[token for token in row[:length] if token != END] for row, length in rows]


def sample(policy: Transformer, prompts: Any, seed: Any = 0, top_k: int | None = None, min_new: int = 2) -> list[list[int]]:
    """One response to each prompt, as in training; without the end token.

    Parameters
    ----------
    policy : Transformer
    prompts : sequence of lists of int
    seed : int or Generator
    top_k : int, optional
        Tokens that may be drawn; all by default.
    min_new : int
        Tokens before a response may end.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> len(study.sample(study.new_policy(width=16), [[3, 4], [5]], seed=0))
    2
    """
    drawn = generate(policy, prompts, MAX_NEW, end=END, pad=PAD, top_k=top_k, min_new=min_new, seed=seed)
    return words_of(drawn)


def evaluate(
    policy: Transformer, text: Corpus, intents: IntentModel, rows: Any, split: str, seed: Any = 0, top_k: int | None = None
) -> Evaluation:
    """Rewards, metrics and score of a policy on given pairs of a split, one sampled response to each.

    Parameters
    ----------
    policy : Transformer
    text : Corpus
    intents : IntentModel
    rows : array of int
        Which pairs.
    split : {"train", "validation", "test"}
    seed : int or Generator

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> base = study.load()
    >>> study.evaluate(base.policy, study.corpus(), base.intents, range(8), "validation").metrics.shape
    (6,)
    """
    pairs = [text.pairs[split][row] for row in rows]
    prompts, references = [prompt for prompt, _ in pairs], [reference for _, reference in pairs]
    responses = sample(policy, prompts, seed, top_k)
    rewards = [model(prompts, responses, references).mean() for model in (IntentReward(intents), meteor_reward)]
    found = metrics(text, responses, references)
    return Evaluation(np.array(rewards), found, score(found), float(np.mean([len(r) for r in responses])))
