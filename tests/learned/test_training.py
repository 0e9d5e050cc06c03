"""The training loop: what it learns from, what it keeps, how it stops, goes on and fails."""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import Tensor, nn  # noqa: E402

from blemish.detectors.base import FitRequest  # noqa: E402
from blemish.errors import Cancelled, DataError, EngineError, OutputError, SettingsError, TrainingError  # noqa: E402
from blemish.learned import cae, checkpoint  # noqa: E402
from blemish.learned.contract import (  # noqa: E402
    Batch,
    Learner,
    Prepare,
    Sample,
    Samples,
    TrainingSettings,
    check_stride,
)
from blemish.learned.device import resolve_device, resolve_precision  # noqa: E402
from blemish.learned.fitting import prepare_augmented  # noqa: E402
from blemish.learned.training import Trained, at_most_threads, train  # noqa: E402
from blemish.schema import Cancel, Image, Progress, TrainingRun, never, silent  # noqa: E402
from blemish.synthesis.augment import NONE  # noqa: E402

SHARING = torch.multiprocessing.get_sharing_strategy()
PLAIN = functools.partial(prepare_augmented, NONE)


class Tiny(Learner):
    """One convolution and dropout: learns within a few steps, and draws chance in each."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.dropout = nn.Dropout(0.1)

    def loss(self, batch: Batch, group: int) -> Tensor:
        return (self.convolution(self.dropout(batch.input)) - batch.target).square().mean()

    def read(self, pixels: Tensor) -> tuple[Tensor, Tensor | None]:
        drawn = self.convolution(pixels)
        return (drawn - pixels).square().mean(1), drawn


class Broken(Tiny):
    """Its loss stops being a number at the third step of each training."""

    def __init__(self, step: int = 3) -> None:
        super().__init__()
        self.steps_left = step

    def loss(self, batch: Batch, group: int) -> Tensor:
        self.steps_left -= self.training
        return super().loss(batch, group) * (torch.nan if self.steps_left <= 0 and self.training else 1)


class Stuck(Tiny):
    """Gets worse with every epoch on the held-out images."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0.0

    def validation_loss(self, batch: Batch) -> Tensor:
        self.seen += 1
        return torch.tensor(self.seen)


