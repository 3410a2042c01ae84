"""AdFlow and one-layer flows: the equations of the paper, for no weights exist."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.core.transforms.actnorm import ActNorm
from napari_flowsr.core.transforms.affine import (
    AffineInjector,
    ConditionalAffineCoupling,
)
from napari_flowsr.core.transforms.invconv import FixedRotation
from napari_flowsr.errors import OptionError
from napari_flowsr.models._registry import build
from napari_flowsr.models.adflow import AdFlow, AdFlowConfig
from napari_flowsr.models.l1 import L1Config, L1Flow, ScaledL1Flow

TINY = AdFlowConfig(
    width=4, growth=2, taps=(1, 3), steps=2, transition_steps=1, hidden=5
)


def randomised(flow: ConditionalFlow) -> ConditionalFlow:
    """Away from zero-initialised convolutions."""
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return flow.double().eval()


def lr_and_hr(flow: ConditionalFlow, side: int = 1) -> tuple[Tensor, Tensor]:
    h = side * flow.multiple_of
    lr = torch.rand(1, flow.channels, h, h, dtype=torch.float64)
    scale = int(flow.scales[0])
    hr = torch.rand(1, flow.channels, h * scale, h * scale, dtype=torch.float64)
    return lr, hr


# --- section 3.1: L1 is a one-layer flow ------------------------------------------


@pytest.mark.parametrize("b", [1.0, 0.04])
@torch.no_grad()
def test_likelihood_of_one_layer_is_the_l1_loss(b: float) -> None:
    """Equations (1) and (2)."""
    flow = randomised(build("l1", L1Config(scale=2, width=6, blocks=1, b=b)))
    assert type(flow) is L1Flow
    lr, hr = lr_and_hr(flow, 5)
    cond = flow.condition(lr)
    g = flow.decode(
        flow.make_latents([torch.zeros_like(hr)], cond), cond
    )  # the mode at z = 0
    nll = -flow.log_prob(hr, cond)[0]
    l1 = (hr - g).abs().sum()
    constant = hr.numel() * math.log(2 * b)
    assert torch.allclose(nll, l1 / b + constant, rtol=1e-12)
    if b == 1.0:
        assert torch.allclose(nll - hr.numel() * math.log(2), l1, rtol=1e-12)


@torch.no_grad()
def test_likelihood_with_a_predicted_scale_is_equation_4() -> None:
    config = L1Config(scale=3, channels=1, width=6, blocks=1, scaled=True, b=0.1)
    flow = randomised(build("l1", config))
    assert type(flow) is ScaledL1Flow
    lr, hr = lr_and_hr(flow, 4)
    cond = flow.condition(lr)
    g, log_b = cond.features
    assert g.shape == log_b.shape == hr.shape
    assert float(log_b.std()) > 1e-3  # it does vary from pixel to pixel
    equation = ((hr - g) / log_b.exp()).abs().sum() + log_b.sum()
    nll = -flow.log_prob(hr, cond)[0]
    assert torch.allclose(nll, equation + hr.numel() * math.log(2), rtol=1e-12)


@torch.no_grad()
def test_samples_of_one_layer_are_laplace_noise() -> None:
    flow = build("l1", L1Config(scale=2, channels=1, width=4, blocks=1, b=0.5)).eval()
    cond = flow.condition(torch.rand(1, 1, 40, 40))
    noise = (flow.sample(cond, 4, seed=1) - cond.features[0]).flatten()
    # Of a Laplace distribution: mean |x| = b, variance = 2 b^2; 25 600 values.
    assert abs(float(noise.abs().mean()) - 0.5) < 0.02
    assert abs(float(noise.var()) - 0.5) < 0.05


@pytest.mark.parametrize("change", [{"b": 0.0}, {"b": math.inf}, {"blocks": 0}])
def test_impossible_one_layer_flows_are_refused(change: dict) -> None:
    with pytest.raises(OptionError, match="L1"):
        L1Config(**change)


# --- section 3.4: the architecture --------------------------------------------------


def test_flow_step_is_actnorm_rotation_coupling_injector() -> None:
    flow = build("adflow", TINY)
    level = flow.flow.levels[0].steps.transforms
    kinds = [type(t) for t in level[1].transforms]
    assert kinds == [ActNorm, FixedRotation, ConditionalAffineCoupling, AffineInjector]
    assert [type(t) for t in level[0].transforms] == [ActNorm, FixedRotation]


def test_rotations_are_random_orthonormal_and_not_learned() -> None:
    torch.manual_seed(0)
    flow = build("adflow", TINY)
    found = [m for m in flow.modules() if isinstance(m, FixedRotation)]
    assert len(found) == 3 * 3
    for rotation in found:
        assert not list(rotation.parameters())
        product = rotation.rotation @ rotation.rotation.T
        assert torch.allclose(product, torch.eye(len(product)), atol=1e-5)
    assert not torch.equal(found[0].rotation, found[1].rotation)


@torch.no_grad()
def test_coupling_scale_is_the_inverse_sigmoid() -> None:
    """s = sigmoid(h)^-1 is at least 1: decoding multiplies by less than 1."""
    flow = build("adflow", TINY)
    coupling = next(
        m for m in flow.modules() if isinstance(m, ConditionalAffineCoupling)
    )
    h = torch.linspace(-30, 30, 101)
    assert torch.allclose(coupling.log_scale(h).exp(), 1 / torch.sigmoid(h))
    assert float(coupling.log_scale(torch.linspace(-1e4, 1e4, 51)).min()) >= 0.0


@torch.no_grad()
def test_embedding_is_the_named_blocks_bilinearly_resized() -> None:
    flow = randomised(build("adflow", TINY))
    lr, _ = lr_and_hr(flow, 3)
    h, tapped = flow.encoder.conv_first(lr), []
    for block in flow.encoder.RRDB_trunk:
        h = block(h)
        tapped.append(h)
    embedding = torch.cat((tapped[0], tapped[2]), 1)  # blocks 1 and 3, from 1
    at_2x, at_1x, at_half = flow.condition(lr).features
    assert torch.equal(at_1x, embedding)
    assert torch.allclose(at_half, nn.functional.avg_pool2d(embedding, 2))
    assert at_2x.shape[-1] == 2 * lr.shape[-1]
    doubled = nn.functional.interpolate(embedding, scale_factor=2.0, mode="bilinear")
    assert torch.allclose(at_2x, doubled)


def test_defaults_are_the_papers() -> None:
    config = AdFlowConfig()
    assert config.taps == (1, 4, 6, 8)
    assert config.quant == 32.0
    levels = {s: AdFlowConfig(scale=s).layout for s in (4, 6, 8)}
    assert levels == {4: (2,) * 3, 6: (2,) * 4, 8: (2,) * 4}


# --- 6x -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("squeezes", "multiple", "shapes"),
    [
        ((2, 2, 2, 2), 8, ((6, 48, 24), (12, 24, 12), (192, 6, 3))),
        ((2, 3, 2, 2), 4, ((6, 48, 24), (27, 16, 8), (432, 4, 2))),
        ((2, 3), 1, ((108, 16, 8),)),
    ],
    ids=str,
)
@torch.no_grad()
def test_six_fold(
    squeezes: tuple[int, ...], multiple: int, shapes: tuple[tuple[int, ...], ...]
) -> None:
    flow = randomised(build("adflow", replace(TINY, scale=6, squeezes=squeezes)))
    assert flow.multiple_of == multiple
    assert flow.latent_spec((16, 8)).shapes == shapes
    lr = torch.rand(1, 3, 16, 8, dtype=torch.float64)
    hr = torch.rand(1, 3, 96, 48, dtype=torch.float64)
    cond = flow.condition(lr)
    again = flow.decode(flow.encode(hr, cond).latents, cond)
    assert float((again - hr).abs().max()) < 1e-9
    # The paper's training patches of 144 x 144 fit each of the layouts.
    flow.check_lr(torch.zeros(1, 3, 24, 24))


@torch.no_grad()
def test_a_window_of_the_six_fold_network_is_that_of_the_whole() -> None:
    """Levels with 3/8 of a cell per LR pixel still depend on the position alone."""
    flow = randomised(
        build("adflow", replace(TINY, scale=6, channels=1, taps=(1,), steps=1))
    )
    reach = -(-flow.receptive_field // 8) * 8
    lr = torch.rand(1, 1, 8, 2 * reach + 40, dtype=torch.float64)
    field = NoiseField(2)

    def decoded(first: int, last: int) -> Tensor:
        cond = flow.condition(lr[..., first:last])
        spec = flow.latent_spec(cond.lr_size)
        cells = [round(first * level.rate) for level in spec.levels]
        whole = field.draw(flow.latent_spec((8, lr.shape[-1])))
        levels = [
            tensor[..., at : at + level.width].double()
            for tensor, at, level in zip(whole.levels, cells, spec.levels, strict=True)
        ]
        return flow.decode(flow.make_latents(levels, cond), cond)

    core = slice((reach + 8) * 6, (reach + 16) * 6)
    whole = decoded(0, lr.shape[-1])[..., core]
    tile = decoded(8, 2 * reach + 24)[..., reach * 6 : (reach + 8) * 6]
    assert float((tile - whole).abs().max()) < 1e-9


# --- base density --------------------------------------------------------------------


@torch.no_grad()
def test_either_base_density_is_that_of_the_same_flow() -> None:
    """Equation (5) with a Gaussian and with a Laplace p_z."""
    gaussian = randomised(build("adflow", TINY))
    laplace = AdFlow(replace(TINY, base="laplace")).double().eval()
    laplace.load_state_dict(gaussian.state_dict())
    lr, hr = lr_and_hr(gaussian, 2)
    cond = gaussian.condition(lr)
    encoded = gaussian.encode(hr, cond)
    z = torch.cat([level.flatten() for level in encoded.latents.levels])
    expected = -(z.abs() + math.log(2)).sum() + encoded.logdet[0]
    assert torch.allclose(laplace.log_prob(hr, cond)[0], expected, rtol=1e-10)
    e = laplace.encode(hr, cond).latents
    assert torch.allclose(laplace.decode(e, cond), hr, atol=1e-9)
    modes = [flow.decode(e.map(torch.zeros_like), cond) for flow in (gaussian, laplace)]
    assert torch.equal(*modes)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 3},
        {"squeezes": (2, 4)},
        {"taps": (0, 1)},
        {"taps": ()},
        {"steps": 0},
        {"quant": 0.0},
    ],
    ids=str,
)
def test_impossible_configurations_are_refused(change: dict) -> None:
    with pytest.raises(OptionError, match="AdFlow"):
        replace(TINY, **change)


def test_an_unknown_base_is_refused() -> None:
    with pytest.raises(OptionError, match="base"):
        build("adflow", {"base": "cauchy"})
