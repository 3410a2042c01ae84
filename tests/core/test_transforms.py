"""Every transform: invertible, with the log-determinant that autograd finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from napari_flowsr.core.nets import (
    ConvNorm,
    DenseNet,
    PredictorNet,
    ZeroConv,
    interleaved,
)
from napari_flowsr.core.scales import (
    arctan_scale,
    inverse_sigmoid_scale,
    sigmoid_scale,
    tanh_scale,
)
from napari_flowsr.core.step import (
    conditional_step,
    coupling_step,
    transition_step,
)
from napari_flowsr.core.transforms.actnorm import ActNorm
from napari_flowsr.core.transforms.affine import (
    AffineInjector,
    ConditionalAffineCoupling,
)
from napari_flowsr.core.transforms.base import Compose, Transform
from napari_flowsr.core.transforms.dequantise import UniformDequantise
from napari_flowsr.core.transforms.detail import DetailCoupling, ImageShift
from napari_flowsr.core.transforms.haar import HaarSqueeze
from napari_flowsr.core.transforms.head import GaussianHead
from napari_flowsr.core.transforms.invconv import (
    FixedRotation,
    InvertibleConv1x1,
    random_rotation,
)
from napari_flowsr.core.transforms.laplace import LaplaceToNormal
from napari_flowsr.core.transforms.split import SplitGaussian
from napari_flowsr.core.transforms.squeeze import Squeeze
from napari_flowsr.errors import SizeError

C, C_U, H, W = 5, 3, 4, 2


def _coupling(scale: Callable[[Tensor], Tensor]) -> ConditionalAffineCoupling:
    return ConditionalAffineCoupling(PredictorNet(C // 2 + C_U, 6, 7), scale)


def _injector(scale: Callable[[Tensor], Tensor]) -> AffineInjector:
    return AffineInjector(PredictorNet(C_U, 2 * C, 7), scale)


TRANSFORMS: dict[str, Callable[[], Transform]] = {
    "actnorm": lambda: ActNorm(C),
    "invertible 1x1": lambda: InvertibleConv1x1(C),
    "fixed rotation": lambda: FixedRotation(C),
    "squeeze 2": Squeeze,
    "coupling, sigmoid": lambda: _coupling(sigmoid_scale),
    "coupling, AdFlow": lambda: _coupling(inverse_sigmoid_scale),
    "Laplace to normal": LaplaceToNormal,
    "squeeze, Haar": lambda: HaarSqueeze(C),
    "Gaussian head": lambda: GaussianHead(C, C_U),
    "Gaussian head, arctan": lambda: GaussianHead(C, C_U, arctan_scale),
    "image moves detail": lambda: DetailCoupling(DenseNet(2, 6, 3), arctan_scale, 2),
    "detail moves image": lambda: ImageShift(DenseNet(3, 2, 3), 2),
    "coupling, arctan": lambda: _coupling(arctan_scale),
    "coupling, tanh": lambda: _coupling(tanh_scale),
    "injector, sigmoid": lambda: _injector(partial(sigmoid_scale, eps=1e-3)),
    "injector, AdFlow": lambda: _injector(inverse_sigmoid_scale),
    "step": lambda: conditional_step(C, C_U, hidden=6),
    "step, rotation": lambda: conditional_step(
        C, C_U, hidden=6, log_scale=tanh_scale, rotation=True
    ),
    "step, AdFlow": lambda: conditional_step(
        C,
        C_U,
        hidden=6,
        log_scale=inverse_sigmoid_scale,
        injector_scale=sigmoid_scale,
        rotation=True,
        injector_last=True,
    ),
    "transition": lambda: transition_step(C),
    "step, no injector": lambda: coupling_step(
        C, C_U, hidden=6, log_scale=arctan_scale
    ),
    "composition": lambda: Compose(
        (
            Squeeze(),
            ConditionalAffineCoupling(PredictorNet(2 * C, 4 * C, 4), tanh_scale),
            transition_step(4 * C),
        )
    ),
}


def randomised(module: nn.Module) -> nn.Module:
    """Away from zero-initialised convolutions, which would hide mistakes."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.double().eval()


@pytest.fixture(params=TRANSFORMS, ids=str)
def transform(request: pytest.FixtureRequest) -> Transform:
    return randomised(TRANSFORMS[request.param]())


