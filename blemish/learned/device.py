"""The device and the precision that a training runs with on this machine."""

from __future__ import annotations

from typing import Literal

import torch

from blemish.errors import EngineError
from blemish.schema import Device, Precision


def resolve_device(device: Device) -> Literal["cpu", "cuda", "mps"]:
    """The device to train on: `auto` takes a CUDA GPU, else Apple's MPS, else the CPU.

    Raises EngineError where the asked device is not there.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return "cuda" if has_cuda else "mps" if has_mps else "cpu"
    if (device == "cuda" and not has_cuda) or (device == "mps" and not has_mps):
        name = "CUDA GPU" if device == "cuda" else "Apple GPU (MPS)"
        raise EngineError(
            f"device {device} was asked for, but PyTorch {torch.__version__} finds no {name}: "
            "use device cpu or auto, or install a PyTorch build and driver for it"
        )
    return device


def resolve_precision(precision: Precision, device: str) -> Literal["32-true", "bf16-mixed"]:
    """The precision in the training library's words; `auto` is bfloat16 where the device has instructions for it."""
    if precision == "auto":
        fast = {"cuda": torch.cuda.is_bf16_supported, "cpu": _cpu_has_bfloat16}
        return "bf16-mixed" if device in fast and fast[device]() else "32-true"
    return "bf16-mixed" if precision == "bfloat16" else "32-true"


def _cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; emulated, it is slower than float32."""
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in names)
