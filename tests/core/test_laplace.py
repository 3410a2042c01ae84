"""The Laplace base density in terms of white latents: exact, also far in the tails."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor

from napari_flowsr.core.transforms.laplace import LaplaceToNormal

VALUES = torch.cat(
    [
        torch.linspace(-1.5, 1.5, 301, dtype=torch.float64),
        torch.linspace(1.5, 90, 200, dtype=torch.float64),
        -torch.logspace(2, 6, 20, dtype=torch.float64),
    ]
)


def row(values: Tensor) -> Tensor:
    """As a ``(1, 1, 1, W)`` tensor."""
    return values[None, None, None]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-6)], ids=str
)
def test_quantiles_agree_and_the_round_trip_closes(
    dtype: torch.dtype, tolerance: float
) -> None:
    base = LaplaceToNormal()
    v = row(VALUES.to(dtype))
    e, _ = base(v)
    a = np.abs(v.double().numpy())
    expected = -np.sign(v.double().numpy()) * special.ndtri_exp(-a - math.log(2))
    assert e.dtype == dtype
    assert bool(e.isfinite().all())
    scale = np.maximum(1.0, np.abs(expected))
    assert float(np.max(np.abs(e.double().numpy() - expected) / scale)) < tolerance
    again, _ = base.inverse(e)
    relative = (again - v).abs() / v.abs().clamp(min=1.0)
    assert float(relative.max()) < 5 * tolerance


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_density_is_laplace_and_so_is_its_gradient(dtype: torch.dtype) -> None:
    base = LaplaceToNormal()
    for value in (0.0, -0.3, 0.999, 1.0, 1.001, -7.0, 60.0, 3e4):
        v = torch.full((1, 1, 1, 1), value, dtype=dtype, requires_grad=True)
        e, logdet = base(v)
        normal = -0.5 * e.square().sum() - 0.5 * math.log(2 * math.pi)
        log_prob = normal + logdet[0]
        tolerance = 1e-6 if dtype == torch.float32 else 1e-12
        error = abs(float(log_prob.detach()) + abs(value) + math.log(2))
        assert error < tolerance * max(1.0, abs(value))
        (gradient,) = torch.autograd.grad(log_prob, v)
        assert abs(abs(float(gradient)) - 1.0) < 1e-3
        assert float(gradient) * value <= 0


def test_half_precision_is_computed_in_float32() -> None:
    base = LaplaceToNormal()
    v = torch.tensor([[[[-9.0, 0.0, 0.5, 12.0]]]])
    e, logdet = base(v.half())
    assert e.dtype == torch.float16
    assert logdet.dtype == torch.float32
    assert torch.allclose(e.float(), base(v)[0], atol=5e-3)


def test_temperature_acts_on_the_normal_latents() -> None:
    """0 and 1 are those of the Laplace distribution; between, tails are thinner."""
    base = LaplaceToNormal()
    e = torch.tensor([[[[0.0, 0.7, 3.0]]]], dtype=torch.float64)
    zero, _ = base.inverse(0.0 * e)
    assert not zero.any()
    cooled, _ = base.inverse(0.5 * e)
    v, _ = base.inverse(e)
    assert float(cooled[..., 2]) < 0.5 * float(v[..., 2])
