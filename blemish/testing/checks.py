"""The contract of a detector as a list of checks; each raises AssertionError, saying what was found.

    subject = Subject("patchcore", make_tiny_backbone(folder))
    for check in CHECKS:
        check(subject)

A check reads one promise of `blemish.detectors.base` or of the graph's contract. They run on the tiny product in
seconds, for the package's own detectors and for those of plug-ins alike; give `settings` that make a slow detector
small.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from blemish.bundle.bounds import check_graph
from blemish.datasets.index import DatasetIndex
from blemish.decisions.reduction import reduce_map
from blemish.detectors.base import NO_DEFECTS, Defects, DetectorInfo, FitRequest
from blemish.errors import BlemishError, Cancelled, DataError, SettingsError
from blemish.model import load, train
from blemish.registry import load_detector
from blemish.runtime.onnx_runner import GraphRunner
from blemish.runtime.session import Session
from blemish.schema import Backbone, Cancel, Fit, Image, ImageItem, Prediction, Progress, never, silent
from blemish.testing.tiny import TINY_HW, TinyProduct, make_tiny_product, write_png
from blemish.workflow.detector_settings import describe_settings, make_settings, settings_json

MAX_FIT_SECONDS = 60.0
MAX_BUNDLE_BYTES = 12_000_000
PEAK_TOLERANCE = 0.15
"""How far the map's peak may lie from the defect, as a share of the image's shorter side."""


class Subject:
    """A detector under test with all that its checks need; what costs time is done once, when first needed.

    `name` is known to the registry; `settings` differ from the defaults where these are slow on tiny images.
    """

    def __init__(
        self,
        name: str,
        backbone: Backbone,
        *,
        product: TinyProduct | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.detector = load_detector(name)
        self.info = self.detector.INFO
        self.values = dict(settings or {})
        self.product = product or make_tiny_product()
        self.fit_seconds = 0.0
        self.progress_calls: list[tuple[str, int, int]] = []
        self.connections: list[str] = []
        self._backbone = backbone

    @cached_property
    def settings(self) -> Any:
        return make_settings(self.info, self.values)

    @cached_property
    def fitted(self) -> Fit:
        """Fitted once on all good images, without folds; how long it took and what it did besides is kept."""

        def note(task: str, done: int, total: int) -> None:
            self.progress_calls.append((task, done, total))

        start = time.process_time()
        with _connections_noted(self.connections):
            made = self.fit(self.product.good, progress=note)
        self.fit_seconds = time.process_time() - start
        return made

    @cached_property
    def session(self) -> Session:
        return Session(self.fitted.graph)

    @cached_property
    def held_out(self) -> list[Prediction]:
        return self.session.predict(self.product.held_out)

    @cached_property
    def defects(self) -> list[Prediction]:
        return self.session.predict([defect.image for defect in self.product.defects])

    def fit(
        self,
        images: Sequence[Image],
        *,
        seed: int = 0,
        folds: Sequence[NDArray[np.intp]] = (),
        defects: Defects = NO_DEFECTS,
        progress: Progress = silent,
        cancel: Cancel = never,
    ) -> Fit:
        request = FitRequest(
            images=images,
            settings=self.settings,
            backbone=self._backbone if self.info.needs_backbone else None,
            seed=seed,
            folds=folds,
            defects=defects,
            progress=progress,
            cancel=cancel,
        )
        return self.detector.fit(request)

    def train(self, data: Any) -> Any:
        """The model that `blemish.train` makes of `data` at the tiny input size."""
        description = self._backbone.path.with_suffix(".json")
        return train(data, detector=self.name, backbone=str(description), size=TINY_HW, settings=self.values)


def info_is_complete(subject: Subject) -> None:
    """INFO is a DetectorInfo with a name as the registry knows it, a summary and usable numbers."""
    info = subject.info
    _require(isinstance(info, DetectorInfo), f"INFO is a {type(info).__name__}, not a DetectorInfo")
    _require(info.name == subject.name, f"INFO.name is {info.name!r}, the registry says {subject.name!r}")
    _require(bool(info.summary), "INFO.summary is empty")
    _require(info.min_images >= 1, f"INFO.min_images is {info.min_images}")
    _require(info.calibration in ("cross", "split"), f"INFO.calibration is {info.calibration!r}")
    make_settings(info, info.on_tiles)


def fit_has_the_contract_signature(subject: Subject) -> None:
    """`fit(request)`."""
    signature = inspect.signature(subject.detector.fit)
    try:
        signature.bind(None)
    except TypeError as error:
        raise AssertionError(f"fit{signature} does not take one FitRequest: {error}") from None


def settings_are_frozen_and_have_defaults(subject: Subject) -> None:
    """The settings class is a frozen dataclass that only stores what it is given; every field has a default."""
    settings = subject.info.settings()
    fields = dataclasses.fields(settings)
    for field in fields:
        try:
            setattr(settings, field.name, getattr(settings, field.name))
        except dataclasses.FrozenInstanceError:
            continue
        raise AssertionError(f"setting {field.name} can be changed after it was checked")
    values = {field.name: getattr(settings, field.name) for field in fields}
    again = subject.info.settings(**values)
    _require(again == settings, f"settings made of {values} are {again}")


def settings_survive_json(subject: Subject) -> None:
    """Settings written as JSON, as a bundle does, and read again are the same settings."""
    text = json.dumps(settings_json(subject.info, subject.settings))
    again = make_settings(subject.info, json.loads(text))
    _require(again == subject.settings, f"{subject.settings} became {again} through {text}")


def settings_are_described(subject: Subject) -> None:
    """Each setting says what it means."""
    for setting in describe_settings(subject.info):
        _require(bool(setting["description"]), f"setting {setting['name']} has no description")


def unknown_settings_are_refused(subject: Subject) -> None:
    """A misspelled setting is an error that names the known ones."""
    with _expect(SettingsError, "no_such_setting"):
        make_settings(subject.info, {"no_such_setting": 1})


def graph_is_valid(subject: Subject) -> None:
    """The graph passes ONNX's full check and holds what a bundle may hold: standard operators, bounded work."""
    graph = subject.fitted.graph
    model = onnx.load_from_string(graph)
    onnx.checker.check_model(model, full_check=True)
    _, height, width, _ = (side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim)
    try:
        check_graph(graph, (height, width))
    except ValueError as error:
        raise AssertionError(f"the graph {error}") from error


