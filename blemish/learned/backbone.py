"""The frozen backbone as a PyTorch module, and fresh networks of the same form that learn from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blemish.errors import BackboneError, SettingsError
from blemish.graph.read import AddStep, ClipStep, ConvStep, ReadGraph, read_convolutions
from blemish.schema import Backbone


class SameConv2d(nn.Conv2d):
    """A convolution whose padding gives `ceil(size / stride)` positions, the odd one at the lower right."""

    def forward(self, values: Tensor) -> Tensor:
        (top, bottom), (left, right) = (
            _same_padding(int(values.shape[2 + axis]), self.kernel_size[axis], self.stride[axis], self.dilation[axis])
            for axis in (0, 1)
        )
        if top == bottom and left == right:
            padding = (top, left)
        else:
            values, padding = F.pad(values, (left, right, top, bottom)), (0, 0)
        return F.conv2d(values, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


class BackboneModule(nn.Module):
    """The steps of a backbone's graph: scaled pixels [batch, 3, height, width] to one feature map per wanted layer.

    With `fresh` the same form starts from random weights, batch norm after each convolution, ready to be trained.
    """

    def __init__(self, graph: ReadGraph, layers: Sequence[str], *, fresh: bool = False) -> None:
        super().__init__()
        self._graph = graph
        self._layers = tuple(layers)
        self.convolutions = nn.ModuleList(
            _fresh_convolution(step) if fresh else _frozen_convolution(step)
            for step in graph.steps
            if isinstance(step, ConvStep)
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        values = {self._graph.input: pixels}
        convolutions = iter(self.convolutions)
        for step in self._graph.steps:
            if isinstance(step, ConvStep):
                values[step.output] = cast(Tensor, next(convolutions)(values[step.input]))
            elif isinstance(step, ClipStep):
                values[step.output] = _clip(values[step.input], step)
            else:
                assert isinstance(step, AddStep)
                values[step.output] = values[step.inputs[0]] + values[step.inputs[1]]
        return tuple(values[name] for name in self._layers)


def load_frozen(backbone: Backbone, layers: Sequence[str]) -> BackboneModule:
    """The backbone with its pretrained weights, in evaluation mode and without gradients."""
    module = BackboneModule(read_convolutions(backbone.path, layers), layers)
    return module.eval().requires_grad_(False)


def fresh_like(backbone: Backbone, layers: Sequence[str]) -> BackboneModule:
    """A network of the backbone's form with random weights and batch norm."""
    return BackboneModule(read_convolutions(backbone.path, layers), layers, fresh=True)


def _clip(values: Tensor, step: ClipStep) -> Tensor:
    """Limited values; the rectifiers of their own have a much faster backward pass than the general clamp."""
    if (step.low, step.high) == (0.0, math.inf):
        return F.relu(values)
    return F.hardtanh(values, step.low, step.high)


def usual_layers(backbone: Backbone, strides: Sequence[int] = (4, 8, 16)) -> tuple[str, ...]:
    """The last layer of each of the strides, as far as the backbone has them; all of its strides' last if it has none.

    Raises `BackboneError` for a backbone without layers.
    """
    last = {layer.stride: layer.name for layer in backbone.layers}
    if not last:
        raise BackboneError(f"backbone {backbone.name}: its description names no layers: add those to be used")
    wanted = [stride for stride in strides if stride in last] or sorted(last)
    return tuple(last[stride] for stride in wanted)


def checked_layers(backbone: Backbone, layers: Sequence[str]) -> tuple[str, ...]:
    """The asked layers, the finest first, or the usual ones where none are asked for.

    Raises `SettingsError` for layers that the backbone has not.
    """
    known = {layer.name: layer.stride for layer in backbone.layers}
    for name in layers:
        if name not in known:
            raise SettingsError(f"backbone {backbone.name} has no layer '{name}': choose of {', '.join(known)}")
    return tuple(sorted(layers, key=lambda name: known[name])) if layers else usual_layers(backbone)


def _same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and after along one axis."""
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def _convolution(step: ConvStep, bias: bool) -> nn.Conv2d:
    out_channels, group_channels, rows, columns = step.weight.shape
    kind = SameConv2d if step.padding is None else nn.Conv2d
    padding = 0 if step.padding is None else _symmetric(step)
    return kind(
        group_channels * step.groups,
        out_channels,
        (rows, columns),
        stride=step.stride,
        padding=padding,
        dilation=step.dilation,
        groups=step.groups,
        bias=bias,
    )


def _symmetric(step: ConvStep) -> tuple[int, int]:
    assert step.padding is not None
    top, left, bottom, right = step.padding
    if (top, left) != (bottom, right):
        raise BackboneError(
            f"the backbone's convolution '{step.output}' is padded unequally ({top}, {left}, {bottom}, {right}): "
            "export it with equal padding on both sides, or use a detector that learns no network, such as patchcore"
        )
    return top, left


def _frozen_convolution(step: ConvStep) -> nn.Module:
    convolution = _convolution(step, bias=True)
    convolution.weight.data = torch.from_numpy(step.weight.copy())
    convolution.bias = nn.Parameter(torch.from_numpy(step.bias.copy()))
    return convolution


def _fresh_convolution(step: ConvStep) -> nn.Module:
    convolution = _convolution(step, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels))