def inputs(batch: int = 2) -> tuple[Tensor, Tensor]:
    x = torch.randn(batch, C, H, W, dtype=torch.float64)
    return x, torch.randn(batch, C_U, H, W, dtype=torch.float64)


def _condition(transform: Transform, u: Tensor) -> Tensor | None:
    # The composition squeezes, so a condition would live on another grid: none here.
    inner = list(transform.children())[:1]
    first = list(inner[0])[:1] if isinstance(transform, Compose) else inner
    return None if any(isinstance(layer, Squeeze) for layer in first) else u


def logdet_of_jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    rows = []
    for one in x.split(1):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat, shape=one.shape: function(flat.view(shape)).flatten(),
            one.flatten(),
        )
        rows.append(torch.linalg.slogdet(jacobian).logabsdet)
    return torch.stack(rows)


@torch.no_grad()
def test_inverse(transform: Transform) -> None:
    x, u = inputs()
    u = _condition(transform, u)
    z, logdet = transform(x, u)
    again, back = transform.inverse(z, u)
    assert logdet.shape == back.shape == (2,)
    assert float((again - x).abs().max()) < 1e-11
    assert float((logdet + back).abs().max()) < 1e-10
    assert float((z.flatten() - x.flatten()).abs().max()) > 0.1


def test_logdet_both_ways(transform: Transform) -> None:
    x, u = inputs(1)
    u = _condition(transform, u)
    z, logdet = transform(x, u)
    _, back = transform.inverse(z, u)
    forward = logdet_of_jacobian(lambda t: transform(t, u)[0], x)
    backward = logdet_of_jacobian(lambda t: transform.inverse(t, u)[0], z)
    assert torch.allclose(logdet, forward, atol=1e-9)
    assert torch.allclose(back, backward, atol=1e-9)


def test_reach_is_what_is_seen() -> None:
    """The declared reach is the measured one, for the one that has a net."""
    step = randomised(conditional_step(C, C_U, hidden=6))
    x = torch.randn(1, C, 9, 9, dtype=torch.float64)
    u = torch.randn(1, C_U, 9, 9, dtype=torch.float64)
    changed = x.clone()
    changed[..., 4, 4] += 1
    moved = (step(changed, u)[0] - step(x, u)[0]).abs().amax((0, 1)) > 1e-12
    rows = moved.any(1).nonzero().flatten()
    assert step.reach == 2
    assert rows.tolist() == [2, 3, 4, 5, 6]


# --- split --------------------------------------------------------------------


@torch.no_grad()
def test_split_standardises_and_comes_back() -> None:
    split = randomised(SplitGaussian(C))
    x, _ = inputs()
    kept, eps, logdet = split(x)
    assert torch.equal(kept, x[:, :2])
    mean, logs = interleaved(split.net(kept))
    assert torch.allclose(eps, (x[:, 2:] - mean) / logs.exp())
    again, back = split.inverse(kept, eps)
    assert float((again - x).abs().max()) < 1e-12
    assert torch.allclose(logdet, -back)
    with torch.enable_grad():
        expected = logdet_of_jacobian(lambda t: torch.cat(split(t)[:2], 1), x)
    assert torch.allclose(logdet, expected, atol=1e-10)


def test_gaussian_head_standardises() -> None:
    head = randomised(GaussianHead(C, C_U))
    x, u = inputs()
    mean, logs = interleaved(head.net(u))
    assert torch.allclose(head(x, u)[0], (x - mean) / logs.exp())
    assert torch.allclose(head.inverse(torch.zeros_like(x), u)[0], mean)
    with pytest.raises(SizeError, match="features u"):
        head(x)


# --- known values ---------------------------------------------------------------


@pytest.mark.parametrize("factor", [2, 3])
def test_squeeze_is_colour_major_then_row_then_column(factor: int) -> None:
    x = torch.arange(2 * 6 * 6, dtype=torch.float64).view(1, 2, 6, 6)
    z, logdet = Squeeze(factor)(x)
    assert not logdet.any()
    for c in range(2):
        for dy in range(factor):
            for dx in range(factor):
                channel = c * factor**2 + dy * factor + dx
                assert torch.equal(z[0, channel], x[0, c, dy::factor, dx::factor])


