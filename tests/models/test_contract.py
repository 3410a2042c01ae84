"""What every family promises, run over all registered families and their examples."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.latents import Latents, Place, Window
from napari_flowsr.core.layout import laid_out
from napari_flowsr.core.noise import NoiseField
from napari_flowsr.errors import OptionError, SizeError
from napari_flowsr.io.checkpoint import read_model, save_model
from napari_flowsr.models._registry import (
    build,
    config_dict,
    example_configs,
    families,
    family_module,
    is_deterministic,
    makes_small,
)
from napari_flowsr.models.card import ModelCard

EXAMPLES = [
    pytest.param((family, config), id=f"{family}-{number}")
    for family in families()
    for number, config in enumerate(example_configs(family))
]

# Deterministic networks make the promises about places and files, not those of flows.
FLOWS = [
    example
    for example in EXAMPLES
    if not getattr(family_module(example.values[0][0]).FLOW, "deterministic", False)
]


def randomised(family: str, config: object, seed: int = 0) -> ConditionalFlow:
    """A network away from its start, where zero convolutions would hide mistakes."""
    torch.manual_seed(seed)
    flow = build(family, config)
    with torch.no_grad():
        for parameter in flow.parameters():
            size = float(parameter.square().mean().sqrt())
            parameter.add_((0.1 * size or 0.05) * torch.randn_like(parameter))
        for name, buffer in flow.named_buffers():
            if name.endswith("initialized"):
                buffer.fill_(True)
    return flow.eval()


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> tuple[str, object]:
    return request.param


@pytest.fixture
def flow(request: pytest.FixtureRequest) -> ConditionalFlow:
    return randomised(*request.param)


over_examples = pytest.mark.parametrize("flow", EXAMPLES, indirect=True)
over_flows = pytest.mark.parametrize("flow", FLOWS, indirect=True)


def lr_image(flow: ConditionalFlow, h: int, w: int, batch: int = 1) -> Tensor:
    """LR images of ``h x w`` *units* of the sides that the network takes."""
    m = flow.multiple_of
    dtype = next(flow.parameters()).dtype
    generator = torch.Generator().manual_seed(h * 100 + w)
    shape = (batch, flow.channels, h * m, w * m)
    return torch.rand(shape, generator=generator).to(dtype)


def noise(flow: ConditionalFlow, cond: Condition, samples: int = 1) -> Latents:
    spec = flow.latent_spec(cond.lr_size)
    drawn = NoiseField(3).draw(spec, samples=range(samples))
    return drawn.to(cond.lr.device, cond.lr.dtype)


def largest(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())


# --- invertible -----------------------------------------------------------------


@over_flows
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 2e-4)], ids=str
)
@torch.no_grad()
def test_encode_and_decode_are_inverse(
    flow: ConditionalFlow, dtype: torch.dtype, tolerance: float
) -> None:
    flow = flow.to(dtype)
    cond = flow.condition(lr_image(flow, 3, 2))
    latents = noise(flow, cond, 2)
    hr = flow.decode(latents, cond)
    assert hr.dtype == dtype
    assert hr.shape[-2:] == flow.latent_spec(cond.lr_size).hr_size
    encoded = [flow.encode(one, cond).latents for one in hr.split(1)]
    for i, level in enumerate(latents.levels):
        again = torch.cat([e.levels[i] for e in encoded])
        assert largest(again, level) < tolerance


@over_examples
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 1), (2, 7)])
@torch.no_grad()
def test_any_size_that_fits(flow: ConditionalFlow, size: tuple[int, int]) -> None:
    flow = flow.double()
    cond = flow.condition(lr_image(flow, *size))
    hr = flow.sample(cond, 2)
    scale = round(flow.scales[0])
    m = flow.multiple_of
    assert hr.shape == (2, flow.channels, size[0] * m * scale, size[1] * m * scale)
    if flow.deterministic:
        return
    spec = flow.latent_spec(cond.lr_size)
    in_lr = cond.lr[0].numel() if flow.encodes_lr else 0
    assert spec.dimensions + in_lr == hr[0].numel()
    again = flow.decode(flow.encode(hr[:1], cond).latents, cond)
    assert largest(again, hr[:1]) < 1e-9


# --- likelihood -----------------------------------------------------------------


@over_flows
def test_logdet_is_that_of_the_jacobian(flow: ConditionalFlow) -> None:
    flow = flow.double()
    m = flow.multiple_of
    units = -(-2 // m)
    cond = flow.condition(lr_image(flow, units, units))
    hr = flow.decode(noise(flow, cond), cond).detach()

    def flattened(image: Tensor) -> Tensor:
        encoded = flow.encode(image.view_as(hr), cond)
        lr = (encoded.lr,) if flow.encodes_lr else ()
        return torch.cat([part.flatten() for part in (*encoded.latents.levels, *lr)])

    jacobian = torch.autograd.functional.jacobian(
        flattened, hr.flatten(), vectorize=True
    )
    expected = torch.linalg.slogdet(jacobian).logabsdet
    encoded = flow.encode(hr, cond)
    expected = expected + flow.lr_log_prob(encoded.lr, cond)[0].detach()
    got = encoded.logdet
    assert got.shape == (1,)
    assert float((got[0] - expected).detach().abs()) < 1e-7 * max(
        1.0, float(expected.abs())
    )


@over_flows
@torch.no_grad()
def test_log_prob_is_latent_density_plus_logdet(flow: ConditionalFlow) -> None:
    flow = flow.double()
    cond = flow.condition(lr_image(flow, 2, 3))
    hr = flow.decode(noise(flow, cond, 3), cond)
    batch = Condition(cond.lr.expand(3, -1, -1, -1), cond.features)
    encoded = flow.encode(hr, batch)
    flat = torch.cat([level.flatten(1) for level in encoded.latents.levels], 1)
    normal = -0.5 * (flat.square() + math.log(2 * math.pi)).sum(1)
    got = flow.log_prob(hr, batch)
    assert got.shape == (3,)
    assert torch.allclose(got, normal + encoded.logdet, rtol=1e-10)


@over_flows
def test_gradient_reaches_every_parameter(flow: ConditionalFlow) -> None:
    flow = flow.double()
    lr = lr_image(flow, 2, 2)
    cond = flow.condition(lr)
    hr = flow.decode(noise(flow, cond), cond)
    loss = hr.square().mean() - flow.log_prob(hr.detach() + 0.1, cond).mean()
    if flow.encoder_parameters():
        # Layers of the encoder's own image are trained by its L1 alone.
        loss = loss + (flow.predict(lr) - hr.detach()).abs().mean()
    else:
        with pytest.raises(OptionError, match="no deterministic prediction"):
            flow.predict(lr)
    loss.backward()
    without = [
        name
        for name, p in flow.named_parameters()
        if p.grad is None or not bool(p.grad.any()) or not bool(p.grad.isfinite().all())
    ]
    assert not without


# --- batches, seeds, temperature ----------------------------------------------------


@over_examples
@torch.no_grad()
def test_a_batch_is_its_images(flow: ConditionalFlow) -> None:
    flow = flow.double()
    lr = lr_image(flow, 2, 3, batch=3)
    cond = flow.condition(lr)
    latents = noise(flow, cond, 3)
    together = flow.decode(latents, cond)
    for i in range(3):
        alone = flow.condition(lr[i : i + 1])
        own = latents.map(lambda t, i=i: t[i : i + 1])
        hr = flow.decode(own, alone)
        assert largest(hr, together[i : i + 1]) < 1e-10
        if flow.deterministic:
            continue
        difference = flow.log_prob(together, cond)[i] - flow.log_prob(hr, alone)[0]
        assert abs(float(difference)) < 1e-8


@over_examples
@torch.no_grad()
def test_one_condition_serves_many_samples(flow: ConditionalFlow) -> None:
    flow = flow.double()
    cond = flow.condition(lr_image(flow, 2, 2))
    latents = noise(flow, cond, 3)
    together = flow.decode(latents, cond)
    for i in range(3):
        own = latents.map(lambda t, i=i: t[i : i + 1])
        assert largest(flow.decode(own, cond), together[i : i + 1]) < 1e-10


def _is_plain(flow: ConditionalFlow) -> bool:
    """Whether the condition already is all that decoding needs, or all that is kept."""
    return not flow.programs() and type(flow).prepare is ConditionalFlow.prepare


@over_flows
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.no_grad()
def test_a_prepared_condition_changes_nothing(
    flow: ConditionalFlow, layout: torch.memory_format
) -> None:
    flow = flow.double()
    lr = lr_image(flow, 5, 4).contiguous(memory_format=layout)
    plain, prepared = flow.condition(lr), flow.condition(lr)
    latents = noise(flow, plain, samples=3)
    size = prepared.nbytes
    assert flow.prepare(prepared, latents.spec).nbytes > size or _is_plain(flow)
    size = prepared.nbytes
    expected, got = flow.decode(latents, plain), flow.decode(latents, prepared)
    assert largest(expected, got) < 1e-12 * (1 + float(expected.abs().max()))
    assert prepared.nbytes == size


@over_flows
def test_a_condition_is_not_prepared_where_gradients_are(flow: ConditionalFlow) -> None:
    flow = flow.double()
    cond = flow.condition(lr_image(flow, 2, 2))
    latents = noise(flow, cond)
    size = flow.prepare(cond, latents.spec).nbytes
    with torch.no_grad():
        assert flow.prepare(cond, latents.spec).nbytes > size or _is_plain(flow)
    levels = tuple(level.requires_grad_() for level in latents.levels)
    hr = flow.decode(Latents(levels, latents.spec), cond)
    grads = torch.autograd.grad(hr.square().sum(), levels)
    assert all(bool(grad.abs().sum() > 0) for grad in grads)


@over_flows
@torch.no_grad()
def test_a_condition_too_large_is_not_prepared(
    flow: ConditionalFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit in ("prepared_bytes", "table_bytes"):
        monkeypatch.setattr(type(flow), limit, 1, raising=False)
    cond = flow.condition(lr_image(flow, 2, 2))
    size = cond.nbytes
    assert flow.prepare(cond, noise(flow, cond).spec).nbytes == size


@over_flows
@torch.no_grad()
def test_seeds_and_temperature(flow: ConditionalFlow) -> None:
    flow = flow.double()
    cond = flow.condition(lr_image(flow, 2, 2))
    first = flow.sample(cond, 3, seed=5)
    assert torch.equal(first, flow.sample(cond, 3, seed=5))
    assert largest(first[:1], flow.sample(cond, 1, seed=5)) < 1e-12
    assert largest(first, flow.sample(cond, 3, seed=6)) > 1e-3
    assert largest(first[:1], first[1:2]) > 1e-3
    mode = flow.decode(noise(flow, cond).map(torch.zeros_like), cond)
    assert torch.equal(flow.sample(cond, 1, temperature=0.0), mode)
    as_map = flow.sample(cond, 3, seed=5, temperature=torch.ones(cond.lr_size))
    assert largest(first, as_map) < 1e-12


@over_examples
def test_a_deterministic_network_is_one_prediction(flow: ConditionalFlow) -> None:
    flow = flow.double()
    lr = lr_image(flow, 3, 2)
    cond = flow.condition(lr)
    assert flow.deterministic is (flow.latent_spec(cond.lr_size).dimensions == 0)
    if not flow.deterministic:
        return
    prediction = flow.predict(lr)
    prediction.square().mean().backward()
    assert all(bool(p.grad.any()) for p in flow.parameters() if p.grad is not None)
    assert not [p for p in flow.parameters() if p.grad is None]
    for seed, temperature in ((0, 0.0), (7, 1.0)):
        hr = flow.sample(cond, 3, seed=seed, temperature=temperature)
        assert torch.equal(hr, prediction.expand(3, -1, -1, -1))
    for refused in (flow.encode, flow.log_prob):
        with pytest.raises(OptionError, match="deterministic"):
            refused(prediction, cond)


# --- places ---------------------------------------------------------------------


def _reach(flow: ConditionalFlow) -> int:
    """Declared receptive field, rounded up to whole cells."""
    m = flow.multiple_of
    return -(-flow.receptive_field // m) * m


@over_examples
@torch.no_grad()
def test_edits_are_local(flow: ConditionalFlow) -> None:
    flow = flow.double()
    m, scale = flow.multiple_of, round(flow.scales[0])
    width = _reach(flow) + 4 * m
    cond = flow.condition(lr_image(flow, 1, width // m))
    latents = noise(flow, cond)
    hr = flow.decode(latents, cond)
    allowed = scale * (flow.receptive_field + m)
    for i in range(len(latents.levels)):
        edited = [level.clone() for level in latents.levels]
        edited[i][..., 0] += 1.0
        if flow.deterministic:
            continue
        change = (flow.decode(Latents(tuple(edited), latents.spec), cond) - hr).abs()
        assert float(change[..., :scale].max()) > 1e-6
        assert float(change[..., allowed:].max()) < 1e-12
    changed_lr = cond.lr.clone()
    changed_lr[..., 0] += 0.5
    change = (flow.decode(latents, flow.condition(changed_lr)) - hr).abs()
    assert float(change[..., :scale].max()) > 1e-6
    assert float(change[..., allowed:].max()) < 1e-12


@over_examples
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)], ids=str
)
@torch.no_grad()
def test_tiled_is_whole(
    flow: ConditionalFlow, dtype: torch.dtype, tolerance: float
) -> None:
    flow = flow.to(dtype)
    # Windows begin at whole cells, and their sides are multiples of what is needed.
    unit = math.lcm(flow.alignment, flow.multiple_of)
    reach = -(-flow.receptive_field // unit) * unit
    core, start = 2 * unit, reach + 2 * unit
    m = flow.multiple_of
    lr = lr_image(flow, 1, (2 * reach + 6 * unit) // m)
    whole_size = (m, lr.shape[-1])
    field = NoiseField(8)

    def decoded(first: int, last: int) -> tuple[Tensor, int]:
        place = Place(Window(0, first, m, last - first), whole_size)
        cond = flow.condition(lr[..., first:last]).at(place)
        spec = flow.window_spec(place)
        hr = flow.decode(field.draw(spec).to(lr.device, dtype), cond)
        assert hr.shape[-2:] == spec.hr_size
        return hr, spec.hr_box[2]

    scale = round(flow.scales[0])
    x0, x1 = start * scale, (start + core) * scale

    def cropped(halo: int) -> Tensor:
        tile, left = decoded(start - halo, start + core + halo)
        return tile[..., x0 - left : x1 - left]

    whole, _ = decoded(0, lr.shape[-1])
    expected = whole[..., x0:x1]
    value_range = float(whole.max() - whole.min())
    assert largest(cropped(reach), expected) <= tolerance * value_range
    # The comparison can fail: without a halo there is a seam.
    assert largest(cropped(0), expected) > 1e-4 * value_range


# --- configuration and files ------------------------------------------------------


def test_configuration_survives_json(example: tuple[str, object]) -> None:
    family, config = example
    again = build(family, config_dict(config))
    assert again.config == config
    assert again.family == family


def test_unknown_configuration_keys_are_named(example: tuple[str, object]) -> None:
    family, config = example
    with pytest.raises(OptionError, match=r"'colour'.*known are scale"):
        build(family, {**config_dict(config), "colour": 1})
    with pytest.raises(OptionError, match="scale was given as 'two'"):
        build(family, {**config_dict(config), "scale": "two"})


@over_examples
@torch.no_grad()
def test_saved_is_loaded(flow: ConditionalFlow, tmp_path: Path) -> None:
    card = ModelCard(
        name="m", family=flow.family, scales=flow.scales, channels=flow.channels
    )
    save_model(tmp_path / "m.safetensors", flow, card)
    model = read_model(tmp_path / "m.safetensors")
    assert model.flow.config == flow.config
    assert not model.flow.training
    assert model.card.parameters == flow.parameter_count
    own = laid_out(copy.deepcopy(flow))  # as it is loaded: another layout rounds anew
    cond = own.condition(lr_image(flow, 2, 2))
    again = model.flow.condition(lr_image(flow, 2, 2))
    assert torch.equal(own.sample(cond, 2), model.flow.sample(again, 2))


@over_examples
def test_facts_are_stated(flow: ConditionalFlow) -> None:
    assert flow.family in families()
    assert is_deterministic(flow.family) is flow.deterministic
    assert makes_small(flow.family) is hasattr(flow, "downscale")
    assert flow.receptive_field > 0
    assert 0 < flow.halo <= flow.receptive_field
    assert flow.device == torch.device("cpu")
    own = {id(p) for p in flow.parameters()}
    encoder = flow.encoder_parameters()
    assert {id(p) for p in encoder} <= own
    assert len(encoder) == len(own) if flow.deterministic else len(encoder) < len(own)


@over_examples
def test_wrong_sizes_are_refused(flow: ConditionalFlow) -> None:
    lr = lr_image(flow, 2, 2)
    cond = flow.condition(lr)
    with pytest.raises(SizeError, match="needs"):
        flow.condition(lr[:, :0])
    if not flow.deterministic:
        with pytest.raises(SizeError, match="needs"):
            flow.encode(torch.zeros(1, flow.channels, 3, 50), cond)
    with pytest.raises(SizeError, match="finest first"):
        flow.make_latents([torch.zeros(1, 1, 1, 1)], cond)
    with pytest.raises(SizeError, match="Loop over the batch"):
        flow.sample(flow.condition(lr.expand(2, -1, -1, -1)))
    with pytest.raises(OptionError, match="was asked for; this model has"):
        flow.sample(cond, scale=2.71 if flow.scale_range is None else 0.9)
    if flow.multiple_of > 1:
        with pytest.raises(SizeError, match="multiples of"):
            flow.condition(lr[..., 1:])
