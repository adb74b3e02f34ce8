"""Arms as the command line spells them."""

import io

import pytest

from server.comparison.arms import PRESETS, read_arm, read_arms, read_sweep
from server.comparison.local import read_prompts, read_request
from server.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("text", "arm"),
    [
        ("cold:temperature=0.5", {"name": "cold", "temperature": 0.5}),
        ("as it is", {"name": "as it is"}),
        ("a: top_k=5 , ignore_eos=true", {"name": "a", "top_k": 5, "ignore_eos": True}),
        ('b:stop=["x, y", "z"],min_p=0.1', {"name": "b", "stop": ["x, y", "z"], "min_p": 0.1}),
        ("c:order=vllm,temperature=2", {"name": "c", "order": "vllm", "temperature": 2}),
        ("d:prompt_template=Q: {prompt} A:", {"name": "d", "prompt_template": "Q: {prompt} A:"}),
        ("e:model=other,seed_word=3 apples", {"name": "e", "model": "other", "seed_word": "3 apples"}),
    ],
)
def test_an_arm_is_a_name_and_fields(text, arm):
    assert read_arm(text) == arm


def test_a_sweep_meets_its_ends_exactly():
    arms = read_sweep("temperature=0.3:1.5:0.2")
    assert [arm["temperature"] for arm in arms] == [0.3, 0.5, 0.7, 0.9, 1.1, 1.3, 1.5]
    assert arms[1]["name"] == "temperature=0.5"
    assert len(read_sweep("temperature=0.1:1.6:0.1")) == 16
    assert [arm["top_k"] for arm in read_sweep("top_k=10:35:10")] == [10, 20, 30]
    assert read_sweep("min_p=0.1:0.1:1") == [{"name": "min_p=0.1", "min_p": 0.1}]


def test_presets_are_the_three_bands():
    assert max(PRESETS["conservative"]) <= 0.7 < 1.0 <= min(PRESETS["balanced"])
    assert max(PRESETS["balanced"]) <= 1.5 < min(PRESETS["brainstorm"])
    arms = read_arms(["mine:top_p=0.5"], ["temperature=1:2:1"], ["conservative"])
    assert [arm["name"] for arm in arms] == [
        "mine", "temperature=1", "temperature=2", "conservative 0.3", "conservative 0.5", "conservative 0.7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((["cold:temperature"], [], []), "--arm cold:temperature=0.5"),
        (([":temperature=1"], [], []), "--arm cold:temperature=0.5"),
        (([], ["temperature=0.3"], []), "--sweep temperature=0.3:1.5:0.2"),
        (([], ["temperature=a:b:c"], []), "--sweep temperature=0.3:1.5:0.2"),
        (([], ["temperature=2:1:0.1"], []), "which rises"),
        (([], ["temperature=1:2:0"], []), "which rises"),
        (([], ["temperature=nan:2:1"], []), "which rises"),
        (([], ["temperature=0:1:0.01"], []), "more than 16 values"),
        (([], ["temperature=0:1e999999:1e-999999"], []), "more than 16 values"),
        (([], ["temperature=1:2"], []), "--sweep temperature=0.3:1.5:0.2"),
        ((["a:top_k=1,top_k=2"], [], []), "--arm a gives top_k twice"),
        ((["a:name=b"], [], []), "--arm a gives name twice"),
        (([], [], ["wild"]), "conservative, balanced, brainstorm"),
    ],
)
def test_a_wrong_spelling_is_answered_with_the_right_one(arguments, said):
    with pytest.raises(InvalidRequestError, match=said):
        read_arms(*arguments)


def test_an_arms_field_is_checked_like_that_of_a_request():
    with pytest.raises(InvalidRequestError, match="did you mean temperature"):
        read_request(prompts=["x"], arms=[read_arm("a:temprature=1"), read_arm("b")])


def test_prompts_are_lines_of_json():
    assert read_prompts(io.StringIO('"one"\n\n{"prompt": "two\\nlines", "id": 5}\n')) == ["one", "two\nlines"]
    for line in ("bare words", "[1]", '{"text": "x"}', '{"prompt": 5}'):
        with pytest.raises(InvalidRequestError, match="line 2 of the prompts"):
            read_prompts(io.StringIO(f'"one"\n{line}\n'))
