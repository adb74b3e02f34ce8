"""The operators of a decoder for XLA's programs on CPU: over packed weights, with products that are Kelvin's own."""

from functools import cache
from typing import Any

import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_call_module

from server.backends.tensorflow_kernels import LINEAR
from server.backends.tensorflow_packed import TILE, activate, attend, normalize, pack

__all__ = ["activate", "attend", "linear", "normalize", "pack"]

Tensor = Any


def linear(
    x: Tensor, packed: Tensor, out_features: int, bias: Tensor | None, residual: Tensor | None, as_float: bool
) -> Tensor:
    """Multiply as in `tensorflow_plain`, by a packed weight."""
    operands = [tf.convert_to_tensor(operand) for operand in (x, packed, bias, residual) if operand is not None]
    module = _module(x.shape[1], out_features, bias is not None, residual is not None)
    (y,) = xla_call_module(
        operands, version=5, module=module, Sout=[[None, out_features]], Tout=[tf.float32], platforms=["CPU"]
    )
    return y


@cache
def _module(in_features: int, out_features: int, biased: bool, residual: bool) -> str:
    """Write a call of the product in XLA's language, for any number of rows.

    The call has the shape of its result as an operand: that is how XLA comes to know it when it is told the rows.
    """
    x, y = f"tensor<?x{in_features}xf32>", f"tensor<?x{out_features}xf32>"
    inputs = {"x": x, "packed": f"tensor<{-(-out_features // TILE)}x{in_features}x{TILE}xf32>"}
    rest = {"bias": f"tensor<{out_features}xf32>"} if biased else {}
    rest |= {"residual": y} if residual else {}
    operands = inputs | {"shape": "tensor<2xi32>"} | rest
    return f"""
module @linear {{
  func.func public @main({", ".join(f"%{name}: {kind}" for name, kind in (inputs | rest).items())}) -> {y} {{
    %size = stablehlo.get_dimension_size %x, dim = 0 : ({x}) -> tensor<i32>
    %rows = stablehlo.reshape %size : (tensor<i32>) -> tensor<1xi32>
    %width = stablehlo.constant dense<{out_features}> : tensor<1xi32>
    %shape = stablehlo.concatenate %rows, %width, dim = 0 : (tensor<1xi32>, tensor<1xi32>) -> tensor<2xi32>
    %y = stablehlo.custom_call @{LINEAR}({", ".join(f"%{name}" for name in operands)}) {{
      api_version = 4 : i32, backend_config = {{}}, indices_of_shape_operands = dense<[2]> : tensor<1xi64>
    }} : ({", ".join(operands.values())}) -> {y}
    return %y : {y}
  }}
}}
"""
