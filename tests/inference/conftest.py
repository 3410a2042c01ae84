"""Small models for the inference tests; none is trained, all are seeded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from every_family import as_model
from napari_flowsr.core.condition import Condition
from napari_flowsr.core.flow import ConditionalFlow, Encoded
from napari_flowsr.core.latents import LatentLevel, Latents, LatentSpec
from napari_flowsr.models.card import Model
from napari_flowsr.models.compact import Compact, CompactConfig


def compact(scale: int = 2, channels: int = 1, **card: Any) -> Model:
    """A compact flow whose zero-initialised layers are random."""
    torch.manual_seed(3)
    flow = Compact(
        CompactConfig(
            scale=scale, channels=channels, width=6, blocks=1, steps=2, hidden=5
        )
    )
    with torch.no_grad():
        for parameter in flow.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    return as_model(flow, **card)


@dataclass(frozen=True)
class PyramidConfig:
    """Two latent levels, finer and coarser than the LR grid, as SRFlow has."""

    threshold: float = float("inf")
    beyond: float = float("inf")
    cold_only: bool = False


class Pyramid(ConditionalFlow):
    """hr = nearest(lr) + blur(latents); explodes where a latent is beyond a threshold.

    Counts its calls. Needs even LR sides, so that padding is tested too.
    """

    family: ClassVar[str] = "pyramid"
    channels = 1
    scales = (2.0,)
    multiple_of = 2
    receptive_field = 5

    def __init__(self, config: PyramidConfig) -> None:
        super().__init__()
        self.config = config
        kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
        self.kernel = nn.Parameter(kernel[None, None])
        self.windows: list[tuple[int, int]] = []
        self.batches: list[int] = []

    def condition(self, lr: Tensor) -> Condition:
        self.check_lr(lr)
        self.windows.append((int(lr.shape[-2]), int(lr.shape[-1])))
        blurred = F.conv2d(lr, self.kernel, padding=1)
        return Condition(lr, (blurred,))

    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        self.check_scale(scale)
        h, w = lr_size
        fine = LatentLevel(1, 2 * h, 2 * w, Fraction(2))
        coarse = LatentLevel(1, h // 2, w // 2, Fraction(1, 2))
        return LatentSpec((fine, coarse), lr_size, (2 * h, 2 * w))

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        raise NotImplementedError("It is there to explode, and is only decoded.")

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        fine, coarse = latents.levels
        self.batches.append(fine.shape[0])
        wild = fine.abs() > self.config.threshold
        fine = torch.where(wild, self.config.beyond, fine)
        detail = fine + F.interpolate(coarse, scale_factor=4.0, mode="nearest")
        if self.config.cold_only:  # nothing helps
            detail = detail * torch.inf
        base = F.interpolate(cond.features[0], scale_factor=2.0, mode="nearest")
        return base + 0.1 * F.conv2d(detail, self.kernel, padding=1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors are tiny here: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> Model:
    """One channel, 2x, receptive field of 10 LR pixels."""
    return compact()


@pytest.fixture
def rgb_model() -> Model:
    return compact(channels=3)


@pytest.fixture
def make_compact() -> Callable[..., Model]:
    return compact


@pytest.fixture
def make_pyramid() -> Callable[..., Model]:
    return lambda **config: as_model(Pyramid(PyramidConfig(**config)))


@pytest.fixture
def image() -> np.ndarray:
    """Odd sides, float32, smooth with some texture."""
    y, x = np.mgrid[:37, :29].astype(np.float32)
    noise = np.random.default_rng(0).normal(size=y.shape)
    return (10 + 3 * np.sin(y / 5) * np.cos(x / 7) + 0.3 * noise).astype(np.float32)
