"""The exported graph says what PyTorch says, for any batch, and tells nothing of the machine that made it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402

from blemish.errors import EngineError  # noqa: E402
from blemish.graph.builder import OPSET  # noqa: E402
from blemish.graph.grid import cell_grid  # noqa: E402
from blemish.learned import cae, ganomaly, unet_ae, vae  # noqa: E402
from blemish.learned.contract import Learner  # noqa: E402
from blemish.learned.export import export_graph  # noqa: E402
from blemish.learned.reading import MapReader, OneGraph, raw_maps  # noqa: E402
from blemish.learned.training import seeded  # noqa: E402
from blemish.schema import Reduction  # noqa: E402
from blemish.testing.tiny import TINY_HW, TinyProduct  # noqa: E402

LEARNERS: dict[str, Callable[[], Learner]] = {
    "cae": lambda: cae.Cae(cae.Settings(width=8), *TINY_HW),
    "cae ssim": lambda: cae.Cae(cae.Settings(width=8, loss="mse+ssim"), *TINY_HW),
    "cae latent": lambda: cae.Cae(cae.Settings(width=8, latent=16), *TINY_HW),
    "unet_ae": lambda: unet_ae.UnetAe(unet_ae.Settings(width=8, attention=True), None),
    "vae": lambda: vae.Vae(vae.Settings(width=8)),
    "vae reconstruction": lambda: vae.Vae(vae.Settings(width=8, score="reconstruction")),
    "ganomaly": lambda: ganomaly.Ganomaly(ganomaly.Settings(width=8)),
    "ganomaly code": lambda: ganomaly.Ganomaly(ganomaly.Settings(width=8, score="code")),
}


def build(name: str, product: TinyProduct, reduction: Reduction = Reduction("max")) -> OneGraph:  # noqa: B008
    """A network with random weights whose reader knows the product."""
    with seeded(3):
        learner = LEARNERS[name]()
    learner.eval()
    reader = MapReader(cell_grid(TINY_HW, 1), TINY_HW, sigma=2.0, reduction=reduction, logarithm=True)
    reader.learn_usual(raw_maps(learner, product.good))
    return OneGraph(learner, reader).eval()


@pytest.mark.parametrize("name", LEARNERS)
def test_the_graph_gives_what_pytorch_gives(name: str, product: TinyProduct) -> None:
    module = build(name, product)
    session = onnxruntime.InferenceSession(export_graph(module, *TINY_HW))
    images = np.stack([*product.held_out, *(defect.image for defect in product.defects)])
    for batch in (images[:1], images[:2], images):
        with torch.no_grad():
            expected = [output.numpy() for output in module(torch.from_numpy(batch))]
        anomaly_map, score, drawn = session.run(None, {"image": batch})
        largest = max(1.0, float(np.abs(expected[1]).max()))
        np.testing.assert_allclose(score / largest, expected[1] / largest, rtol=0, atol=1e-4)
        np.testing.assert_allclose(anomaly_map / largest, expected[0] / largest, rtol=0, atol=1e-3)
        # One level where rounding falls the other way.
        assert np.abs(drawn.astype(int) - expected[2]).max() <= 1
        assert (drawn != expected[2]).mean() < 0.01


def test_the_top_mean_is_exported_too(product: TinyProduct) -> None:
    module = build("cae", product, Reduction("top_mean", 20))
    session = onnxruntime.InferenceSession(export_graph(module, *TINY_HW))
    images = np.stack(product.held_out)
    with torch.no_grad():
        expected = module(torch.from_numpy(images))[1].numpy()
    np.testing.assert_allclose(session.run(["anomaly_score"], {"image": images})[0], expected, rtol=1e-4, atol=1e-4)


def test_the_graph_is_the_same_each_time_and_names_no_file(product: TinyProduct) -> None:
    graph = export_graph(build("cae", product), *TINY_HW)
    assert graph == export_graph(build("cae", product), *TINY_HW)
    assert b".py" not in graph
    model = onnx.load_from_string(graph)
    assert [output.name for output in model.graph.output] == ["anomaly_map", "anomaly_score", "reconstruction"]
    assert {entry.version for entry in model.opset_import} == {OPSET}


def test_a_network_that_cannot_be_exported_is_one_clear_line() -> None:
    class Unusual(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            maps = torch.special.i1(image[..., 0].float())
            return maps, maps.flatten(1).amax(1)

    with pytest.raises(EngineError, match="cannot export the network to ONNX"):
        export_graph(Unusual(), 8, 8)
