"""LINF: local implicit normalizing flow, any real scale by one network.

The residual of the HR image over its bilinear interpolation is cut into patches (one
pixel, or 3 x 3). Each is mapped to white latents by a small flow of linear layers, each
followed by a scale and a shift per value, which an implicit network predicts from the
LR features around the patch, its position between LR pixels, and the size of a pixel.
Patches are independent of each other. Published weights are read by
`models.linf_published`.

References
----------
Boosting Flow-based Generative Super-Resolution Models via Learned Prior (Tsao et al.,
2024), arXiv:2403.10988, section 3.2 (eq. 3), which restates Local Implicit Normalizing
Flow for Arbitrary-Scale Image Super-Resolution (Yao et al., 2023), arXiv:2303.05156;
Local Texture Estimator (Lee and Jin, 2022), arXiv:2111.08918 (Fourier features).
"""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.flow import ConditionalFlow, Encoded
from napari_flowsr.core.implicit import (
    QueryGrid,
    bilinear,
    centres,
    mirrored,
    neighbours,
)
from napari_flowsr.core.latents import LatentLevel, Latents, LatentSpec, Place
from napari_flowsr.core.local_flow import ImplicitNet, LocalFlow
from napari_flowsr.core.transforms.base import sum_per_image
from napari_flowsr.errors import OptionError, SizeError
from napari_flowsr.models.linf_config import LINFConfig, make_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_flowsr.core.implicit import Axis

__all__ = ["CONFIG", "FLOW", "LINF", "LINFConfig", "example_configs"]


