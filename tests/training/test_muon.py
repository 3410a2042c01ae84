"""Muon: steps of hidden layers are orthogonal, the others are Adam's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from napari_flowsr.training.muon import Muon, orthogonalised


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_singular_values_end_near_one(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator) * torch.logspace(0, 1, shape[1])
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert values.min() > 0.4
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    # Its own singular vectors: the product with the nearest orthogonal matrix is large.
    overlap = (orthogonalised(matrix) * (u @ v)).sum() / min(shape)
    assert overlap > 0.7


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 1, 3, padding=1),
    )


def _gradients(net: nn.Module, step: int) -> None:
    net.zero_grad()
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(step))
    (net(x) - x.roll(1, -1)).square().mean().backward()


def test_layers_that_touch_an_image_move_as_with_adam() -> None:
    ours, theirs = _net(), _net()
    muon = Muon(ours.parameters(), lr=1e-3)
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    for step in range(3):
        _gradients(ours, step)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            b.grad = a.grad.clone() if a.grad is not None else None
        muon.step()
        adam.step()
    for name, parameter in ours.named_parameters():
        other = dict(theirs.named_parameters())[name]
        if name == "2.weight":
            assert not torch.allclose(parameter, other, atol=1e-4)
        else:
            torch.testing.assert_close(parameter, other, rtol=0, atol=1e-6)


def test_a_hidden_layers_first_step_is_as_long_as_adams() -> None:
    net = _net()
    before = net[2].weight.detach().clone()
    _gradients(net, 0)
    Muon(net.parameters(), lr=1e-3).step()
    moved = float((net[2].weight.detach() - before).square().mean().sqrt())
    # Adam's first step is the learning rate for each weight; later ones are about 0.2
    # of it, as long as Muon's always are.
    assert moved == pytest.approx(0.2e-3, rel=0.3)


def test_state_restores_the_run() -> None:
    net = _net()
    optimiser = Muon(net.parameters(), lr=1e-3)
    for step in range(2):
        _gradients(net, step)
        optimiser.step()
    twin = copy.deepcopy(net)
    other = Muon(twin.parameters(), lr=1e-3)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    for n, o in ((net, optimiser), (twin, other)):
        _gradients(n, 2)
        o.step()
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)
