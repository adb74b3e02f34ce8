"""Devices and types of torch: what a name means on this machine."""

from typing import Any

import torch

from server.errors import ModelError


def capability_of(device: torch.device) -> tuple[int, int]:
    """Return a device's compute capability."""
    return torch.cuda.get_device_capability(device)


def pick_device(device: str) -> torch.device:
    """Return torch's device for a name; `auto` is CUDA where it is there.

    Raises:
        ModelError: it is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device is {device}, but torch sees no CUDA device here; use --device cpu or auto")
    return torch.device(device)


def pick_dtype(dtype: str, device: torch.device) -> Any:
    """Return torch's type for a name; `auto` is bfloat16 where the device multiplies it fast, else float32."""
    if dtype != "auto":
        return getattr(torch, dtype)
    capabilities = torch.cpu.get_capabilities()
    fast = device.type == "cuda" or capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return torch.bfloat16 if fast else torch.float32
