"""int8: weights make up for each other's rounding, banks keep their distances, and what is read is rounded once."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from blemish.graph.builder import GraphBuilder
from blemish.graph.neighbor import nearest_distance
from blemish.graph.quantized import REACH, Roundable, find_roundable, round_graph, see, with_outputs
from blemish.graph.rounding import Scale, Seen, round_weights
from blemish.runtime.onnx_runner import GraphRunner


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def correlated(count: int, channels: int, seed: int = 0) -> np.ndarray:
    """Positive values that rise and fall together, as features behind a ReLU do."""
    shared = normal(count, 3, seed=seed) @ normal(3, channels, seed=seed + 1)
    return np.maximum(shared + 0.2 * normal(count, channels, seed=seed + 2) + 1, 0)


def steps_of(weights: np.ndarray) -> np.ndarray:
    return np.abs(weights).max(axis=1).astype(np.float32) / 127


def test_rounding_weights_together_loses_far_less_than_one_by_one() -> None:
    inputs, weights = correlated(4000, 48), normal(20, 48)
    steps = steps_of(weights)
    stored, shift = round_weights(weights, steps, Seen.of(inputs), 0.0)
    exact = inputs @ weights.T
    together = inputs @ (stored * steps[:, None]).T + shift
    alone = inputs @ (np.round(weights / steps[:, None]) * steps[:, None]).T
    assert stored.dtype == np.int8
    assert np.square(together - exact).mean() < 0.3 * np.square(alone - exact).mean()
    assert np.abs((together - exact).mean(axis=0)).max() < 1e-3, "the mean stays"


def test_weights_of_whole_steps_stay_as_they_are() -> None:
    weights = np.random.default_rng(0).integers(-127, 128, (5, 16)).astype(np.float32) / 64
    weights[:, 0] = 127 / 64
    stored, shift = round_weights(weights, steps_of(weights), Seen.of(correlated(300, 16)), 0.01)
    np.testing.assert_array_equal(stored, weights * 64)
    np.testing.assert_allclose(shift, 0, atol=1e-5)


def test_channels_that_are_sums_of_others_do_no_harm() -> None:
    inputs = 1000 * correlated(400, 4) @ np.abs(normal(4, 64))
    weights = normal(6, 64)
    steps = steps_of(weights)
    stored, shift = round_weights(weights, steps, Seen.of(inputs), 0.0)
    exact, alone = inputs @ weights.T, inputs @ (np.round(weights / steps[:, None]) * steps[:, None]).T
    assert np.square(inputs @ (stored * steps[:, None]).T + shift - exact).mean() < np.square(alone - exact).mean()


def test_channels_that_are_always_zero_do_no_harm() -> None:
    stored, shift = round_weights(normal(3, 9), steps_of(normal(3, 9)), Seen.of(np.zeros((50, 9), np.float32)), 0.0)
    assert np.isfinite(shift).all()
    assert np.abs(stored).max() <= 127


def test_what_is_seen_adds_up() -> None:
    values = normal(30, 4)
    whole, parts = Seen.of(values), Seen.of(values[:11]) + Seen.of(values[11:])
    assert (parts.low, parts.high, parts.count) == (values.min(), values.max(), 30)
    np.testing.assert_allclose(parts.moments, whole.moments, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(whole.part(slice(1, 3)).moments, Seen.of(values[:, 1:3]).moments, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("low", "high"), [(-3.0, 5.0), (0.0, 6.0), (2.0, 4.0), (-7.0, -1.0)])
def test_a_scale_holds_its_range_and_zero(low: float, high: float) -> None:
    scale = Scale.over(low, high)
    values = np.array([low, 0.0, high], np.float32)
    stored = np.clip(np.round(values / scale.step) + scale.zero, 0, 255)
    np.testing.assert_allclose((stored - scale.zero) * scale.step, values, atol=float(scale.step))
    assert (stored[1] - scale.zero) * scale.step == 0


def convolutions(groups: int) -> bytes:
    """Two convolutions of 3 x 3 that read the same value."""
    builder = GraphBuilder("convolutions")
    x = builder.input("image", np.float32, ["batch", 16, 8, 8])
    for name in ("a", "b"):
        weights = builder.constant(normal(8, 16 // groups, 3, 3, seed=ord(name)))
        bias = builder.constant(normal(8, seed=ord(name)))
        y = builder.op("Conv", builder.op("Relu", x), weights, bias, pads=[1, 1, 1, 1], group=groups)
        builder.output(y, name, np.float32, ["batch", 8, 8, 8])
    return builder.build()


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_of_any_kernel_stay_close(groups: int) -> None:
    graph, image = convolutions(groups), normal(2, 16, 8, 8, seed=5)
    roundable = find_roundable(graph)
    assert len(roundable.convolutions) == 2
    watching, names = with_outputs(graph, roundable)
    seen = {name: see(value) for name, value in GraphRunner(watching).run({"image": image}).items() if name in names}
    exact, rounded = (GraphRunner(one).run({"image": image}) for one in (graph, round_graph(graph, roundable, seen)))
    for name in ("a", "b"):
        error = np.abs(rounded[name] - exact[name]).max()
        assert 0 < error < 0.03 * np.abs(exact[name]).max()


@pytest.mark.parametrize(
    ("spacings", "num_blocks"),
    [(np.ones(3000), 3), (np.repeat([0.8, 1.0, 1.25], [500, 2000, 500]), 4)],
    ids=["alike", "of three spacings"],
)
def test_a_bank_in_int8_keeps_its_distances(spacings: np.ndarray, num_blocks: int) -> None:
    """Entries and values lie in their rounded places, and between these the distance is exact."""
    bank, values = normal(3000, 12), normal(1, 200, 12, seed=1)
    builder = GraphBuilder("bank")
    x = builder.input("image", np.float32, ["batch", 200, 12])
    builder.output(
        nearest_distance(builder, x, bank, spacings.astype(np.float32)), "distance", np.float32, ["batch", 200]
    )
    graph = builder.build()
    roundable = find_roundable(graph)
    assert (len(roundable.convolutions), len(roundable.banks)) == (0, num_blocks)
    watching, [name] = with_outputs(graph, roundable)
    seen = {name: see(GraphRunner(watching).run({"image": values})[name])}
    rounded = round_graph(graph, roundable, seen)
    exact, found = (GraphRunner(one).run({"image": values})["distance"] for one in (graph, rounded))
    step = REACH * seen[name].farthest / 127
    np.testing.assert_allclose(found, exact, atol=step * 12**0.5 / spacings.min())
    assert np.abs(found - exact).mean() < 0.02 * exact.mean()
    stored = [t for t in onnx.load_from_string(rounded).graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert sum(np.prod(tensor.dims) for tensor in stored) >= bank.size


def test_what_is_not_asked_for_stays() -> None:
    graph, image = convolutions(1), normal(1, 16, 8, 8, seed=5)
    rounded = round_graph(graph, Roundable((), ()), {})
    for name, value in GraphRunner(graph).run({"image": image}).items():
        np.testing.assert_array_equal(GraphRunner(rounded).run({"image": image})[name], value)