class LINF(ConditionalFlow):
    """Local implicit normalizing flow on one of four encoders."""

    family: ClassVar[str] = "linf"
    queries_at_once: ClassVar[int] = 1 << 14
    """Bounds the memory of the implicit network."""
    table_bytes: ClassVar[int] = 1 << 28
    """Scales and shifts of an image are kept up to this size, else computed again."""

    def __init__(self, config: LINFConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.scales, self.scale_range = config.scales, config.scale_range
        c, hidden = config, config.hidden
        is_padded = c.encoder == "swinir" and not c.window
        self.multiple_of = c.window_size if is_padded else 1
        self.needs_whole = c.grid == "published" and bool(c.window or c.patch > 1)
        self.encoder = make_encoder(config)
        self.coef = nn.Conv2d(c.width, hidden, 3, padding=1)
        self.freq = nn.Conv2d(c.width, hidden, 3, padding=1)
        values = c.channels * c.patch**2
        self.implicit = ImplicitNet(hidden, 2 * values * c.flow_layers, c.mlp_layers)
        self.flow = LocalFlow(values, c.flow_layers, c.bound)
        # Features one pixel around a query, a patch that reaches one HR pixel further,
        # the convolution of the features, and the rounding of a window's HR box.
        self.receptive_field = self.encoder.reach + 3 + (c.patch > 1)

    @property
    def alignment(self) -> int:
        """Attention windows lie on an absolute grid."""
        return self.config.window_size if self.config.encoder == "swinir" else 1

    # --- sizes ----------------------------------------------------------------

    def _frame(self, side: int) -> int:
        """LR side that the features cover: padded as in the published evaluation."""
        w = self.config.window
        return (side // w + 1) * w if w else side

    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        """One level, a cell for each patch; the default scale is ``scales[0]``."""
        return self.window_spec(Place.all_of(lr_size), scale)

    def window_spec(self, place: Place, scale: float | None = None) -> LatentSpec:
        """All patches that touch the window's HR pixels, and the pixels of these."""
        if scale is None:
            scale = self.scales[0] if place.scale is None else place.scale
        self.check_scale(scale)
        if self.needs_whole and not place.is_whole:
            raise OptionError(
                "A crop was given to a network on the published grid, which takes the "
                "whole image at once (its last row may come from the image's centre). "
                'Load it with assume={"grid": "corrected"}.'
            )
        patch, window = self.config.patch, place.window
        top, rows, bottom = self._span(window.y, window.height, place.whole[0], scale)
        left, columns, right = self._span(window.x, window.width, place.whole[1], scale)
        rate = Fraction(scale).limit_denominator(1000) / patch
        values = self.config.channels * patch**2
        return LatentSpec(
            (LatentLevel(values, rows, columns, rate, (top, left), patch),),
            (window.height, window.width),
            (bottom - top * patch, right - left * patch),
            scale,
            replace(place, scale=scale),
            (top * patch, left * patch),
        )

    def _span(
        self, at: int, size: int, whole: int, scale: float
    ) -> tuple[int, int, int]:
        """First patch of LR rows (or columns), number of patches, end of the HR box."""
        patch, total = self.config.patch, round(whole * scale)
        start = round(at * scale) // patch
        if self.config.grid == "published":
            stop = round(self._frame(whole) * scale) // patch + (patch > 1)
        else:
            stop = -(-round((at + size) * scale) // patch)
        return start, stop - start, min(stop * patch, total)

    # --- condition --------------------------------------------------------------

    def condition(self, lr: Tensor) -> Condition:
        """Encode ``lr`` into amplitudes and frequencies of the Fourier features."""
        self.check_lr(lr)
        features = self.features(lr)
        # Queries gather whole pixels: channels go last.
        maps = (net(features).permute(0, 2, 3, 1) for net in (self.coef, self.freq))
        return Condition(lr, tuple(m.contiguous() for m in maps))

    def features(self, lr: Tensor) -> Tensor:
        """The encoder's ``(B, width, h, w)``; more where the network pads its input."""
        x = 2 * lr - 1
        if self.config.window:
            h, w = int(lr.shape[-2]), int(lr.shape[-1])
            x = x[..., mirrored(h, self._frame(h)), :]
            x = x[..., mirrored(w, self._frame(w))]
        found = self.encoder(x)
        features: Tensor = found[0] if isinstance(found, tuple) else found
        return features

    # --- the implicit network -------------------------------------------------------

    def grid(self, spec: LatentSpec, cond: Condition) -> QueryGrid:
        """Neighbours of all patches of a spec, and the size of an HR pixel."""
        place, scale = spec.place, spec.scale
        if place is None or scale is None or spec.lr_size != cond.lr_size:
            raise SizeError(
                f"Latents for an LR image of {spec.lr_size} do not fit a condition of "
                f"{cond.lr_size}. Make them with make_latents or window_spec."
            )
        level, cell = spec.levels[0], []
        axes: list[Axis] = []
        outside: list[Axis] = []
        for i, start in enumerate((place.window.y, place.window.x)):
            whole, size = place.whole[i], int(cond.features[0].shape[1 + i])
            frame = self._frame(whole)
            numbers = torch.arange(level.shape[1 + i]) + level.start[i]
            for found, points in (
                (axes, self._centres(numbers, whole, scale)),
                (outside, torch.zeros(1)),
            ):
                axis = neighbours(points, frame)
                found.append(axis.within(start, size, cond.lr.device))
            pixel = 2 / round(whole * scale) * max(scale / self.config.scale_max, 1)
            cell.append(pixel * frame)
        is_full = (axes[0].count, axes[1].count) == level.shape[1:]
        return QueryGrid(
            axes[0],
            axes[1],
            (level.height, level.width),
            torch.tensor(cell),
            None if is_full else (outside[0], outside[1]),
        )

    def _centres(self, numbers: Tensor, whole: int, scale: float) -> Tensor:
        """Coordinates of the centres of patches, in the frame of the features."""
        total, frame = round(whole * scale), self._frame(whole)
        middle = numbers * self.config.patch + self.config.patch // 2
        if self.config.grid == "published":
            padded = round(frame * scale)
            return centres(middle[middle < padded], 1 / padded)
        # The step is exactly 1 / (scale * frame) at whole scales. A patch whose centre
        # is beyond the image is queried at the last pixel.
        return centres(middle.clamp(max=total - 1), whole / (total * frame))

    def _rows(self, cond: Condition, grid: QueryGrid, part: slice) -> Tensor:
        """Scales and shifts ``(B, rows, columns, L, 2, D)`` of some rows of a grid."""
        y = grid.y[part]
        raw = self.implicit(*cond.features, y, grid.x, grid.cell)
        if grid.outside is not None:
            # The published grid: coordinate (0, 0), the centre of the image.
            columns, rows = grid.size[1], part.stop - part.start
            at_centre = self.implicit(*cond.features, *grid.outside, grid.cell)
            b, _, _, n = raw.shape
            right = at_centre.expand(b, y.count, columns - grid.x.count, n)
            below = at_centre.expand(b, rows - y.count, columns, n)
            raw = torch.cat((torch.cat((raw, right), 2), below), 1)
        return self.flow.parameters_from(raw)

    def _tables(
        self, cond: Condition, spec: LatentSpec
    ) -> Iterator[tuple[slice, Tensor]]:
        """Rows of the latents with their scales and shifts, a few at a time."""
        self.prepare(cond, spec)
        kept = cond.memo.get(spec) if not torch.is_grad_enabled() else None
        for part in self._parts(spec):
            if kept is not None:
                yield part, kept[0][:, part]
            else:
                yield part, self._rows(cond, self.grid(spec, cond), part)

    def _parts(self, spec: LatentSpec) -> list[slice]:
        _, rows, columns = spec.levels[0].shape
        step = max(1, self.queries_at_once // columns)
        return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]

    def prepare(self, cond: Condition, spec: LatentSpec) -> Condition:
        """Keep all scales and shifts with ``cond``: they are the same for all samples.

        Not while gradients are recorded, nor beyond `table_bytes`.
        """
        values = cond.lr.shape[0] * spec.dimensions * 2 * self.config.flow_layers
        fits = values * cond.lr.element_size() <= self.table_bytes
        if spec not in cond.memo and fits and not torch.is_grad_enabled():
            grid = self.grid(spec, cond)
            parts = [self._rows(cond, grid, part) for part in self._parts(spec)]
            # One size at a time: the last.
            cond.memo.clear()
            cond.memo[spec] = (torch.cat(parts, 1),)
        return cond

    # --- both directions ------------------------------------------------------------

    def _interpolated(self, cond: Condition, spec: LatentSpec) -> Tensor:
        """Bilinear interpolation of the LR image on the HR box of a spec."""
        out, place, scale = cond.lr, spec.place, spec.scale
        if place is None or scale is None:
            raise TypeError("The spec of a LINF network is always placed.")
        for i, start in enumerate((place.window.y, place.window.x)):
            whole = place.whole[i]
            rate = whole / round(whole * scale)
            if self.config.grid == "published":
                frame = self._frame(whole)
                rate = frame / round(frame * scale)
            numbers = torch.arange(spec.hr_size[i]) + spec.hr_start[i]
            before, after, share = bilinear(numbers, rate, whole)
            last = spec.lr_size[i] - 1
            a, b = (
                out.index_select(2 + i, (n - start).clamp(0, last).to(out.device))
                for n in (before, after)
            )
            share = share.to(out.device, out.dtype)
            out = torch.lerp(a, b, share[:, None] if i == 0 else share)
        return out

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        """Map latents to an HR image, or to the HR box of a crop."""
        spec = latents.spec
        z = latents.levels[0].permute(0, 2, 3, 1)
        parts = [
            self.flow.inverse(z[:, part], table)
            for part, table in self._tables(cond, spec)
        ]
        patches = torch.cat(parts, 1).permute(0, 3, 1, 2)
        residual = F.pixel_shuffle(patches, self.config.patch)
        residual = residual[..., : spec.hr_size[0], : spec.hr_size[1]]
        unit: float = self.config.residual_scale
        return self._interpolated(cond, spec) + unit * residual

    def _encoded(
        self, hr: Tensor, cond: Condition
    ) -> tuple[Tensor, Tensor, LatentSpec]:
        """Latents ``(B, D, rows, columns)``, log-determinant of each patch, spec."""
        spec = self.spec_for(hr, cond)
        patch, (_, rows, columns) = self.config.patch, spec.levels[0].shape
        residual = (hr - self._interpolated(cond, spec)) / self.config.residual_scale
        bottom = rows * patch - spec.hr_size[0]
        right = columns * patch - spec.hr_size[1]
        # Pixels of a patch beyond the image count as 0, as in the training.
        padded = F.pad(residual, (0, right, 0, bottom))
        x = F.pixel_unshuffle(padded, patch).permute(0, 2, 3, 1)
        pairs = [
            self.flow(x[:, part], table) for part, table in self._tables(cond, spec)
        ]
        z, logdet = (torch.cat(parts, 1) for parts in zip(*pairs, strict=True))
        return z.permute(0, 3, 1, 2), logdet, spec

    def patch_log_prob(self, hr: Tensor, cond: Condition) -> Tensor:
        """Log-density of each patch in the flow's units, ``(B, rows, cols)``.

        These are `LINFConfig.residual_scale` of HR units: published networks
        see residuals in [-1, 1].

        The published value per query; patches beyond the image are included on the
        published grid.
        """
        z, logdet, _ = self._encoded(hr, cond)
        return logdet - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    def log_prob_per_value(self, hr: Tensor, cond: Condition) -> Tensor:
        """Mean log-density of a value in whole patches, ``(B,)``, nats.

        A patch that reaches beyond the image has zeros there, whose density has no
        bound: a network that can tell where the image ends would learn little else.
        """
        rows, columns = (int(side) // self.config.patch for side in hr.shape[-2:])
        if not (rows and columns):
            raise SizeError(
                f"HR tensor has shape {tuple(hr.shape)}, less than a patch of this "
                f"model, {self.config.patch} pixels. Train on larger patches."
            )
        whole = self.patch_log_prob(hr, cond)[:, :rows, :columns].mean((1, 2))
        return whole / self.flow.size - math.log(self.config.residual_scale)

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        """Map ``hr`` to latents.

        ``logdet`` is such that ``log p(hr | lr)`` sums over the patches that have a
        pixel in the image. On the published grid there are more, which it takes away.
        """
        z, logdet, spec = self._encoded(hr, cond)
        rows, columns = (-(-side // self.config.patch) for side in spec.hr_size)
        total = sum_per_image(logdet[:, :rows, :columns])
        normal = 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
        total = total + sum_per_image(normal)
        total = total - sum_per_image(normal[:, :rows, :columns])
        total = total - hr[0].numel() * math.log(self.config.residual_scale)
        return Encoded(Latents((z,), spec), total, cond.lr)


CONFIG = LINFConfig
FLOW = LINF


def example_configs() -> tuple[LINFConfig, ...]:
    """Tiny configurations of odd sizes, for the contract suite."""
    tiny = LINFConfig(scale=2.0, width=5, blocks=1, hidden=6, mlp_layers=1)
    return (
        replace(tiny, flow_layers=2),
        replace(
            tiny,
            scale=3.0,
            encoder="wdsr",
            expansion=2,
            patch=3,
            flow_layers=1,
            residual_scale=0.1,
            bound=0.75,
        ),
        replace(tiny, scale=3.0, encoder="rrdb", patch=3, growth=3, flow_layers=1),
        replace(
            tiny, scale=2.0, encoder="rdn", growth=3, convolutions=2, flow_layers=1
        ),
        replace(
            tiny,
            channels=1,
            encoder="swinir",
            embed=4,
            depths=(2,),
            heads=(2,),
            window_size=2,
            window=2,
            flow_layers=2,
        ),
    )
