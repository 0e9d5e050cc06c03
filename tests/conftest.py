"""What all tests share: the tiny product, the tiny backbone, a model trained on them, and a way to run the command."""

from __future__ import annotations

import os

# Tiny arrays: threads within one operation only get in each other's way. Read when the libraries are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from blemish.bundle.bundle import Bundle
from blemish.cli.main import main
from blemish.model import Model, train
from blemish.schema import Backbone
from blemish.testing.tiny import TINY_HW, TinyProduct, make_tiny_backbone, make_tiny_product, write_tiny_product

collect_ignore = ["station"] if find_spec("fastapi") is None else []
"""The tests of the station need its extra."""


@pytest.fixture(scope="session")
def product() -> TinyProduct:
    return make_tiny_product()


@pytest.fixture(scope="session")
def product_folder(product: TinyProduct, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny product as an MVTec AD tree; tests that change files make their own."""
    return write_tiny_product(tmp_path_factory.mktemp("data") / "tiny product ä", product)


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return make_tiny_backbone(tmp_path_factory.mktemp("backbones"))


@pytest.fixture(scope="session")
def backbone_description(backbone: Backbone) -> str:
    """What is given where a backbone's name is asked for."""
    return str(backbone.path.with_suffix(".json"))


@pytest.fixture(scope="session")
def model(product: TinyProduct, backbone_description: str) -> Model:
    """`patchcore`, trained on the tiny product."""
    return train(list(product.good), backbone=backbone_description, size=TINY_HW)


@pytest.fixture(scope="session")
def bundle(model: Model) -> Bundle:
    return model.bundle


@pytest.fixture(scope="session")
def bundle_path(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in its file; tests that change it make a copy."""
    return model.save(tmp_path_factory.mktemp("bundles") / "tiny.blemish")


@dataclass(frozen=True)
class Outcome:
    """Exit status and what was printed."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on standard output; fails where there is anything else."""
        lines = self.stdout.splitlines()
        assert len(lines) == 1, self.stdout
        value = json.loads(lines[0])
        assert isinstance(value, dict)
        return value


Run = Callable[..., Outcome]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("info", path)` runs `blemish info PATH`."""

    def run_command(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["blemish", *map(str, arguments)])
        capsys.readouterr()
        status: object = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        captured = capsys.readouterr()
        assert isinstance(status, int)
        assert "Traceback" not in captured.out + captured.err
        return Outcome(status, captured.out, captured.err)

    return run_command
