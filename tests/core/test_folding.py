"""Decoding taken apart: what is kept must follow the network, and enlarged maps."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from napari_flowsr.core.features import StackedFeatures
from napari_flowsr.core.folding import fold, folded_once
from napari_flowsr.core.scales import tanh_scale
from napari_flowsr.core.step import conditional_step, transition_step
from napari_flowsr.core.transforms.base import Compose


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (4, 5)])
def test_an_enlarged_map_is_convolved_at_its_own_size(size, layout):
    torch.manual_seed(0)
    h, w = size
    own = torch.randn(2, 3, 2 * h, 2 * w, dtype=torch.float64)
    low = torch.randn(2, 4, h, w, dtype=torch.float64)
    whole = torch.cat((own, F.interpolate(low, scale_factor=2, mode="nearest")), 1)
    whole = whole.contiguous(memory_format=layout)
    weight = torch.randn(5, 7, 3, 3, dtype=torch.float64)
    bias = torch.randn(5, dtype=torch.float64)
    found = StackedFeatures.of(whole, 3)
    assert torch.equal(found.whole(), whole)
    assert found.low.shape == low.shape
    expected = F.conv2d(whole, weight, bias, padding=1)
    assert (found.convolved(weight, bias) - expected).abs().max() < 1e-12


def _flow() -> Compose:
    torch.manual_seed(0)
    scale = partial(tanh_scale, bound=0.5)
    flow = Compose(
        [
            transition_step(6),
            transition_step(6, rotation=True),
            conditional_step(6, 3, hidden=5, log_scale=scale, bound=2.0),
            conditional_step(6, 3, hidden=5, log_scale=scale, injector_last=True),
        ]
    )
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return flow.double().eval()


@torch.no_grad()
def test_linear_steps_in_a_row_are_one_matrix():
    flow = _flow()
    program = fold(flow, 6)
    names = [type(step).__name__ for step in program.steps]
    assert names == ["_Affine", "_Couple", "_Linear", "_Couple", "_Affine", "_Linear"]
    z, u = torch.randn(2, 6, 4, 4).double(), torch.randn(1, 3, 4, 4).double()
    ready = program.ready(u)
    assert len(ready) == program.tensors
    assert sum(t.nbytes for t in ready) == program.bytes_for(u)
    assert (program.decode(z, ready) - flow.inverse(z, u)[0]).abs().max() < 1e-13


@torch.no_grad()
def test_what_is_kept_follows_the_network():
    flow = _flow()
    made = []

    def make():
        made.append(fold(flow, 6))
        return made[-1]

    assert folded_once(flow, make) is folded_once(flow, make)
    z, u = torch.randn(2, 6, 4, 4).double(), torch.randn(1, 3, 4, 4).double()
    for change in (
        lambda: next(flow.parameters()).mul_(1.5),
        lambda: flow.load_state_dict(_flow().state_dict()),
        lambda: flow.float(),
    ):
        change()
        dtype = next(flow.parameters()).dtype
        program = folded_once(flow, make)
        assert program is made[-1]
        a, b = z.to(dtype), u.to(dtype)
        expected = flow.inverse(a, b)[0]
        got = program.decode(a, program.ready(b))
        assert got.dtype == dtype
        assert torch.allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert len(made) == 4
    assert not [name for name, _ in flow.named_modules() if "folded" in name]
