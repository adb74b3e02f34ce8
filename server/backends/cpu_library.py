"""Build C++ sources into a library with the machine's own compiler, once for what they are built for."""

import hashlib
import logging
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

SOURCES = Path(__file__).parent / "cpu"


def find_compiler(framework: str) -> str | None:
    """Return the machine's C++ compiler, or None after a warning with the remedy, which names the framework."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        log.warning(
            "no C++ compiler found: the CPU backend runs in plain %s, slower; install g++ and restart", framework
        )
    return compiler


def load_library(
    load: Callable[[Path], object],
    compiler: str,
    sources: Sequence[Path],
    *,
    cache_dir: Path,
    framework: str,
    built_for: Sequence[str],
    flags: Sequence[str],
    links: Sequence[str],
) -> bool:
    """Build a library if this machine has not yet, and load it.

    Args:
        load: takes the library into the process; raises OSError where it cannot.
        compiler: see `find_compiler`.
        sources: what is compiled, side by side.
        cache_dir: where the library is kept, named by its sources, compiler and `built_for`.
        framework: named in warnings.
        built_for: versions of the framework and the processor.
        flags: of the compiler, beside its warnings and optimisation.
        links: of the linker.

    Returns:
        Whether it is loaded; False, after one warning, where the build fails.
    """
    try:
        library = cache_dir / "kernels" / f"{_fingerprint(compiler, sources, built_for)}.so"
        if not library.is_file():
            _build(compiler, sources, library, flags, links)
        load(library)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        log.warning(
            "the CPU kernels could not be built, the backend runs in plain %s, slower: %s", framework, detail[-2000:]
        )
        return False
    return True


def _fingerprint(compiler: str, sources: Sequence[Path], built_for: Sequence[str]) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    included = {header for source in sources for header in source.parent.glob("*.h")} | set(SOURCES.glob("*.h"))
    parts = [version, platform.machine(), *built_for, *(path.read_text() for path in sorted({*sources, *included}))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _build(compiler: str, sources: Sequence[Path], library: Path, flags: Sequence[str], links: Sequence[str]) -> None:
    """Compile the sources side by side, link them, and move the library into place in one step."""
    native = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    flags = ["-O3", native, "-std=c++20", "-fPIC", *flags]
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        objects = [Path(folder, f"{number}.o") for number in range(len(sources))]
        commands = [
            [compiler, *flags, "-c", str(source), "-o", str(target)]
            for source, target in zip(sources, objects, strict=True)
        ]
        _run_all(commands)
        linked = Path(folder, "kernels.so")
        _run_all([[compiler, "-shared", *map(str, objects), "-o", str(linked), *links]])
        linked.replace(library)


def _run_all(commands: list[list[str]]) -> None:
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    outcomes = [(process, process.communicate()[1]) for process in processes]
    for process, stderr in outcomes:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args, stderr=stderr)
