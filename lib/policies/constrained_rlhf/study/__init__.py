"""What only the chapter's experiments use: pairs of clauses, the learned reward model, the base policy, races, rivals."""

from lib.policies.constrained_rlhf.study.intents import IntentModel, accuracy, bags, fit_intents
from lib.policies.constrained_rlhf.study.text import INTENTS, MAX_NEW, SPLITS, Corpus, clauses, corpus, intent
from lib.policies.constrained_rlhf.study.weights import Base, load, new_policy

__all__ = [
    "INTENTS",
    "MAX_NEW",
    "SPLITS",
    "Base",
    "Corpus",
    "IntentModel",
    "accuracy",
    "bags",
    "clauses",
    "corpus",
    "fit_intents",
    "intent",
    "load",
    "new_policy",
]
