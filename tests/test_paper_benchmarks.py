"""What runs where little is installed, and what is reckoned and not measured."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Refuses what the project installs beside torch and NumPy, then runs the script.
BARE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)
sys.meta_path.insert(0, Refuse())
sys.argv = ["gpu.py", "--device", "cpu", "--rows", "2", "--repeats", "1", "--no-compile"]
sys.path.insert(0, %r)
import gpu
gpu.NEW_TOKENS = 4
gpu.RESULTS = gpu.Path(%r) / "gpu.json"
gpu.main()
"""
OTHERS = {
    "fastapi",
    "gguf",
    "huggingface_hub",
    "ml_dtypes",
    "plotly",
    "prometheus_client",
    "pydantic",
    "pydantic_settings",
}
OTHERS |= {
    "rich",
    "safetensors",
    "scipy",
    "sqlalchemy",
    "starlette",
    "structlog",
    "tokenizers",
    "transformers",
    "typer",
}


def test_the_gpu_benchmark_needs_torch_and_numpy_alone(tmp_path):
    code = BARE % (OTHERS, str(ROOT / "benchmarks"), str(tmp_path))
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert '"equal_float32_tokens": [4, 4, 4, 4, 4, 4, 4, 4]' in outcome.stdout
    assert (tmp_path / "gpu.json").is_file()


def test_the_page_on_scaling_has_the_tables_that_the_script_prints():
    command = [sys.executable, str(ROOT / "benchmarks" / "scaling.py")]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert [part for part in printed.strip().split("\n\n") if part not in page] == []
