"""How a training of learned weights runs, apart from what it learns: checkpoints, resuming, device, precision, log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from blemish.errors import SettingsError

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]
RunLogger = Literal["none", "tensorboard", "mlflow"]


@dataclass(frozen=True)
class TrainingRun:
    """Where and how a training runs; with `folder` None its checkpoints live only as long as the training.

    `resume` goes on from the checkpoint in `folder` where there is one; `logger` writes there too. `precision` `auto`
    takes bfloat16 where the device computes it faster. `num_devices` above 1 trains on several devices (DDP). With
    `on_ray` each device is that of a worker of the Ray cluster this process is connected to, and `folder` one that all
    its nodes share. A training on several devices, or on Ray, reports nothing and is not cancelled until it ends.

    Raises SettingsError where the values do not go together.

    >>> TrainingRun(device="cpu").device
    'cpu'
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
