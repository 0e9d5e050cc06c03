"""What all tests share: the tiny product, the tiny backbone, and a model trained on them, each made once."""

from __future__ import annotations

import os

# Tiny arrays: threads within one operation only get in each other's way. Read when the libraries are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

from blemish.bundle.bundle import Bundle
from blemish.model import Model, train
from blemish.schema import Backbone
from blemish.testing.tiny import TINY_HW, TinyProduct, make_tiny_backbone, make_tiny_product, write_tiny_product


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
