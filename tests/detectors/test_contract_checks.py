"""The contract's checks can fail: a detector with one fault is caught by the check for that fault."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from blemish import registry
from blemish.detectors import template
from blemish.detectors.base import FitRequest
from blemish.schema import Backbone, Fit, HeldOut, Reduction, never, silent
from blemish.testing import checks
from blemish.testing.checks import Subject

Sabotage = Callable[..., Any]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, backbone: Backbone) -> Callable[..., Subject]:
    """Makes a detector like `template`, except for what is given."""

    def make(fit: Sabotage | None = None, **info: Any) -> Subject:
        module = types.ModuleType("faulty_detector")
        module.__dict__.update(INFO=dataclasses.replace(template.INFO, **{"name": "faulty", **info}))
        module.__dict__.update(fit=fit or template.fit)
        monkeypatch.setitem(sys.modules, "faulty_detector", module)
        monkeypatch.setitem(registry.DETECTORS, "faulty", "faulty_detector")
        return Subject("faulty", backbone)

    return make


def after(change: Callable[[Fit], Fit]) -> Sabotage:
    """A `fit` whose result is changed."""

    def fit(request: FitRequest[Any]) -> Fit:
        return change(template.fit(request))

    return fit


def before(change: Callable[..., Any]) -> Sabotage:
    """A `fit` that sees other images than it is given."""

    def fit(request: FitRequest[Any]) -> Fit:
        return template.fit(dataclasses.replace(request, images=change(request.images)))

    return fit


def edited(edit: Callable[[onnx.ModelProto], Any]) -> Sabotage:
    """A `fit` whose graph is edited."""

    def change(fit: Fit) -> Fit:
        model = onnx.load_from_string(fit.graph)
        edit(model)
        return dataclasses.replace(fit, graph=model.SerializeToString())

    return after(change)


@dataclasses.dataclass
class LooseSettings:
    """Neither frozen nor described."""

    cell: int = 4
    noise: float = 4.0
    sigma: float = 4.0


def scale_score(factor: float) -> Sabotage:
    def edit(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if "anomaly_score" in node.output)
        node.output[0] = "raw_score"
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(factor), "factor"))
        model.graph.node.append(onnx.helper.make_node("Mul", ["raw_score", "factor"], ["anomaly_score"]))

    return edited(edit)


def add_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(onnx.helper.make_node("Identity", ["anomaly_map"], ["extra"]))
    model.graph.output.append(model.graph.output[0])
    model.graph.output[-1].name = "extra"


def turn_map(model: onnx.ModelProto) -> None:
    node = next(node for node in model.graph.node if "anomaly_map" in node.output)
    for other in model.graph.node:
        for names in (other.input, other.output):
            for place, name in enumerate(names):
                if name == "anomaly_map":
                    names[place] = "upright_map"
    assert "upright_map" in node.output
    model.graph.node.append(onnx.helper.make_node("Transpose", ["upright_map"], ["anomaly_map"], perm=[0, 2, 1]))


calls: list[int] = []


def unstable(request: FitRequest[Any]) -> Fit:
    calls.append(1)
    chosen = dataclasses.replace(request.settings, noise=4.0 + len(calls))
    return template.fit(dataclasses.replace(request, settings=chosen))


def peeking(request: FitRequest[Any]) -> Fit:
    """Gives in-sample results as held-out ones."""
    fit = template.fit(dataclasses.replace(request, folds=()))
    if not len(request.folds):
        return fit
    predictions = checks.Session(fit.graph).predict(list(request.images))
    scores = np.array([prediction.anomaly_score for prediction in predictions], np.float32)
    maps = np.stack([prediction.anomaly_map for prediction in predictions])
    return dataclasses.replace(fit, held_out=HeldOut(scores, maps))


def fetching(request: FitRequest[Any]) -> Fit:
    with contextlib.suppress(OSError), socket.socket() as connection:
        connection.settimeout(0.01)
        connection.connect(("127.0.0.1", 9))
    return template.fit(request)


def cutting(request: FitRequest[Any]) -> Fit:
    """Makes images of mixed size fit by itself."""
    height, width = np.min([image.shape[:2] for image in request.images], axis=0)
    cut = [image[:height, :width] for image in request.images]
    return template.fit(dataclasses.replace(request, images=cut))


def silent_fit(request: FitRequest[Any]) -> Fit:
    return template.fit(dataclasses.replace(request, progress=silent))


def unstoppable(request: FitRequest[Any]) -> Fit:
    return template.fit(dataclasses.replace(request, cancel=never))


def separate_arguments(images, settings, *, backbone, seed, folds, progress):  # type: ignore[no-untyped-def]
    raise NotImplementedError


FAULTS: dict[str, dict[str, Any]] = {
    "info_is_complete": {"summary": ""},
    "fit_has_the_contract_signature": {"fit": separate_arguments},
    "settings_are_frozen_and_have_defaults": {"settings": LooseSettings},
    "settings_are_described": {"settings": LooseSettings},
    "graph_is_valid": {"fit": edited(lambda model: model.graph.node[0].input.append("nothing"))},
    "graph_has_the_contract_interface": {"fit": edited(add_output)},
    "fit_holds_plain_facts": {"fit": after(lambda fit: dataclasses.replace(fit, facts={"value": np.float32(1)}))},
    "same_seed_gives_the_same_graph": {"fit": unstable},
    "order_of_images_makes_no_difference": {"fit": before(lambda images: images[:4])},
    "score_is_the_declared_reduction": {
        "fit": after(lambda fit: dataclasses.replace(fit, reduction=Reduction("top_mean", 500)))
    },
    "defects_score_above_good_images": {"fit": scale_score(-1)},
    "maps_are_finite": {"fit": scale_score(float("inf"))},
    "peak_lies_in_the_defect": {"fit": edited(turn_map)},
    "images_of_mixed_size_are_refused": {"fit": cutting},
    "held_out_results_come_from_the_others": {"fit": peeking},
    "nothing_is_fetched": {"fit": fetching},
    "progress_is_reported": {"fit": silent_fit},
    "fit_stops_when_cancelled": {"fit": unstoppable},
    "defects_are_learned_from": {"learns_from_defects": True},
    "reconstruction_is_an_image": {"reconstructs": True},
}


@pytest.mark.parametrize("check", FAULTS)
def test_a_fault_is_caught_by_its_check(check: str, faulty: Callable[..., Subject]) -> None:
    subject = faulty(**FAULTS[check])
    with pytest.raises((AssertionError, onnx.checker.ValidationError, TypeError)):
        getattr(checks, check)(subject)


def test_every_check_is_in_the_list_once() -> None:
    public = {
        function
        for name, function in vars(checks).items()
        if isinstance(function, types.FunctionType) and function.__module__ == checks.__name__ and name[0] != "_"
    }
    assert set(checks.CHECKS) == public
    assert len(checks.CHECKS) == len(public) >= 20
