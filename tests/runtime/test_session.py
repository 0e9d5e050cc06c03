"""A session runs a detector's graph and refuses what is none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from blemish.errors import EngineError
from blemish.graph.builder import GraphBuilder
from blemish.model import Model
from blemish.runtime import onnx_runner
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.session import Session
from blemish.testing.tiny import FakeSession, TinyProduct


@pytest.fixture
def session(model: Model) -> Session:
    return Session(model.bundle.graph)


def test_a_session_knows_its_input_size(session: Session) -> None:
    assert session.input_hw == (64, 64)


def test_one_prediction_for_each_image(session: Session, product: TinyProduct) -> None:
    predictions = session.predict(product.held_out)
    assert len(predictions) == len(product.held_out)
    for prediction in predictions:
        assert prediction.anomaly_map.dtype == np.float32
        assert prediction.anomaly_map.ndim == 2
        assert isinstance(prediction.anomaly_score, float)
        assert prediction.reconstruction is None


def test_threads_can_share_a_session(session: Session, product: TinyProduct) -> None:
    images = [*product.held_out, *product.good]
    alone = [session.predict([image])[0].anomaly_score for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: session.predict([image])[0].anomaly_score, images))
    assert together == alone


def test_what_is_no_graph_is_refused_in_one_line() -> None:
    with pytest.raises(EngineError, match="cannot load the graph") as caught:
        GraphRunner(b"no graph")
    assert "\n" not in str(caught.value)


def test_a_graph_of_another_kind_is_refused() -> None:
    builder = GraphBuilder("other")
    builder.output(builder.op("Neg", builder.input("x", np.float32, ["batch"])), "y", np.float32, ["batch"])
    with pytest.raises(EngineError, match="not a detector's graph"):
        Session(builder.build())


def test_the_fake_session_refuses_what_a_graph_would(product: TinyProduct) -> None:
    session = FakeSession((32, 32))
    with pytest.raises(ValueError, match="expected uint8"):
        session.predict([product.good[0]])


def test_a_process_that_is_held_to_some_cores_gets_as_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_runner.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(onnx_runner, "usable_cores", lambda: 3)
    assert onnx_runner._allowed_threads() == 3
    monkeypatch.setattr(onnx_runner, "usable_cores", lambda: 8)
    assert onnx_runner._allowed_threads() == 0
