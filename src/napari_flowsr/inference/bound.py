"""What is bound together once: image, model, options, and the plan of a run."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.core.layout import laid_out
from napari_flowsr.errors import ImageError
from napari_flowsr.inference.drawing import Drawing, LearnedPrior, Samples
from napari_flowsr.inference.intensity import Intensities
from napari_flowsr.inference.maps import FieldMap
from napari_flowsr.inference.memory import Budget, plan_budget
from napari_flowsr.inference.options import Options
from napari_flowsr.inference.seam import alignment, find_halo, worth_measuring
from napari_flowsr.inference.setup import ConditionCache, Limits, Setup
from napari_flowsr.inference.tiles import TilePlan, padded_size
from napari_flowsr.inference.units import Unit, Workload
from napari_flowsr.models.card import ModelCard

if TYPE_CHECKING:
    from napari_flowsr.inference.axes import Geometry
    from napari_flowsr.inference.source import Source

__all__ = ["Bound", "flow_on"]


def flow_on(flow: ConditionalFlow, device: torch.device) -> ConditionalFlow:
    """Return the flow on ``device`` in eval mode: itself, or a copy if it is not so."""
    own = flow.device
    same = (own.type, own.index or 0) == (device.type, device.index or 0)
    if same and not flow.training:
        return flow
    return laid_out(copy.deepcopy(flow).to(device).eval())


@dataclass(frozen=True)
class Bound:
    """Image, model and options, checked.

    Parameters
    ----------
    card : ModelCard
        Of the model.
    flow : ConditionalFlow
        On the device to compute on.
    intensities : Intensities
        The image and its ranges.
    temperature : FieldMap
        Of the latents.
    options : Options
        The rest.
    """

    card: ModelCard
    flow: ConditionalFlow
    intensities: Intensities
    temperature: FieldMap
    options: Options

    @property
    def geometry(self) -> Geometry:
        """Axes, scale and shapes."""
        return self.intensities.source.geometry

    @property
    def workload(self) -> Workload:
        """Units of the image."""
        return Workload(self.intensities, self.flow.channels)

    @property
    def waits_for_seam(self) -> bool:
        """Whether the next `setup` with ``parts`` measures the halo, for seconds."""
        size = padded_size(self.geometry.lr_size, self.flow.multiple_of)
        return worth_measuring(self.flow, size, self.geometry.scale)

    def setup(self, samples: int, *, keep: bool = False, parts: bool = False) -> Setup:
        """Plan tiles and batches from the memory that is free now.

        Parameters
        ----------
        samples : int
            That will be drawn.
        keep : bool
            All samples of a tile are held at once (for quantiles).
        parts : bool
            Parts of a plane will be computed alone, even if it is one tile.
        """
        flow, options = self.flow, self.options
        drawing: Drawing = LearnedPrior() if options.prior == "learned" else Samples()
        single = drawing.is_single or flow.deterministic
        planned = 1 if single else samples, samples if keep else 0
        budget, plan = self._plan(*planned)
        if len(plan) > 1 or (parts and self.waits_for_seam):
            find_halo(flow, self.geometry.scale)
            if plan.halo != flow.halo_at(self.geometry.scale):
                budget, plan = self._plan(*planned)
        return Setup(
            flow=flow,
            workload=self.workload,
            plan=plan,
            seed=options.seed,
            shared_noise=options.noise == "shared",
            first_plane=options.first_plane,
            temperature=self.temperature,
            limits=Limits(budget.batch),
            cache=ConditionCache(budget.condition_bytes),
            peak_bytes=budget.peak_bytes,
            drawing=drawing,
            precision=options.precision,
        )

    def _plan(self, samples: int, keep: int) -> tuple[Budget, TilePlan]:
        flow, scale = self.flow, self.geometry.scale
        size = padded_size(self.geometry.lr_size, flow.multiple_of)
        halo = 0 if flow.needs_whole else flow.halo_at(scale)
        budget = plan_budget(
            flow,
            size,
            scale=scale,
            halo=halo,
            tile=None if flow.needs_whole else self.options.tile,
            samples=samples,
            keep=keep,
        )
        align = alignment(flow, size, scale)
        crops = flow.condition_reach is not None
        own = min(flow.latent_reach, halo) if crops else None
        plan = TilePlan(size, budget.tile, halo, align, flow.needs_whole, own)
        return budget, plan

    def facts(self) -> dict[str, Any]:
        """Options as they were resolved, for the provenance."""
        options = self.options
        return {
            "seed": options.seed,
            "scale": self.geometry.scale,
            "axes": self.geometry.axes,
            "prior": options.prior,
            **self._prior_facts(),
            "noise": options.noise,
            "consistent": options.consistent,
            "tile": options.tile,
            "nan": options.nan,
            "precision": options.precision,
            "assume": dict(self.card.assumed) or None,
        }

    def _prior_facts(self) -> dict[str, Any]:
        """Which learned prior was used, if one was."""
        if self.options.prior != "learned":
            return {}
        told = self.card.prior
        return {f"prior_{key}": told.get(key, "") for key in ("name", "sha256")}

    def hr_source(self, hr: Any, name: str = "hr") -> Source:
        """Check the shape and dtype of an HR array."""
        return self.intensities.source.upscaled(hr, name)

    def normalised_hr(
        self, source: Source, unit: Unit, name: str = "hr"
    ) -> torch.Tensor:
        """HR pixels ``(components, H, W)`` of a unit, network units, all finite."""
        values = self.workload.normalised_of(source.plane(unit.plane), unit)
        if not bool(torch.isfinite(values).all()):
            raise ImageError(
                f"{name} has NaN or infinite pixels in plane {unit.plane}; give them "
                "a value first."
            )
        return values
