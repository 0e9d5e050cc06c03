"""Turns a PyTorch module into the one ONNX graph of a detector."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from blemish.errors import EngineError
from blemish.graph.builder import OPSET


def export_graph(module: nn.Module, height: int, width: int) -> bytes:
    """The serialized ONNX graph of a module that takes uint8 [batch, height, width, 3] named `image`.

    The module returns `anomaly_map` float32 [batch, map height, map width] and `anomaly_score` float32 [batch], and as
    a third output, if it has one, `reconstruction` uint8 of the image's shape. The batch is dynamic.
    Raises EngineError where this PyTorch cannot export the module.
    """
    module = module.eval().to("cpu", torch.float32)
    # Two different images: a module that mixes the images of a batch would show in the tests, not here.
    example = torch.randint(
        0, 256, (2, height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        outputs: tuple[Tensor, ...] = module(example)
    names = ["anomaly_map", "anomaly_score", "reconstruction"][: len(outputs)]
    with tempfile.TemporaryDirectory(prefix="blemish-") as folder, warnings.catch_warnings():
        # The exporter warns that it is the older one, of its own parts, and of Python numbers that stay constant.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=TracerWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.onnx")
        path = Path(folder) / "graph.onnx"
        try:
            torch.onnx.export(
                module,
                (example,),
                path,
                input_names=["image"],
                output_names=names,
                dynamic_axes={name: {0: "batch"} for name in ("image", *names)},
                opset_version=OPSET,
                dynamo=False,
            )
        except (torch.onnx.errors.OnnxExporterError, RuntimeError, TypeError) as error:
            raise EngineError(f"PyTorch {torch.__version__} cannot export the network to ONNX: {error}") from error
        model = onnx.load(path)
    _declare(model, [(name, list(output.shape), output.dtype) for name, output in zip(names, outputs, strict=True)])
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _declare(model: onnx.ModelProto, outputs: list[tuple[str, list[int], torch.dtype]]) -> None:
    """Gives the outputs their exact shapes and removes what tells of the exporting machine's files."""
    kinds = {torch.float32: TensorProto.FLOAT, torch.uint8: TensorProto.UINT8}
    del model.graph.output[:]
    model.graph.output.extend(
        helper.make_tensor_value_info(name, kinds[dtype], ["batch", *shape[1:]]) for name, shape, dtype in outputs
    )
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
