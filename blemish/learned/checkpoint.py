"""Checkpoints of a training: written whole or not at all, read without unpickling code, refused for other settings.

Two files in a folder: `last.ckpt`, the state after the last finished epoch, read with weights-only loading, and
`best.safetensors`, the weights of the best epoch so far.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from safetensors.torch import load_file, save_file
from torch import Tensor

from blemish.boundary import boundary
from blemish.errors import SettingsError, TrainingError
from blemish.files import replace_file

LAST = "last.ckpt"
BEST = "best.safetensors"


class AtomicCheckpoints(CheckpointIO):
    """Writes beside the old checkpoint and replaces it in one step; a kill at any moment leaves one that is whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        epoch = int(checkpoint.get("epoch", 0)) + 1
        _replace(Path(path), lambda beside: torch.save(checkpoint, beside), f"checkpoint of epoch {epoch}")

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return load_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint file, on the CPU; only tensors and plain values are read, never code.

    Raises TrainingError where the file is no whole checkpoint.
    """
    with boundary(path, TrainingError, "no whole checkpoint of a training: remove it to start anew"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"holds a {type(state).__name__}")
        return state


def save_weights(weights: Mapping[str, Tensor], path: Path) -> None:
    """Writes named tensors to a safetensors file, whole or not at all."""
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()
    }
    _replace(path, lambda beside: save_file(plain, beside), "weights of the best epoch")


def load_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a safetensors file; raises TrainingError where it is not whole."""
    with boundary(path, TrainingError, "no whole file of weights: remove it to start anew"):
        return load_file(path)


def check_same_training(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raises SettingsError, naming the first difference, where a checkpoint was made by another training."""
    for key in sorted({*found, *wanted}):
        if found.get(key) != wanted.get(key):
            was, now = (json.dumps(side.get(key), default=str) for side in (found, wanted))
            raise SettingsError(
                f"the checkpoint {path} is of another training: {key} was {was}, now {now}; "
                "use the former value, another folder, or start anew without resuming"
            )


def _replace(path: Path, write: Callable[[Path], None], what: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, write)
    except Exception as error:  # a full disk is an OSError, a RuntimeError or a SafetensorError, by the writer
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        kept = "the one before it is kept; " if path.exists() else ""
        raise TrainingError(
            f"cannot write the {what} to {path}: {reason}; {kept}make room there and go on with resuming"
        ) from error
