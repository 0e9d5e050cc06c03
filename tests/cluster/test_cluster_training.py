"""Learned weights trained by several workers of a cluster, on CPUs in place of GPUs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("torch")
pytest.importorskip("lightning")

from blemish.cluster.connect import connected
from blemish.detectors.base import FitRequest
from blemish.errors import EngineError, SettingsError
from blemish.learned import cae
from blemish.schema import TrainingRun
from blemish.testing.tiny import TinyProduct


@pytest.fixture(scope="module")
def connection(two_nodes: str) -> Iterator[None]:
    with connected(two_nodes, packages=("torch", "lightning")):
        yield


def fit(product: TinyProduct, folder: Path, *, num_workers: int = 2, resume: bool = False, **settings: Any) -> Any:
    options = cae.Settings(**{"epochs": 2, "width": 4, "batch_size": 4, "augmentation": "none", **settings})
    run = TrainingRun(folder=folder, resume=resume, device="cpu", num_devices=num_workers, on_ray=True)
    return cae.fit(FitRequest(images=list(product.good), settings=options, run=run))


EPOCHS = 60


def test_two_workers_share_a_training_and_one_of_them_is_killed(
    connection: None, processes: Any, product: TinyProduct, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        while not list(tmp_path.rglob("last.ckpt")):
            time.sleep(0.01)
        killed.extend(processes("RayTrainWorker")[:1])
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one, daemon=True)
    if sys.platform == "linux":
        killer.start()
    made = fit(product, tmp_path, epochs=EPOCHS, patience=0)
    history = made.facts["history"]
    assert [entry["epoch"] for entry in history] == list(range(1, EPOCHS + 1)), "they go on from the last epoch"
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    if sys.platform == "linux":
        killer.join(timeout=10)
        assert killed
    again = fit(product, tmp_path, epochs=EPOCHS, patience=0, resume=True)
    assert again.graph == made.graph, "what is finished is not trained again"


def test_more_workers_than_the_cluster_holds_are_refused(
    connection: None, product: TinyProduct, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="3 workers need a CPU each, the cluster has 2"):
        fit(product, tmp_path, num_workers=3)


def test_a_folder_for_checkpoints_is_needed() -> None:
    with pytest.raises(SettingsError, match="that all nodes share"):
        TrainingRun(on_ray=True)
