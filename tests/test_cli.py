"""The command line: what it prints, what it refuses and how it exits. Models here are scripted, not loaded."""

import asyncio
import io
import json
import re
import socket
import subprocess
import sys
import types
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer.main

from samplers.params import SamplingParams
from server import cli
from server.api.schemas.answers import Choice, GenerateAnswer, Logprobs, TopTokens
from server.backends.base import TokenLogprobs
from server.engine.stream import TokenEvent, TokenStream
from server.errors import ModelError
from server.settings import Settings

LOGPROBS = TokenLogprobs(logprob=-0.5, top_ids=(72, 104), top_logprobs=(-0.5, -1.5), entropy=1.25, kept=9)
WITHOUT_OPTION = {
    "models_dir",
    "data_dir",
    "cache_dir",
    "max_body_bytes",
    "max_timeout_s",
    "max_comparison_tokens",
    "max_file_bytes",
    "worker_threads",
    "loaded_classifiers",
    "drain_timeout_s",
    "finetune_jobs",
    "wandb_api_key_file",
    "database_url",
    "queue_tokens",
    "queue_timeout_s",
    "send_timeout_s",
    "otlp_endpoint",
}


@pytest.fixture
def kelvin(monkeypatch, tmp_path, capsys):
    """Run the command line in this process: exit code, standard output, standard error."""
    monkeypatch.setenv("KELVIN_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("KELVIN_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kelvin", *arguments])
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        return ending.value.code or 0, printed.out, printed.err

    return run


class CharacterTokenizer:
    """A token is a code point."""

    def encode(self, text, special_tokens=False):
        return [ord(character) for character in text]

    def decode(self, token_ids, skip_special_tokens=False):
        return "".join(map(chr, token_ids))

    def token_text(self, token_id):
        return chr(token_id)

    def has_text(self, token_id):
        return True


class ScriptedEngine:
    """Answers every prompt with the same texts, character by character, the samples taking turns."""

    def __init__(self, texts):
        self.texts = texts
        self.queue_limit, self.queue_tokens, self.backend = 256, 2**19, SimpleNamespace(max_length=2048)
        self.asked = None
        self.cancelled = set()

    def submit(self, prompt_ids, params, *, n=1, first_sample=0, timeout_s=None, queue_timeout_s=None, owner=None):
        self.asked = SimpleNamespace(prompt="".join(map(chr, prompt_ids)), params=params, n=n)
        stream = TokenStream(n, asyncio.get_running_loop(), self.cancelled.add)
        for position in range(max(map(len, self.texts))):
            for sample, text in enumerate(self.texts[:n]):
                if position < len(text):
                    last = position == len(text) - 1
                    logprobs = () if params.logprobs is None else (LOGPROBS,)
                    ended = "length" if last else None
                    stream.deliver(TokenEvent(sample, (ord(text[position]),), logprobs, finish_reason=ended))
        return stream


@pytest.fixture
def scripted(monkeypatch):
    """Put a scripted engine where the app would load a model."""

    def install(*texts):
        loaded = SimpleNamespace(
            name="smollm2",
            framework="torch",
            device="cpu",
            tokenizer=CharacterTokenizer(),
            engine=ScriptedEngine(texts),
        )
        loaded.closed = False
        loaded.close = lambda: setattr(loaded, "closed", True)

        def load_engine(settings, ref, progress=None):
            loaded.settings, loaded.ref = settings, ref
            return loaded

        app = types.ModuleType("server.app")
        app.load_engine = load_engine
        monkeypatch.setitem(sys.modules, "server.app", app)
        return loaded

    return install


def command(name):
    return typer.main.get_command(cli.app).commands[name]


@pytest.mark.parametrize(
    "arguments",
    [(), ("--help",), ("serve", "--help"), ("generate", "--help"), ("models", "--help"), ("models", "pull", "--help")],
)
def test_help_is_there_for_every_command(kelvin, arguments):
    exit_code, out, err = kelvin(*arguments)
    assert (exit_code, err) == (0, "")
    assert "Usage: kelvin" in out


def test_help_loads_no_framework_and_no_web_server():
    heavy = {"torch", "tensorflow", "transformers", "fastapi", "starlette", "uvicorn", "pydantic_settings", "numpy"}
    script = f"import sys, server.cli; print(sorted({heavy!r} & set(sys.modules)))"
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert outcome.stdout == "[]\n"


def test_serve_has_an_option_for_each_setting_and_shows_its_default():
    options = {parameter.name: parameter for parameter in command("serve").params}
    assert {"models" if name == "model" else name for name in options} == set(Settings.model_fields) - WITHOUT_OPTION
    for name, option in options.items():
        default = Settings.model_fields["models" if name == "model" else name].default
        spelt = {"model": "smollm2", "compile": "compile", "api_keys_file": "none"}.get(name, str(default))
        assert option.show_default == spelt, name


def test_generate_shows_the_defaults_of_the_sampling_parameters():
    identity = SamplingParams()
    options = {parameter.name: parameter.default for parameter in command("generate").params}
    for name in ("temperature", "max_tokens", "top_k", "top_p", "min_p"):
        assert options[name] == getattr(identity, name), name


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("serv",), "No such command 'serv'"),
        (("models",), "kelvin models --help"),
        (("serve", "--prot", "1"), "--port"),
        (("serve", "--port", "http"), "--port"),
        (("serve", "--port", "70000"), "less than or equal to 65535"),
        (("serve", "--slots", "0"), "KELVIN_SLOTS"),
        (("serve", "--host", "0.0.0.0"), "--api-keys-file"),
        (("serve", "--host", "::"), "--insecure"),
        (("serve", "--api-keys-file", "/nowhere/keys"), "/nowhere/keys cannot be read: No such file"),
        (("serve", "--framework", "jax"), "'torch', 'tensorflow'"),
        (("generate",), "prompt"),
        (("generate", "x", "-t", "-1"), "temperature must be a finite number at least 0; it is -1"),
        (("generate", "x", "-t", "nan"), "temperature must be a finite number"),
        (("generate", "x", "--top-p", "0"), "top_p must be above 0"),
        (("generate", "x", "--max-tokens", "0"), "max_tokens must be an integer from 1 to"),
        (("generate", "x", "--seed", "-1"), "seed must be an integer from 0"),
        (("generate", "x", "--logprobs", "21"), "from 0 to 20"),
        (("generate", "x", "-n", "0"), "n must be greater than or equal to 1"),
        (("generate", "x", "--stop", ""), "stop[0] must have at least 1 character"),
        (("models", "path", "../etc"), "../etc"),
    ],
)
def test_a_wrong_option_or_value_is_refused_in_one_line(kelvin, arguments, remedy):
    exit_code, out, err = kelvin(*arguments)
    assert (exit_code, out) == (2, "")
    assert re.fullmatch(r"kelvin: .*\n", err)
    assert remedy in err


