"""ResNet (He et al., CVPR 2016) as a feature pyramid, and its pretrained weights from a local file or from timm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from blemish.errors import SettingsError

ResNetName = Literal["resnet18", "resnet50"]

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""How the pixels, 0 to 255, of the usual ImageNet weights are centered and scaled."""


class ResNet(nn.Module):
    """Scaled pixels to the feature maps of the four stages, at strides 4, 8, 16 and 32.

    Parameters are named as torchvision and timm name them, so that their weights fit.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, name: ResNetName) -> None:
        super().__init__()
        is_deep = name == "resnet50"
        block, counts = (_Bottleneck, (3, 4, 6, 3)) if is_deep else (_Basic, (2, 2, 2, 2))
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inner, stages = 64, []
        for index, count in enumerate(counts):
            width = 64 * 2**index
            blocks = []
            for number in range(count):
                blocks.append(block(inner, width, stride=2 if number == 0 and index > 0 else 1))
                inner = width * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels = tuple(64 * 2**index * block.expansion for index in range(4))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        values = functional.relu(self.bn1(self.conv1(pixels)))
        values = functional.max_pool2d(values, 3, 2, 1)
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            values = stage(values)
            maps.append(values)
        return tuple(maps)


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(inner, width, stride)

    def forward(self, values: Tensor) -> Tensor:
        inside = functional.relu(self.bn1(self.conv1(values)))
        return functional.relu(self.bn2(self.conv2(inside)) + self.downsample(values))


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inner: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inner, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = _shortcut(inner, width * self.expansion, stride)

    def forward(self, values: Tensor) -> Tensor:
        inside = functional.relu(self.bn1(self.conv1(values)))
        inside = functional.relu(self.bn2(self.conv2(inside)))
        return functional.relu(self.bn3(self.conv3(inside)) + self.downsample(values))


def _shortcut(inner: int, outer: int, stride: int) -> nn.Module:
    if inner == outer and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))


def load_resnet(name: ResNetName, weights: str) -> ResNet:
    """The network with pretrained weights from the file `weights`, or from an installed timm where it is empty.

    `random` as `weights` leaves it untrained. Raises `SettingsError` where no weights can be had or they don't fit.
    """
    network = ResNet(name)
    if weights == "random":
        return network
    found, source = (_read_file(Path(weights)), weights) if weights else (_from_timm(name), "timm")
    wanted = network.state_dict()
    missing = [key for key, value in wanted.items() if key not in found and not key.endswith("num_batches_tracked")]
    unfit = [key for key, value in wanted.items() if key in found and found[key].shape != value.shape]
    if missing or unfit:
        key = (missing or unfit)[0]
        fault = "has no" if missing else f"has another shape ({tuple(found[key].shape)}) of"
        raise SettingsError(f"weights {source}: not those of {name}: the file {fault} '{key}'; give weights of {name}")
    network.load_state_dict({key: found.get(key, value) for key, value in wanted.items()})
    return network


def _read_file(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SettingsError(f"weights {path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise SettingsError(f"weights {path}: not readable ({error})") from error
    except Exception as error:  # weights-only loading raises many kinds for a damaged or hostile file
        raise SettingsError(f"weights {path}: not a file of plain tensors; save it as .safetensors") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SettingsError(f"weights {path}: holds no named tensors; give a state dict or a .safetensors file")
    return state


def _from_timm(name: str) -> Mapping[str, Tensor]:
    advice = (
        f"network={name} needs pretrained weights: set weights=FILE (.safetensors or .pth, named as in torchvision or "
        "timm), install timm, or set weights=random to train from scratch"
    )
    try:
        import timm
    except Exception as error:  # beside an unfit torchvision, importing timm fails in many ways
        raise SettingsError(advice) from error
    try:
        state: Mapping[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # no network, no such model, a changed hub
        raise SettingsError(f"timm gives no weights of {name} ({error}); {advice}") from error
    return state
