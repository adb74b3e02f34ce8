"""What a folder must hold to be a model: config.json, safetensors and tokenizer.json."""

from pathlib import Path

from server.errors import ModelError
from server.models.checkpoint import weight_files
from server.models.json_file import read_json
from server.models.spec import DecoderSpec, spec_from_config


def load_spec(folder: Path) -> DecoderSpec:
    """Read a model folder's spec.

    Args:
        folder: holds `config.json` and perhaps `generation_config.json`.

    Raises:
        ModelError: a file is missing or damaged, or the model is not supported; the message names the folder.
    """
    config = read_json(folder / "config.json")
    generation = folder / "generation_config.json"
    generation_config = read_json(generation) if generation.is_file() else None
    try:
        return spec_from_config(config, generation_config)
    except ModelError as error:
        raise ModelError(f"{folder}: {error.message}") from error


def require_model(folder: Path) -> Path:
    """Check that a folder has the files of a model, without reading the weights.

    Args:
        folder: what should be a model folder.

    Returns:
        `folder`.

    Raises:
        ModelError: it is not a folder, or a file is missing; the message says which, and what is supported.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder} is neither a model folder nor a .gguf file")
    if not (folder / "config.json").is_file():
        ggufs = sorted(path.name for path in folder.glob("*.gguf"))
        hint = f"; to use {ggufs[0]}, name that file" if ggufs else ""
        raise ModelError(f"{folder}: config.json is missing; a model folder needs it{hint}")
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"{folder}: tokenizer.json is missing; supported: tokenizers of the tokenizers library. Make one with "
            "transformers: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    weight_files(folder)
    return folder
