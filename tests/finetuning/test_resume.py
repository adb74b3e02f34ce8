"""A training that is killed at any moment and started again ends with the weights, to the bit, of one that was not."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.finetuning.digits import FRAMEWORKS


def start(framework, folder, *options, networks=1):
    module = "tests.finetuning.training_that_dies"
    command = [sys.executable, "-m", module, framework, str(networks), str(folder), *options]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_killed_training_goes_on_to_the_same_bits(framework, tmp_path):
    process = start(framework, tmp_path, "killed")
    for line in process.stdout:
        if line.startswith("epoch 2 "):
            time.sleep(0.05)  # into the third epoch, a checkpoint, or the next validation: it must not matter
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list((tmp_path / "killed" / "checkpoints").glob("step-*"))
    outcome, errors = start(framework, tmp_path, "killed", "whole").communicate(timeout=300)
    lines = outcome.splitlines()
    assert lines, errors
    (gone_on,) = [line for line in lines if line.startswith("training goes on after step")]
    assert int(gone_on.rpartition(" ")[2]) >= 30
    weights = [line for line in lines if line.startswith("weights ")]
    assert len(weights) == 2
    assert weights[0] == weights[1], gone_on


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_killed_cross_fitted_networks_go_on_to_the_same_bits(framework, tmp_path):
    process = start(framework, tmp_path, "killed", networks=3)
    for line in process.stdout:
        if line.startswith("network 2 of 3 is trained"):
            time.sleep(0.05)  # into the third one, or between the two: it must not matter
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "classifier").exists()
    outcome, errors = start(framework, tmp_path, "killed", "whole", networks=3).communicate(timeout=300)
    lines = outcome.splitlines()
    assert sum(line.startswith("network 2 of 3 is trained") for line in lines) == 1, errors  # of the whole one alone
    weights = [line for line in lines if line.startswith("weights ")]
    assert len(weights) == 2
    assert weights[0] == weights[1], [line for line in lines if line.startswith("training goes on")]
