"""The four methods as machines: ask one for a trial point, tell it the value. All that they remember is in their state."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lib.backprop_free.directional_attacks.directions import covering_move, poll_directions, random_move
from lib.backprop_free.directional_attacks.problem import Outputs, SurrogateProblem

Array = NDArray[np.float64]
#: The paper's constants: what counts as a large gain, and how the attack's radius changes.
SUFFICIENT_GAIN, TINY = 1e-3, 1e-10
GROWS_MUCH, GROWS, SHRINKS = 1.3, 1.1, 1.3
#: Of the attacks alone, and of the random line searches.
ATTACKS_AHEAD, ATTACKS_SHRINK = 1.1, 1.5
LINE_LENGTHS, LINES_SHRINK = (1.1, 1.0, 1 / 1.1), 1.3


def enough(new: float, old: float, share: float) -> bool:
    """Whether a gain is so large that the direct search is skipped."""
    return (new - old) / (abs(old) + TINY) >= share  # (7)


class Machine:
    """What the methods share: the best point, its value, and the trials of an iteration that are still to be made."""

    phases: tuple[str, ...] = ()
    r_atk = r_dsm = np.nan

    def __init__(self, problem: SurrogateProblem, x: Array, rng: np.random.Generator, settings: dict[str, Any]) -> None:
        self.problem, self.rng, self.set = problem, rng, settings
        self.x, self.n = x, len(x)
        self.outputs = problem.outputs(x)
        self.value = problem.score(self.outputs)
        self.nit, self.searches, self.failures = 0, 0, 0
        self.known: list[Array] = [x.copy()]
        self.pending: Any = []
        self.index, self.phase, self.tag, self.over = 0, -1, "", True
        self.move = np.zeros(self.n)
        self.settle()

    def settle(self) -> None:
        """Set the first radii."""

    def moves_of(self, phase: str) -> Any:
        """The trials of a phase: moves, or radii of attacks."""
        raise NotImplementedError

    def judged(self, phase: str, gain: bool, old: float, last: bool) -> bool:
        """Change the radii after a trial; whether the iteration is over."""
        raise NotImplementedError

    def finished(self) -> bool:
        """Whether the radii have reached their lower limits."""
        raise NotImplementedError

    def ask(self) -> Array:
        """The next trial point."""
        if self.over:
            self.over, self.phase, self.tag = False, -1, ""
            self.next_phase()
        item = self.pending[self.index]
        self.move = self.attack(float(item)) if self.phases[self.phase] == "attack" else item
        return self.x + self.move

    def tell(self, outputs: Outputs, value: float) -> bool:
        """Take the trial's value; whether it is the new best one. No number, or an infinite one, is a failure."""
        trial, old, phase = self.x + self.move, self.value, self.phases[self.phase]
        gain = bool(np.isfinite(value) and value > old)
        if self.set.get("covering") == "farthest":
            self.known.append(trial)
        if gain:
            self.x, self.outputs, self.value = trial, outputs, value
        self.index += 1
        last = self.index == len(self.pending)
        if self.judged(phase, gain, old, last):
            self.end()
        elif gain or last:
            self.next_phase()
        return gain

    def next_phase(self) -> None:
        """On to the next phase that has trials; the iteration is over after the last."""
        while self.phase + 1 < len(self.phases):
            self.phase += 1
            self.pending, self.index = self.moves_of(self.phases[self.phase]), 0
            if len(self.pending):
                return
        self.end()

    def end(self) -> None:
        self.over, self.nit = True, self.nit + 1

    def attack(self, radius: float) -> Array:
        """The attack at the best point, in the direction of the objective's gradient."""
        u = self.problem.direction(self.outputs)
        attack = self.set["attack"]
        if isinstance(attack, str):
            return self.problem.attack(self.x, u, radius, method=attack, loss=self.set["loss"])
        self.problem.n_grad += 1
        move = attack(self.problem.extended, self.problem.tensor(self.x), u.clone(), radius)
        move = np.array(move.detach().numpy() if isinstance(move, torch.Tensor) else move, dtype=float)
        if move.shape != (self.n,) or not np.isfinite(move).all() or abs(move).max() > radius * (1 + 1e-6):
            raise ValueError(f"attack must give {self.n} finite numbers within the radius {radius:g}")
        return move

    def clip(self, name: str, radius: float) -> float:
        low, high = self.set[name]
        return float(min(max(radius, low), high))

    def covering(self) -> list[Array]:
        kind = self.set["covering"]
        if kind is None:
            return []
        known = np.array(self.known) - self.x if kind == "farthest" else None
        return [covering_move(self.n, self.set["covering_radius"], kind, seed=self.rng, known=known)]

    def search(self) -> list[Array]:
        length = min(self.set["r0"] * np.sqrt(self.searches + 1), self.set["r_dsm"][1])  # (9)
        self.searches += 1
        return [random_move(self.n, length, self.rng)]

    def poll(self) -> Array:
        return poll_directions(self.n, self.r_dsm, self.set["poll"], seed=self.rng)

    def state(self) -> dict[str, Any]:
        """All that the next trial depends on, beside the problem."""
        return {name: copy.deepcopy(value) for name, value in vars(self).items() if name != "problem"}

    @classmethod
    def resumed(cls, problem: SurrogateProblem, state: dict[str, Any]) -> Machine:
        made = cls.__new__(cls)
        made.problem = problem
        vars(made).update(copy.deepcopy(state))
        return made