class Adversaries(Tiny):
    """Two groups of parameters with losses of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(3, 1, 1)

    def parameter_groups(self) -> tuple[Any, ...]:
        return list(self.convolution.parameters()), list(self.second.parameters())

    def loss(self, batch: Batch, group: int) -> Tensor:
        return self.second(batch.input).square().mean() if group else super().loss(batch, 0)


def make_images() -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(60, 200, (32, 32, 3)).astype(np.uint8) for _ in range(10)]


@pytest.fixture(scope="module")
def images() -> list[Image]:
    return make_images()


def run(
    images: list[Image],
    build: Callable[[], Learner] = Tiny,
    *,
    prepare: Prepare = PLAIN,
    seed: int = 0,
    progress: Progress = silent,
    cancel: Cancel = never,
    how: TrainingRun | None = None,
    **settings: Any,
) -> Trained:
    wanted = TrainingSettings(**{"epochs": 4, "batch_size": 4, "learning_rate": 0.01, **settings})
    return train(
        build,
        Samples(images, prepare),
        FitRequest(
            images=images,
            settings=wanted,
            seed=seed,
            progress=progress,
            cancel=cancel,
            run=how or TrainingRun(),
        ),
        name="tiny",
    )


def weights(trained: Trained) -> dict[str, list[float]]:
    return {name: tensor.flatten().tolist() for name, tensor in trained.learner.state_dict().items()}


def losses(trained: Trained) -> list[tuple[float, float]]:
    return [(entry["train_loss"], entry["validation_loss"]) for entry in trained.history]


def test_training_lowers_the_loss_and_tells_how(images: list[Image]) -> None:
    trained = run(images)
    assert trained.history[-1]["train_loss"] < 0.8 * trained.history[0]["train_loss"]
    assert set(trained.history[0]) == {
        "epoch", "train_loss", "validation_loss", "separation_ratio", "learning_rate", "seconds",
    }  # fmt: skip
    assert [entry["epoch"] for entry in trained.history] == [1, 2, 3, 4]
    assert all(entry["separation_ratio"] > 0 for entry in trained.history)
    assert json.loads(json.dumps(trained.facts))["num_parameters"] == 84
    assert not trained.learner.training


def test_the_same_seed_gives_the_same_weights_and_leaves_other_chance_alone(images: list[Image]) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = run(images)
    assert torch.equal(torch.rand(1), expected)
    assert weights(first) == weights(run(images))
    assert weights(first) != weights(run(images, seed=1))


def test_held_out_images_are_never_trained_on(images: list[Image]) -> None:
    drawn: dict[int, set[int]] = {}

    def prepare(index: int, image: Image, rng: np.random.Generator) -> Sample:
        drawn.setdefault(index, set()).add(int(rng.integers(1 << 30)))
        return PLAIN(index, image, rng)

    trained = run(images, prepare=prepare, validation_ratio=0.3)
    assert len(trained.validation_indices) == 3
    assert sorted([*trained.train_indices, *trained.validation_indices]) == list(range(10))
    # New chance in each of four epochs for what is trained on, always the same for what is held out.
    assert {len(drawn[index]) for index in trained.train_indices} == {4}
    assert {len(drawn[index]) for index in trained.validation_indices} == {1}


def test_training_stops_early_and_returns_the_best_epoch(images: list[Image]) -> None:
    stuck = run(images, Stuck, epochs=30, patience=3)
    assert (len(stuck.history), stuck.best_epoch) == (4, 1)
    assert (
        weights(stuck)["convolution.bias"] == weights(run(images, Stuck, epochs=1, schedule="none"))["convolution.bias"]
    )
    assert len(run(images, Stuck, epochs=6, patience=0).history) == 6


def test_the_learning_rate_follows_its_schedule(images: list[Image]) -> None:
    def rates(**settings: Any) -> list[float]:
        return [entry["learning_rate"] for entry in run(images, Stuck, patience=0, **settings).history]

    assert rates(schedule="none") == [0.01] * 4
    cosine = rates(schedule="cosine")
    assert cosine[0] == 0.01
    assert cosine == sorted(cosine, reverse=True)
    plateau = rates(schedule="plateau", epochs=9)
    assert plateau[:7] == [0.01] * 7
    assert plateau[7] == pytest.approx(0.002)


def test_every_group_of_parameters_is_trained(images: list[Image]) -> None:
    start, end = run(images, Adversaries, epochs=1, learning_rate=1e-9), run(images, Adversaries)
    assert all(weights(start)[name] != weights(end)[name] for name in weights(start))


def test_progress_grows_to_its_end_and_nothing_is_printed(
    images: list[Image], capfd: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[str, int, int]] = []
    levels = logging.getLogger("lightning.pytorch").level
    filters = list(warnings.filters)
    run(images, Stuck, epochs=9, patience=2, progress=lambda *call: calls.append(call))
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert done[-1] == 9
    assert {call[2] for call in calls} == {9}
    assert "loss" in calls[-2][0]
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("lightning.pytorch").level == levels
    assert warnings.filters == filters


def test_fewer_images_than_a_batch_are_one_batch_and_said(images: list[Image]) -> None:
    trained = run(images[:5], batch_size=64)
    assert trained.facts["notes"] == ["4 images to train on are fewer than a batch of 64: trained in batches of 4"]
    assert "notes" not in run(images).facts
    assert run(images[:2]).facts["num_validation"] == 1


def test_images_that_cannot_be_trained_on_are_refused(images: list[Image]) -> None:
    with pytest.raises(DataError, match="found 1 images"):
        run(images[:1])
    with pytest.raises(DataError, match=r"image 2 is of shape \(16, 32, 3\)"):
        run([*images[:2], images[2][:16]])
    with pytest.raises(DataError, match="float64"):
        run([image / 255 for image in images])


@pytest.mark.parametrize(("size", "said"), [((40, 64), "64 x 40 px: set the size to 32"), ((16, 16), "at least 32 px")])
def test_sizes_that_the_network_cannot_take_are_refused(size: tuple[int, int], said: str) -> None:
    check_stride(32, 64, 16, "cae")
    with pytest.raises(SettingsError, match=said):
        check_stride(*size, 16, "cae")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("validation_ratio", 0.6),
        ("schedule", "step"),
        ("lr", 1),
    ],
)
def test_settings_out_of_bounds_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        TrainingSettings(**{name: value})


class TestResuming:
    """Checkpoints: a training goes on where it was, whatever stopped it."""

    @staticmethod
    def resumed(folder: Path) -> Callable[..., Trained]:
        return functools.partial(run, how=TrainingRun(folder=folder, resume=True))

    def test_a_stopped_training_ends_where_an_uninterrupted_one_does(self, images: list[Image], tmp_path: Path) -> None:
        def stop(task: str, done: int, total: int) -> None:
            if done == 2:
                raise TimeoutError

        whole = run(images, schedule="plateau")
        go_on = self.resumed(tmp_path)
        with pytest.raises(TimeoutError):
            go_on(images, schedule="plateau", progress=stop)
        reported: list[int] = []
        again = go_on(images, schedule="plateau", progress=lambda task, done, total: reported.append(done))
        assert reported[0] > 0
        assert losses(again) == losses(whole)
        assert weights(again) == weights(whole)

    def test_a_finished_training_is_not_repeated(self, images: list[Image], tmp_path: Path) -> None:
        go_on = self.resumed(tmp_path)
        first = go_on(images, Stuck, epochs=9, patience=2)
        again = go_on(images, lambda: Broken(0), epochs=9, patience=2)
        assert (again.history, again.best_epoch) == (first.history, 1)
        assert weights(again) == weights(first)

    def test_without_resume_an_old_checkpoint_is_not_used(self, images: list[Image], tmp_path: Path) -> None:
        run(images, how=TrainingRun(folder=tmp_path))
        assert len(run(images, how=TrainingRun(folder=tmp_path), epochs=2).history) == 2

    def test_a_second_training_in_the_same_folder_is_refused(
        self, images: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("blemish.learned.training.PATIENCE_SECONDS", 0.1)

        def begin_another(task: str, done: int, total: int) -> None:
            if done == 1:
                with pytest.raises(OutputError, match="another program is using it"):
                    run(images, how=TrainingRun(folder=tmp_path))
                refused.append(done)

        refused: list[int] = []
        whole = run(images, how=TrainingRun(folder=tmp_path), progress=begin_another)
        assert refused
        assert weights(whole) == weights(run(images))

    def test_a_killed_process_loses_at_most_one_epoch(self, images: list[Image], tmp_path: Path) -> None:
        script = tmp_path / "kill.py"
        script.write_text(
            "import importlib.util, os, pathlib, sys\n"
            f"spec = importlib.util.spec_from_file_location('case', {str(Path(__file__))!r})\n"
            "case = importlib.util.module_from_spec(spec)\n"
            "spec.loader.exec_module(case)\n"
            "def die(task, done, total):\n"
            "    if done == 3:\n"
            "        os._exit(9)\n"
            "how = case.TrainingRun(folder=pathlib.Path(sys.argv[1]))\n"
            "case.run(case.make_images(), progress=die, how=how)\n",
            encoding="utf-8",
        )
        killed = subprocess.run([sys.executable, str(script), str(tmp_path)], capture_output=True, check=False)
        assert killed.returncode == 9, killed.stderr.decode()
        kept = checkpoint.load_checkpoint(tmp_path / "tiny" / checkpoint.LAST)["training"]["history"]
        assert len(kept) >= 2
        go_on = self.resumed(tmp_path)
        assert weights(go_on(images)) == weights(go_on(images))

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"batch_size": 5}, "setting batch_size was 4, now 5"),
            ({"seed": 1}, "seed was 0, now 1"),
            ({"augmentation": "noise=0.5"}, "setting augmentation was"),
        ],
    )
    def test_a_checkpoint_of_other_settings_is_refused(
        self, images: list[Image], tmp_path: Path, change: dict[str, Any], said: str
    ) -> None:
        go_on = self.resumed(tmp_path)
        go_on(images, epochs=1)
        with pytest.raises(SettingsError, match=said):
            go_on(images, **{"epochs": 1, **change})

    def test_a_checkpoint_of_other_images_is_refused(self, images: list[Image], tmp_path: Path) -> None:
        go_on = self.resumed(tmp_path)
        go_on(images, epochs=1)
        with pytest.raises(SettingsError, match="content of the images"):
            go_on([*images[:-1], images[0]], epochs=1)

    def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(
        self, images: list[Image], tmp_path: Path
    ) -> None:
        go_on = self.resumed(tmp_path)
        with pytest.raises(TrainingError, match=r"became nan at step 2 of epoch 3; the checkpoint of epoch 2 is kept"):
            go_on(images, lambda: Broken(6))
        assert len(go_on(images).history) == 4
        with pytest.raises(TrainingError, match=r"step 1 of epoch 1; no epoch was finished"):
            run(images, lambda: Broken(1))

    def test_a_full_disk_keeps_the_checkpoint_before(
        self, images: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save, calls = torch.save, []

        def full(state: Any, path: Path) -> None:
            calls.append(path)
            if len(calls) > 2:
                path.write_bytes(b"half")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            save(state, path)

        go_on = self.resumed(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "save", full)
            with pytest.raises(TrainingError, match=r"checkpoint of epoch 3 .*: No space left.*before it is kept"):
                go_on(images)
        folder = tmp_path / "tiny"
        assert sorted(path.name for path in folder.iterdir()) == [checkpoint.BEST, checkpoint.LAST]
        assert len(checkpoint.load_checkpoint(folder / checkpoint.LAST)["training"]["history"]) == 2
        assert weights(go_on(images)) == weights(go_on(images))

    def test_a_checkpoint_never_runs_code(self, images: list[Image], tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return os.mkdir, (str(tmp_path / "evil"),)

        (tmp_path / "tiny").mkdir()
        torch.save({"training": Evil()}, tmp_path / "tiny" / checkpoint.LAST)
        with pytest.raises(TrainingError, match="no whole checkpoint"):
            self.resumed(tmp_path)(images)
        assert not (tmp_path / "evil").exists()

    @pytest.mark.parametrize("name", [checkpoint.LAST, checkpoint.BEST])
    def test_a_damaged_checkpoint_is_one_clear_line(self, images: list[Image], tmp_path: Path, name: str) -> None:
        go_on = self.resumed(tmp_path)
        go_on(images, epochs=1)
        path = tmp_path / "tiny" / name
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(TrainingError, match=name):
            go_on(images, epochs=1)


class TestRun:
    """Where and how a training runs."""

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"device": "tpu"}, "device 'tpu'"),
            ({"precision": "int8"}, "precision"),
            ({"logger": "wandb", "folder": Path()}, "logger"),
            ({"logger": "tensorboard"}, "needs a folder"),
            ({"resume": True}, "needs the folder"),
            ({"num_devices": 0}, "num_devices is 0"),
        ],
    )
    def test_runs_that_cannot_be_are_refused(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(SettingsError, match=said):
            TrainingRun(**options)

    @pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU is here")
    def test_a_missing_gpu_is_one_clear_line(self, images: list[Image]) -> None:
        with pytest.raises(EngineError, match="finds no CUDA GPU: use device cpu"):
            run(images, how=TrainingRun(device="cuda"))

    def test_auto_finds_a_device_and_float32_is_kept_if_asked(self) -> None:
        assert resolve_device("auto") in ("cpu", "cuda", "mps")
        assert resolve_precision("float32", "cpu") == "32-true"
        assert resolve_precision("bfloat16", "cpu") == "bf16-mixed"
        assert resolve_precision("auto", "mps") == "32-true"

    def test_bfloat16_learns_as_float32_does(self, images: list[Image]) -> None:
        ends = []
        for precision in ("float32", "bfloat16"):
            ends.append(run(images, how=TrainingRun(precision=precision, device="cpu")).history[-1]["validation_loss"])
        assert ends[1] == pytest.approx(ends[0], rel=0.1)

    @pytest.mark.slow
    def test_several_devices_share_a_training(self, images: list[Image], tmp_path: Path) -> None:
        """Two processes on the CPU stand in for two GPUs."""
        settings = cae.Settings(epochs=2, width=4, batch_size=4, augmentation="none")
        fit = cae.fit(
            FitRequest(images=images, settings=settings, run=TrainingRun(folder=tmp_path, device="cpu", num_devices=2))
        )
        assert [entry["epoch"] for entry in fit.facts["history"]] == [1, 2]
        assert fit.facts["history"][1]["train_loss"] < fit.facts["history"][0]["train_loss"]
        assert torch.multiprocessing.get_sharing_strategy() == SHARING

    def test_tensorboard_gets_the_losses(self, images: list[Image], tmp_path: Path) -> None:
        pytest.importorskip("tensorboard")
        run(images, how=TrainingRun(folder=tmp_path, logger="tensorboard"), epochs=2)
        [events] = (tmp_path / "tiny" / "tensorboard").glob("events*")
        content = events.read_bytes()
        assert b"validation_loss" in content
        assert b"separation_ratio" in content

    def test_a_logger_that_is_not_installed_is_one_clear_line(
        self, images: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from lightning.pytorch import loggers

        def missing(*args: Any, **options: Any) -> None:
            raise ModuleNotFoundError("mlflow")

        monkeypatch.setattr(loggers, "MLFlowLogger", missing)
        with pytest.raises(EngineError, match="pip install mlflow"):
            run(images, how=TrainingRun(folder=tmp_path, logger="mlflow"))


class TestCancelling:
    def test_it_stops_between_two_steps_of_an_epoch(self, images: list[Image]) -> None:
        asked: list[int] = []

        def cancel() -> bool:
            asked.append(1)
            return len(asked) > 2

        with pytest.raises(Cancelled, match=r"cancelled while training tiny \(0 of 50 done\)"):
            run(images, epochs=50, cancel=cancel)
        assert len(asked) == 3

    def test_a_training_goes_on_from_where_it_was_cancelled(self, images: list[Image], tmp_path: Path) -> None:
        epochs: list[int] = []

        def note(task: str, done: int, total: int) -> None:
            epochs.append(done)

        whole = run(images)
        with pytest.raises(Cancelled):
            run(images, progress=note, cancel=lambda: epochs[-1:] == [2], how=TrainingRun(folder=tmp_path))
        resumed = run(images, how=TrainingRun(folder=tmp_path, resume=True))
        assert weights(resumed) == weights(whole)
        assert losses(resumed) == losses(whole)


def test_a_training_keeps_to_its_threads() -> None:
    before = torch.get_num_threads()
    with at_most_threads(1):
        assert torch.get_num_threads() == 1
    with at_most_threads(before + 1):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before
