"""Checking: a dry run says everything at once, and agrees with what loading then does."""

import pytest

from server.finetuning.data import DataError, check, load_splits
from server.finetuning.data.division import PARTS
from server.finetuning.plan import CalibrationPlan, SearchPlan
from tests.finetuning.data.files import HYPERPARAMETERS, plan, texts, write

SEARCH = SearchPlan(algorithm="tpe", n_trials=15, low=0.1, high=3.0, folds=3, objective="nll", also=())


@pytest.fixture
def look(tmp_path):
    """Write files, and look at them."""

    def look(files, **changed):
        for name, rows in files.items():
            write(tmp_path, name, rows)
        return check(plan(**changed), lambda name: tmp_path / name)

    return look


def test_a_data_set_in_order(look):
    found = look({"train": texts({"b": 600, "a": 1500})}, search=SEARCH)
    assert found.model_dump(mode="json") == {
        "valid": True,
        "errors": [],
        "warnings": [],
        "rows": {"training_file": 2100},
        "bad_lines": [],
        "bad_line_count": 0,
        "bad_line_counts": {},
        "empty_texts": 0,
        "input": "text",
        "shape": None,
        "class_counts": {"a": 1500, "b": 600},
        "splits": {"train": 1470, "validation": 210, "calibration": 210, "test": 210},
        "split_counts": {
            "train": {"a": 1050, "b": 420},
            "validation": {"a": 150, "b": 60},
            "calibration": {"a": 150, "b": 60},
            "test": {"a": 150, "b": 60},
        },
        "duplicates": 0,
        "conflicts": 0,
        "leaks": 0,
        "rare_classes": {},
        "steps_per_epoch": 92,  # 1470 rows in batches of 16
        "steps": 276,
        "search_trainings": 45,
    }


def test_everything_is_found_in_one_look(look):
    rows = texts({"spam": 30, "ham": 30, "Ham ": 3})
    extra = [{"text": "row 1 of spam", "label": "ham", "id": 7}, rows[5], {"text": " ", "label": "ham"}]
    later = [rows[7], {"text": "new", "label": "eggs"}, {"text": "fresh", "label": "ham"}]
    lines = {"train": [*rows, *extra], "test": later}
    found = look(lines, test_file="test")
    assert not found.valid
    assert [(line.file, line.line, line.field, line.code) for line in found.bad_lines] == [
        ("training_file", 66, "text", "empty_text"),
        ("test_file", 2, "label", "unknown_class"),
    ]
    assert (found.bad_line_count, found.empty_texts) == (2, 1)
    assert [(error.code, error.param) for error in found.errors] == [
        ("invalid_lines", "training_file"),
        ("invalid_lines", "test_file"),
    ]
    assert found.class_counts == {"Ham ": 3, "ham": 31, "spam": 31}
    assert found.rare_classes == {"Ham ": 3}
    assert found.splits == {}
    assert found.leaks is None

    mended = look({"train": [*rows, *extra[:2]], "test": [later[0], later[2]]}, test_file="test")
    assert mended.valid
    assert (mended.duplicates, mended.conflicts, mended.leaks) == (2, 2, 1)
    told = "\n".join(mended.warnings)
    for words in ("2 rows hold the same as an earlier", "another class", "left out", "'id'", "capitals", "'Ham '"):
        assert words in told


def test_bad_lines_do_not_hide_the_splits_of_the_rest(look):
    found = look({"train": [*texts({"a": 50, "b": 50}), {"text": ""}]})
    assert not found.valid
    assert found.splits == {"train": 70, "validation": 10, "calibration": 10, "test": 10}
    assert any("fitted to 10 rows" in sentence for sentence in found.warnings)


def test_a_class_that_is_missing_from_a_part_is_named(look):
    found = look({"train": texts({"a": 96, "b": 4})})
    assert found.valid
    assert found.rare_classes == {"b": 4}
    missing = [part for part in PARTS if found.split_counts[part]["b"] == 0]
    assert missing
    for part in missing:
        assert any(f"part for {part} has no row of 'b'" in sentence for sentence in found.warnings)


def test_features_and_their_shape(look):
    rows = [{"features": [[place, 1], [2, 3]], "label": place % 2} for place in range(40)]
    found = look({"train": rows}, method="cnn")
    assert (found.valid, found.input, found.shape) == (True, "features", [2, 2])
    assert not look({"train": rows}, method="dan").valid


def test_nothing_is_fitted_and_nothing_is_said_of_it(look):
    found = look({"train": texts({"a": 50, "b": 50})}, calibration=CalibrationPlan(method="none", fraction=0.1))
    assert found.splits["calibration"] == 0
    assert found.warnings == []


def test_names_out_of_the_file_are_clipped(look):
    rows = texts({"a": 50, "b": 50, "x" * 150: 50})
    found = look({"train": rows, "test": [{"text": "t", "label": "y" * 150}]}, test_file="test")
    assert len(found.bad_lines[0].message) < 150


@pytest.mark.parametrize(
    "files",
    [
        {"train": texts({"a": 40})},
        {"train": texts({"a": 1, "b": 1})},
        {"train": b"\xff\xfe"},
        {"train": b"nope"},
        {"train": "text,label\n"},
        {"train": [{"text": ""}] * 60},
        {"train": "x,label\n1,a\n2,b\n"},
        {"train": texts({"a": 40, "b": 40}), "test": texts({"a": 1, "c": 3}, prefix="new")},
        {"train": texts({"a": 40, "b": 40}), "test": texts({"a": 40, "b": 40})},
        {"train": texts({"a": 40, "b": 40}), "test": b""},
        {"train": texts({"a": 40, "b": 40}), "test": texts({"a": 4}, prefix="new")},
        {"train": texts({"a": 9, "b": 9}) * 3},
    ],
)
def test_a_look_and_a_loading_agree(look, tmp_path, files):
    changed = {"test_file": "test"} if "test" in files else {}
    found = look(files, **changed)
    if found.valid:
        splits = load_splits(plan(**changed), lambda name: tmp_path / name)
        assert found.splits == {part: len(getattr(splits, part)) for part in PARTS}
        foreseen = [sentence for sentence in found.warnings if "will be fitted" in sentence]
        assert len(foreseen) == 1  # a training says so itself, once it has fitted
        assert (*splits.warnings, *foreseen) == tuple(found.warnings)
    else:
        with pytest.raises(DataError) as raised:
            load_splits(plan(**changed), lambda name: tmp_path / name)
        error, first = raised.value, found.errors[0]
        assert (first.code, first.message, first.param) == (error.code, error.message, error.param)


def test_steps_count_the_last_batch_that_is_not_full(look):
    changed = HYPERPARAMETERS.model_copy(update={"batch_size": 1000, "n_epochs": 7})
    found = look({"train": texts({"a": 50, "b": 50})}, hyperparameters=changed)
    assert (found.steps_per_epoch, found.steps) == (1, 7)


def test_cross_fitted_networks_keep_no_rows_to_calibrate_and_take_steps_of_their_own(look):
    changed = HYPERPARAMETERS.model_copy(update={"ensemble": 4, "cross_fitted": True, "batch_size": 10, "n_epochs": 3})
    found = look({"train": texts({"a": 50, "b": 51})}, hyperparameters=changed)
    assert found.splits == {"train": 81, "validation": 10, "calibration": 0, "test": 10}
    assert (found.steps_per_epoch, found.steps) == (7, 3 * 4 * 7)  # 19 or 20 of 81 rows are left out
    assert found.warnings == ["the temperature will be fitted to 79 rows; it is uncertain below 200"]
