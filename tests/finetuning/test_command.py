"""kelvin finetune: from a file to a classifier without a server, and what becomes of it in the data directory."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from server import cli
from server.finetuning.cli import local
from server.finetuning.jobs.worker_process import Workers
from tests.fakes import wait_until
from tests.finetuning.serving import FAKE_WORKER

ROOT = Path(__file__).parents[2]
DYING = """
import sys
from functools import partial
from server import cli
from server.finetuning.cli import local
from server.finetuning.jobs.worker_process import Workers
from tests.finetuning.serving import FAKE_WORKER

local.Workers = partial(Workers, command=FAKE_WORKER)
sys.argv = ["kelvin", "finetune", sys.argv[2], "--method", "mlp", "--epochs", "4", "--seed", "700"]
cli.main()
"""


@pytest.fixture
def kelvin(monkeypatch, tmp_path, capsys):
    """Run `kelvin finetune` in this process, with workers that learn nothing: exit code, output, errors."""
    monkeypatch.setenv("KELVIN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(local, "Workers", partial(Workers, command=FAKE_WORKER))
    monkeypatch.setenv("COLUMNS", "200")

    def kelvin(*arguments):
        monkeypatch.setattr(sys, "argv", ["kelvin", "finetune", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        captured = capsys.readouterr()
        return exit.value.code or 0, captured.out, captured.err

    return kelvin


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "train.jsonl"
    lines = ({"features": [number % 2, number / 7], "label": "ab"[number % 2]} for number in range(80))
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


def test_a_file_becomes_a_classifier_that_the_data_directory_keeps(kelvin, rows, tmp_path, monkeypatch):
    report = tmp_path / "report.html"
    code, out, err = kelvin(
        rows, "--method", "mlp", "--temperature", "linear:2:0.5", "--epochs", 2, "--watch", "--report", report
    )
    assert code == 0, err
    assert "epoch 2 of 2" in err
    assert "0.7500" in out
    assert "ft:smollm2::" in out
    assert report.read_text().startswith("<!doctype html>")

    _, out, _ = kelvin("list", "--json")
    [job] = json.loads(out)
    assert (job["status"], job["method_name"], job["temperature"]["start"]) == ("succeeded", "mlp", 2.0)
    assert "succeeded" in kelvin("list")[1]
    monkeypatch.setenv("COLUMNS", "60")
    listed = kelvin("list")[1]
    assert job["id"] in listed, "ids are whole in the narrowest terminal"
    code, out, err = kelvin("show", job["id"])
    assert (code, job["classifier"] in out, "the job is succeeded" in err) == (0, True, True)
    assert json.loads(kelvin("show", job["id"], "--json")[1]) == job
    assert kelvin("report", job["id"], tmp_path / "again.html")[0] == 0
    assert (tmp_path / "again.html").read_text() == report.read_text()
    code, _, err = kelvin("cancel", job["id"])
    assert (code, "succeeded" in err) == (2, True)


def interrupt_once(monkeypatch, *, after):
    """Let Ctrl-C be pressed once an epoch is over."""
    follow = local._News.follow

    def interrupted(self, on_change):
        def on_epoch(job, events):
            on_change(job, events)
            if any(event.data.get("epoch", 0) >= after for event in events):
                raise KeyboardInterrupt

        monkeypatch.setattr(local._News, "follow", follow)
        return follow(self, on_epoch)

    monkeypatch.setattr(local._News, "follow", interrupted)


def test_an_interrupt_pauses_and_resume_goes_on(kelvin, rows, monkeypatch):
    interrupt_once(monkeypatch, after=2)
    code, _, err = kelvin(rows, "--method", "mlp", "--epochs", 50, "--seed", 100, "--watch")
    assert (code, "go on with: kelvin finetune resume" in err) == (0, True), err
    assert err.count("epoch 2 of 50") == 1, "what was told before the interrupt is not told again"
    [job] = json.loads(kelvin("list", "--json")[1])
    assert job["status"] == "paused"
    assert "paused" in kelvin("report", job["id"], "report.html")[2]
    assert kelvin("cancel", job["id"])[0] == 0
    assert json.loads(kelvin("show", job["id"], "--json")[1])["status"] == "cancelled"


def test_a_paused_one_goes_on_here(kelvin, rows, monkeypatch):
    interrupt_once(monkeypatch, after=1)
    kelvin(rows, "--method", "mlp", "--epochs", 4, "--seed", 100)
    [job] = json.loads(kelvin("list", "--json")[1])
    code, out, err = kelvin("resume", job["id"], "--json")
    assert code == 0, err
    assert json.loads(out)["status"] == "succeeded"


def test_one_whose_process_died_goes_on_here(kelvin, rows, tmp_path):
    command = [sys.executable, "-c", DYING, str(tmp_path / "data"), str(rows)]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"KELVIN_DATA_DIR": str(tmp_path / "data")})
    begun = tmp_path / "data" / "jobs"
    wait_until(lambda: any(begun.glob("*/begun.txt")), 30.0)
    [job] = json.loads(kelvin("list", "--json")[1])
    code, _, err = kelvin("resume", job["id"])
    assert (code, "is running; only a paused one" in err) == (2, True), "its process lives"
    process.kill()
    process.wait()
    code, out, err = kelvin("resume", job["id"], "--json")
    assert code == 0, err
    assert json.loads(out)["status"] == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("none.jsonl", "--method", "mlp"), 2, "none.jsonl cannot be read"),
        (("ROWS", "--method", "linear"), 2, "--method"),
        (("ROWS", "--method", "mlp", "--temperature", "hot"), 2, "temperature.schedule must be"),
        (("ROWS", "--method", "mlp", "--set", "batchsize=3"), 2, "did you mean batch_size?"),
        (("ROWS", "--method", "mlp", "--report", "no/such/folder.html"), 2, "its folder is not there"),
        (("ROWS", "--method", "mlp", "--set", "suffix=broken"), 2, "suffix is not a field"),
        (("ROWS", "--method", "mlp", "--suffix", "broken", "--epochs", "3"), 1, "RuntimeError"),
        (("show", "ftjob-none"), 1, "no job of this id"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(kelvin, rows, arguments, code, said):
    found, _, err = kelvin(*(rows if argument == "ROWS" else argument for argument in arguments))
    assert (found, said in err) == (code, True), err


def test_all_wrong_rows_are_named_before_anything_is_trained_or_kept(kelvin, rows, tmp_path):
    with rows.open("a") as file:
        file.write("no json\n" * 5)
    code, _, err = kelvin(rows, "--method", "mlp")
    assert (code, "line 81: the line is not JSON" in err) == (2, True), err
    assert all(f"training_file, line {line}: " in err for line in range(81, 86)), err
    assert list((tmp_path / "data" / "files").iterdir()) == [], "nothing of it is kept"
    assert json.loads(kelvin("list", "--json")[1] or "[]") == []
