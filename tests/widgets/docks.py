"""What tests of docks share: waiting for runs, and a gate in a model's decode."""

from __future__ import annotations

import threading

import numpy as np
import torch

from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.models._registry import build
from napari_flowsr.models.card import ModelCard
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior

WAIT = 60_000  # ms; the machine may be busy


class Gate:
    """Stands in a model's decode: counts, and lets through when told to."""

    def __init__(self, flow, monkeypatch, free=0):
        self.calls, self.free, self._decode = 0, free, flow.decode
        self._open = threading.Event()
        monkeypatch.setattr(flow, "decode", self, raising=True)

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls > self.free:
            self._open.wait(60)
        return self._decode(*args, **kwargs)

    def open(self):
        self._open.set()


def prepare(widget, model):
    widget.session.model = model
    widget.session.samples = 2
    widget.session.device = "cpu"
    return widget


def finish(qtbot, widget):
    qtbot.waitUntil(lambda: not widget.is_running, timeout=WAIT)


def run(qtbot, widget):
    widget.run()
    finish(qtbot, widget)
    return widget.outputs()


def edges(layer):
    """World positions of the outer corners, Y and X."""
    size = np.array(layer.data.shape[-2:])
    zero = np.zeros(layer.ndim - 2)
    return [
        np.array(layer.data_to_world((*zero, *corner)))[-2:]
        for corner in ((-0.5, -0.5), size - 0.5)
    ]


def prior_file(folder, name="lp"):
    """A learned prior of LINF-LP, untrained, as published: states no licence."""
    config = LearnedPriorConfig("patch", level_channels=(27,), dim=4, depth=1)
    state = {
        key.removeprefix("generator."): value
        for key, value in build_prior(config).state_dict().items()
    }
    path = folder / f"{name}.pth"
    torch.save({"prior_model": {"name": "unet", "sd": state}}, path)
    return path


def tiny_file(folder, name="own"):
    """A model file of ours whose card states no licence."""
    flow = build("compact", {"width": 4, "blocks": 1, "steps": 1, "hidden": 4})
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.safetensors"
    save_model(path, flow, ModelCard(name, "compact", (2.0,), 1))
    return path
