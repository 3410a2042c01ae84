"""Convolutions of a run are in the fast layout, also after a grey image."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

import napari_flowsr as flowsr
from napari_flowsr.core import allocator
from napari_flowsr.core.layout import laid_out
from napari_flowsr.inference.bound import flow_on
from napari_flowsr.io.checkpoint import read_model, save_model

LAST = torch.channels_last


def _slow(monkeypatch) -> list[tuple[int, ...]]:
    """Inputs of convolutions that have to be turned, or are not in the layout."""
    found, real = [], F.conv2d

    def conv2d(x, weight, *args, **kwargs):
        out = real(x, weight, *args, **kwargs)
        if not out.is_contiguous(memory_format=LAST):
            found.append(tuple(x.shape))
        return out

    monkeypatch.setattr(F, "conv2d", conv2d)
    return found


def test_a_grey_image(tmp_path, monkeypatch, make_compact) -> None:
    path = tmp_path / "grey.safetensors"
    made = make_compact()
    save_model(path, made.flow, made.card)
    model = read_model(path)
    slow = _slow(monkeypatch)
    image = np.random.default_rng(0).random((20, 24))
    flowsr.posterior(image, model, axes="YX", device="cpu").sample(2)
    assert slow == []


def test_values_stay(make_compact) -> None:
    flow = make_compact().flow
    before = {k: v.clone() for k, v in flow.state_dict().items()}
    laid_out(flow)
    for key, value in flow.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_copy_in_eval_mode_is_laid_out(make_compact) -> None:
    flow = make_compact().flow.train()
    copied = flow_on(flow, torch.device("cpu"))
    assert copied is not flow
    for kernel in (p for p in copied.parameters() if p.ndim == 4):
        assert kernel.is_contiguous(memory_format=LAST)


def test_a_run_that_is_dropped_half_way_gives_memory_back(
    monkeypatch, make_compact, image
) -> None:
    told: list[str] = []

    class Library:
        def mallopt(self, what: int, value: int) -> int:
            told.append("set")
            return 1

        def malloc_trim(self, pad: int) -> int:
            told.append("trimmed")
            return 1

    monkeypatch.setattr(allocator, "_glibc", Library)
    events = flowsr.posterior(image, make_compact(), axes="YX", device="cpu").stream(2)
    next(events)
    assert told
    assert "trimmed" not in told
    events.close()
    assert told[-1] == "trimmed"
