"""A tiny model, untrained and seeded, and images for it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import napari.settings
import numpy as np
import pytest
import torch

from every_family import CASES
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.models.compact import Compact, CompactConfig
from napari_flowsr.widgets import _preferences


def tiny(scale: int = 2, channels: int = 1, name: str = "tiny") -> Model:
    """A compact flow whose zero-initialised layers are random."""
    torch.manual_seed(3)
    flow = Compact(
        CompactConfig(
            scale=scale, channels=channels, width=4, blocks=1, steps=1, hidden=4
        )
    )
    with torch.no_grad():
        for parameter in flow.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1)
    card = ModelCard(
        name=name,
        family=flow.family,
        scales=flow.scales,
        channels=flow.channels,
        sha256="0" * 64,
    )
    return Model(card, flow.eval())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Collect a viewer in this thread once its test is over.

    If a worker's thread happened to collect it, its OpenGL context would go while it is
    the main thread's current one, and the next window to be destroyed would ask it.
    """
    done = yield
    if "make_napari_viewer" in getattr(item, "fixturenames", ()):
        gc.collect()
    return done


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tensors are tiny here: threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _brush_of_no_other_test(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Docks keep their brush for next time: here only where that is what is tested."""
    if "plugin_settings" not in request.fixturenames:
        monkeypatch.setattr(_preferences, "keep_brush", lambda *_: None)


if not hasattr(napari.settings, "get_plugin_settings"):

    @pytest.fixture
    def plugin_settings() -> None:
        """Stand in for napari's fixture where napari has no pages for plugins."""
        pytest.skip("napari before 0.9 has no preferences of plugins")


@pytest.fixture
def make_tiny() -> Callable[..., Model]:
    return tiny


@pytest.fixture
def any_scale() -> Model:
    """One channel, any scale from 1 to 32."""
    (case,) = next(c.values for c in CASES if c.id == "linf-3")
    return case.model(name="anyscale", scale_range=(1.0, 32.0))


@pytest.fixture
def with_prior() -> Model:
    """One channel, 2x, with a learned prior."""
    (case,) = next(c.values for c in CASES if c.id == "srflow-2")
    return case.with_prior()


@pytest.fixture
def model() -> Model:
    """One channel, 2x."""
    return tiny()


@pytest.fixture
def image() -> np.ndarray:
    """Odd sides, uint8, smooth with some texture."""
    y, x = np.mgrid[:17, :20]
    noise = np.random.default_rng(0).normal(size=y.shape)
    return (120 + 60 * np.sin(y / 3) * np.cos(x / 4) + 3 * noise).astype(np.uint8)
