"""Engines run the same graph and say the same; one that fails to load is replaced, and that is said."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from blemish.errors import EngineError, EngineWarning, SettingsError
from blemish.model import Model
from blemish.runtime import engines
from blemish.runtime.engines import ENGINES, Engine, available_engines, check_engine, open_runner, what_lacks
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.session import Session, open_session
from blemish.testing.tiny import TinyProduct

HERE = available_engines()
PRECISE = [name for name in HERE if name in ("onnxruntime", "openvino")]


def broken(graph: bytes, threads: int) -> Any:
    raise EngineError("the driver is too old")


@pytest.fixture
def broken_engine(monkeypatch: pytest.MonkeyPatch) -> str:
    """An engine that is installed, as far as can be seen, and fails to load any graph."""
    table: Mapping[str, Engine] = {**ENGINES, "broken": Engine("never runs", broken, lambda: "")}
    monkeypatch.setattr(engines, "ENGINES", table)
    return "broken"


@pytest.mark.parametrize("engine", PRECISE)
@pytest.mark.parametrize("batch", [1, 3])
def test_engines_of_full_precision_agree(engine: str, batch: int, model: Model, product: TinyProduct) -> None:
    images = [*product.held_out, *(defect.image for defect in product.defects)][:batch]
    expected = Session(model.bundle.graph).predict(images)
    found = Session(model.bundle.graph, engine=engine).predict(images)
    assert len(found) == batch
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.anomaly_score == pytest.approx(theirs.anomaly_score, rel=1e-4)
        np.testing.assert_allclose(mine.anomaly_map, theirs.anomaly_map, rtol=1e-3, atol=5e-3)  # a root near zero


@pytest.mark.parametrize("engine", HERE)
def test_threads_can_share_a_session_of_any_engine(engine: str, model: Model, product: TinyProduct) -> None:
    """Single images and batches at once, many more calls than threads; nobody gets another's result."""
    session = Session(model.bundle.graph, engine=engine, threads=1)
    images = [*product.held_out, *product.good, *(defect.image for defect in product.defects)]
    calls = [images[place : place + 1 + place % 3] for place in range(len(images))] * 4
    alone = [[found.anomaly_score for found in session.predict(call)] for call in calls[: len(images)]] * 4
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda call: [found.anomaly_score for found in session.predict(call)], calls))
    assert together == alone


@pytest.mark.parametrize("engine", HERE)
def test_a_result_is_not_overwritten_by_the_next_one(engine: str, model: Model, product: TinyProduct) -> None:
    session = Session(model.bundle.graph, engine=engine)
    [first] = session.predict([product.good[0]])
    kept = first.anomaly_map.copy()
    session.predict([product.defects[0].image])
    np.testing.assert_array_equal(first.anomaly_map, kept)


@pytest.mark.parametrize("engine", HERE)
def test_every_engine_refuses_what_is_no_graph_in_one_line(engine: str) -> None:
    with pytest.raises(EngineError, match="cannot load the graph") as caught:
        open_runner(b"no graph", engine=engine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", HERE)
def test_every_engine_tells_of_a_run_that_fails(engine: str, model: Model) -> None:
    runner = open_runner(model.bundle.graph, engine=engine)
    with pytest.raises(EngineError, match="cannot run the graph") as caught:
        runner.run({"image": np.zeros((1, 32, 32, 3), np.uint8)})
    assert "\n" not in str(caught.value)


def test_an_engine_that_fails_to_load_is_replaced_with_one_line(
    broken_engine: str, model: Model, product: TinyProduct
) -> None:
    with pytest.warns(EngineWarning, match="broken is not used: the driver is too old; onnxruntime runs instead"):
        session = open_session(model.bundle.graph, engine=broken_engine)
    assert session.engine == "onnxruntime"
    assert session.predict(product.held_out) is not None


def test_a_graph_that_no_engine_can_run_is_not_hidden_by_the_replacement(broken_engine: str) -> None:
    with pytest.raises(EngineError, match="ONNX Runtime cannot load the graph"):
        open_session(b"no graph", engine=broken_engine)


def test_without_replacement_the_failure_is_raised(broken_engine: str, model: Model) -> None:
    with pytest.raises(EngineError, match="the driver is too old"):
        Session(model.bundle.graph, engine=broken_engine)


def test_an_unknown_engine_is_named_with_those_there_are(model: Model) -> None:
    with pytest.raises(SettingsError, match=r"no engine is called 'tensorrt'; there are onnxruntime, .*openvino"):
        Session(model.bundle.graph, engine="tensorrt")
    with pytest.raises(SettingsError, match="there are auto, onnxruntime"):
        check_engine("tensorrt")


def test_what_an_engine_lacks_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.runtime.onnx_runner.onnxruntime.get_available_providers", list)
    assert "install onnxruntime-gpu in its place" in what_lacks("onnxruntime-cuda")


def test_a_graph_of_a_newer_opset_says_so(model: Model) -> None:
    graph = onnx.load_from_string(model.bundle.graph)
    graph.opset_import[0].version = 99
    with pytest.raises(EngineError, match=r"written in ONNX opset 99, this ONNX Runtime knows \d+ at most; update"):
        Session(graph.SerializeToString())


def test_where_the_cpu_lacks_bf16_the_default_engine_runs_and_that_is_said(
    model: Model, product: TinyProduct, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = pytest.importorskip("blemish.runtime.openvino_runner")
    monkeypatch.setattr(runner, "cpu_has_bf16", lambda core=None: False)
    assert "openvino-bf16" not in available_engines()
    with pytest.warns(EngineWarning, match=r"openvino-bf16 is not used: this CPU does not compute in bf16"):
        session = open_session(model.bundle.graph, engine="openvino-bf16")
    assert session.engine == "onnxruntime"
    assert len(session.predict(product.good[:1])) == 1


def test_a_broken_installation_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError("libcuda.so: version mismatch\nand more")

    monkeypatch.setattr(engines, "ENGINES", {**ENGINES, "odd": Engine("", broken, fail)})
    assert what_lacks("odd") == "odd cannot be started: OSError: libcuda.so: version mismatch"
    assert "odd" not in available_engines()


def test_a_provider_that_does_not_start_is_not_taken_for_running(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime itself goes on with the CPU."""
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        "blemish.runtime.onnx_runner.onnxruntime.InferenceSession",
        lambda graph, options, providers: session(graph, options, providers=["CPUExecutionProvider"]),
    )
    with pytest.raises(EngineError, match="could not start CUDAExecutionProvider on this machine"):
        GraphRunner(model.bundle.graph, provider="CUDAExecutionProvider")