def test_a_misspelt_variable_is_refused(kelvin, monkeypatch):
    monkeypatch.setenv("KELVIN_PROT", "1")
    exit_code, _, err = kelvin("serve")
    assert exit_code == 2
    assert "did you mean KELVIN_PORT?" in err


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(kelvin):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        exit_code, out, err = kelvin("serve", "--port", str(port))
    assert (exit_code, out) == (1, "")
    assert err == (
        f"kelvin: cannot listen on 127.0.0.1 port {port}: Address already in use; "
        "choose others with --host and --port\n"
    )


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path):
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / name).write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    serve = [sys.executable, "-m", "server", "serve", "--port", str(port), "--model", f"odd={tmp_path}"]
    outcome = subprocess.run(serve, capture_output=True, text=True, timeout=120)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert re.fullmatch(rf"kelvin: {tmp_path}/tokenizer.json is not a tokenizer .*", outcome.stderr.splitlines()[-1])


def test_a_failure_is_one_line_without_a_traceback(kelvin, monkeypatch):
    def fail(settings, ref, progress=None):
        raise ModelError("weights are missing; copy them again")

    app = types.ModuleType("server.app")
    app.load_engine = fail
    monkeypatch.setitem(sys.modules, "server.app", app)
    exit_code, out, err = kelvin("generate", "x")
    assert (exit_code, out) == (1, "")
    assert err.strip() == "kelvin: weights are missing; copy them again"


def test_one_sample_is_printed_alone_and_its_seed_beside(kelvin, scripted):
    loaded = scripted(" was old.")
    exit_code, out, err = kelvin("generate", "The keeper", "--seed", "7", "-t", "0.8", "--max-tokens", "9")
    assert (exit_code, out) == (0, " was old.\n")
    assert err.strip() == "seed 7: 9 tokens (length)"
    assert (loaded.engine.asked.prompt, loaded.engine.asked.n) == ("The keeper", 1)
    assert loaded.engine.asked.params == SamplingParams(temperature=0.8, seed=7, max_tokens=9)
    assert loaded.closed


def test_the_prompt_can_come_from_standard_input(kelvin, scripted, monkeypatch):
    loaded = scripted("!")
    monkeypatch.setattr(sys, "stdin", io.StringIO("two\nlines"))
    assert kelvin("generate", "-")[0] == 0
    assert loaded.engine.asked.prompt == "two\nlines"