def test_haar_gives_an_average_and_three_differences() -> None:
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64)
    z, logdet = HaarSqueeze(2)(x)
    a, b = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
    c, d = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
    parts = (a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d)
    assert torch.allclose(z, torch.cat(parts, 1) / 4)
    assert logdet.item() == pytest.approx(-2 * 6 * 4 * math.log(2), rel=1e-12)
    # The way back is a plain sum with signs, without a factor.
    again, _ = HaarSqueeze(2).inverse(z)
    upper_right = z[:, :2] - z[:, 2:4] + z[:, 4:6] - z[:, 6:]
    assert torch.allclose(again[..., 0::2, 1::2], upper_right)


def test_other_filters_are_inverted_as_well() -> None:
    haar = HaarSqueeze(1)
    haar.filters.copy_(torch.randn(4, 1, 2, 2))
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    z, logdet = haar(x)
    again, back = haar.inverse(z)
    assert torch.allclose(again, x)
    assert torch.allclose(logdet, -back)
    matrix = haar.filters.double().view(4, 4) / 4
    assert logdet.item() == pytest.approx(4 * matrix.det().abs().log().item())


def test_squeeze_names_the_size_that_does_not_fit() -> None:
    with pytest.raises(SizeError, match="5 x 4; a squeeze by 2 needs"):
        Squeeze()(torch.zeros(1, 1, 5, 4))


def test_scales() -> None:
    h = torch.linspace(-30, 30, 61, dtype=torch.float64)
    published = sigmoid_scale(h).exp()
    assert torch.allclose(published, 1 / (1 + torch.exp(-h - 2)) + 1e-4)
    assert float(sigmoid_scale(h, 1e-2).exp().min()) == pytest.approx(1e-2, rel=1e-6)
    adflow = inverse_sigmoid_scale(h)
    assert torch.allclose(adflow.exp(), 1 + torch.exp(-h))
    assert float(adflow.min()) >= 0
    assert float(tanh_scale(h).abs().max()) <= 2
    assert torch.allclose(arctan_scale(h), 0.318 * torch.arctan(2 * h))
    assert float(arctan_scale(h).abs().max()) < 0.4996


def test_affine_layers_shift_then_scale() -> None:
    """``(x + shift) * scale`` with shift and scale interleaved, as published."""
    injector = randomised(_injector(sigmoid_scale))
    x, u = inputs()
    h = injector.net(u)
    expected = (x + h[:, 0::2]) * (torch.sigmoid(h[:, 1::2] + 2) + 1e-4)
    assert torch.allclose(injector(x, u)[0], expected)
    with pytest.raises(SizeError, match="encoded LR image"):
        injector(x)
    coupling = randomised(_coupling(sigmoid_scale))
    h = coupling.net(x[:, :2], u)
    moved = (x[:, 2:] + h[:, 0::2]) * (torch.sigmoid(h[:, 1::2] + 2) + 1e-4)
    assert torch.allclose(coupling(x, u)[0], torch.cat((x[:, :2], moved), 1))


def test_one_condition_for_a_batch() -> None:
    step = randomised(conditional_step(C, C_U, hidden=6))
    x, u = inputs(3)
    expected = step(x, u[:1].expand(3, -1, -1, -1))
    for got, wanted in zip(step(x, u[:1]), expected, strict=True):
        assert torch.allclose(got, wanted)


def test_couplings_of_image_and_detail() -> None:
    """One passes through as the other moves; shift, then scale."""
    x, _ = inputs()
    image, detail = x[:, :2], x[:, 2:]
    scaled = randomised(DetailCoupling(DenseNet(2, 6, 3), arctan_scale, 2))
    h = scaled.net(image)
    moved = (detail + h[:, 0::2]) * arctan_scale(h[:, 1::2]).exp()
    assert torch.allclose(scaled(x)[0], torch.cat((image, moved), 1))
    shifted = randomised(ImageShift(DenseNet(3, 2, 3), 2))
    z, logdet = shifted(x)
    assert torch.allclose(z, torch.cat((image + shifted.net(detail), detail), 1))
    assert not logdet.any()
    assert scaled.reach == shifted.reach == 5


