"""How the training of a learned detector runs: checkpoints, resuming, device, logging."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from blemish.errors import SettingsError
from blemish.registry import load_detector


def training_context(
    detector: str,
    *,
    checkpoints: Path | None = None,
    resume: bool = False,
    device: str = "auto",
    num_devices: int = 1,
    precision: str = "auto",
    log: str = "none",
    on_ray: bool = False,
) -> AbstractContextManager[Any]:
    """A context in which a detector with learned weights trains as asked; others have nothing to ask for."""
    if not load_detector(detector).INFO.needs_torch:
        if checkpoints or resume or on_ray or (device, num_devices, precision, log) != ("auto", 1, "auto", "none"):
            raise SettingsError(
                f"{detector} has no training to resume, log or place on a device; leave these options out"
            )
        return nullcontext()
    from blemish.learned.run import TrainingRun, resolve_device, training_run

    run = TrainingRun(
        folder=checkpoints,
        resume=resume,
        device=device,  # type: ignore[arg-type]
        num_devices=num_devices,
        precision=precision,  # type: ignore[arg-type]
        logger=log,  # type: ignore[arg-type]
        on_ray=on_ray,
    )
    if not on_ray:
        resolve_device(run.device)  # a device that is not there is said before any image is read
    return training_run(run)
