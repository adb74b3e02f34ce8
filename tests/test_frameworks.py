"""Frameworks: each is imported where it is used, and two of them share the CPU threads."""

import json
import logging
import subprocess
import sys

import pytest

from server.settings import Settings
from server.threads import share_threads

FRAMEWORKS = {"torch", "tensorflow"}
SERVE_ONE_REQUEST = """
import json, sys, time
from starlette.testclient import TestClient
from server.app import create_app
from server.settings import Settings
framework, models = sys.argv[1], sys.argv[2:]
settings = Settings(models=models, framework=framework, compile=False, slots=2, max_length=128, dtype="float32")
with TestClient(create_app(settings)) as client:
    deadline = time.monotonic() + 100
    while client.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    body = {"prompt": "The lighthouse keeper", "max_tokens": 24, "temperature": 0, "n": 2}
    answers = [client.post("/generate", json=body | {"model": model.partition("=")[0]}).json() for model in models]
imported = sorted({"torch", "tensorflow"} & set(sys.modules))
choices = [[choice["token_ids"] for choice in answer["choices"]] for answer in answers]
print(json.dumps([imported, [answer["framework"] for answer in answers], choices]))
"""


def serve(framework: str, *models: str) -> list:
    if framework == "tensorflow":
        pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install -e '.[tensorflow]'")
    if not (Settings().models_dir / "smollm2").is_dir():
        pytest.skip("the built-in model is not there; fetch it with `kelvin models pull smollm2`")
    command = [sys.executable, "-c", SERVE_ONE_REQUEST, framework, *models]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stderr
    if len(models) > 1:
        assert "CPU threads are shared out: torch" in outcome.stderr
    return json.loads(outcome.stdout.splitlines()[-1])


@pytest.mark.model
@pytest.mark.parametrize("framework", sorted(FRAMEWORKS))
def test_a_server_for_one_framework_never_imports_the_other(framework):
    imported, named, _ = serve(framework, "smollm2")
    assert imported == [framework]
    assert named == [framework]


@pytest.mark.model
def test_two_frameworks_serve_one_model_at_once_with_the_same_greedy_tokens():
    imported, named, (first, second) = serve("tensorflow", "a=smollm2@torch", "b=smollm2@tensorflow")
    assert set(imported) == FRAMEWORKS
    assert named == ["torch", "tensorflow"]
    assert first == second
    assert len(first[0]) == 24


@pytest.mark.parametrize(
    ("threads", "frameworks", "shares"),
    [
        (8, ["torch", "tensorflow"], {"torch": 4, "tensorflow": 4}),
        (5, ["tensorflow", "torch", "tensorflow"], {"tensorflow": 3, "torch": 2}),
        (1, ["torch", "tensorflow"], {"torch": 1, "tensorflow": 1}),
    ],
)
def test_threads_are_shared_out_with_a_line_of_log(threads, frameworks, shares, caplog):
    caplog.set_level(logging.INFO)
    assert share_threads(Settings(threads=threads), frameworks) == shares
    expected = ", ".join(f"{name} {share}" for name, share in shares.items())
    assert caplog.messages == [f"{threads} CPU threads are shared out: {expected}"]


@pytest.mark.parametrize("threads", [0, 3])
def test_a_framework_alone_has_all_threads(threads, caplog):
    caplog.set_level(logging.INFO)
    assert share_threads(Settings(threads=threads), ["torch", "torch"]) == {"torch": threads}
    assert not caplog.messages


def test_without_a_setting_the_cores_of_this_process_are_shared_out(monkeypatch):
    monkeypatch.setattr("server.threads.os.sched_getaffinity", lambda pid: set(range(6)))
    assert share_threads(Settings(), ["torch", "tensorflow"]) == {"torch": 3, "tensorflow": 3}
