"""The cleaning task: shares of flips, disjoint parts, streams that do not know each other."""

import numpy as np
import pytest

from lib.problems.cleaning import cleaning_task, detection_auc, flip_labels, validation_split


def test_flips_have_the_share_and_all_other_classes():
    y = np.repeat(np.arange(4), 5000)
    flipped = flip_labels(y, 0.3, seed=0)
    assert abs((flipped != y).mean() - 0.3) < 0.01
    wrong = flipped[(flipped != y) & (y == 2)]
    counts = np.bincount(wrong, minlength=4)
    assert counts[2] == 0
    assert counts[[0, 1, 3]].min() > 0.9 * counts.max()
    assert (flip_labels(y, 0.0, seed=0) == y).all()
    assert (flip_labels(y, 1.0, seed=0) != y).all()


def test_the_parts_are_a_partition_and_only_training_labels_are_wrong():
    X, y = np.arange(60.0)[:, None], np.arange(60) % 3
    task = cleaning_task(X, y, 30, 10, 0.5, seed=1)
    rows = np.concatenate([task.X, task.X_val, task.X_test])[:, 0]
    assert sorted(rows) == list(range(60))
    for part, labels in ((task.X, task.truth), (task.X_val, task.y_val), (task.X_test, task.y_test)):
        assert (part[:, 0].astype(int) % 3 == labels).all()
    assert 0 < task.flipped.sum() < 30
    assert task.n_classes == 3


def test_the_same_seed_gives_the_same_task_and_the_share_does_not_move_the_split():
    X, y = np.arange(60.0)[:, None], np.arange(60) % 3
    one, two, other = (cleaning_task(X, y, 30, 10, share, seed=4) for share in (0.5, 0.5, 0.1))
    assert (one.y == two.y).all()
    assert (one.X == other.X).all()
    start = np.random.default_rng(4).random(30) < 0.5  # a method's own draw from the same seed
    assert (start != one.flipped).any()


def test_auc():
    flipped = np.array([True, True, False, False])
    assert detection_auc([0, 1, 2, 3], flipped) == 1
    assert detection_auc([3, 2, 1, 0], flipped) == 0
    assert detection_auc([1, 1, 1, 1], flipped) == 0.5
    with pytest.raises(ValueError, match="flipped"):
        detection_auc([1, 2], [False, False])
    with pytest.raises(ValueError, match="flipped"):
        detection_auc([1, 2], [False, True, True])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"n_train": 50}, "n_train"),
        ({"share": 1.5}, "share"),
        ({"n_val": 0}, "n_val"),
        ({"y": np.full(60, 0.5)}, "y must"),
        ({"y": [1]}, "rows"),
    ],
)
def test_bad_input_is_named(change, word):
    given = {"X": np.ones((60, 2)), "y": np.arange(60) % 3, "n_train": 30, "n_val": 10, "share": 0.5, "seed": 0}
    with pytest.raises(ValueError, match=word):
        cleaning_task(**(given | change))


def test_rows_are_set_aside_for_validation_in_the_classes_shares():
    X, index = np.arange(40.0)[:, None], np.arange(40) % 4 // 3
    train, val, labels = validation_split(X, index, None, None, 0.3, 0)
    assert sorted([*train, *val[:, 0]]) == list(range(40))
    assert (index[val[:, 0].astype(int)] == labels).all()
    assert np.bincount(labels).tolist() == [9, 3]
    again, *_ = validation_split(X, index, None, None, 0.3, 0)
    assert (train == again).all()
    # A class with one row cannot be in both parts.
    rare = (np.arange(40) == 0).astype(int)
    assert len(validation_split(X, rare, None, None, 0.3, 0)[2]) == 12


def test_given_validation_data_keep_their_order_and_are_checked():
    X, y = np.zeros((4, 2)), ["a", "b", "a", "b"]
    train, val, labels = validation_split(X, y, np.ones((3, 2)), ["b", "a", "b"], 0.3, None)
    assert (train.tolist(), val.shape, labels.tolist()) == ([0, 1, 2, 3], (3, 2), ["b", "a", "b"])
    for X_val, y_val, word in (
        (None, ["a"], "together"),
        (np.ones((1, 3)), ["a"], "features"),
        (np.ones((1, 2)), ["c"], "y_val"),
    ):
        with pytest.raises(ValueError, match=word):
            validation_split(X, y, X_val, y_val, 0.3, None)