def graph_has_the_contract_interface(subject: Subject) -> None:
    """uint8 `image` in; float32 `anomaly_map` and `anomaly_score` out; the batch is free."""
    model = onnx.load_from_string(subject.fitted.graph)
    inputs = {value.name: _type_of(value) for value in model.graph.input}
    outputs = {value.name: _type_of(value) for value in model.graph.output}
    height, width = TINY_HW
    _require(
        inputs == {"image": (onnx.TensorProto.UINT8, (None, height, width, 3))}, f"the graph's inputs are {inputs}"
    )
    expected: dict[str, Any] = {
        "anomaly_map": (onnx.TensorProto.FLOAT, (None, *subject.held_out[0].anomaly_map.shape)),
        "anomaly_score": (onnx.TensorProto.FLOAT, (None,)),
    }
    if subject.info.reconstructs:
        expected["reconstruction"] = (onnx.TensorProto.UINT8, (None, height, width, 3))
    _require(outputs == expected, f"the graph's outputs are {outputs}, expected {expected}")


def fit_holds_plain_facts(subject: Subject) -> None:
    """The facts of the fit can be written as JSON; without folds there are no held-out results."""
    json.dumps(dict(subject.fitted.facts))
    _require(subject.fitted.held_out is None, "fit gave held-out results though no folds were asked for")


def same_seed_gives_the_same_graph(subject: Subject) -> None:
    """Fitted again on the same images with the same seed, the graph is the same."""
    _require(subject.fit(subject.product.good).graph == subject.fitted.graph, "a second fit gave another graph")


def order_of_images_makes_no_difference(subject: Subject) -> None:
    """Fitted on the images in another order, the scores are the same, if INFO says so."""
    if not subject.info.is_order_free:
        return
    session = Session(subject.fit(subject.product.good[::-1]).graph)
    images = [*subject.product.held_out, *(defect.image for defect in subject.product.defects)]
    _require_close(_scores(session.predict(images)), _scores([*subject.held_out, *subject.defects]), 1e-3)


