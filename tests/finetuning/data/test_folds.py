"""Folds: each class in like shares, equal rows together, every network with a row of every class."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.finetuning.data.folds import folds_of
from server.finetuning.examples import Examples
from tests.finetuning.data.files import HYPERPARAMETERS, plan


def cut(texts, labels, networks=5, seed=0):
    own = HYPERPARAMETERS.model_copy(update={"ensemble": networks, "cross_fitted": True})
    return folds_of(plan(hyperparameters=own, seed=seed), Examples(texts, np.array(labels)))


def test_every_class_has_like_shares_of_all_folds_and_a_row_that_all_learn_from():
    labels = [0] * 101 + [1] * 51 + [2]
    folds = cut([f"text {place}" for place in range(len(labels))], labels)
    counts = [np.bincount(np.array(labels)[folds.of(number)], minlength=3).tolist() for number in range(5)]
    assert counts == [[20, 10, 0]] * 5
    assert folds.num_rows == 150
    for number in range(5):
        learned = folds.learned_by(number)
        assert sorted([*learned, *folds.of(number)]) == list(range(153))
        assert set(np.array(labels)[learned]) == {0, 1, 2}


def test_small_classes_do_not_leave_the_last_fold_without_rows():
    labels = np.repeat(np.arange(50), 6)
    folds = cut([f"text {place}" for place in range(300)], labels)
    assert [len(folds.of(number)) for number in range(5)] == [50] * 5


@settings(deadline=None, max_examples=50)  # a busy machine is no fault
@given(
    st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=150),
    st.integers(2, 9),
    st.integers(0, 9),
)
def test_no_network_is_asked_for_a_text_that_it_has_learned(rows, networks, seed):
    texts, labels = [f"text {text}" for text, _ in rows], [label for _, label in rows]
    folds = cut(texts, labels, networks, seed)
    for number in range(networks):
        learned = folds.learned_by(number)
        assert len(learned)
        assert {texts[row] for row in learned}.isdisjoint(texts[row] for row in folds.of(number))
    assert sum(len(folds.of(number)) for number in range(networks)) == folds.num_rows


@given(st.permutations(range(40)))
def test_folds_do_not_depend_on_the_order_of_rows(order):
    texts, labels = [f"text {place}" for place in range(40)], np.arange(40) % 3
    folds, shuffled = cut(texts, labels), cut([texts[place] for place in order], labels[order])
    assert np.array_equal(shuffled.numbers, folds.numbers[order])


def test_the_seed_decides():
    texts, labels = [f"text {place}" for place in range(40)], [0, 1] * 20
    assert np.array_equal(cut(texts, labels, seed=1).numbers, cut(texts, labels, seed=1).numbers)
    assert not np.array_equal(cut(texts, labels, seed=1).numbers, cut(texts, labels, seed=2).numbers)


@pytest.mark.parametrize("networks", [1, 3])
def test_without_cross_fitting_all_learn_from_all(networks):
    own = HYPERPARAMETERS.model_copy(update={"ensemble": networks})
    folds = folds_of(plan(hyperparameters=own), Examples(["a", "b", "c"], np.array([0, 1, 0])))
    assert folds.num_rows == 0
    assert folds.learned_by(0).tolist() == [0, 1, 2]
