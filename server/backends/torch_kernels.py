"""Build the CPU kernels with the machine's own C++ compiler, once, and hand them to torch as `torch.ops.kelvin`."""

import hashlib
import logging
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.cpp_extension import include_paths, library_paths

from samplers.xp.torch import use_kernels
from server.models.spec import DecoderSpec

log = logging.getLogger(__name__)

_SOURCES = Path(__file__).parent / "cpu"
_LANES = 16  # floats that a kernel takes at once
_SAMPLER_KERNELS = ("draw", "gumbel_noise", "measure", "scatter", "scatter_min")
_HEAD_DIMS = {16, 32, 48, 64, 80, 96, 128, 256}


def kernels_fit(spec: DecoderSpec) -> bool:
    """Say whether the kernels can run a decoder: its widths must be whole numbers of vectors."""
    whole = all(width % _LANES == 0 for width in (spec.hidden_size, spec.intermediate_size))
    return whole and spec.head_dim in _HEAD_DIMS


@lru_cache(maxsize=1)
def load_kernels(cache_dir: Path) -> bool:
    """Build the kernels if this machine has not yet, and load them.

    Args:
        cache_dir: where the library is kept, named by sources, torch, compiler and processor; of no matter to a
            process that has loaded it already.

    Returns:
        Whether `torch.ops.kelvin` is there; False, after one warning with the remedy, where no compiler is found or the
        build fails.
    """
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        log.warning("no C++ compiler found: the CPU backend runs in plain torch, slower; install g++ and restart")
        return False
    if _loaded():  # torch ends a process that defines an operator twice
        return True
    library = cache_dir / "kernels" / f"{_fingerprint(compiler)}.so"
    try:
        if not library.is_file():
            _build(compiler, library)
        torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", "") or str(error)
        log.warning("the CPU kernels could not be built, the backend runs in plain torch, slower: %s", detail[-2000:])
        return False
    _register_shapes()
    use_kernels(sampler_kernels())
    return True


def sampler_kernels() -> dict[str, Callable[..., Any]]:
    """Return the sampler's kernels by name, for `samplers.xp.torch.use_kernels`; they must have been loaded."""
    return {name: getattr(torch.ops.kelvin, name) for name in _SAMPLER_KERNELS}


def _loaded() -> bool:
    return hasattr(torch.ops.kelvin, "attend")


def _fingerprint(compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    parts = [torch.__version__, version, platform.machine(), repr(sorted(torch.cpu.get_capabilities().items()))]
    parts += [path.read_text() for path in sorted(_SOURCES.iterdir()) if path.suffix in (".cpp", ".h")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _build(compiler: str, library: Path) -> None:
    """Compile the sources side by side, link them, and move the library into place in one step."""
    native = "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native"
    flags = ["-O3", native, "-std=c++20", "-fPIC", "-DTORCH_TARGET_VERSION=0x020a000000000000"]  # the ABI of torch 2.10
    flags += [f"-I{path}" for path in include_paths()]
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        sources = sorted(_SOURCES.glob("*.cpp"))
        flags += ["-include", str(_precompile_headers(compiler, flags, Path(folder)))]
        objects = [Path(folder, f"{source.stem}.o") for source in sources]
        commands = [
            [compiler, *flags, "-c", str(source), "-o", str(target)]
            for source, target in zip(sources, objects, strict=True)
        ]
        _run_all(commands)
        linked = Path(folder, "kernels.so")
        libraries = [f"-L{path}" for path in library_paths()] + ["-ltorch_cpu", "-lc10"]
        _run_all([[compiler, "-shared", *map(str, objects), "-o", str(linked), *libraries]])
        linked.replace(library)


def _precompile_headers(compiler: str, flags: list[str], folder: Path) -> Path:
    """Read torch's headers once and not once a source, which would be half of the work."""
    header = folder / "torch_stable.h"
    header.write_text("".join(f"#include <torch/csrc/stable/{name}.h>\n" for name in ("library", "ops", "tensor")))
    _run_all([[compiler, *flags, "-x", "c++-header", str(header), "-o", f"{header}.gch"]])
    return header


def _run_all(commands: list[list[str]]) -> None:
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    outcomes = [(process, process.communicate()[1]) for process in processes]
    for process, stderr in outcomes:
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args, stderr=stderr)


def _register_shapes() -> None:
    """Tell torch.compile what each kernel returns, without running it."""

    @torch.library.register_fake("kelvin::linear")
    def linear(x, packed, out_features, bias, residual, as_float):  # type: ignore[no-untyped-def]
        return x.new_empty(x.shape[0], out_features, dtype=torch.float32 if as_float else x.dtype)

    torch.library.register_fake("kelvin::linear_int8")(linear)

    @torch.library.register_fake("kelvin::normalize")
    def normalize(x, weight, bias, eps, centred):  # type: ignore[no-untyped-def]
        return x.new_empty(x.shape)

    @torch.library.register_fake("kelvin::attend")
    def attend(query, key, value, cos, sin, keys, values, slots, positions, scale, window, softcap):  # type: ignore[no-untyped-def]
        return query.new_empty(query.shape)

    @torch.library.register_fake("kelvin::activate")
    def activate(x, name, gated):  # type: ignore[no-untyped-def]
        return x.new_empty(x.shape[0], x.shape[1] // 2 if gated else x.shape[1])

    @torch.library.register_fake("kelvin::gumbel_noise")
    def gumbel_noise(key0, key1, step, vocab_size):  # type: ignore[no-untyped-def]
        return key0.new_empty(key0.shape[0], vocab_size, dtype=torch.float32)

    @torch.library.register_fake("kelvin::scatter")
    def scatter(x, indices, values):  # type: ignore[no-untyped-def]
        return None

    @torch.library.register_fake("kelvin::scatter_min")
    def scatter_min(x, indices, values):  # type: ignore[no-untyped-def]
        return None

    @torch.library.register_fake("kelvin::measure")
    def measure(logits, *draw):  # type: ignore[no-untyped-def]
        return logits.new_empty(logits.shape[0], 7)

    @torch.library.register_fake("kelvin::draw")
    def draw(logits, *parameters):  # type: ignore[no-untyped-def]
        rows = logits.shape[0]
        columns = (logits.new_empty(rows, 1) for _ in range(4))
        return logits.new_empty(rows, dtype=torch.int32), logits.new_empty(rows, dtype=torch.bool), *columns