def batch_equals_single_images(subject: Subject) -> None:
    """A batch of n gives what n images give one by one."""
    images = [defect.image for defect in subject.product.defects]
    for image, together in zip(images, subject.defects, strict=True):
        [alone] = subject.session.predict([image])
        _require_close(alone.anomaly_score, together.anomaly_score, 1e-4)
        _require_close(alone.anomaly_map, together.anomaly_map, 1e-4)


def maps_are_finite(subject: Subject) -> None:
    """Maps and scores of good, defective, black, white and noisy images are finite float32."""
    height, width = TINY_HW
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    odd = [np.zeros((height, width, 3), np.uint8), np.full((height, width, 3), 255, np.uint8), noise]
    for prediction in [*subject.held_out, *subject.defects, *subject.session.predict(odd)]:
        _require(prediction.anomaly_map.dtype == np.float32, f"the map is {prediction.anomaly_map.dtype}")
        _require(bool(np.isfinite(prediction.anomaly_map).all()), "the map holds values that are not finite")
        _require(bool(np.isfinite(prediction.anomaly_score)), f"the score is {prediction.anomaly_score}")


def score_is_the_declared_reduction(subject: Subject) -> None:
    """The graph's score is what the declared reduction makes of its map."""
    if subject.fitted.reduction.kind == "features":
        return
    for prediction in [*subject.held_out, *subject.defects]:
        everywhere = np.ones(prediction.anomaly_map.shape, np.bool_)
        reduced = reduce_map(prediction.anomaly_map, subject.fitted.reduction, everywhere)
        _require_close(prediction.anomaly_score, reduced, 1e-4)


def defects_score_above_good_images(subject: Subject) -> None:
    """Every painted defect scores higher than every good image that was held out."""
    good, defective = _scores(subject.held_out), _scores(subject.defects)
    _require(
        bool(defective.min() > good.max()),
        f"the lowest defect has {defective.min():.4g}, a good image {good.max():.4g}",
    )


def peak_lies_in_the_defect(subject: Subject) -> None:
    """The map is highest on the defect, or not farther from it than the map is coarse."""
    tolerance = PEAK_TOLERANCE * min(TINY_HW)
    for defect, prediction in zip(subject.product.defects, subject.defects, strict=True):
        rows, columns = prediction.anomaly_map.shape
        row, column = np.unravel_index(np.argmax(prediction.anomaly_map), (rows, columns))
        y, x = (row + 0.5) * TINY_HW[0] / rows - 0.5, (column + 0.5) * TINY_HW[1] / columns - 0.5
        places = np.argwhere(defect.mask)
        distance = float(np.hypot(places[:, 0] - y, places[:, 1] - x).min())
        _require(
            distance <= tolerance, f"the peak lies {distance:.1f} px from the {defect.kind}, at ({x:.0f}, {y:.0f})"
        )


def equal_good_images_are_survived(subject: Subject) -> None:
    """Copies of one uniform image, where nothing varies, give a graph with finite results."""
    uniform = [np.full((*TINY_HW, 3), 128, np.uint8)] * max(subject.info.min_images, 4)
    for prediction in Session(subject.fit(uniform).graph).predict([uniform[0], subject.product.defects[0].image]):
        _require(bool(np.isfinite(prediction.anomaly_map).all()), "the map holds values that are not finite")
        _require(bool(np.isfinite(prediction.anomaly_score)), f"the score is {prediction.anomaly_score}")


def images_of_mixed_size_are_refused(subject: Subject) -> None:
    """`fit` takes images of one size only; what resizes them comes before it."""
    small = subject.product.good[0][:32, :32]
    with _expect((ValueError, BlemishError)):
        subject.fit([*subject.product.good[:-1], small])


def too_few_images_are_refused(subject: Subject) -> None:
    """No image, or fewer than `min_images`, is a DataError."""
    for count in {0, subject.info.min_images - 1}:
        with _expect(DataError):
            subject.train(list(subject.product.good[:count]))


