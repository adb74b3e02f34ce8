"""Splits: shares of every class, no row in two parts, equal rows together, and nothing that depends on the order."""

import random
from itertools import chain

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from server.errors import NotFoundError
from server.finetuning.data import DataError, load_splits
from server.finetuning.data.allotment import allot, keys_of
from server.finetuning.data.division import PARTS
from server.finetuning.plan import CalibrationPlan
from tests.finetuning.data.files import HYPERPARAMETERS, plan, texts, write

laws = settings(deadline=None, max_examples=50)  # a busy machine is no fault
SHARES = (0.1, 0.1, 0.1)


@pytest.fixture
def load(tmp_path):
    """Write files, and split what a plan makes of them."""

    def load(files, **changed):
        for name, rows in files.items():
            write(tmp_path, name, rows)
        return load_splits(plan(**changed), lambda name: tmp_path / name)

    return load


def contents(splits):
    return {part: list(getattr(splits, part).inputs) for part in PARTS}


def sizes(splits):
    return [len(getattr(splits, part)) for part in PARTS]


def per_class(splits):
    counts = [np.bincount(getattr(splits, part).labels, minlength=len(splits.classes)) for part in PARTS]
    return {name: [int(count[place]) for count in counts] for place, name in enumerate(splits.classes)}


def test_a_tenth_of_every_class_goes_to_each_part(load):
    splits = load({"train": texts({"a": 100, "b": 60, "c": 40})})
    assert sizes(splits) == [140, 20, 20, 20]
    assert per_class(splits) == {"a": [70, 10, 10, 10], "b": [42, 6, 6, 6], "c": [28, 4, 4, 4]}
    for part in PARTS:
        examples = getattr(splits, part)
        rows = zip(examples.inputs, examples.labels, strict=True)
        assert all(text.endswith(splits.classes[label]) for text, label in rows)
    everything = chain.from_iterable(contents(splits).values())
    assert sorted(everything) == sorted(row["text"] for row in texts({"a": 100, "b": 60, "c": 40}))


def test_the_shares_follow_the_plan(load):
    rows = {"train": texts({"a": 60, "b": 40})}
    none = CalibrationPlan(method="none", fraction=0.1)
    assert sizes(load(rows, calibration=none)) == [80, 10, 0, 10]
    assert sizes(load(rows, calibration=CalibrationPlan(method="temperature", fraction=0.5))) == [30, 10, 50, 10]
    cross_fitted = HYPERPARAMETERS.model_copy(update={"ensemble": 2, "cross_fitted": True})
    assert sizes(load(rows, hyperparameters=cross_fitted)) == [80, 10, 0, 10]
    own = rows | {"more": texts({"a": 3, "b": 4}, prefix="other")}
    assert sizes(load(own, test_file="more")) == [80, 10, 10, 7]
    assert sizes(load(own, validation_file="more")) == [80, 7, 10, 10]


@laws
@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.integers(0, 2**32))
def test_shares_are_as_even_as_those_of_scikit_learn(counts, seed):
    """Both round to whole rows, so that a class is within one row of its share, and all of them within half a row."""
    counts = np.array(counts)
    labels = np.repeat(np.arange(len(counts)), counts)
    assume(len(labels) >= 10)
    parts = allot(labels, keys_of([str(place) for place in range(len(labels))], seed), SHARES)

    def of(part):
        return np.bincount(labels[parts == part], minlength=len(counts))

    assert np.all(of(-1) >= 1)
    for last in range(3):
        gaps = sum(of(part) for part in range(last + 1)) - counts * 0.1 * (last + 1)
        assert np.all(np.abs(gaps) <= 1 + 1e-9)
        assert abs(gaps.sum()) <= 0.5 + 1e-9
    if counts.min() >= 2 and round(len(labels) * 0.1) >= len(counts):
        splitter = StratifiedShuffleSplit(1, test_size=round(len(labels) * 0.1), random_state=0)
        ((_, test),) = splitter.split(labels, labels)
        assert len(test) == of(0).sum()
        assert np.all(np.abs(np.bincount(labels[test], minlength=len(counts)) - of(0)) <= 1)


