"""Cancelling amid a tile: of every family, and of nothing else."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

from every_family import over_every_family, over_every_prior
from napari_flowsr.core.interrupt import interruptible, until_cancelled
from napari_flowsr.errors import Cancelled
from napari_flowsr.inference.posterior import posterior


class Calls:
    """Counts the calls of a network's innermost modules; cancels at one of them."""

    def __init__(self, *networks: nn.Module) -> None:
        self.count, self.last = 0, None
        for network in networks:
            for module in network.modules():
                if not list(module.children()):
                    module.register_forward_pre_hook(self._count)

    def _count(self, *_) -> None:
        self.count += 1

    def cancelled(self) -> bool:
        return self.last is not None and self.count >= self.last


def check_stops(post, calls) -> None:
    """One tile of two samples: one event, which cancelling does not wait for."""
    options = {"outputs": ("samples",), "preview": False}
    *_, last = post.stream(2, cancelled=calls.cancelled, **options)
    whole, calls.count = calls.count, 0
    assert whole > 2
    calls.last = whole // 2
    events = post.stream(2, cancelled=calls.cancelled, **options)
    with pytest.raises(Cancelled):
        list(events)
    assert calls.count == calls.last
    # The network is as it was.
    calls.last = None
    np.testing.assert_array_equal(post.sample(2), last.result.samples)


@over_every_family
def test_cancelling_does_not_wait_for_the_tile(case) -> None:
    model = case.model()
    post = posterior(case.strip(2)[:, :12], model, tile=None, scale=case.scale)
    check_stops(post, Calls(model.flow))


@over_every_prior
def test_cancelling_does_not_wait_for_a_learned_prior(case) -> None:
    model = case.with_prior()
    image = case.strip(2)[:, :12]
    post = posterior(image, model, tile=None, scale=case.scale, prior="learned")
    check_stops(post, Calls(model.flow, model.flow.latent_module))


@over_every_family
def test_cancelling_does_not_wait_for_a_decode(case, monkeypatch) -> None:
    """Nor where what samples share was prepared, and decoding calls no modules."""
    model, begun, ended = case.model(), [], []
    if not model.flow.programs():
        return  # what is prepared leaves one step to a decode
    decode = model.flow.decode

    def watched(*args):
        begun.append(1)
        out = decode(*args)
        ended.append(1)
        return out

    monkeypatch.setattr(model.flow, "decode", watched)
    post = posterior(case.strip(2)[:, :12], model, tile=None, scale=case.scale)
    with pytest.raises(Cancelled):
        list(post.stream(2, cancelled=lambda: bool(begun), preview=False))
    assert (len(begun), len(ended)) == (1, 0)


def test_networks_of_other_threads_go_on() -> None:
    layer, done = nn.Linear(1, 1), []

    def elsewhere() -> None:
        done.append(layer(torch.zeros(1, 1)))

    with interruptible(lambda: True):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with pytest.raises(Cancelled):
            layer(torch.zeros(1, 1))
    assert len(done) == 1
    layer(torch.zeros(1, 1))


def test_nothing_is_watched_between_events_and_the_source_is_closed() -> None:
    layer, told, closed = nn.Linear(1, 1), threading.Event(), []

    def source():
        try:
            yield from range(3)
        finally:
            closed.append(True)

    events = until_cancelled(source(), told.is_set)
    assert next(events) == 0
    told.set()
    layer(torch.zeros(1, 1))
    with pytest.raises(Cancelled):
        next(events)
    assert closed == [True]
    told.clear()
    assert list(until_cancelled([1, 2], told.is_set)) == [1, 2]