def defective_training_images_are_refused(subject: Subject) -> None:
    """A defective image in the training part of a data set is a DataError that names it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        items = [
            ImageItem(write_png(root / f"{number}.png", image), "train", 0)
            for number, image in enumerate(subject.product.good)
        ]
        bad = write_png(root / "bad.png", subject.product.defects[0].image)
        items.append(ImageItem(bad, "train", 1, "spot"))
        with _expect(DataError, "bad.png"):
            subject.train(DatasetIndex("tiny", root, "made", tuple(items)))


def held_out_results_come_from_the_others(subject: Subject) -> None:
    """The held-out score of an image is what a model fitted on the other folds gives it."""
    images = subject.product.good[: max(8, 2 * subject.info.min_images)]
    folds = [np.arange(0, len(images) // 2), np.arange(len(images) // 2, len(images))]
    held_out = subject.fit(images, folds=folds).held_out
    assert held_out is not None, "fit gave no held-out results though folds were asked for"
    scores, maps = held_out.anomaly_scores, held_out.anomaly_maps
    _require(scores.shape == (len(images),), f"held-out scores have the shape {scores.shape}")
    _require(maps.shape[0] == len(images) and maps.ndim == 3, f"held-out maps have the shape {maps.shape}")
    if subject.info.needs_torch:  # each training of a fold has random numbers of its own
        return
    others = Session(subject.fit([images[place] for place in folds[1]]).graph)
    predictions = others.predict([images[place] for place in folds[0]])
    _require_close(scores[folds[0]], _scores(predictions), 1e-3)
    _require_close(maps[folds[0]], np.stack([prediction.anomaly_map for prediction in predictions]), 1e-3)


def reference_evaluator_agrees(subject: Subject) -> None:
    """ONNX's own reference evaluator gives the numbers that ONNX Runtime gives."""
    images = np.stack([subject.product.held_out[0], subject.product.defects[0].image])
    evaluator = ReferenceEvaluator(onnx.load_from_string(subject.fitted.graph))
    expected = dict(zip(evaluator.output_names, evaluator.run(None, {"image": images}), strict=True))
    found = GraphRunner(subject.fitted.graph).run({"image": images})
    for name in ("anomaly_map", "anomaly_score"):
        _require_close(found[name], expected[name], 1e-3)


def nothing_is_fetched(subject: Subject) -> None:
    """Fitting opens no network connection."""
    _require(subject.fitted is not None and not subject.connections, f"fit connects to {subject.connections}")


def progress_is_reported(subject: Subject) -> None:
    """`fit` reports its steps, never more than it announced."""
    _require(subject.fitted is not None and bool(subject.progress_calls), "fit reported no progress")
    for task, done, total in subject.progress_calls:
        _require(0 <= done <= total, f"progress of {task!r}: {done} of {total}")


def fit_stops_when_cancelled(subject: Subject) -> None:
    """Cancelled after its first report, `fit` raises `Cancelled` at the next."""
    reports: list[str] = []
    try:
        subject.fit(
            subject.product.good,
            progress=lambda task, done, total: reports.append(task),
            cancel=lambda: bool(reports),
        )
    except Cancelled:
        _require(len(reports) == 1, f"{len(reports)} steps were reported, all but one after it was cancelled")
        return
    raise AssertionError("fit went on to its end after it was cancelled")


def defects_are_learned_from(subject: Subject) -> None:
    """A detector that declares to learn from defects gives another graph where some are given."""
    if not subject.info.learns_from_defects:
        return
    known = subject.product.defects
    defects = Defects([defect.image for defect in known], [None, *(defect.mask for defect in known[1:])])
    found = subject.fit(subject.product.good, defects=defects)
    _require(found.graph != subject.fitted.graph, "the defects that were given made no difference to the graph")


def model_survives_its_file(subject: Subject) -> None:
    """Trained, saved and loaded, the model gives the same verdicts, and tells defects from good images of any form."""
    model = subject.train(list(subject.product.good))
    images = [subject.product.held_out[0], *(defect.image for defect in subject.product.defects)]
    with tempfile.TemporaryDirectory() as folder:
        path = model.save(Path(folder) / "part.blemish")
        size = path.stat().st_size
        again = load(path)
    _require(
        size <= MAX_BUNDLE_BYTES, f"the bundle has {size:,} bytes, at most {MAX_BUNDLE_BYTES:,} on the tiny product"
    )
    for image in images:
        before, after = model.inspect(image), again.inspect(image)
        _require(before.score == after.score and before.decision == after.decision, f"{before} became {after}")
    decisions = [again.inspect(image).decision for image in images[1:]]
    _require(decisions.count("reject") == len(decisions), f"the verdicts on the defects are {decisions}")
    gray, odd = images[1][..., 1], images[1][:61, :47]
    for form in (gray, odd, images[1].astype(np.float32) / 255, images[1].astype(np.uint16) * 257):
        verdict = again.inspect(form)
        _require(bool(np.isfinite(verdict.score)), f"the score of an image of shape {form.shape} is {verdict.score}")