def test_without_a_seed_one_is_drawn_and_said(kelvin, scripted):
    loaded = scripted("!")
    _, _, first = kelvin("generate", "x")
    seed = loaded.engine.asked.params.seed
    assert first.startswith(f"seed {seed}:")
    kelvin("generate", "x")
    assert loaded.engine.asked.params.seed != seed  # equal once in 2**53 runs


def test_several_samples_get_a_panel_each(kelvin, scripted):
    loaded = scripted("first [bold]", "second")
    exit_code, out, _ = kelvin("generate", "x", "-n", "2")
    assert exit_code == 0
    assert re.search(r"sample 0.*first \[bold\].*sample 1.*second", out, flags=re.DOTALL)
    assert out.endswith("╯\n")
    assert (loaded.engine.asked.n, loaded.settings.slots, loaded.settings.compile) == (2, 2, False)


def test_more_samples_than_slots_wait_for_one(kelvin, scripted, monkeypatch):
    monkeypatch.setenv("KELVIN_SLOTS", "2")
    loaded = scripted("a", "b", "c")
    choices = json.loads(kelvin("generate", "x", "-n", "3", "--json")[1])["choices"]
    assert [choice["text"] for choice in choices] == ["a", "b", "c"]
    assert loaded.settings.slots == 2


def test_a_stop_string_ends_a_sample_before_it_and_frees_its_slot(kelvin, scripted):
    loaded = scripted("one. two", "three four")
    exit_code, out, _ = kelvin("generate", "x", "-n", "2", "--stop", ". ", "--seed", "1", "--json")
    choices = json.loads(out)["choices"]
    assert exit_code == 0
    assert [(choice["text"], choice["finish_reason"]) for choice in choices] == [
        ("one", "stop"),
        ("three four", "length"),
    ]
    assert choices[0]["token_ids"] == [ord(character) for character in "one. "]
    assert 0 in loaded.engine.cancelled


def test_json_is_the_answer_of_the_server(kelvin, scripted):
    scripted("Hi")
    exit_code, out, err = kelvin("generate", "x", "--json", "--seed", "3", "--logprobs", "2", "--top-k", "5")
    answer = GenerateAnswer.model_validate_json(out)
    top = TopTokens(ids=[72, 104], logprobs=[-0.5, -1.5])
    logprobs = Logprobs(token_logprobs=[-0.5, -0.5], top=[top, top], entropy=[1.25, 1.25], kept=[9, 9])
    choice = Choice(index=0, prompt_index=0, text="Hi", token_ids=[72, 105], finish_reason="length", logprobs=logprobs)
    assert (exit_code, err) == (0, "")
    assert (answer.model, answer.choices, answer.usage.total_tokens) == ("smollm2", [choice], 3)
    assert (answer.sampling.seed, answer.sampling.resolved["top_k"]) == (3, 5)


def test_logprobs_are_shown_as_a_table(kelvin, scripted):
    scripted("Hi")
    _, out, _ = kelvin("generate", "x", "--logprobs", "2")
    assert re.search(r"'i'\s+-0\.50\s+1\.25\s+9\s+'H' -0\.50 'h' -1\.50", out)


def test_model_and_framework_choose_what_is_loaded(kelvin, scripted):
    loaded = scripted("!")
    kelvin("generate", "x", "--model", "mine=/srv/mine", "--framework", "tensorflow")
    assert (loaded.ref.name, loaded.ref.path, loaded.settings.framework) == ("mine", Path("/srv/mine"), "tensorflow")


def test_models_are_listed_and_found(kelvin, tmp_path):
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert kelvin("models", "path", "mine") == (0, f"{folder}\n", "")
    assert json.loads(kelvin("models", "path", "mine", "--json")[1]) == {"name": "mine", "path": str(folder)}
    listed = {"name": "mine", "path": str(folder), "size_bytes": 2, "source": "folder"}
    assert json.loads(kelvin("models", "list", "--json")[1]) == [listed]
    assert "mine" in kelvin("models", "list")[1]


def test_a_model_that_is_not_there_is_a_failure(kelvin):
    exit_code, out, err = kelvin("models", "path", "nothing")
    assert (exit_code, out) == (1, "")
    assert re.fullmatch(r"kelvin: there is no model 'nothing' .*\n", err)


def test_an_empty_list_says_how_to_fetch_a_model(kelvin):
    assert kelvin("models", "list", "--json")[1] == "[]\n"
    assert "kelvin models pull smollm2" in kelvin("models", "list")[2]


def test_version_names_kelvin_and_python(kelvin):
    exit_code, out, _ = kelvin("version")
    assert exit_code == 0
    assert re.search(r"^kelvin-server \d+\.\d+\.\d+$", out, flags=re.MULTILINE)
    assert f"python {sys.version.split()[0]}" in out
