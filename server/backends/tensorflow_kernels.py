"""Build Kelvin's CPU kernels for TensorFlow with the machine's C++ compiler, once, and call them by name."""

import ctypes
import os
import weakref
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_call_module

from server.backends.cpu_library import SOURCES, find_compiler, load_library
from server.backends.tensorflow_process import fingerprint
from server.models.spec import DecoderSpec

Tensor = Any
Shape = tuple[int | None, ...]  # None: as many as the first operand has rows

_PREFIX = "kelvin_"  # of the names by which programs call
_NAMES = "activation", "attention", "draw", "interval", "linear", "normalization", "pool", "truncation"
_SOURCES = [*(SOURCES / f"{name}.cpp" for name in _NAMES), SOURCES / "tensorflow" / "library.cpp"]
_LANES = 16  # floats that a kernel takes at once
_HEAD_DIMS = {16, 32, 48, 64, 80, 96, 128, 256}
_TYPES = {np.dtype(name): number for number, name in enumerate(("uint8", "bool", "int32", "int64", "float32"))}
_MLIR_TYPES = {"bool": "i1", "int32": "i32", "int64": "i64", "float32": "f32"}

_loaded: list[ctypes.CDLL] = []
_weights: dict[int, tuple[Tensor, Any]] = {}  # of variables that nobody assigns to, what describes them


def kernels_fit(spec: DecoderSpec, dtype: tf.DType, device: str) -> bool:
    """Say whether the kernels can run a decoder: in float32, on CPU, and its widths whole numbers of vectors."""
    whole = all(width % _LANES == 0 for width in (spec.hidden_size, spec.intermediate_size))
    return device == "cpu" and dtype == tf.float32 and whole and spec.head_dim in _HEAD_DIMS


@lru_cache(maxsize=1)
def load_kernels(cache_dir: Path) -> bool:
    """Build the kernels if this machine has not yet, and register them with XLA.

    Args:
        cache_dir: where the library is kept, named by sources, TensorFlow, compiler and processor; of no matter to a
            process that has loaded it already.

    Returns:
        Whether they can be called; False, after one warning with the remedy, where no compiler is found or the build
        fails.
    """
    compiler = find_compiler("TensorFlow")
    if compiler is None:
        return False
    if _loaded:  # XLA takes a name once
        return True
    folder = Path(tf.sysconfig.get_lib())
    return load_library(
        _register,
        compiler,
        _SOURCES,
        cache_dir=cache_dir,
        framework="TensorFlow",
        built_for=[fingerprint()],
        flags=[f"-I{tf.sysconfig.get_include()}", "-D_GLIBCXX_USE_CXX11_ABI=1"],
        links=[f"-L{folder}", *(f"-l:{path.name}" for path in folder.glob("libtensorflow_cc.so.*"))],
    )


def call(
    name: str,
    operands: Sequence[Tensor],
    results: Sequence[tuple[Shape, tf.DType]],
    numbers: Sequence[float] = (),
    *,
    writes: bool = False,
) -> list[Tensor]:
    """Call a kernel: at once, or in the program that is being traced for XLA.

    Args:
        name: of the kernel.
        operands: tensors or variables, as `cpu/tensorflow/library.cpp` says.
        results: the shape and type of each.
        numbers: what else it wants to know.
        writes: whether it writes to memory that is no operand, so that the call may not be left out.

    Raises:
        RuntimeError: the kernel refuses its operands; in a program TensorFlow raises an error of its own.
    """
    numbers = tuple(map(float, numbers))
    if not tf.inside_function():
        return _call_now(name, operands, results, numbers)
    operands = [tf.convert_to_tensor(operand) for operand in operands]
    shapes = tuple((tuple(operand.shape), operand.dtype.name) for operand in operands)
    wanted = tuple((shape, dtype.name) for shape, dtype in results)
    return list(
        xla_call_module(
            operands,
            version=5,
            module=_module(name, shapes, wanted, numbers, writes),
            Sout=[list(shape) for shape, _ in results],
            Tout=[dtype for _, dtype in results],
            platforms=["CPU"],
        )
    )


class _Array(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int64),
        ("rank", ctypes.c_int64),
        ("sizes", ctypes.POINTER(ctypes.c_int64)),
    )


def _call_now(
    name: str, operands: Sequence[Tensor], results: Sequence[tuple[Shape, tf.DType]], numbers: tuple[float, ...]
) -> list[Tensor]:
    rows = operands[0].shape[0]
    shapes = (tuple(rows if size is None else size for size in shape) for shape, _ in results)
    room = [
        tf.raw_ops.Empty(shape=_constant(shape), dtype=dtype) for shape, (_, dtype) in zip(shapes, results, strict=True)
    ]
    error = _loaded[0].kelvin_run(
        name.encode(),
        (_Array * len(operands))(*map(_array, operands)),
        ctypes.c_size_t(len(operands)),
        (_Array * len(room))(*map(_array, room)),
        ctypes.c_size_t(len(room)),
        (ctypes.c_double * len(numbers))(*numbers),
    )
    if error is not None:
        raise RuntimeError(f"the kernel {name} failed: {error.decode()}")
    return room