def reconstruction_is_an_image(subject: Subject) -> None:
    """A detector that reconstructs gives an image of the input's size and type; the others give none."""
    for prediction in subject.held_out:
        found = prediction.reconstruction
        if not subject.info.reconstructs:
            _require(found is None, "a reconstruction is given though INFO.reconstructs is False")
            continue
        assert found is not None, "no reconstruction is given though INFO.reconstructs is True"
        _require(found.dtype == np.uint8 and found.shape == (*TINY_HW, 3), f"it is {found.dtype} {found.shape}")


def fit_is_quick(subject: Subject) -> None:
    """Fitting the tiny product takes less than a minute of the processor's time."""
    _require(
        subject.fitted is not None and subject.fit_seconds <= MAX_FIT_SECONDS, f"fit took {subject.fit_seconds:.0f} s"
    )


CHECKS: tuple[Callable[[Subject], None], ...] = (
    info_is_complete,
    fit_has_the_contract_signature,
    settings_are_frozen_and_have_defaults,
    settings_survive_json,
    settings_are_described,
    unknown_settings_are_refused,
    graph_is_valid,
    graph_has_the_contract_interface,
    fit_holds_plain_facts,
    same_seed_gives_the_same_graph,
    order_of_images_makes_no_difference,
    batch_equals_single_images,
    maps_are_finite,
    score_is_the_declared_reduction,
    defects_score_above_good_images,
    peak_lies_in_the_defect,
    equal_good_images_are_survived,
    images_of_mixed_size_are_refused,
    too_few_images_are_refused,
    defective_training_images_are_refused,
    held_out_results_come_from_the_others,
    reference_evaluator_agrees,
    nothing_is_fetched,
    progress_is_reported,
    fit_stops_when_cancelled,
    defects_are_learned_from,
    model_survives_its_file,
    reconstruction_is_an_image,
    fit_is_quick,
)
"""Every check, cheap ones first."""


def _require(is_kept: bool, found: str) -> None:
    if not is_kept:
        raise AssertionError(found)


def _require_close(found: Any, expected: Any, relative: float) -> None:
    """Equal but for rounding, measured against the largest expected value."""
    scale = float(np.abs(expected).max()) + 1e-6
    worst = float(np.abs(np.asarray(found, np.float64) - np.asarray(expected, np.float64)).max())
    _require(worst <= relative * scale, f"differs by {worst:.3g} where values reach {scale:.3g}")


@contextmanager
def _expect(kind: type[Exception] | tuple[type[Exception], ...], text: str = "") -> Iterator[None]:
    """The block must raise an error of this kind whose message holds `text`."""
    try:
        yield
    except kind as error:
        _require(text in str(error), f"the error does not name {text}: {error}")
        return
    raise AssertionError(f"no error was raised, expected {kind}")


@contextmanager
def _connections_noted(addresses: list[str]) -> Iterator[None]:
    """Inside, no socket can connect; what was asked for is noted."""

    def refuse(self: socket.socket, address: Any) -> None:
        addresses.append(str(address))
        raise ConnectionRefusedError("a fit must not use the network")

    kept = socket.socket.connect
    socket.socket.connect = refuse  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        socket.socket.connect = kept  # type: ignore[method-assign]


def _scores(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    return np.array([prediction.anomaly_score for prediction in predictions])


def _type_of(value: onnx.ValueInfoProto) -> tuple[int, tuple[int | None, ...]]:
    """Element type and shape of a graph's input or output; None for a free dimension."""
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(
        dimension.dim_value if dimension.HasField("dim_value") else None for dimension in tensor.shape.dim
    )
