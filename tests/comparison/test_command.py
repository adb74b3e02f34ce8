"""kelvin compare from its arguments to what it prints and writes; the model is a script, all else is as it will be."""

import io
import json
import re
import sys

import pytest

import server.app
from server import cli
from server.comparison.metrics import METRICS
from server.comparison.result import Report
from tests.conftest import loaded
from tests.fakes import FakeBackend

ARMS = ("--arm", "cold:temperature=0.5", "--arm", "hot:temperature=1.2")
SMALL = ("--samples", "3", "--max-tokens", "20", "--seed", "5")


def by_temperature(prompt, params, sample):
    """Write the same word again and again where it is cold, and others for each sample where it is hot."""
    word = b"ab " if params.temperature < 1 else f"w{sample} ".encode()
    return list((bytes(prompt[-1:]) + word * params.max_tokens)[: params.max_tokens])


@pytest.fixture
def models(monkeypatch):
    """Put scripted models where they would be loaded; return what was asked for, and what was closed."""
    asked = []

    def load(settings):
        backend = FakeBackend(num_slots=8, script=by_temperature)
        asked.append((settings, backend))
        return {name.partition("=")[0]: loaded(backend, name=name.partition("=")[0]) for name in settings.models}

    monkeypatch.setattr(server.app, "load_models", load)
    return asked


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = ['"a plain text"', *(json.dumps({"prompt": f"number {number}", "id": number}) for number in range(7))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def compare(monkeypatch, tmp_path, capsys):
    """Run `kelvin compare` in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("KELVIN_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("KELVIN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kelvin", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        return ending.value.code or 0, printed.out, printed.err

    return run


def test_a_comparison_from_prompts_to_table_report_and_completions(compare, models, prompts, tmp_path):
    page, lines = tmp_path / "out.html", tmp_path / "out.jsonl"
    exit_code, out, err = compare(prompts, *ARMS, *SMALL, "--report", page, "--completions", lines)
    assert exit_code == 0, err
    assert re.search(r"arm +distance +surprise +distinct-2 +answers +repetition +tokens", out)
    assert re.search(r"^ ?cold +0 +2\.5 .* 20 *$", out, flags=re.MULTILINE)
    assert re.search(r"^ ?hot +0\.\d+ .* 20 *$", out, flags=re.MULTILINE)
    assert "hot is more diverse than cold: distance +0." in " ".join(out.split())
    assert "8 prompts, 8 wins" in " ".join(out.split())
    assert err.splitlines()[-1] == f"wrote {lines}"
    assert "seed 5" in err.splitlines()
    assert models[0][1].closed

    written = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [(own["prompt_index"], own["arm"], own["sample_index"]) for own in written] == [
        (prompt, arm, sample) for prompt in range(8) for arm in ("cold", "hot") for sample in range(3)
    ]
    assert written[0]["text"].startswith("tab ab ab")  # goes on from the prompt's last letter
    assert len(written[0]["surprise"]) == len(written[0]["token_ids"]) == 20

    report = page.read_text(encoding="utf-8")
    assert report.lower().startswith("<!doctype html>")
    assert "hot is more diverse than cold" in report
    assert "a plain text" in report


def test_json_is_the_report_and_nothing_else(compare, models, prompts):
    exit_code, out, _ = compare(prompts, *ARMS, *SMALL, "--json", "--baseline", "hot", "--aa")
    report = Report.model_validate_json(out)
    json.loads(out, parse_constant=pytest.fail)
    assert exit_code == 0
    assert [arm.name for arm in report.arms] == ["cold", "hot", "hot again"]
    assert (report.baseline, report.seed, report.samples_per_prompt, report.max_tokens) == ("hot", 5, 3, 20)
    assert report.prompts == ["a plain text", *(f"number {number}" for number in range(7))]
    assert report.common_random_numbers
    assert set(report.arms[0].metrics) == set(METRICS)


def test_a_sweep_and_presets_make_arms(compare, models, prompts):
    arms = ("--arm", "mine:top_p=0.5", "--sweep", "temperature=0.3:1.5:0.4", "--preset", "conservative")
    _, out, _ = compare(prompts, *arms, "--samples", 1, "--max-tokens", 4, "--own-noise", "--json")
    report = Report.model_validate_json(out)
    assert [(arm.name, arm.resolved["temperature"]) for arm in report.arms] == [
        ("mine", 1.0),
        ("temperature=0.3", 0.3),
        ("temperature=0.7", 0.7),
        ("temperature=1.1", 1.1),
        ("temperature=1.5", 1.5),
        ("conservative 0.3", 0.3),
        ("conservative 0.5", 0.5),
        ("conservative 0.7", 0.7),
    ]
    assert report.arms[0].resolved["top_p"] == 0.5
    assert not report.common_random_numbers
    assert len({arm.resolved["seed"] for arm in report.arms}) == 8


def test_a_seed_is_drawn_and_printed_and_gives_the_same_again(compare, models, prompts):
    _, first, err = compare(prompts, *ARMS, "--samples", 2, "--max-tokens", 5)
    (seed,) = re.findall(r"^seed (\d+)$", err, flags=re.MULTILINE)
    assert compare(prompts, *ARMS, "--samples", 2, "--max-tokens", 5, "--seed", seed)[1] == first


def test_prompts_can_come_from_standard_input(compare, models, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO('"one"\n\n{"prompt": "two\\nlines"}\n'))
    _, out, _ = compare("-", *ARMS, *SMALL, "--json")
    assert Report.model_validate_json(out).prompts == ["one", "two\nlines"]


def test_few_prompts_make_no_verdict_and_unlike_lengths_a_note(compare, models, prompts):
    prompts.write_text('"one"\n"two"\n')
    _, out, err = compare(prompts, *ARMS, "--arm", 'short:stop=["w"]', *SMALL)
    assert "too few prompts for a verdict: add at least" in " ".join(out.split())
    assert "note: mean lengths of short and cold differ by more than 10 %" in err


def test_arms_may_name_other_models(compare, models, prompts):
    arms = ("--arm", "here", "--arm", "there:model=other")
    _, out, _ = compare(prompts, *arms, *SMALL, "--json", "--model", "mine", "--model", "other=/srv/other")
    assert [arm.model for arm in Report.model_validate_json(out).arms] == ["mine", "other"]
    assert models[0][0].models == ("mine", "other=/srv/other")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "arms must have at least 1 item"),
        (("--arm", "alone"), "arms must hold at least two"),
        (("--arm", "cold:temperature", "--arm", "hot"), "--arm cold:temperature=0.5"),
        (("--arm", "cold:temprature=1", "--arm", "hot"), "did you mean temperature?"),
        (("--arm", "cold:temperature=warm", "--arm", "hot"), "arms[0].temperature must be a valid number"),
        (("--arm", "a", "--arm", "a"), "two of the same name"),
        (("--arm", "a:top_k=1,top_k=2", "--arm", "b"), "--arm a gives top_k twice"),
        (("--sweep", "temperature"), "--sweep temperature=0.3:1.5:0.2"),
        (("--sweep", "temperature=0.3:1.5"), "--sweep temperature=0.3:1.5:0.2"),
        (("--sweep", "temperature=1.5:0.3:0.2"), "which rises"),
        (("--sweep", "temperature=0:2:0.01"), "more than 16 values"),
        (("--sweep", "heat=1:2:1"), "heat is not a field of arms[0]"),
        (("--preset", "wild"), "--preset must be one of conservative, balanced, brainstorm"),
        ((*ARMS, "--baseline", "nobody"), "baseline must be the name of one of the arms"),
        ((*ARMS, "--samples", "257"), "samples_per_prompt must be less than or equal to 256"),
        ((*ARMS, "--samples", "0"), "samples_per_prompt must be greater than or equal to 1"),
        ((*ARMS, "--samples", "many"), "--samples"),
        ((*ARMS, "--seed", "-1"), "seed must be greater than or equal to 0"),
        ((*ARMS, "--report", "nowhere/out.html"), "nowhere/out.html cannot be written: its folder is not there"),
        ((*ARMS, "--completions", "nowhere/out.jsonl"), "nowhere/out.jsonl cannot be written: its folder is not"),
        ((*ARMS, "--report", "/"), "/ cannot be written: it is a folder"),
        (
            (*ARMS, "--samples", "256", "--max-tokens", "1000"),
            "2 arms x 8 prompts x 256 samples x 1,000 tokens are 4,096,000 tokens; this server draws at most 2,000,000",
        ),
    ],
)
def test_a_wrong_option_is_refused_in_one_line_before_a_model_is_loaded(compare, models, prompts, arguments, said):
    exit_code, out, err = compare(prompts, *arguments)
    assert (exit_code, out) == (2, "")
    assert re.fullmatch(r"kelvin: .*\n", err)
    assert said in err
    assert models == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"", "prompts must have at least 1 item"),
        (b"\n \n", "prompts must have at least 1 item"),
        (b'"one"\nbare words\n', "line 2 of the prompts must be a JSON text"),
        (b'"one"\n\n{"text": "two"}\n', 'line 3 of the prompts must be a JSON text, or an object as in {"prompt": '),
        (b'["one"]\n', "line 1 of the prompts"),
        (b'""\n', "prompts[0] must have at least 1 character"),
        (b'"caf\xe9"\n', "prompts.jsonl cannot be read: "),
        (b'"\\ud800"\n', "prompts[0] must "),
    ],
)
def test_prompts_that_are_none_are_refused_by_their_line(compare, models, prompts, written, said):
    prompts.write_bytes(written)
    exit_code, out, err = compare(prompts, *ARMS)
    assert (exit_code, out) == (2, "")
    assert re.fullmatch(r"kelvin: .*\n", err)
    assert said in err
    assert models == []


def test_a_file_that_is_not_there_is_named(compare, models, tmp_path):
    exit_code, _, err = compare(tmp_path / "gone.jsonl", *ARMS)
    assert exit_code == 2
    assert err.startswith(f"kelvin: {tmp_path}/gone.jsonl cannot be read: ")
    assert compare(tmp_path, *ARMS)[0] == 2


def test_standard_input_that_is_no_utf_8_is_refused(compare, models, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'"caf\xe9"\n'), encoding="utf-8"))
    exit_code, _, err = compare("-", *ARMS)
    assert exit_code == 2
    assert err.startswith("kelvin: - cannot be read: ")


def test_what_only_the_model_can_refuse_names_the_arm_and_closes_it(compare, models, prompts):
    exit_code, out, err = compare(prompts, "--arm", "a", "--arm", "b:allowed_token_ids=[999]")
    assert (exit_code, out) == (2, "")
    assert err.splitlines()[-1].startswith("kelvin: arm b: allowed_token_ids")
    exit_code, _, err = compare(prompts, "--arm", "a", "--arm", "b:model=gone")
    assert exit_code == 1
    assert "arm b asks for a model that is not served; served: smollm2" in err
    assert all(backend.closed for _, backend in models)


def test_what_was_found_is_shown_even_where_it_cannot_be_written(compare, models, prompts, tmp_path):
    locked = tmp_path / "loop.html"
    locked.symlink_to(locked)
    exit_code, out, err = compare(prompts, *ARMS, *SMALL, "--report", locked)
    assert exit_code == 1
    assert "hot is more diverse than cold" in " ".join(out.split())
    assert err.splitlines()[-1].startswith(f"kelvin: {locked} cannot be written: ")
