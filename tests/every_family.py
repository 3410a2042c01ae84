"""All families with their tiny examples, for tests of the inference engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.models import _registry
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior


def as_model(flow: ConditionalFlow, **card: Any) -> Model:
    facts = {
        "name": "test",
        "family": flow.family,
        "scales": flow.scales,
        "channels": flow.channels,
        "sha256": "0" * 64,
        **card,
    }
    return Model(ModelCard(**facts), flow.eval())


@dataclass(frozen=True)
class Case:
    """A configuration of a family, at the scale that it is tested with."""

    family: str
    config: Any
    scale: float

    def model(self, **card: Any) -> Model:
        """Untrained, but away from its start, where zero layers would hide mistakes."""
        torch.manual_seed(0)
        flow = _registry.build(self.family, self.config).eval()
        with torch.no_grad():
            for parameter in flow.parameters():
                if not parameter.any():
                    parameter.normal_(0, 0.02)
            for name, buffer in flow.named_buffers():
                if name.endswith("initialized"):
                    buffer.fill_(True)
        return as_model(flow, **card)

    def with_prior(self) -> Model:
        """The model with an untrained learned prior of the kind that fits it."""
        model = self.model()
        flow = model.flow
        side = 2 * flow.multiple_of
        levels = tuple(shape[0] for shape in flow.latent_spec((side, side)).shapes)
        kind = "patch" if self.family == "linf" else "pyramid"
        config = LearnedPriorConfig(
            kind=kind,
            level_channels=levels,
            dim=4,
            depth=2,
            channels=flow.channels,
            stride=2,
        )
        torch.manual_seed(1)
        flow.attach_prior(build_prior(config))
        facts = {"name": "tiny-lp", "sha256": "1" * 64}
        return replace(model, card=model.card.with_(prior=facts))

    def strip(self, tile: int) -> np.ndarray:
        """Image of odd sides, so long that a tile's halo does not reach both ends."""
        halo = self.model().flow.halo
        y, x = np.mgrid[:7, : 2 * halo + 2 * tile + 5].astype(np.float32)
        noise = np.random.default_rng(0).normal(size=y.shape)
        return (10 + 3 * np.sin(x / 5) * np.cos(y / 7) + 0.3 * noise).astype(np.float32)


def cases() -> list[Any]:
    """Every family with each of its examples, those of any scale at 3.3."""
    found = []
    for family in _registry.families():
        for number, config in enumerate(_registry.example_configs(family)):
            flow = _registry.build(family, config)
            scale = flow.scales[0] if flow.scale_range is None else 3.3
            found.append((f"{family}-{number}", Case(family, config, scale)))
    # Networks that take no crops, at a size whose last patch is the image's centre.
    whole = replace(_registry.example_configs("linf")[1], grid="published")
    found.append(("linf-published", Case("linf", whole, 3.3)))
    return [pytest.param(case, id=name) for name, case in found]


CASES = cases()
# What has no latents and no density has none to test.
FLOWS = [c for c in CASES if not c.values[0].model().flow.deterministic]
TILED = [c for c in CASES if not c.values[0].model().flow.needs_whole]
over_every_family = pytest.mark.parametrize("case", CASES)
# SRFlow-LP standardises over the channels of a level, of which `l1-0` has one.
WITH_PRIOR = [c for c in FLOWS if c.id != "l1-0"]
over_every_flow = pytest.mark.parametrize("case", FLOWS)
over_every_tiled_family = pytest.mark.parametrize("case", TILED)
over_every_prior = pytest.mark.parametrize("case", WITH_PRIOR)
