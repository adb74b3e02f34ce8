"""The benchmarks start as `make bench` starts them, with their own folder first on the path."""

import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).parent.parent / "benchmarks").rglob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_benchmark_hides_a_module_of_python(script):
    assert script.stem not in sys.stdlib_module_names