def test_the_classes_rounding_leaves_out_of_one_part_are_in_the_next(load):
    """Fifty classes of five rows: each has half a row in every part."""
    splits = load({"train": texts({f"c{place:02}": 5 for place in range(50)})})
    assert sizes(splits) == [175, 25, 25, 25]
    found = np.array(list(per_class(splits).values()))
    assert np.array_equal(found[:, 1] + found[:, 3], np.ones(50))
    assert found[:, 0].min() == 3


@laws
@given(st.permutations(range(60)), st.integers(0, 5))
def test_parts_do_not_depend_on_the_order_of_rows(order, seed):
    names = [f"text {place % 45}" for place in range(60)]
    labels = np.array([place % 45 % 3 for place in range(60)])
    parts = allot(labels, keys_of(names, seed), SHARES)
    shuffled = allot(labels[order], keys_of([names[place] for place in order], seed), SHARES)
    assert np.array_equal(shuffled, parts[order])


def test_a_training_sees_the_same_rows_in_the_same_order_whatever_the_order_of_the_file(load):
    rows = [*texts({"a": 50, "b": 50}), *texts({"b": 5, "a": 5})]
    shuffled = rows.copy()
    random.Random(1).shuffle(shuffled)
    one, other = load({"train": rows}), load({"train": shuffled})
    assert contents(one) == contents(other)
    for part in PARTS:
        assert np.array_equal(getattr(one, part).labels, getattr(other, part).labels)


def test_the_seed_decides(load):
    rows = {"train": texts({"a": 50, "b": 50})}
    assert contents(load(rows, seed=1)) == contents(load(rows, seed=1))
    assert set(contents(load(rows, seed=1))["test"]) != set(contents(load(rows, seed=2))["test"])


@laws
@given(st.lists(st.tuples(st.integers(0, 25), st.integers(0, 2)), min_size=1, max_size=150), st.integers(0, 9))
def test_equal_rows_are_never_in_two_parts(rows, seed):
    names, labels = [f"text {text}" for text, _ in rows], np.array([label for _, label in rows])
    parts = allot(labels, keys_of(names, seed), SHARES)
    places = {}
    for name, part in zip(names, parts, strict=True):
        assert places.setdefault(name, part) == part


def test_pairs_are_split_like_single_rows(load):
    splits = load({"train": texts({"a": 50, "b": 50}) * 2})
    assert sizes(splits) == [140, 20, 20, 20]
    assert len(set(splits.test.inputs)) == 10
    assert not set(splits.train.inputs) & set(splits.test.inputs)


def test_rows_that_hold_the_same_and_are_all_of_their_class_are_trained_on():
    keys = keys_of(["the same", "the same", *map(str, range(40))], 0)
    parts = allot(np.array([1, 1, *[0] * 40]), keys, [0.5])
    assert parts[:2].tolist() == [-1, -1]
    assert np.sum(parts == 0) == 20


def test_a_text_that_fills_much_of_a_class_is_trained_on_and_no_test():
    names = ["the same"] * 60 + [f"text {place}" for place in range(140)]
    for seed in range(20):
        parts = allot(np.zeros(200, np.int64), keys_of(names, seed), SHARES)
        assert set(parts[:60]) == {-1}
        assert np.bincount(parts + 1).tolist() == [140, 20, 20, 20]


def test_rows_of_another_file_are_left_out_of_training(load):
    rows = texts({"a": 50, "b": 50})
    files = {"train": rows, "validate": rows[:4] + rows[60:66], "test": rows[2:8] + rows[64:70]}
    splits = load(files, validation_file="validate", test_file="test")
    found = contents(splits)
    assert sorted(found["test"]) == sorted(row["text"] for row in files["test"])
    assert sorted(found["validation"]) == sorted(row["text"] for row in rows[:2] + rows[60:64])
    assert len(found["train"]) + len(found["calibration"]) == 100 - 18
    for part in PARTS:
        others = chain.from_iterable(found[other] for other in PARTS if other != part)
        assert set(found[part]).isdisjoint(others)
    assert any("22 rows hold the same" in sentence for sentence in splits.warnings)


def test_classes_are_in_order_of_their_numbers_or_letters(load):
    assert load({"train": texts({"10": 20, "9": 20, "-1": 20})}).classes == ("-1", "9", "10")
    assert load({"train": texts({"10": 20, "9": 20, "b": 20})}).classes == ("10", "9", "b")
    integers = [{"text": f"{place}", "label": place % 3} for place in range(60)]
    assert load({"train": integers}).classes == ("0", "1", "2")


