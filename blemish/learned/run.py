"""How a training runs, apart from what it learns: folder of checkpoints, resuming, device, precision, logging.

The contract of a detector has no room for these on purpose: they change nothing about the fitted graph. A context
carries them from the caller to the training:

    with training_run(TrainingRun(folder=Path("run"), resume=True)):
        cae.fit(...)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch

from blemish.errors import EngineError, SettingsError

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]
RunLogger = Literal["none", "tensorboard", "mlflow"]


@dataclass(frozen=True)
class TrainingRun:
    """Where and how a training runs; with `folder` None its checkpoints live only as long as the training.

    `resume` goes on from the checkpoint in `folder` where there is one. `precision` `auto` takes bfloat16 where the
    device computes it faster. `num_devices` above 1 trains on several devices (DDP). With
    `on_ray` each device is that of a worker of the Ray cluster this process is connected to, and `folder` one that all
    its nodes share.
    """

    folder: Path | None = None
    resume: bool = False
    device: Device = "auto"
    precision: Precision = "auto"
    logger: RunLogger = "none"
    num_devices: int = 1
    on_ray: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("device", Device), ("precision", Precision), ("logger", RunLogger)):
            if getattr(self, name) not in get_args(kind):
                raise SettingsError(
                    f"{name} {getattr(self, name)!r} is not known: use one of {', '.join(get_args(kind))}"
                )
        if self.num_devices < 1:
            raise SettingsError(f"num_devices is {self.num_devices}: use 1 or more")
        if self.on_ray and self.folder is None:
            raise SettingsError("training on Ray needs a folder for checkpoints that all nodes share")
        if self.folder is None and self.resume:
            raise SettingsError("resuming needs the folder that holds the checkpoints")
        if self.folder is None and self.logger != "none":
            raise SettingsError(f"logging to {self.logger} needs a folder to write into")


_DEFAULT = TrainingRun()
_CURRENT: ContextVar[TrainingRun] = ContextVar("training_run", default=_DEFAULT)


@contextmanager
def training_run(run: TrainingRun) -> Iterator[TrainingRun]:
    """Inside, every training runs as `run` says.

    >>> with training_run(TrainingRun(device="cpu")):
    ...     current_run().device
    'cpu'
    """
    token = _CURRENT.set(run)
    try:
        yield run
    finally:
        _CURRENT.reset(token)


def current_run() -> TrainingRun:
    """The `TrainingRun` of the surrounding `training_run`, or the default."""
    return _CURRENT.get()


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
