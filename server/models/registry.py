"""Registry: the models under one root folder; finds them, pulls them, converts them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from server.errors import ModelError, NotFoundError
from server.models.builtin import BUILT_INS, pull_built_in
from server.models.gguf import convert_gguf
from server.models.hub import pull_from_hub
from server.models.json_file import read_json
from server.models.load import load_spec, require_model
from server.models.progress import Progress
from server.models.reference import ModelRef, parse_model_ref, valid_name

__all__ = ["ModelEntry", "ModelRef", "Registry", "load_spec", "parse_model_ref"]

_CONVERTED = ".converted"  # hidden, so that no name can mean it
_CONVERSION = 1  # part of a conversion's name: raise it when the converter's output changes


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model under the root.

    Attributes:
        name: what `--model` calls it.
        path: its folder.
        size_bytes: of all its files.
        source: where it came from, as its `kelvin.json` says; `folder` where nothing is said.
    """

    name: str
    path: Path
    size_bytes: int
    source: str


class Registry:
    """Models by name: a name is a built-in, or a folder of the root that was put or pulled there."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def locate(self, ref: ModelRef, progress: Progress | None = None) -> Path:
        """Return the folder of a model, made first where that is possible.

        A built-in that is missing is pulled; a .gguf file is converted once and the conversion used again until the
        file changes; a folder given by its path is used as it is. A path that is not on disk may name a model, so that
        one can be served twice.

        Args:
            ref: see `parse_model_ref`.
            progress: told about downloads and conversions, which can take minutes; None: nobody is told.

        Returns:
            A folder with `config.json`, `tokenizer.json` and safetensors.

        Raises:
            NotFoundError: nothing of that name is there.
            ModelError: what is there is no supported model, or cannot be fetched or converted.
        """
        if ref.path is None:
            return self._named(ref.name, progress)
        if not ref.path.exists() and (str(ref.path) in BUILT_INS or (self._root / ref.path).is_dir()):
            return self._named(str(ref.path), progress)
        if ref.path.is_file() and ref.path.suffix == ".gguf":
            return self._converted(ref.path, progress)
        return require_model(ref.path)

    def _named(self, name: str, progress: Progress | None) -> Path:
        return self.pull(name, progress) if name in BUILT_INS else require_model(self.path(name))

    def pull(self, name: str, progress: Progress | None = None) -> Path:
        """Fetch a model, or return it as it is if it is there already.

        Args:
            name: a built-in, or a hub id `organisation/name`.
            progress: told how far the download is; None: nobody is told.

        Returns:
            The model's folder.

        Raises:
            NotFoundError: no built-in has that name and it is no hub id, or the hub does not know it.
            ModelError: the download failed or gave something else than a supported model.
        """
        folder = self._folder(name)
        if folder.is_dir():
            return require_model(folder)
        if name in BUILT_INS:
            return pull_built_in(name, folder, progress)
        if "/" in name:
            return pull_from_hub(name, folder, progress)
        raise NotFoundError(
            f"there is no built-in model {name!r}; built in: {', '.join(BUILT_INS)}. "
            "A model of the hub is called organisation/name",
            param="model",
        )

    def path(self, name: str) -> Path:
        """Return the folder of a model that is there.

        Args:
            name: see `ModelRef`.

        Raises:
            NotFoundError: the root has no such folder.
            ModelError: the folder is a link that leads out of the root.
        """
        folder = self._folder(name)
        if not folder.is_dir():
            raise NotFoundError(
                f"there is no model {name!r} under {self._root}; built in: {', '.join(BUILT_INS)}. "
                "Put its folder there, fetch it with `kelvin models pull`, or write NAME=PATH",
                param="model",
            )
        return folder

    def list(self) -> list[ModelEntry]:
        """List the models under the root, by name; folders that are no models are left out."""
        configs = [*self._root.glob("*/config.json"), *self._root.glob("*/*/config.json")]
        folders = {config.parent.relative_to(self._root).as_posix(): config.parent for config in configs}
        return [
            ModelEntry(name, folder, _size(folder), _source(folder))
            for name, folder in sorted(folders.items())
            if not name.startswith(".")
        ]

    def _folder(self, name: str) -> Path:
        folder = self._root / valid_name(name)
        if not folder.resolve().is_relative_to(self._root.resolve()):
            raise ModelError(f"{folder} is a link that leads out of the models folder; name its target with NAME=PATH")
        return folder

    def _converted(self, path: Path, progress: Progress | None) -> Path:
        status = path.stat()
        identity = f"{_CONVERSION} {path.resolve()} {status.st_size} {status.st_mtime_ns}"
        key = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        folder = self._root / _CONVERTED / f"{path.stem}-{key}"
        return require_model(folder if folder.is_dir() else convert_gguf(path, folder, progress))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _source(folder: Path) -> str:
    origin = folder / "kelvin.json"
    return str(read_json(origin).get("source", "folder")) if origin.is_file() else "folder"
