"""What must never be in the code: anything that runs what it reads; and libraries that have known holes."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for room in ("samplers", "server", "benchmarks") for path in (ROOT / room).rglob("*.py"))
# Reading what they have written runs what is in it.
RUNS_CODE = {
    "pickle",
    "_pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
    "runpy",
}
RUNS_CODE |= {"multiprocessing", "concurrent.futures.process", "torch.multiprocessing"}  # their pipes speak pickle
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {
    ("torch", "load"), ("torch", "save"), ("torch", "jit.load"), ("keras", "load_model"), ("models", "load_model"),
    ("tf", "saved_model.load"), ("saved_model", "load"), ("yaml", "load"), ("yaml", "unsafe_load"), ("os", "system"),
}  # fmt: skip

# The versions that have what is known mended.
FLOORS = {
    "starlette": "1.3",  # CVE-2026-48710, PYSEC-2026-248, CVE-2025-62727
    "h11": "0.16",  # CVE-2025-43859
    "jinja2": "3.1.6",  # CVE-2025-27516
    "python-multipart": "0.0.27",  # CVE-2026-42561
    "torch": "2.10",  # CVE-2026-24747
    "ray": "2.56",  # CVE-2026-57516
    "safetensors": "0.8",
}


def test_there_are_sources_to_look_at():
    assert len(SOURCES) > 150


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_read_that_could_run(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {name.name for name in node.names} & RUNS_CODE
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in RUNS_CODE
        elif isinstance(node, ast.Call):
            _require_harmless(node)


def _require_harmless(call):
    function = call.func
    assert not (isinstance(function, ast.Name) and function.id in FORBIDDEN_CALLS), ast.unparse(call)
    if isinstance(function, ast.Attribute):
        owner = ast.unparse(function.value)
        assert (owner.rpartition(".")[2], function.attr) not in FORBIDDEN_METHODS, ast.unparse(call)
        if (owner, function.attr) in (("np", "load"), ("numpy", "load")):
            options = {option.arg: ast.unparse(option.value) for option in call.keywords}
            assert options.get("allow_pickle") == "False"
    for option in call.keywords:
        value = ast.unparse(option.value)
        assert not (option.arg in ("shell", "trust_remote_code", "allow_pickle") and value != "False"), ast.unparse(
            call
        )
        assert not (option.arg in ("verify", "weights_only", "autoescape") and value == "False"), ast.unparse(call)


def test_the_look_sees_what_it_looks_for():
    for bad in (
        "eval(x)",
        "torch.load(x)",
        "np.load(x)",
        "run(x, shell=True)",
        "f(trust_remote_code=True)",
        "tf.saved_model.load(x)",
    ):
        with pytest.raises(AssertionError):
            _require_harmless(ast.parse(bad, mode="eval").body)


def test_libraries_have_floors_above_their_known_holes():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    written = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    requirements = [Requirement(line) for line in written]
    for name, floor in FLOORS.items():
        versions = [own.version for line in requirements if line.name == name for own in line.specifier]
        assert versions, name
        assert all(Version(version) >= Version(floor) for version in versions), name
    assert all(line.specifier for line in requirements)


def test_an_audit_that_could_not_ask_does_not_pass(tmp_path):
    """An index without advisories says of every package that nothing is known; that is no audit."""
    silent = tmp_path / "pip-audit"
    silent.write_text('#!/bin/sh\necho \'{"dependencies": [{"name": "jinja2", "version": "3.1.0", "vulns": []}]}\'\n')
    silent.chmod(0o755)
    for options, code in (((), 2), (("--allow-unasked",), 0)):
        outcome = _audit(silent, *options)
        assert outcome.returncode == code
        assert outcome.stdout.startswith("NOT AUDITED")


def test_an_audit_names_what_is_vulnerable(tmp_path):
    telling = tmp_path / "pip-audit"
    telling.write_text(
        '#!/bin/sh\necho \'{"dependencies": [{"name": "jinja2", "version": "3.1.0", "vulns": '
        '[{"id": "CVE-1", "fix_versions": ["3.1.6"]}]}, {"name": "odd", "skip_reason": "unknown"}]}\'\n'
    )
    telling.chmod(0o755)
    outcome = _audit(telling, "--allow-unasked")
    assert outcome.returncode == 1
    assert "jinja2 3.1.0: CVE-1, fixed by 3.1.6" in outcome.stdout
    assert "NOT AUDITED: odd" in outcome.stdout


def _audit(*arguments):
    return subprocess.run([sys.executable, ROOT / ".ci/audit", *arguments], capture_output=True, text=True, timeout=60)
