"""The command line's short forms."""

import pytest

from server.errors import InvalidRequestError
from server.finetuning.cli.options import read_search, read_served, read_settings, read_temperature


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1.5", {"schedule": "constant", "start": 1.5}),
        ("constant:2", {"schedule": "constant", "start": 2.0}),
        ("linear:2.0:0.5", {"schedule": "linear", "start": 2.0, "end": 0.5}),
        ("cosine", {"schedule": "cosine"}),
        ("step:2:0.5:4", {"schedule": "step", "start": 2.0, "end": 0.5, "steps": 4}),
        ("piecewise:0=2,0.5=1,1=0.5", {"schedule": "piecewise", "points": [[0.0, 2.0], [0.5, 1.0], [1.0, 0.5]]}),
    ],
)
def test_a_temperature_is_a_number_or_a_schedule(text, found):
    assert read_temperature(text) == found


def test_a_search_names_its_algorithm_its_trials_and_its_range():
    assert read_search("tpe") == {"algorithm": "tpe"}
    assert read_search("tpe:15") == {"algorithm": "tpe", "n_trials": 15}
    assert read_search("grid:9:0.5:4") == {"algorithm": "grid", "n_trials": 9, "low": 0.5, "high": 4.0}


def test_settings_are_json_or_words():
    assert read_settings(["batch_size=8", "decay=cosine", 'class_weight={"a": 2}', "max_grad_norm=null"]) == {
        "batch_size": 8, "decay": "cosine", "class_weight": {"a": 2}, "max_grad_norm": None,
    }  # fmt: skip
    assert (read_served("fitted"), read_served("1.5")) == ("fitted", 1.5)


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (read_temperature, "linear:2:1:3", "--temperature must"),
        (read_temperature, "linear:warm:cold", "--temperature must"),
        (read_temperature, "constant:1:2", "--temperature must"),
        (read_temperature, "piecewise:0-2", "--temperature must"),
        (read_search, "tpe:many", "--search must"),
        (read_search, "tpe:15:0.1", "--search must"),
        (lambda text: read_settings([text, text]), "batch_size=8", "each name once"),
        (lambda text: read_settings([text]), "batch_size", "NAME=VALUE"),
    ],
)
def test_anything_else_is_refused_with_the_form(read, text, said):
    with pytest.raises(InvalidRequestError, match=said):
        read(text)
