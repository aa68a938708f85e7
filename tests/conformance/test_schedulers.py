"""What every learning-rate scheduler of the package must hold. A new one is found by being exported."""

from __future__ import annotations

import inspect
import io
import pickle

import pytest
import torch

from lib.gradient import lr_refinement

CLASSES = [
    c for c in (getattr(lr_refinement, name) for name in lr_refinement.__all__)
    if inspect.isclass(c) and issubclass(c, torch.optim.lr_scheduler.LRScheduler)
]  # fmt: skip
TOTAL = 10


def arguments(scheduler_class):
    """What a scheduler needs beside its optimizer, by the names of its parameters."""
    falling, rising = [1.0 - k / TOTAL for k in range(TOTAL)], [1.0 + k % 3 for k in range(TOTAL)]
    known = {"total_steps": TOTAL, "factors": falling, "schedule": falling, "grad_norms": rising, "norms": rising}
    wanted = inspect.signature(scheduler_class).parameters
    return {name: value for name, value in known.items() if name in wanted}


@pytest.fixture(params=CLASSES, ids=lambda c: c.__name__)
def make(request):
    def build(lr=1.0):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=lr)
        return optimizer, request.param(optimizer, **arguments(request.param))

    return build


def rates(optimizer, scheduler, steps):
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_multiplies_the_base_rate(make):
    ones, twos = rates(*make(1.0), TOTAL), rates(*make(2.0), TOTAL)
    assert twos == pytest.approx([2 * rate for rate in ones])
    assert all(0 <= rate <= 1 + 1e-12 for rate in ones)


def test_resumed_in_the_middle_it_goes_on_as_if_never_stopped(make):
    whole = rates(*make(), TOTAL)
    optimizer, scheduler = make()
    first = rates(optimizer, scheduler, 4)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    optimizer, scheduler = make()
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    assert first + rates(optimizer, scheduler, TOTAL - 4) == pytest.approx(whole)


def test_a_group_that_is_added_later_goes_on(make):
    optimizer, scheduler = make()
    rates(optimizer, scheduler, 3)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.5})
    assert len(rates(optimizer, scheduler, 2)) == 2


def test_survives_pickling(make):
    optimizer, scheduler = make()
    rates(optimizer, scheduler, 3)
    again = pickle.loads(pickle.dumps(scheduler))
    assert again.last_epoch == scheduler.last_epoch
    assert again.get_last_lr() == pytest.approx(scheduler.get_last_lr())