@lru_cache(maxsize=256)
def _constant(shape: tuple[int, ...]) -> Tensor:
    """Make a shape a tensor, which takes longer than what it is wanted for."""
    return tf.constant(shape, tf.int32)


def _array(operand: Tensor) -> _Array:
    """Describe the memory of a tensor, or of a weight, which is read once and for all."""
    if not isinstance(operand, tf.Variable):
        return _describe(operand)
    if not operand.dtype.is_floating:
        return _describe(operand.read_value())
    known = _weights.get(id(operand))
    if known is None:
        value = operand.read_value()
        known = _weights[id(operand)] = value, _describe(value)
        weakref.finalize(operand, _weights.pop, id(operand), None)
    return known[1]


def _describe(tensor: Tensor) -> _Array:
    view = np.asarray(memoryview(tensor))
    sizes = (ctypes.c_int64 * view.ndim)(*view.shape)
    return _Array(view.__array_interface__["data"][0], _TYPES[view.dtype], view.ndim, sizes)


@cache
def _module(
    name: str,
    operands: tuple[tuple[Shape, str], ...],
    results: tuple[tuple[Shape, str], ...],
    numbers: tuple[float, ...],
    writes: bool,
) -> str:
    """Write a call of a kernel in XLA's language, for any number of rows where that is not known.

    Where it is not, the call has the shape of its result as an operand, after its own: that is how XLA comes to know it
    when it is told the rows.
    """
    inputs = {f"x{number}": _mlir_type(*operand) for number, operand in enumerate(operands)}
    outputs = [_mlir_type(*result) for result in results]
    shapes = {f"shape{number}": shape for number, (shape, _) in enumerate(results) if None in shape}
    given = inputs | {shape: f"tensor<{len(sizes)}xi32>" for shape, sizes in shapes.items()}
    places = [place for place, operand in enumerate(given) if operand in shapes]
    known = f", indices_of_shape_operands = dense<{places}> : tensor<{len(places)}xi64>" if places else ""
    attributes = f"numbers = array<f64{': ' if numbers else ''}{', '.join(f'{number:.17e}' for number in numbers)}>"
    returned = outputs[0] if len(outputs) == 1 else f"({', '.join(outputs)})"
    result = "%y" if len(outputs) == 1 else f"%y:{len(outputs)}"
    values = ["%y"] if len(outputs) == 1 else [f"%y#{number}" for number in range(len(outputs))]
    return f"""
module @{name} {{
  func.func public @main({", ".join(f"%{operand}: {kind}" for operand, kind in inputs.items())}) -> {returned} {{
{_rows(inputs["x0"]) if shapes else ""}{"".join(_shape(shape, sizes) for shape, sizes in shapes.items())}
    {result} = stablehlo.custom_call @{_PREFIX}{name}({", ".join(f"%{operand}" for operand in given)}) {{
      api_version = 4 : i32, has_side_effect = {str(writes).lower()}, backend_config = {{{attributes}}}{known}
    }} : ({", ".join(given.values())}) -> {returned}
    return {", ".join(values)} : {", ".join(outputs)}
  }}
}}
"""


def _mlir_type(shape: Shape, dtype: str) -> str:
    sizes = "".join("?x" if size is None else f"{size}x" for size in shape)
    return f"tensor<{sizes}{_MLIR_TYPES[dtype]}>"


def _rows(operand: str) -> str:
    return f"""    %size = stablehlo.get_dimension_size %x0, dim = 0 : ({operand}) -> tensor<i32>
    %rows = stablehlo.reshape %size : (tensor<i32>) -> tensor<1xi32>
"""


def _shape(name: str, sizes: Shape) -> str:
    """Write the sum of how a result's shape is made of the rows."""
    parts = [f"%{name}_{axis}" for axis in range(len(sizes))]
    lines = [
        f"    {part} = stablehlo.constant dense<{size}> : tensor<1xi32>\n"
        for part, size in zip(parts, sizes, strict=True)
        if size is not None
    ]
    parts = ["%rows" if size is None else part for part, size in zip(parts, sizes, strict=True)]
    kinds = ", ".join(["tensor<1xi32>"] * len(sizes))
    joined = f"stablehlo.concatenate {', '.join(parts)}, dim = 0 : ({kinds}) -> tensor<{len(sizes)}xi32>"
    return "".join(lines) + f"    %{name} = {joined}\n"


def _register(path: Path) -> None:
    """Give XLA the kernels, with as many threads as TensorFlow has."""
    library = ctypes.CDLL(str(path))
    library.kelvin_run.restype = ctypes.c_char_p
    threads = tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1
    if library.kelvin_register(_PREFIX.encode(), ctypes.c_int64(threads)):
        raise OSError(f"XLA does not take {path}")
    _loaded.append(library)