def test_dense_net_grows_and_has_no_residual() -> None:
    net = randomised(DenseNet(2, 3, 4))
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64)
    h1 = nn.functional.leaky_relu(net.conv1(x), 0.2)
    h2 = nn.functional.leaky_relu(net.conv2(torch.cat((x, h1), 1)), 0.2)
    h3 = nn.functional.leaky_relu(net.conv3(torch.cat((x, h1, h2), 1)), 0.2)
    h4 = nn.functional.leaky_relu(net.conv4(torch.cat((x, h1, h2, h3), 1)), 0.2)
    expected = net.conv5(torch.cat((x, h1, h2, h3, h4), 1))
    assert torch.allclose(net(x), expected)
    assert list(net.state_dict())[::2] == [f"conv{i}.weight" for i in range(1, 6)]


def test_net_layers() -> None:
    conv = randomised(ConvNorm(C + C_U, 4, 3))
    x, u = inputs()
    assert torch.allclose(conv(x, u), conv(torch.cat((x, u), 1)))
    zero = ZeroConv(2, 3)
    assert not zero(torch.randn(1, 2, 4, 4)).any()
    with torch.no_grad():
        zero.bias.fill_(1.0)
        zero.logs.fill_(0.5)
    assert zero(torch.zeros(1, 2, 1, 1))[0, 0, 0, 0].item() == pytest.approx(4.481689)


# --- actnorm --------------------------------------------------------------------


def test_actnorm_initialises_once_and_remembers() -> None:
    norm = ActNorm(3).train()
    x = 4 * torch.randn(8, 3, 5, 5) + torch.tensor([1.0, -2.0, 30.0])[:, None, None]
    z, _ = norm(x)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(z.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4)
    # The second batch changes nothing, nor does one after a checkpoint.
    bias = norm.bias.clone()
    norm(x + 5)
    again = ActNorm(3).train()
    again.load_state_dict(norm.state_dict())
    again(x + 5)
    assert torch.equal(norm.bias, bias)
    assert torch.equal(again.bias, bias)


def test_actnorm_leaves_evaluation_alone() -> None:
    norm = ActNorm(2).eval()
    x = torch.randn(1, 2, 3, 3) + 7
    assert torch.equal(norm(x)[0], x)
    assert not bool(norm.initialized)


def test_actnorm_survives_a_constant_channel() -> None:
    norm = ActNorm(2).train()
    z, logdet = norm(torch.ones(1, 2, 3, 3))
    assert bool(z.isfinite().all())
    assert bool(logdet.isfinite().all())


# --- rotations --------------------------------------------------------------------


def test_random_rotation_is_a_rotation() -> None:
    q = random_rotation(7, torch.Generator().manual_seed(3)).double()
    assert torch.allclose(q @ q.mT, torch.eye(7, dtype=torch.float64), atol=1e-6)
    assert torch.linalg.det(q).item() == pytest.approx(1.0, abs=1e-5)
    again = random_rotation(7, torch.Generator().manual_seed(3)).double()
    assert torch.equal(q, again)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16], ids=str)
def test_a_rotation_stored_roughly_is_still_orthogonal(stored: torch.dtype) -> None:
    rotation = FixedRotation(16)
    rotation.rotation = rotation.rotation.to(stored).double()
    x = torch.randn(1, 16, 3, 3, dtype=torch.float64)
    z, _ = rotation(x)
    assert torch.allclose(z.square().sum(), x.square().sum(), rtol=1e-9)
    assert float((rotation.inverse(z)[0] - x).abs().max()) < 1e-9


# --- dequantisation -------------------------------------------------------------


@pytest.mark.parametrize("centred", [True, False])
def test_dequantisation_adds_noise_of_one_step(centred: bool) -> None:
    torch.manual_seed(0)
    layer = UniformDequantise(32, centred=centred)
    x = torch.zeros(2, 3, 40, 40, dtype=torch.float64)
    z, logdet = layer(x)
    low = -0.5 / 32 if centred else 0.0
    assert logdet.tolist() == [0.0, 0.0]
    assert low <= float(z.min()) < float(z.max()) < low + 1 / 32
    # 9600 uniform numbers: the mean is within 5 sigma.
    sigma = (1 / 32) / (12 * z.numel()) ** 0.5
    assert abs(float(z.mean()) - (low + 0.5 / 32)) < 5 * sigma
    given = torch.full_like(x, 0.25)
    assert float(layer(x, given)[0][0, 0, 0, 0]) == pytest.approx(
        (0.25 - 0.5 * centred) / 32
    )
    assert torch.equal(layer.inverse(z)[0], z)
