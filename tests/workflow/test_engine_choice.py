"""The engine for "auto": measured once, kept, and never one that decides otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import blemish
from blemish.bundle.bundle import Bundle
from blemish.errors import EngineWarning, SettingsError
from blemish.folders import CACHE_VARIABLE, cache_folder
from blemish.runtime import engines
from blemish.runtime.engines import ENGINES, Engine
from blemish.runtime.onnx_runner import GraphRunner
from blemish.testing.tiny import TinyProduct
from blemish.workflow.engine_choice import choose_engine, fastest, resolve_engine
from blemish.workflow.verify import EngineCheck

TWIN = "openvino"
"""The name under which a second engine is put into the table, whether OpenVINO is installed or not."""


def row(engine: str, milliseconds: float, *, score: float = 0.0, flips: int = 0, error: str = "") -> EngineCheck:
    return EngineCheck(
        engine,
        milliseconds,
        score_difference=score,
        relative_difference=score,
        num_flips=flips,
        num_images=8,
        error=error,
    )


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (row(TWIN, 5.0), TWIN),
        (row(TWIN, 9.5), "onnxruntime"),
        (row(TWIN, 12.0), "onnxruntime"),
        (row(TWIN, 5.0, flips=1), "onnxruntime"),
        (row(TWIN, 5.0, score=0.02), "onnxruntime"),
        (row(TWIN, 0.0, error="does not load"), "onnxruntime"),
    ],
    ids=["faster", "hardly faster", "slower", "another verdict", "other scores", "broken"],
)
def test_the_faster_engine_is_taken_only_where_it_says_the_same(other: EngineCheck, expected: str) -> None:
    assert fastest([row("onnxruntime", 10.0), other]) == expected


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Two engines alone: the default one and one that is opened as given; the cache lies in a folder of the test."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))

    def install(open_runner: Callable[[bytes, int], Any]) -> None:
        table = {"onnxruntime": ENGINES["onnxruntime"], TWIN: Engine("a twin", open_runner, lambda: "")}
        monkeypatch.setattr(engines, "ENGINES", table)

    install(lambda graph, threads: GraphRunner(graph, threads=threads))
    return install


class Shifted(GraphRunner):
    """Scores a little higher than it should."""

    def run(self, inputs: Any) -> dict[str, Any]:
        outputs = super().run(inputs)
        return {**outputs, "anomaly_score": outputs["anomaly_score"] + 0.5}


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sessions that were measured; the default engine always takes 10 ms and the other one 5 ms."""
    measured: list[str] = []

    def time_session(session: Any, images: Any) -> float:
        measured.append(session.engine)
        return 10.0 if session.engine == "onnxruntime" else 5.0

    monkeypatch.setattr("blemish.workflow.verify.time_session", time_session)
    return measured


@pytest.mark.usefixtures("twin")
def test_it_is_measured_once(bundle: Bundle, times: list[str]) -> None:
    assert choose_engine(bundle) == TWIN
    assert times == ["onnxruntime", TWIN]
    assert choose_engine(bundle) == TWIN
    assert len(times) == 2
    assert choose_engine(bundle, threads=1) == TWIN
    assert len(times) == 4, "another number of threads is another question"


def test_an_engine_with_other_scores_is_not_chosen_however_fast(
    twin: Callable[..., None], bundle: Bundle, times: list[str]
) -> None:
    twin(lambda graph, threads: Shifted(graph, threads=threads))
    assert choose_engine(bundle) == "onnxruntime"
    assert TWIN in times


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"engine": "gone"}', b'{"engine": 3}', b"\xff\xfe"])
def test_a_broken_cache_is_measured_anew(content: bytes, bundle: Bundle, times: list[str]) -> None:
    choose_engine(bundle)
    [path] = cache_folder().rglob("*.json")
    path.write_bytes(content)
    assert choose_engine(bundle) == TWIN
    assert len(times) == 4
    assert path.read_bytes() != content


@pytest.mark.usefixtures("twin", "times")
def test_a_cache_that_cannot_be_written_stops_nothing(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file"))
    assert choose_engine(bundle) == TWIN


def test_where_there_is_one_engine_nothing_is_measured(
    bundle: Bundle, times: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ENGINES", {"onnxruntime": ENGINES["onnxruntime"]})
    assert choose_engine(bundle) == "onnxruntime"
    assert times == []


def test_a_named_engine_is_taken_as_it_is(bundle: Bundle) -> None:
    assert resolve_engine(bundle, "onnxruntime") == "onnxruntime"
    with pytest.raises(SettingsError, match="no engine is called 'fast'"):
        resolve_engine(bundle, "fast")


def test_a_model_is_loaded_with_an_engine(bundle_path: Path, product: TinyProduct, twin: Callable[..., None]) -> None:
    assert blemish.load(bundle_path, engine=TWIN, threads=1).inspector.session.engine == TWIN
    with pytest.raises(SettingsError, match="no engine is called"):
        blemish.load(bundle_path, engine="fast")

    def fail(graph: bytes, threads: int) -> Any:
        raise blemish.EngineError("it is too old")

    twin(fail)
    with pytest.warns(EngineWarning, match="it is too old"):
        verdict = blemish.load(bundle_path, engine=TWIN).inspect(product.held_out[0])
    assert verdict.decision in ("accept", "reject")