class Cdsm(Machine):
    """Covering step, search step, poll step; the first success ends the iteration."""

    phases: tuple[str, ...] = ("covering", "search", "poll")

    def settle(self) -> None:
        self.r_dsm = self.clip("r_dsm", self.set["r0"])

    def polls(self) -> bool:
        return self.r_dsm > self.set["r_dsm"][0]

    def moves_of(self, phase: str) -> Any:
        if phase == "covering":
            return self.covering()
        if not self.polls() or (phase == "search" and not self.set["search"]):
            return []
        return self.search() if phase == "search" else self.poll()

    def judged(self, phase: str, gain: bool, old: float, last: bool) -> bool:
        self.tag = phase if gain else "failure"
        if phase == "covering" and gain and not self.polls():
            self.r_dsm = self.clip("r_dsm", 2 * self.r_dsm)
        if phase == "poll" and gain:
            self.r_dsm = self.clip("r_dsm", 2 * self.r_dsm)
        elif phase == "poll" and last:
            self.r_dsm = self.clip("r_dsm", self.r_dsm / 2)
        return gain

    def finished(self) -> bool:
        return not self.polls() and bool(self.set["stop_at_minimum"])


class Hybrid(Cdsm):
    """One attack first; the direct search only where its gain is not large."""

    phases = ("attack", "covering", "search", "poll")

    def settle(self) -> None:
        self.r_dsm = self.clip("r_dsm", self.set["r0"])
        self.r_atk = self.clip("r_atk", self.set["r0"])

    def moves_of(self, phase: str) -> Any:
        return [self.r_atk] if phase == "attack" else super().moves_of(phase)

    def judged(self, phase: str, gain: bool, old: float, last: bool) -> bool:
        if phase == "attack":
            return self.attacked(gain, old)
        if gain:
            self.tag += phase
        if gain and phase in ("search", "poll"):
            self.r_dsm = self.clip("r_dsm", 2 * self.r_dsm)
        elif phase == "poll" and last:
            self.r_dsm = self.clip("r_dsm", self.r_dsm / 2)
        return gain

    def end(self) -> None:
        self.tag += "failure" if self.tag.endswith("+") else ""
        super().end()

    def attacked(self, gain: bool, old: float) -> bool:
        """How the radii change after the attack step; a large gain skips the direct search."""
        if gain and enough(self.value, old, self.set["sufficient_gain"]):
            self.r_atk, self.tag = self.clip("r_atk", GROWS_MUCH * self.r_atk), "attack"
            if not self.polls():
                self.r_dsm = self.clip("r_dsm", 2 * self.r_dsm)
            return True
        self.tag = "attack+" if gain else "failure+"
        self.r_atk = self.clip("r_atk", GROWS * self.r_atk if gain else self.r_atk / SHRINKS)  # (8)
        return False

    def finished(self) -> bool:
        return super().finished() and self.r_atk <= self.set["r_atk"][0]


class Attacks(Machine):
    """Attacks alone: two radii, the first success counts."""

    phases = ("attack",)

    def settle(self) -> None:
        self.r_atk = self.clip("r_atk", self.set["r0"])
        self.stalled = False

    def moves_of(self, phase: str) -> Any:
        return [self.clip("r_atk", ATTACKS_AHEAD * self.r_atk), self.clip("r_atk", self.r_atk)]

    def judged(self, phase: str, gain: bool, old: float, last: bool) -> bool:
        self.tag = "attack" if gain else "failure"
        if gain:
            self.r_atk = self.clip("r_atk", abs(self.move).max())
        elif last:
            self.r_atk /= ATTACKS_SHRINK
            self.stalled = self.r_atk < self.set["r_atk"][0]
        return gain

    def finished(self) -> bool:
        return self.stalled


class RandomLines(Machine):
    """Two random lines in each iteration, three lengths on each, the first success counts."""

    phases = ("lines",)

    def settle(self) -> None:
        self.r_dsm = self.clip("r_dsm", self.set["r0"])

    def moves_of(self, phase: str) -> Any:
        lines = [random_move(self.n, self.r_dsm, self.rng) for _ in range(2)]
        return [length * line for line in lines for length in LINE_LENGTHS]

    def judged(self, phase: str, gain: bool, old: float, last: bool) -> bool:
        self.tag = "lines" if gain else "failure"
        if gain:
            self.failures, self.r_dsm = 0, self.clip("r_dsm", abs(self.move).max())
        elif last:
            self.failures += 1
            if self.failures > self.n + 1:
                self.r_dsm = self.clip("r_dsm", self.r_dsm / LINES_SHRINK)
        return gain

    def finished(self) -> bool:
        return self.r_dsm <= self.set["r_dsm"][0]