def test_features_are_split_alike(load):
    rows = [{"features": [place, -place], "label": place % 2} for place in range(100)]
    splits = load({"train": [*rows, {"features": [-0.0, 0.0], "label": 0}]}, method="mlp")
    assert splits.train.inputs.dtype == np.float32
    assert splits.train.inputs.shape[1:] == (2,)
    assert sum(sizes(splits)) == 101
    assert np.array_equal(splits.test.inputs[:, 0] % 2, splits.test.labels)
    zeros = [part for part in PARTS if np.any(getattr(splits, part).inputs[:, 0] == 0)]
    assert len(zeros) == 1  # 0 and -0 are the same row


@pytest.mark.parametrize(("rows", "parts"), [(12, [8, 1, 2, 1]), (15, [10, 1, 2, 2]), (25, [17, 3, 3, 2])])
def test_few_rows(load, rows, parts):
    labelled = [{"text": f"text {place}", "label": place % 2} for place in range(rows)]
    assert sizes(load({"train": labelled})) == parts
    assert sum(parts) == rows


FAULTS = [
    ({"train": texts({"a": 40})}, {}, "too_few_classes", "training_file"),
    ({"train": texts({f"c{place}": 1 for place in range(1001)})}, {}, "too_many_classes", "training_file"),
    ({"train": texts({"a": 1, "b": 1})}, {}, "too_few_rows", "training_file"),
    ({"train": [*texts({"a": 40, "b": 40}), *[{"text": "t", "label": label} for label in "bbc"]],
      "t": [{"text": "t", "label": "b"}]}, {"test_file": "t"}, "too_few_rows", "training_file"),
    ({"train": [*texts({"a": 40, "b": 40}), {"text": " ", "label": "b"}]}, {}, "invalid_lines", "training_file"),
    ({"train": texts({"a": 40, "b": 40})}, {"method": "cnn"}, "wrong_inputs", "method_name"),
    ({"train": "x,label\n1,a\n2,b\n"}, {"method": "lora"}, "wrong_inputs", "method_name"),
    ({"train": "text,label\n"}, {}, "no_rows", "training_file"),
    ({"train": texts({"a": 40, "b": 40}), "v": [{"text": "x", "label": "c"}]}, {"validation_file": "v"},
     "invalid_lines", "validation_file"),
    ({"train": texts({"a": 40, "b": 40}), "t": b"\xff\xfe"}, {"test_file": "t"}, "unknown_format", "test_file"),
    ({"train": texts({"a": 40, "b": 40})}, {"test_file": "train"}, "no_rows", "training_file"),
    ({"train": texts({"a": 40, "b": 2}), "t": texts({"b": 2, "a": 3})}, {"test_file": "t"},
     "too_few_rows", "training_file"),
    ({"train": "x,y,label\n" + "1,2,a\n2,3,b\n" * 9, "t": "x,label\n1,a\n"}, {"test_file": "t", "method": "mlp"},
     "wrong_inputs", "test_file"),
    ({"train": texts({"a": 40, "b": 40}), "s": texts({"a": 2})}, {"test_file": "s", "validation_file": "s"},
     "too_few_rows", "validation_file"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "changed", "code", "param"), FAULTS)
def test_what_cannot_be_split_is_refused_by_name(load, files, changed, code, param):
    with pytest.raises(DataError) as raised:
        load(files, **changed)
    assert (raised.value.code, raised.value.param) == (code, param)


def test_the_first_bad_lines_are_in_the_message(load):
    rows = "".join(f'{{"text": "{place}", "label": {place % 2}}}\n' for place in range(40))
    with pytest.raises(DataError) as raised:
        load({"train": rows + "x\n" * 5})
    assert "5 lines" in raised.value.message
    assert "line 41: " in raised.value.message
    assert "and 2 more" in raised.value.message


def test_a_file_that_is_not_there_is_the_callers_error():
    def path_of(name):
        raise NotFoundError("there is no such file", param="training_file")

    with pytest.raises(NotFoundError):
        load_splits(plan(), path_of)
