"""What other processors compute with, where this one has matrix registers: vectors, in a process that has no others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REGISTERS = "amx_bf16"
TESTS = (
    "tests/backends/test_invariance.py::test_chunks_slots_and_neighbours_move_no_bit[bfloat16-33]",
    "tests/backends/test_invariance.py::test_slots_that_begin_alike_have_the_same_bits_when_one_of_them_is_written_over",
    "tests/backends/test_prompts.py::test_logits_after_a_prompt_are_those_of_transformers[64-12-4-200]",
    "tests/backends/test_prompts.py::test_slots_that_begin_alike_draw_together_what_each_draws_alone[bfloat16-48-6-2-None]",
)


def has_registers():
    cpu = Path("/proc/cpuinfo")
    return cpu.is_file() and REGISTERS in cpu.read_text()


@pytest.mark.skipif(not has_registers(), reason="every other test computes with vectors here")
def test_vectors_keep_the_promises_too(tmp_path):
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    wrapper, told = tmp_path / "c++", tmp_path / "told"
    without = f'echo "$@" >> {told}\nexec {compiler} "$@" -mno-amx-bf16 -mno-amx-int8 -mno-amx-tile'
    wrapper.write_text(f"#!/bin/sh\n{without}\n")
    wrapper.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "skipped" not in done.stdout
    assert "attention.cpp" in told.read_text()  # whose kernels were not those of another process
