"""Trains on the workers of a Ray cluster: Ray begins the processes, Lightning's strategy makes them agree (DDP)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import ray
import ray.train
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment
from ray.train.torch import TorchTrainer

from blemish.errors import BlemishError, EngineError, SettingsError, TrainingError
from blemish.learned.checkpoint import LAST
from blemish.schema import Device

RETRIES = 3
"""How often workers are begun again when one is lost; they go on from the last finished epoch."""


def resolve_on_cluster(device: Device, num_workers: int) -> Literal["cpu", "cuda"]:
    """The device of each worker: `auto` takes a CUDA GPU where the cluster has enough of them, else CPUs.

    Raises EngineError where the cluster has too few.
    """
    has = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if device == "mps":
        raise SettingsError("device mps is of one machine: train on a cluster with device auto, cuda or cpu")
    if device == "auto":
        device = "cuda" if has.get("GPU", 0) >= num_workers else "cpu"
    kind = "GPU" if device == "cuda" else "CPU"
    if has.get(kind, 0) < num_workers:
        raise EngineError(f"{num_workers} workers need a {kind} each, the cluster has {has.get(kind, 0):g}; use fewer")
    return device


def ray_processes(leaves_some: bool, plugins: list[Any]) -> dict[str, Any]:
    """The options of Lightning's trainer on a worker; `leaves_some`: a step leaves parameters without gradients."""
    strategy = RayDDPStrategy(find_unused_parameters=leaves_some)  # type: ignore[no-untyped-call]
    environment = RayLightningEnvironment()  # type: ignore[no-untyped-call]
    return {"devices": "auto", "strategy": strategy, "plugins": [environment, *plugins]}


def run_on_workers(fit: Callable[[bool], None], num_workers: int, device: str, folder: Path) -> None:
    """Calls `fit` on all workers at once, with whether it goes on from the checkpoint in `folder`.

    Raises the error of `fit` where it is one of ours, TrainingError where workers are lost again and again.
    """
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    sent = ray.put(fit)  # the images are within; sent once to each node
    last = (folder / LAST).resolve()

    def work() -> None:
        ray.get(sent)(last.exists())

    trainer = TorchTrainer(
        work,
        scaling_config=ray.train.ScalingConfig(num_workers=num_workers, use_gpu=device == "cuda"),
        run_config=ray.train.RunConfig(
            name="ray",
            storage_path=str(folder.resolve()),
            failure_config=ray.train.FailureConfig(max_failures=RETRIES),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        for failure in getattr(error, "worker_failures", {}).values():
            cause = getattr(failure, "_base_exc", failure)
            if isinstance(cause, BlemishError):
                raise cause from error
        lines = str(error).strip().splitlines()
        raise TrainingError(f"the workers of the training were lost: {lines[-1]}; run again with --resume") from error
