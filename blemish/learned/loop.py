"""Runs a training with PyTorch Lightning: epochs, schedules, early stopping, checkpoints, precision, devices.

Nothing is printed: progress goes to our `Progress`, faults are our errors.
"""

from __future__ import annotations

import functools
import logging
import math
import os
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from blemish.detectors.base import FitRequest
from blemish.errors import EngineError, TrainingError
from blemish.learned.checkpoint import (
    BEST,
    LAST,
    AtomicCheckpoints,
    check_same_training,
    load_checkpoint,
    load_weights,
    save_weights,
)
from blemish.learned.contract import Batch, Learner, Samples, TrainingSettings, pixels_of
from blemish.learned.device import resolve_device, resolve_precision
from blemish.schema import Cancel, Progress, TrainingRun, cancellable, never, silent
from blemish.synthesis.painted import make_defect

NUM_SEPARATION = 16
"""How many held-out good images show the separation ratio in each epoch."""


def run_loop(
    learner: Learner,
    samples: Samples,
    training: NDArray[np.intp],
    validation: NDArray[np.intp],
    request: FitRequest[TrainingSettings],
    *,
    identity: dict[str, Any],
    folder: Path,
    name: str,
) -> tuple[tuple[dict[str, float], ...], int]:
    """Trains the learner in place to the weights of its best epoch; the history and the best epoch's number."""
    run, settings, seed = request.run, request.settings, request.seed
    device = _device(run)
    last, best = folder / LAST, folder / BEST
    resumes = run.resume and last.exists()
    is_over = False
    if resumes:
        kept = load_checkpoint(last).get("training", {})
        check_same_training(last, kept.get("identity", {}), identity)
        is_over = bool(kept.get("is_over"))
    else:
        last.unlink(missing_ok=True)
        best.unlink(missing_ok=True)
    progress, cancel = request.progress, request.cancel
    if run.num_devices > 1 or run.on_ray:
        progress, cancel = silent, never  # the other processes cannot call back into this one
    module = _Module(learner, samples, validation, settings, identity, best, name, seed, progress, cancel)
    if not is_over:
        module.batches = _Batches(training, settings.batch_size, seed)
        fit = functools.partial(_fit, module, samples, validation, run, device, last)
        if run.on_ray:
            from blemish.learned.ray_workers import run_on_workers

            with _quiet():
                run_on_workers(fit, run.num_devices, device, folder)
        else:
            fit(resumes)
    state = load_checkpoint(last)["training"]
    learner.load_state_dict(load_weights(best))
    learner.cpu()
    history = tuple(state["history"])
    request.report(f"training {name}", settings.epochs, settings.epochs)
    return history, _best_epoch(history)


def _fit(
    module: _Module,
    samples: Samples,
    validation: NDArray[np.intp],
    run: TrainingRun,
    device: str,
    last: Path,
    resumes: bool,
) -> None:
    """Trains the module to its last epoch; its checkpoints hold what came of it."""
    settings = module.settings
    callbacks: list[Any] = [_EpochCheckpoint(last)]
    if settings.patience:
        callbacks.append(EarlyStopping("validation_loss", patience=settings.patience, check_finite=False))
    with (
        _quiet(),
        _shared_memory(run),
        torch.random.fork_rng(devices=[]),
        torch.backends.cudnn.flags(benchmark=False, deterministic=True),
    ):
        trainer = lightning.Trainer(
            accelerator="gpu" if device == "cuda" else device,
            precision=resolve_precision(run.precision, device),
            max_epochs=settings.epochs,
            callbacks=callbacks,
            logger=_logger(run, last.parent, module.name),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            log_every_n_steps=1,
            default_root_dir=last.parent,
            **_processes(run, module.learner),
        )
        # A generator of their own: loaders draw from the global one at other moments when a training is resumed.
        steps = DataLoader(
            _Prepared(samples, module), batch_sampler=module.batches, collate_fn=_collate, generator=torch.Generator()
        )
        held_out = DataLoader(
            _Prepared(samples, None, module.seed, validation),
            batch_size=settings.batch_size,
            collate_fn=_collate,
            generator=torch.Generator(),
        )
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, steps, held_out, ckpt_path=str(last) if resumes else None)
        except SystemExit as error:
            if error.code == 1:  # the training library's answer to an interrupt, which it ignores from then on
                signal.signal(signal.SIGINT, on_interrupt)
                raise KeyboardInterrupt from error
            raise


