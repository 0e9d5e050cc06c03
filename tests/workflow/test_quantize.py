"""int8: accepted only where the bundle still says the same; what must stay exact does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from blemish.bundle.bundle import Bundle
from blemish.bundle.read import read_bundle
from blemish.bundle.write import write_bundle
from blemish.datasets.listing import list_images
from blemish.detectors.bank import MOST_STEPS
from blemish.errors import CalibrationError, DataError, EngineError
from blemish.graph.quantized import Roundable, find_roundable, round_graph
from blemish.model import train
from blemish.runtime.session import Session
from blemish.testing.tiny import TINY_HW, TinyProduct
from blemish.workflow import quantize as recipe
from blemish.workflow.calibrate import restore_bundle
from blemish.workflow.quantize import Quantized, quantize, sturdy_part, watch_values
from blemish.workflow.verify import EngineCheck, compare, judge_images


@pytest.fixture(scope="module")
def good(product_folder: Path) -> list[Path]:
    return list(list_images([product_folder / "train" / "good"]).images)


@pytest.fixture(scope="module", autouse=True)
def loose_bounds() -> Iterator[None]:
    """A network of random weights bears rounding badly; the tests that are about the bounds set their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "MAP_BOUND", 100.0)
        patch.setattr(recipe, "SCORE_BOUND", 100.0)
        patch.setattr(recipe, "EACH_BOUND", 100.0)
        yield


@pytest.fixture(scope="module")
def sturdy(bundle: Bundle) -> Bundle:
    """For the same reason: the bundle under a threshold that no score comes near."""
    return replace(bundle, calibration=replace(bundle.calibration, image_threshold=1000.0))


@pytest.fixture(scope="module")
def done(sturdy: Bundle, good: list[Path]) -> Quantized:
    return quantize(sturdy, good)


def test_convolutions_over_many_channels_and_banks_are_quantized_and_nothing_else(
    bundle: Bundle, done: Quantized
) -> None:
    """The tiny backbone has three convolutions; the first one, over colors, stays."""
    assert len(find_roundable(bundle.graph).convolutions) == done.num_convolutions == 2
    blocks = len(find_roundable(bundle.graph).banks)
    assert 2 <= done.num_bank_blocks == blocks <= 2 * (2 * MOST_STEPS + 1), "one for each spacing of two banks"
    graph = onnx.load_from_string(done.bundle.graph).graph
    producers = {output: node for node in graph.node for output in node.output}
    readers = [
        node
        for node in graph.node
        for name in node.input
        if name in producers
        if producers[name].op_type == "DequantizeLinear"
    ]
    kinds = ["Conv"] * 2 * 2 + ["MatMul"] * 2 * blocks + ["ReduceSumSquare"] * 2
    assert sorted(node.op_type for node in readers) == kinds, "all else reads exact values"


