"""A backbone's ONNX file that is damaged, or no network, is an error that names the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blemish.errors import BackboneError
from blemish.graph.embedding import build_embedding
from blemish.graph.read import read_convolutions
from blemish.schema import Backbone
from blemish.testing.fuzz import damaged

HW = (64, 64)


def lost_constants(model: onnx.ModelProto) -> None:
    del model.graph.initializer[:]


def lost_operation(model: onnx.ModelProto) -> None:
    del model.graph.node[0]


def nothing(model: onnx.ModelProto) -> None:
    model.Clear()


def unknown_operation(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "NoSuchOperator"


CHANGES = [lost_constants, lost_operation, nothing, unknown_operation]


def with_content(backbone: Backbone, folder: Path, content: bytes) -> Backbone:
    path = folder / "odd.onnx"
    path.write_bytes(content)
    return dataclasses.replace(backbone, path=path)


def read_both(backbone: Backbone) -> None:
    names = [layer.name for layer in backbone.layers]
    build_embedding(backbone, names, HW, 3)
    read_convolutions(backbone.path, names)


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_that_is_none_names_its_file(
    change: Callable[[onnx.ModelProto], None], backbone: Backbone, tmp_path: Path
) -> None:
    model = onnx.load(backbone.path)
    change(model)
    with pytest.raises(BackboneError, match=r"odd\.onnx"):
        read_both(with_content(backbone, tmp_path, model.SerializeToString()))


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(random=st.randoms(use_true_random=False))
def test_a_damaged_network_is_read_or_named(random: object, backbone: Backbone, tmp_path: Path) -> None:
    content = damaged(backbone.path.read_bytes(), random)  # type: ignore[arg-type]
    try:
        read_both(with_content(backbone, tmp_path, content))
    except BackboneError as error:
        assert "odd.onnx" in str(error) and "\n" not in str(error)  # noqa: PT017, PT018
