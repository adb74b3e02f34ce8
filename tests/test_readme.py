"""The README's commands run, and what they print looks as it says."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
ANSWER = re.search(r"<!-- answer -->\s*```json\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
READY_WITHIN_S = 300
STOPPED_WITHIN_S = 30


def blocks(program):
    return [block for block in BLOCKS if block.startswith(program + " ")]


def environment(tmp_path):
    """Ask of curl that it fails on an HTTP error, and keep the state of commands out of the user's folders."""
    (tmp_path / ".curlrc").write_text("fail-with-body\n")
    return os.environ | {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "CURL_HOME": str(tmp_path),
        "KELVIN_DATA_DIR": str(tmp_path / "data"),
        "KELVIN_COMPILE": "false",
        "HF_HUB_OFFLINE": "1",
    }


def run(block, env):
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], env=env, cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve the built-in model on a free port; gives the address, and checks that SIGTERM ends it cleanly."""
    tmp_path = tmp_path_factory.mktemp("server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "server", "serve", "--port", str(port)]
        process = subprocess.Popen(command, env=environment(tmp_path), cwd=ROOT, stdout=output, stderr=output)
        try:
            await_ready(f"http://127.0.0.1:{port}/health/ready", process, log)
            yield f"127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            exit_code = process.wait(timeout=STOPPED_WITHIN_S)
    assert exit_code == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def await_ready(url, process, log):
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended: {log.read_text()}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    pytest.fail(f"not ready within {READY_WITHIN_S} s: {log.read_text()}")


@pytest.mark.model
@pytest.mark.parametrize("program", re.findall(r"^```python\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL))
def test_programs_print_what_the_server_answers(program, server, tmp_path):
    assert "localhost:8000" in program
    command = [sys.executable, "-c", program.replace("localhost:8000", server)]
    outcome = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip()


def test_every_block_is_of_a_kind_that_is_checked():
    assert {block.split()[0] for block in BLOCKS} <= {"make", "curl", "kelvin", "docker"}
    assert blocks("make")
    assert blocks("curl")
    assert blocks("kelvin")


@pytest.mark.parametrize("block", blocks("make"))
def test_make_knows_its_targets(block, tmp_path):
    for line in block.splitlines():
        outcome = run(line.replace("make ", "make --dry-run ", 1), environment(tmp_path))
        assert outcome.returncode == 0, outcome.stderr


def test_make_serve_starts_the_server_with_what_was_asked(tmp_path):
    outcome = run("make --dry-run serve PORT=9000 MODEL=mine=/srv/mine HOST=::1", environment(tmp_path))
    assert "serve --framework 'torch' --model 'mine=/srv/mine' --port '9000' --host '::1'" in " ".join(
        outcome.stdout.split()
    )


@pytest.mark.model
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("block", blocks("curl"))
def test_requests_are_answered(block, server, tmp_path):
    assert "localhost:8000" in block
    outcome = run(block.replace("localhost:8000", server), environment(tmp_path))
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert outcome.stdout.strip()


@pytest.mark.model
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_first_answer_has_what_is_shown(server, tmp_path):
    assert ANSWER is not None, "README.md shows no answer under <!-- answer -->"
    answer = json.loads(run(blocks("curl")[0].replace("localhost:8000", server), environment(tmp_path)).stdout)
    assert missing(json.loads(ANSWER[1]), answer, "answer") == []
    assert len(answer["choices"][0]["text"].split()) > 5


def missing(shown, answer, place):
    """List the places where an answer lacks what is shown: a name, or a value of that kind."""
    if isinstance(shown, dict) and isinstance(answer, dict):
        absent = [f"{place}.{name}" for name in shown if name not in answer]
        return absent + [
            gap for name in shown if name in answer for gap in missing(shown[name], answer[name], f"{place}.{name}")
        ]
    if isinstance(shown, list) and isinstance(answer, list):
        pairs = zip(shown[:1], answer[:1], strict=True)
        return [gap for one, other in pairs for gap in missing(one, other, f"{place}[0]")]
    return [] if type(shown) is type(answer) else [place]


def test_an_answer_that_lacks_what_is_shown_is_noticed():
    shown = {"choices": [{"text": "a", "index": 0}], "usage": {}}
    assert missing(shown, {"choices": [{"text": "b", "index": 1, "more": 2}], "usage": {"n": 1}}, "answer") == []
    assert missing(shown, {"choices": [{"text": 1}]}, "answer") == [
        "answer.usage", "answer.choices[0].index", "answer.choices[0].text",
    ]  # fmt: skip


@pytest.mark.model
@pytest.mark.parametrize("block", blocks("kelvin"))
def test_the_command_line_does_what_is_shown(block, tmp_path):
    outcome = run(block, environment(tmp_path))
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.strip()