class _Module(lightning.LightningModule):
    """The learner as the training library wants it."""

    def __init__(
        self,
        learner: Learner,
        samples: Samples,
        validation: NDArray[np.intp],
        settings: TrainingSettings,
        identity: dict[str, Any],
        best: Path,
        name: str,
        seed: int,
        progress: Progress,
        cancel: Cancel,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.learner: Learner = learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings, self.identity, self.best, self.name, self.seed = settings, identity, best, name, seed
        self.history: list[dict[str, float]] = []
        self.batches: _Batches | None = None
        self._progress, self._cancel = progress, cancel
        self._is_reported = False
        self._good, self._damaged = _separation_images(samples, validation, seed)
        self._losses: list[float] = []
        self._started = time.perf_counter()

    def __setstate__(self, state: dict[str, Any]) -> None:
        _silence()  # sent to a process of its own, where the caller's silence does not reach
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    def configure_optimizers(self) -> Any:
        groups = self.learner.parameter_groups()
        optimizers = [self.learner.optimizer(group, self.settings.learning_rate) for group in groups]
        if self.settings.schedule == "none":
            return optimizers
        if self.settings.schedule == "cosine":
            end = self.settings.learning_rate / 100
            return optimizers, [
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.settings.epochs, eta_min=end)
                for optimizer in optimizers
            ]
        plateaus = [
            torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.2, patience=5) for optimizer in optimizers
        ]
        return optimizers, [{"scheduler": plateau, "monitor": "validation_loss"} for plateau in plateaus]

    def on_train_epoch_start(self) -> None:
        # Chance depends on the epoch alone, so that a resumed training draws what the whole one draws.
        torch.manual_seed(self.seed * 100_003 + self.current_epoch)
        assert self.batches is not None
        self.batches.epoch = self.current_epoch
        self._losses = []
        self._started = time.perf_counter()
        if not self._is_reported:
            self._is_reported = True
            self._report()

    def training_step(self, batch: Batch, index: int) -> None:
        # Between epochs alone a large training would go on for minutes after it was cancelled.
        cancellable(silent, self._cancel)(f"training {self.name}", self.current_epoch, self.settings.epochs)
        batch = _to_pixels(batch)
        for group, optimizer in enumerate(_listed(self.optimizers())):
            loss = self.learner.loss(batch, group)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(self._broken(value, f"step {index + 1} of epoch {self.current_epoch + 1}"))
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            if group == 0:
                self._losses.append(value)
        self.log("train_loss", self._losses[-1], on_step=False, on_epoch=True, batch_size=len(batch.input))

    def validation_step(self, batch: Batch, index: int) -> None:
        batch = _to_pixels(batch)
        loss = self.learner.validation_loss(batch)
        self.log("validation_loss", loss, on_epoch=True, batch_size=len(batch.input), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        with self.trainer.precision_plugin.forward_context():
            good, damaged = (self._scores(images) for images in (self._good, self._damaged))
        ratio = float((damaged / good.clamp_min(1e-12)).mean())
        self.log("separation_ratio", ratio)

    def on_train_epoch_end(self) -> None:
        metrics = {key: float(value) for key, value in self.trainer.callback_metrics.items()}
        validation_loss = metrics["validation_loss"]
        if not math.isfinite(validation_loss):
            raise TrainingError(self._broken(validation_loss, f"the held-out images of epoch {self.current_epoch + 1}"))
        rate = float(_listed(self.optimizers())[0].param_groups[0]["lr"])
        self.history.append(
            {
                "epoch": self.current_epoch + 1,
                "train_loss": _mean(self._losses),
                "validation_loss": validation_loss,
                "separation_ratio": metrics["separation_ratio"],
                "learning_rate": rate,
                "seconds": round(time.perf_counter() - self._started, 3),
            }
        )
        for scheduler in _listed(self.lr_schedulers()):
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                scheduler.step(validation_loss)
            else:
                scheduler.step()
        if self.trainer.is_global_zero and _best_epoch(self.history) == self.current_epoch + 1:
            save_weights(self.learner.state_dict(), self.best)
        self._report(1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        is_over = self.trainer.should_stop or len(self.history) >= self.settings.epochs
        checkpoint["training"] = {"identity": self.identity, "history": self.history, "is_over": is_over}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = list(checkpoint["training"]["history"])

    def _scores(self, images: Tensor) -> Tensor:
        """For each kind of raw map, the mean over the images of the lightly smoothed map's largest value."""
        largest = []
        with torch.no_grad():
            for part in torch.split(images.to(self.device), 8):
                raw = self.learner.read(part)[0].float()
                kinds = raw if raw.ndim == 4 else raw[:, None]
                smooth = functional.avg_pool2d(kinds, min(5, *raw.shape[-2:]), stride=1)
                largest.append(smooth.flatten(2).amax(2))
        return torch.cat(largest).mean(0)

    def _report(self, finished: int = 0) -> None:
        if self.trainer.is_global_zero:
            loss = f", loss {self.history[-1]['validation_loss']:.4g}" if self.history else ""
            report = cancellable(self._progress, self._cancel)
            report(f"training {self.name}{loss}", self.current_epoch + finished, self.settings.epochs)

    def _broken(self, value: float, where: str) -> str:
        kept = f"the checkpoint of epoch {len(self.history)} is kept" if self.history else "no epoch was finished"
        return (
            f"training {self.name}: the loss became {value} at {where}; {kept}; "
            f"try a smaller learning_rate than {self.settings.learning_rate:g}"
        )


def _device(run: TrainingRun) -> str:
    """The device to train on, here or on the workers of a cluster."""
    if run.on_ray:
        from blemish.learned.ray_workers import resolve_on_cluster

        return resolve_on_cluster(run.device, run.num_devices)
    return resolve_device(run.device)


class _EpochCheckpoint(Checkpoint):
    """Saves the whole state at the end of each epoch, after everything else has had its turn."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.save_checkpoint(self.path, weights_only=False)


class _Batches:
    """Batches of nearly equal size over all training images in a new order each epoch, shared out among devices."""

    def __init__(self, indices: NDArray[np.intp], batch_size: int, seed: int) -> None:
        self.indices, self.seed, self.epoch = indices, seed, 0
        self.num_batches = math.ceil(len(indices) / batch_size)

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, 2, self.epoch)).permutation(self.indices)
        rank, size = _rank()
        for batch in np.array_split(order, self.num_batches):
            # A rank without an image of its own would hang the others: the smallest share repeats one.
            share = batch[rank::size] if len(batch) > rank else batch[:1]
            yield [int(index) for index in share]


class _Prepared(Dataset[Any]):
    """Prepared samples by index: new chance each epoch while training, always the same where held out."""

    def __init__(
        self, samples: Samples, module: _Module | None, seed: int = 0, indices: NDArray[np.intp] | None = None
    ) -> None:
        self.samples, self.module, self.indices = samples, module, indices
        self.seed = seed if module is None else module.seed

    def __len__(self) -> int:
        return len(self.samples.images) if self.indices is None else len(self.indices)

    def __getitem__(self, position: int) -> tuple[Any, Any, Any]:
        index = position if self.indices is None else int(self.indices[position])
        epoch = -1 if self.module is None else self.module.current_epoch
        rng = np.random.default_rng((self.seed, 3, epoch + 1, index))
        return self.samples.prepare(index, self.samples.images[index], rng)


def _collate(samples: Sequence[tuple[Any, Any, Any]]) -> Batch:
    return Batch(*(torch.from_numpy(np.stack(part)) for part in zip(*samples, strict=True)))


def _to_pixels(batch: Batch) -> Batch:
    """The batch of bytes as float32, on its device; `channels_last` because the loader's bytes lie that way."""
    pixels = [part.permute(0, 3, 1, 2).to(torch.float32).div_(255) for part in (batch.input, batch.target)]
    return Batch(pixels[0], pixels[1], batch.mask[:, None].to(torch.float32))


def _separation_images(samples: Samples, validation: NDArray[np.intp], seed: int) -> tuple[Tensor, Tensor]:
    """Some held-out good images, and the same with one synthetic defect each."""
    num_good = len(samples.images) if samples.num_good is None else samples.num_good
    held_out = [int(index) for index in validation if index < num_good] or [0]
    good = [samples.images[index] for index in held_out[:NUM_SEPARATION]]
    damaged = [make_defect(image, np.random.default_rng((seed, 4, place)))[0] for place, image in enumerate(good)]
    return pixels_of(good), pixels_of(damaged)


def _best_epoch(history: Sequence[dict[str, float]]) -> int:
    """The number of the epoch with the smallest loss on held-out images, from 1."""
    return 1 + int(np.argmin([entry["validation_loss"] for entry in history]))


def _mean(values: Sequence[float]) -> float:
    """The mean, NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan


def _listed(one_or_many: Any) -> list[Any]:
    if one_or_many is None:
        return []
    return list(one_or_many) if isinstance(one_or_many, (list, tuple)) else [one_or_many]


def _rank() -> tuple[int, int]:
    """This process's number and the number of processes of a training on several devices."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _processes(run: TrainingRun, learner: Learner) -> dict[str, Any]:
    """How many processes train, and how they agree: one by itself, several by DDP.

    Adversaries leave each other's parameters without gradients in turn.
    """
    leaves_some = len(learner.parameter_groups()) > 1
    if run.on_ray:
        from blemish.learned.ray_workers import ray_processes

        return ray_processes(leaves_some, [AtomicCheckpoints()])
    strategy = DDPStrategy(start_method="spawn", find_unused_parameters=leaves_some) if run.num_devices > 1 else "auto"
    return {"devices": run.num_devices, "strategy": strategy, "plugins": [AtomicCheckpoints()]}


@contextmanager
def _shared_memory(run: TrainingRun) -> Iterator[None]:
    """Inside, tensors go to other processes by the names of files: sent twice by descriptor, one stops the start."""
    before = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    try:
        if run.num_devices > 1 and not run.on_ray:
            torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
        yield
    finally:
        torch.multiprocessing.set_sharing_strategy(before)  # type: ignore[no-untyped-call]


def _logger(run: TrainingRun, folder: Path, name: str) -> Any:
    """The training library's logger, or False for none."""
    if run.logger == "none":
        return False
    from lightning.pytorch import loggers

    folder.mkdir(parents=True, exist_ok=True)
    try:
        if run.logger == "tensorboard":
            return loggers.TensorBoardLogger(folder, name="", version="tensorboard")
        address = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{(folder / 'mlflow.db').resolve().as_posix()}")
        return loggers.MLFlowLogger(name, tracking_uri=address)
    except ModuleNotFoundError as error:
        raise EngineError(f"logging to {run.logger} needs it installed: pip install {run.logger}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, the training library says nothing of its own: its tips and notes are not for our users."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            _silence()
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


_LOUD = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities")


def _silence() -> None:
    for name in _LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in ("lightning", "torch"):
        warnings.filterwarnings("ignore", module=rf"{module}\.")
