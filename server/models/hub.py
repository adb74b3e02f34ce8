"""Pull a model folder from the Hugging Face hub: safetensors, configs and tokenizer files, never pickles."""

import shutil
from pathlib import Path

from server.errors import ModelError, NotFoundError
from server.models.json_file import write_json
from server.models.load import load_spec, require_model
from server.models.progress import Progress, report_nothing
from server.models.publish import published_folder

_CONFIGS = ["config.json", "generation_config.json"]
_FILES = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "LICENSE*"]
_NEVER = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.py", "*/*"]


def pull_from_hub(hub_id: str, target: Path, progress: Progress | None = None) -> Path:
    """Download a model from the hub.

    Args:
        hub_id: `organisation/name`.
        target: the folder to make, whole or not at all.
        progress: told when the download starts and ends; None: nobody is told.

    Returns:
        `target`.

    Raises:
        NotFoundError: the hub has no such model, or it is not public.
        ModelError: there is no way to the hub, the model is not supported, or it has no safetensors.
    """
    report = progress or report_nothing
    with published_folder(target) as folder:
        # The config alone first: a model that is not supported costs no download.
        _download(hub_id, folder, _CONFIGS)
        load_spec(folder)
        report(f"downloading {hub_id}", 0.0)
        _download(hub_id, folder, _FILES)
        report(f"downloading {hub_id}", 1.0)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the hub client's notes on a download that is over
        require_model(folder)
        write_json(folder / "kelvin.json", {"title": hub_id, "source": f"hub: {hub_id}"})
    return target


def _download(hub_id: str, folder: Path, patterns: list[str]) -> None:
    from huggingface_hub import snapshot_download  # slow to import, and only a pull needs it
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        snapshot_download(hub_id, local_dir=folder, allow_patterns=patterns, ignore_patterns=_NEVER)
    except RepositoryNotFoundError as error:
        raise NotFoundError(f"the hub has no public model {hub_id!r}; check the name", param="model") from error
    except Exception as error:  # no network, offline mode, a bad answer: the errors are those of its HTTP library
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"{hub_id} cannot be pulled from the hub ({reason[0]}). Without a way to the hub, copy the model's folder "
            "here and use NAME=PATH; the built-in models come from the package registry instead"
        ) from error
