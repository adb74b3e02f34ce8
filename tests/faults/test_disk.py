"""Every write and sync of a store goes wrong once, stays wrong, or kills: what is left is whole, and work goes on.

The disk fails below Python and SQLite, in the calls of the C library. Servers that are killed while they answer are
tested in `tests/jobs/test_restart.py` and `tests/finetuning/test_restart.py`.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.failing_disk import build, compiler
from tests.faults.stores import STORIES

ROOT = Path(__file__).parents[2]
STRIDES = {"jobs": 6, "files": 1, "checkpoints": 1}
REFUSED = {"storage_error", "disk_full", "done"}  # done: the fault was in what nobody needs any more
ENDINGS = {"ONCE": REFUSED, "FROM_THEN_ON": REFUSED, "DIE": {"killed"}}


@pytest.fixture(scope="session")
def failing_disk(tmp_path_factory):
    if not sys.platform.startswith("linux") or compiler() is None:
        pytest.skip("needs Linux and a compiler of C: apt install gcc")
    return build(tmp_path_factory.mktemp("disk"))


def sweep(name, folder, library, stride):
    """Return every fault of a story, and what came of it."""
    command = [sys.executable, "-m", "tests.faults.disk_sweep", name, str(folder), str(stride)]
    environment = os.environ | {"LD_PRELOAD": str(library)}
    outcome = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr[-3000:]
    return json.loads(outcome.stdout)


@pytest.mark.parametrize("name", STORIES)
def test_whatever_write_or_sync_goes_wrong_nothing_is_half_there(failing_disk, tmp_path, name):
    faults = sweep(name, tmp_path / "disk", failing_disk, STRIDES[name])
    seen = Counter((call, manner) for call, manner, *_ in faults)
    assert len(seen) == 6, seen
    for call, manner, at, ending, acknowledged, found in faults:
        fault = f"{manner} at {call} {at}"
        assert ending in ENDINGS[manner], fault
        assert acknowledged <= found <= acknowledged + 1, fault
        assert ending != "done" or found == STORIES[name].steps, fault
    assert any(ending != "done" for *_, ending, _, _ in faults)
