"""What a program sends to its other processes arrives there and works, also after it was used here."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import blemish
from blemish.bundle.bundle import Bundle
from blemish.datasets.index import open_dataset
from blemish.datasets.sequence import ImageFiles, ResizedImages
from blemish.inspection.inspector import Inspector
from blemish.line.sources import ArraySource, FileSource, ReplaySource
from blemish.line.stream import run
from blemish.model import Model, load
from blemish.runtime.session import Session
from blemish.testing.tiny import TINY_HW, TinyProduct
from blemish.watching.drift import DriftMonitor


def again(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "auto"])
def test_a_model_gives_the_same_verdicts_after_a_journey(
    engine: str, bundle_path: Path, product: TinyProduct, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine != "onnxruntime":
        pytest.importorskip("openvino")
    monkeypatch.setenv("BLEMISH_CACHE", str(tmp_path))
    model = load(bundle_path, engine=engine, threads=1)
    unused = again(model)
    here = model.inspect(product.held_out[0])
    used = again(model)
    assert (used.engine, used.threads) == (engine, 1)
    for there in (unused, used, again(used)):
        found = there.inspect(product.held_out[0])
        assert (found.score, found.decision, found.bundle_id) == (here.score, here.decision, here.bundle_id)


def test_a_used_model_costs_no_more_to_send_than_an_unused_one(bundle_path: Path, product: TinyProduct) -> None:
    model = load(bundle_path)
    unused = len(pickle.dumps(model))
    model.inspect(product.held_out[0])
    assert len(pickle.dumps(model)) < unused + 1000


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_other_processes_inspect_with_a_model_that_was_used_here(
    method: str, bundle_path: Path, product_folder: Path
) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("this system does not fork")
    model = load(bundle_path, threads=1)
    paths = [str(path) for path in sorted((product_folder / "test").rglob("*.png"))[:4]]
    here = [model.inspect(path) for path in paths]
    with multiprocessing.get_context(method).Pool(2) as pool:
        there = pool.map(model.inspect, paths)
    assert [verdict.score for verdict in there] == [verdict.score for verdict in here]
    assert [verdict.regions for verdict in there] == [verdict.regions for verdict in here]


def test_inspectors_and_sessions_are_opened_anew(bundle: Bundle, product: TinyProduct) -> None:
    inspector = Inspector(bundle, threads=1, watch_drift=True)
    here = inspector.inspect(product.held_out[1])
    there = again(inspector)
    assert there.watch_drift == inspector.watch_drift
    assert there.session is not inspector.session
    found = there.inspect(product.held_out[1])
    assert (found.score, found.conditions) == (here.score, here.conditions)
    session = again(Session(bundle.graph, engine="onnxruntime", threads=1))
    assert session.input_hw == TINY_HW


def test_bundles_data_sets_and_their_images_arrive_as_they_were(model: Model, product_folder: Path) -> None:
    paths = tuple(sorted(product_folder.rglob("good/*.png")))
    for value in (model.bundle, model.calibration, model.bundle.manifest, open_dataset(product_folder)):
        assert again(value) == value
    for images in (ImageFiles(paths), ResizedImages(paths, TINY_HW)):
        assert np.array_equal(again(images)[0], images[0])


def test_sources_give_the_same_images(product: TinyProduct, product_folder: Path) -> None:
    """Not those of a queue or a camera, which belong to the process that they are in."""
    for source in (
        FileSource([product_folder / "test"]),
        ArraySource(product.held_out),
        ReplaySource(FileSource([product_folder / "test"]), 1e6),
    ):
        here, there = list(source), list(again(source))
        assert again(source).size == source.size == len(here)
        assert [item.origin.name for item in there] == [item.origin.name for item in here]


def test_events_arrive(model: Model, product_folder: Path) -> None:
    for event in run(FileSource([product_folder / "test"]), model.inspector):
        assert type(again(event)) is type(event)


def test_a_drift_watch_goes_on_where_it_was(model: Model, product: TinyProduct) -> None:
    inspector = Inspector(model.bundle, watch_drift=True)
    monitor = DriftMonitor(model.calibration.conditions)
    for image in product.held_out:
        monitor.update(inspector.inspect(image).conditions)
    assert again(monitor).state == monitor.state


def test_a_verdict_arrives_with_its_map_and_regions(model: Model, product: TinyProduct) -> None:
    verdict = model.inspect(product.defects[0].image)
    found = again(verdict)
    assert found.anomaly_map is not None
    assert verdict.anomaly_map is not None
    assert np.array_equal(found.anomaly_map, verdict.anomaly_map)
    assert (found.regions, found.reasons, found.score) == (verdict.regions, verdict.reasons, verdict.score)


def test_an_evaluation_arrives(model: Model, product_folder: Path) -> None:
    evaluation = model.evaluate(product_folder)
    assert again(evaluation).results == evaluation.results


@pytest.mark.parametrize("error", [*blemish.BlemishError.__subclasses__(), blemish.ImageError])
def test_errors_arrive_with_their_message(error: type[blemish.BlemishError]) -> None:
    found = again(error("part.png: cut off"))
    assert type(found) is error
    assert str(found) == "part.png: cut off"