def test_a_convolution_that_bears_it_badly_stays_exact(
    bundle: Bundle, product: TinyProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [*product.held_out, *(defect.image for defect in product.defects)]
    roundable = find_roundable(bundle.graph)
    seen = watch_values(bundle.graph, roundable, images)
    exact = judge_images(bundle, Session(bundle.graph), images)
    alone = []
    for name in roundable.convolutions:
        session = Session(round_graph(bundle.graph, Roundable((name,), ()), seen))
        found = compare("", judge_images(bundle, session, images), exact, bundle.calibration)
        alone.append(found.relative_map_difference)
    worse = int(np.argmax(alone))
    monkeypatch.setattr(recipe, "EACH_BOUND", sum(alone) / 2)
    kept = sturdy_part(bundle, roundable, seen, images)
    assert kept == Roundable((roundable.convolutions[1 - worse],), roundable.banks)


def test_the_bundle_says_the_same(done: Quantized, bundle: Bundle, product: TinyProduct, tmp_path: Path) -> None:
    path = write_bundle(done.bundle, tmp_path / "int8.blemish")
    again = read_bundle(path)
    session, exact = Session(again.graph), Session(bundle.graph)
    for image in [*product.held_out, *(defect.image for defect in product.defects)]:
        [mine], [theirs] = session.predict([image]), exact.predict([image])
        assert mine.anomaly_score == pytest.approx(theirs.anomaly_score, abs=2 * bundle.calibration.display_spread)
        assert mine.anomaly_score != theirs.anomaly_score, "something is rounded"


def test_thresholds_stay_and_the_history_tells(done: Quantized, sturdy: Bundle) -> None:
    calibration = done.bundle.calibration
    assert calibration.image_threshold == sturdy.calibration.image_threshold
    assert calibration.graph_sha256 == done.bundle.graph_sha256 != sturdy.graph_sha256
    assert "int8" in calibration.reason
    assert done.bundle.history[-1] == sturdy.calibration
    facts = done.bundle.manifest.facts["int8"]
    assert (facts["num_convolutions"], facts["num_bank_blocks"]) == (2, done.num_bank_blocks)


def test_the_same_images_give_the_same_graph(done: Quantized, sturdy: Bundle, good: list[Path]) -> None:
    assert quantize(sturdy, good).bundle.graph_sha256 == done.bundle.graph_sha256


def test_what_would_be_lost_is_said_and_f32_is_kept(
    sturdy: Bundle, good: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "MAP_BOUND", 1e-6)
    with pytest.raises(
        EngineError, match=r"f32 is kept: in int8 0 of 32 verdicts would change \(onnxruntime\), maps by"
    ):
        quantize(sturdy, good)


def test_a_changed_verdict_is_not_accepted(bundle: Bundle, good: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that was made useless by rounding: all its weights are noise."""

    def ruin(graph: bytes, *rest: Any) -> bytes:
        model = onnx.load_from_string(round_graph(graph, *rest))
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4:
                content = np.random.default_rng(0).permutation(np.frombuffer(tensor.raw_data, np.int8).copy())
                tensor.raw_data = content.tobytes()
        return bytes(model.SerializeToString())

    monkeypatch.setattr(recipe, "round_graph", ruin)
    with pytest.raises(EngineError, match=r"f32 is kept: in int8 [1-9]"):
        quantize(bundle, good)


def test_a_bundle_without_convolutions_is_refused(product: TinyProduct, good: list[Path]) -> None:
    template = train(list(product.good), detector="template", size=TINY_HW).bundle
    with pytest.raises(EngineError, match="no convolutions"):
        quantize(template, good)


def test_a_few_images_are_too_few(bundle: Bundle, good: list[Path]) -> None:
    with pytest.raises(DataError, match="3 images to quantize with: give at least 8"):
        quantize(bundle, good[:3])


def test_the_tool_is_silent(sturdy: Bundle, good: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    quantize(sturdy, good)
    assert capfd.readouterr().out == ""


def test_the_history_is_restored_where_int8_says_the_same(
    sturdy: Bundle, good: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry under which verdicts would change is not carried over, nor one of another graph."""
    other = replace(sturdy.calibration, image_threshold=2000.0, reason="other")
    delicate = replace(sturdy.calibration, image_threshold=3000.0, reason="delicate")
    foreign = replace(sturdy.calibration, graph_sha256="f" * 64)
    compare_really = recipe.compare

    def compare_and_flip(engine: str, mine: Any, theirs: Any, calibration: Any, *more: Any) -> EngineCheck:
        check = compare_really(engine, mine, theirs, calibration, *more)
        return replace(check, num_flips=int(calibration == delicate))

    monkeypatch.setattr(recipe, "compare", compare_and_flip)
    made = quantize(replace(sturdy, history=(other, delicate, foreign, other)), good).bundle
    again = read_bundle(write_bundle(made, tmp_path / "int8.blemish"))
    assert again.history == (other, delicate, foreign, other, sturdy.calibration)
    assert again.carried == {1, 4, 5}
    for number in again.carried:
        restored = restore_bundle(again, number).calibration
        assert restored.image_threshold == again.history[number - 1].image_threshold
        assert restored.graph_sha256 == again.graph_sha256
    for number in (2, 3):
        with pytest.raises(CalibrationError, match="cannot be restored: it was made for another graph"):
            restore_bundle(again, number)
