"""Weights & Biases hears what the event files hold, and nothing of it can harm a training; no network is asked."""

import json
import struct
import zlib

import pytest

from server.finetuning.plan import WandbPlan
from server.finetuning.training import wandb_run
from server.finetuning.training.train import train
from tests.finetuning.digits import Heard, a_plan, digit_splits
from tests.finetuning.test_event_files import read

wandb = pytest.importorskip("wandb")

KEY = "local-" + "0123456789abcdef" * 3
BLOCK = 1 << 15  # of the log format of LevelDB


@pytest.fixture
def plan():
    to = WandbPlan(project="kelvin", name=None, entity=None, tags=("a", "b"))
    schedule = {"schedule": "linear", "start": 2.0, "end": 0.5, "per": "step"}
    return a_plan(n_epochs=2, temperature=schedule).model_copy(update={"wandb": to})


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "KELVIN_WANDB_API_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # where a .netrc would be
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


def records(path):
    """Yield the records of a run's file: LevelDB's log behind a header of seven bytes, each with its checksum."""
    from wandb.proto import wandb_internal_pb2

    data, place, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if BLOCK - place % BLOCK < 7:
            place += BLOCK - place % BLOCK
            continue
        checksum, size, kind = struct.unpack("<IHB", data[place : place + 7])
        piece = data[place + 7 : place + 7 + size]
        assert checksum == zlib.crc32(bytes([kind]) + piece)
        whole, place = whole + piece, place + 7 + size
        if kind in (1, 4):  # a whole one, or the last piece of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def sent(path):
    """Return the scalars of a run by name: pairs of step and value."""
    found = {}
    for record in records(path):
        if record.HasField("history"):
            row = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            for name, value in row.items():
                if not name.startswith("_"):
                    found.setdefault(name, []).append((row["_step"], value))
    return found


def test_it_hears_the_scalars_that_the_event_files_hold(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "ftjob-1"
    folder.mkdir()
    heard = Heard()
    train(plan, digit_splits(100), folder, heard)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    assert [message for _, message, level, _ in heard.events if level == "warn"] == []
    ours, theirs = read(folder), sent(path)
    assert theirs.keys() == ours.keys()
    assert len(ours) == 10
    for name, pairs in ours.items():
        assert [step for step, _ in theirs[name]] == [step for step, _ in pairs]
        assert [value for _, value in theirs[name]] == pytest.approx([value for _, value in pairs], rel=1e-6)
    (run,) = [record.run for record in records(path) if record.HasField("run")]
    assert (run.run_id, run.project, run.display_name, list(run.tags)) == ("ftjob-1", "kelvin", "ftjob-1", ["a", "b"])
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["temperature"]["start"] == 2.0
    assert "training_file" not in config


@pytest.mark.parametrize("key", ["none", "environment", "file"])
def test_a_training_goes_on_without_it_and_says_so_once(plan, tmp_path, monkeypatch, caplog, key):
    monkeypatch.setattr(wandb_run, "INIT_S", 1.0)
    if key == "environment":
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    if key == "file":
        (tmp_path / "key").write_text(f"{KEY}\n")
        monkeypatch.setenv("KELVIN_WANDB_API_KEY_FILE", str(tmp_path / "key"))
    heard = Heard()
    folder = tmp_path / "ftjob-2"
    folder.mkdir()
    outcome = train(plan, digit_splits(100), folder, heard)
    assert len(outcome.epochs) == 2
    ((_, warning, level, _),) = [own for own in heard.events if "Weights & Biases" in own[1]]
    assert level == "warn"
    assert ("No API key" if key == "none" else "CommError") in warning
    assert KEY not in json.dumps(heard.events) + caplog.text
    for path in folder.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


def test_a_file_of_the_key_that_is_not_there_is_told_of(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("KELVIN_WANDB_API_KEY_FILE", str(tmp_path / "lost"))
    heard = Heard()
    with wandb_run.WandbRun(plan.wandb, plan, tmp_path, heard) as run:
        assert run._run is None
    assert "FileNotFoundError" in heard.messages()[0]


def test_what_looks_like_a_key_is_left_out_of_what_is_told(plan, tmp_path):
    heard = Heard()
    wandb_run.WandbRun(plan.wandb, plan, tmp_path, heard)._give_up("was lost", ValueError(f"bad key {KEY}"))
    assert "bad key …" in heard.messages()[0]
