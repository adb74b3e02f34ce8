from pathlib import Path

import pytest

from server.errors import InvalidRequestError
from server.models.registry import ModelRef, parse_model_ref


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smollm2", ModelRef("smollm2")),
        ("a", ModelRef("a")),
        ("A.b_c-9", ModelRef("A.b_c-9")),
        ("x" * 64, ModelRef("x" * 64)),
        ("org/name-1.5B", ModelRef("org/name-1.5B")),
        ("smollm2@torch", ModelRef("smollm2", None, "torch")),
        ("org/name@tensorflow", ModelRef("org/name", None, "tensorflow")),
        ("mine=/models/mine", ModelRef("mine", Path("/models/mine"))),
        ("mine=./mine.gguf", ModelRef("mine", Path("mine.gguf"))),
        ("mine=/models/mine@tensorflow", ModelRef("mine", Path("/models/mine"), "tensorflow")),
        ("mine=/models/v@2/mine", ModelRef("mine", Path("/models/v@2/mine"))),
        ("mine=/models/v@2/", ModelRef("mine", Path("/models/v@2"))),
        ("mine=/models/v@2@torch", ModelRef("mine", Path("/models/v@2"), "torch")),
        ("mine=/models/a=b", ModelRef("mine", Path("/models/a=b"))),
        ("mine=~/m", ModelRef("mine", Path.home() / "m")),
        ("org/name=/models/m", ModelRef("org/name", Path("/models/m"))),
    ],
)
def test_a_reference_is_parsed(text: str, expected: ModelRef):
    assert parse_model_ref(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@torch",
        "=path",
        "..",
        ".hidden",
        "-x",
        "a b",
        "a\n",
        "é",
        "x" * 65,
        "a/b/c",
        "/etc",
        "a/",
        "../a",
        "a/..",
        "C:",
    ],
)
def test_a_name_of_another_form_is_refused(text: str):
    with pytest.raises(InvalidRequestError, match="is not allowed") as caught:
        parse_model_ref(text)
    assert caught.value.param == "model"


@pytest.mark.parametrize("text", ["a@jax", "a@", "a@Torch", "m=/models/v@2", "a@torch@"])
def test_an_unknown_framework_is_refused_with_the_known_ones(text: str):
    with pytest.raises(InvalidRequestError, match="supported: torch, tensorflow"):
        parse_model_ref(text)


@pytest.mark.parametrize("text", ["mine=", "mine=@torch"])
def test_an_empty_path_is_refused(text: str):
    with pytest.raises(InvalidRequestError, match="has an empty path"):
        parse_model_ref(text)
