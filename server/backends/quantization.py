"""Where weights may be of eight bits."""

from typing import Literal

from server.errors import ModelError

Quantization = Literal["none", "int8"]


def require_supported(quantization: Quantization, framework: str, device: str) -> Quantization:
    """Return a quantisation that a framework has on a device.

    Args:
        quantization: of weight matrices.
        framework: `torch` or `tensorflow`.
        device: its kind, such as `cpu`.

    Raises:
        ModelError: it has none of that kind there.
    """
    if quantization == "none" or (framework, device) == ("torch", "cpu"):
        return quantization
    where = framework if framework != "torch" else f"torch on {device}"
    raise ModelError(
        f"quantization is {quantization}, which torch on CPU supports and {where} does not; "
        "use --framework torch --device cpu, or --quantization none"
    )
