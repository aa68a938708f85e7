"""Files of trained weights: what is packed comes back, nothing is parsed unverified, and pickles are refused."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
import torch
from torch import nn

from lib import papers, weights


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_parameters_come_back_in_half_precision_and_in_the_modules_own_type():
    ours, other = network(0), network(1).double()
    with torch.no_grad():
        ours[1].running_mean += 0.5
    data = weights.pack(weights.parameters(ours, "net."), {"command": "x"})
    arrays, origin = weights.unpack(data)
    assert origin == {"command": "x"}
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    weights.fill(other, arrays, "net.")
    for key, value in other.state_dict().items():
        assert value.dtype in (torch.float64, torch.int64), key
        if value.is_floating_point():
            torch.testing.assert_close(value, ours.state_dict()[key].half().double())


def test_fill_keeps_what_is_its_own_and_misses_what_is_missing():
    ours, other = network(0), network(1)
    arrays = weights.parameters(ours)
    del arrays["0.bias"]
    with pytest.raises(KeyError, match=r"0\.bias"):
        weights.fill(other, arrays)
    before = other[0].bias.clone()
    weights.fill(other, arrays, own=("0.bias",))
    assert torch.equal(other[0].bias, before)
    assert not torch.equal(other[0].weight, network(1)[0].weight)


def test_a_pickle_is_refused():
    buffer = io.BytesIO()
    np.savez(buffer, origin=np.array("{}"), bad=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        weights.unpack(buffer.getvalue())


def test_bytes_are_verified_before_they_are_read(tmp_path):
    path = tmp_path / "some.npz"
    with pytest.raises(
        FileNotFoundError, match=r"make it by: python -m lib\.policies\.udc\.study\.make_weights --out some\.npz"
    ):
        weights.read("udc", "", path)
    path.write_bytes(b"abc")
    assert weights.read("udc", hashlib.sha256(b"abc").hexdigest(), path) == b"abc"
    with pytest.raises(ValueError, match="SHA-256 is"):
        weights.read("udc", "0" * 64, path)
    path.write_bytes(bytes(weights.MOST_BYTES + 1))
    with pytest.raises(ValueError, match="at most 2000000 are expected"):
        weights.read("udc", hashlib.sha256(path.read_bytes()).hexdigest(), path)


def test_every_shipped_file_says_where_it_comes_from():
    files = sorted((papers.root() / "results").glob("*.npz"))
    assert files
    for path in files:
        _, origin = weights.unpack(path.read_bytes())
        assert {"command", "commit", "torch", "numpy", "cpu", "cpu_seconds"} <= set(origin), path.name


def test_origin_names_this_checkout():
    told = weights.origin("a command", seconds=3)
    assert (told["command"], told["seconds"]) == ("a command", 3)
    assert told["torch"] == torch.__version__.split("+")[0]
