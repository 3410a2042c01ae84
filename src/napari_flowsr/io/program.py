"""A model as a program of its own: ``g(lr, latents) -> hr``, without this package.

`torch.export` writes it as ``.pt2``; other programs need torch alone to run it.
Randomness stays outside, as everywhere: who calls it draws the latents, standard normal
times the temperature.
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.io.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.core.condition import Condition
    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.core.latents import LatentSpec
    from napari_flowsr.models.card import Model

__all__ = ["Decoder", "ProgramFacts", "decoder_inputs", "export_program"]
__all__ += ["has_free_size", "latent_rates", "load_program"]

CARD_FILE = "napari-flowsr.json"
"""Name of the extra file inside the ``.pt2`` that says what it is."""
TOLERANCE = 1e-5
"""Largest difference between program and network that counts as none, [0, 1] units."""
_LARGEST_SIDE = 1 << 14


class Decoder(nn.Module):
    """``g(lr, latents) -> hr`` of a network, in [0, 1] units, not clamped.

    Parameters
    ----------
    flow : ConditionalFlow
        In eval mode.
    scale : float, optional
        For a network of any scale, which then has one.
    """

    def __init__(self, flow: ConditionalFlow, scale: float | None = None) -> None:
        super().__init__()
        self.flow = flow
        self.scale = scale

    def forward(self, lr: Tensor, latents: Sequence[Tensor] = ()) -> Tensor:
        """Decode ``lr (B, C, h, w)`` with latents ``(B, C, H, W)``, finest first."""
        if self.flow.deterministic:
            return self.flow.predict(lr)
        cond = self.flow.condition(lr)
        return self.flow.decode(self._latents(latents, cond), cond)

    def _latents(self, levels: Sequence[Tensor], cond: Condition) -> Latents:
        if not has_free_size(self.flow):
            return self.flow.make_latents(levels, cond, self.scale)
        # A check would fix the sizes. What decodes at any size reads tensors only.
        unchecked = object.__new__(Latents)
        for name, value in (("levels", tuple(levels)), ("spec", None), ("lr", None)):
            object.__setattr__(unchecked, name, value)
        return unchecked


def has_free_size(flow: ConditionalFlow) -> bool:
    """Whether a program can take LR images of any size that the network takes.

    A network of any scale computes a table of positions for one size and scale.
    """
    return flow.scale_range is None


def latent_rates(flow: ConditionalFlow) -> tuple[int, ...]:
    """Side of each level's latents for an LR image of ``multiple_of`` pixels."""
    if flow.deterministic:
        return ()
    m = flow.multiple_of
    rates = [level.rate * m for level in flow.latent_spec((m, m)).levels]
    return tuple(math.ceil(rate) for rate in rates)


def decoder_inputs(
    flow: ConditionalFlow,
    size: tuple[int, int],
    *,
    batch: int = 1,
    scale: float | None = None,
    seed: int = 0,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Example input of a `Decoder`: a random LR image and standard normal latents."""
    generator = torch.Generator().manual_seed(seed)
    lr = torch.rand((batch, flow.channels, *size), generator=generator)
    if flow.deterministic:
        return lr, ()
    spec: LatentSpec = flow.latent_spec(size, scale)
    latents = tuple(
        torch.randn((batch, *shape), generator=generator) for shape in spec.shapes
    )
    return lr, latents


@dataclass(frozen=True)
class ProgramFacts:
    """What was written, and how it compared with the network."""

    lr_size: tuple[int, int]
    """Of the example; the only size where sizes are not free."""
    free_sizes: bool
    """Whether the LR image, and with it the latents, can have other sizes."""
    multiple_of: int
    scale: float
    latent_shapes: tuple[tuple[int, ...], ...]
    """For ``lr_size``, without the batch."""
    difference: float
    """Largest, of the reloaded program from the network, over all sizes compared."""

    @property
    def sizes(self) -> str:
        """Which sizes the program takes, for people."""
        batch = "batch of 1"
        if not self.free_sizes:
            h, w = self.lr_size
            return f"{batch}, LR image of {h} × {w} pixels only, scale {self.scale:g}"
        if self.multiple_of == 1:
            return f"{batch}, LR sides of any length from {self._least}"
        return (
            f"{batch}, LR sides any multiples of {self.multiple_of} from {self._least}"
        )

    @property
    def _least(self) -> int:
        return 2 * self.multiple_of


def check_size(flow: ConditionalFlow, size: tuple[int, int]) -> None:
    """Raise `OptionError` unless a program of this LR size can be made."""
    m = flow.multiple_of
    if any(side < 2 * m or side % m or side > _LARGEST_SIDE for side in size):
        raise OptionError(
            f"The size is {size[0]} x {size[1]}; this model needs sides that are "
            f"multiples of {m}, from {2 * m} on. Give such a size."
        )


def _dynamic(flow: ConditionalFlow) -> tuple[Any, Any] | None:
    """Which sizes are free, in torch's terms; None if none is."""
    if not has_free_size(flow):
        return None
    h, w = (
        torch.export.Dim(name, min=2, max=_LARGEST_SIDE // flow.multiple_of)
        for name in ("h", "w")
    )

    def sides(rate: int) -> dict[int, Any]:
        return {2: h if rate == 1 else rate * h, 3: w if rate == 1 else rate * w}

    latents = tuple(sides(rate) for rate in latent_rates(flow))
    return sides(flow.multiple_of), latents


def _compare(
    program: nn.Module, network: Decoder, sizes: Sequence[tuple[int, int]]
) -> float:
    worst = 0.0
    with torch.no_grad():
        for number, size in enumerate(sizes, 1):
            lr, latents = decoder_inputs(
                network.flow, size, scale=network.scale, seed=number
            )
            difference = (program(lr, latents) - network(lr, latents)).abs().max()
            worst = max(worst, float(difference))
    return worst


def comparison_sizes(
    flow: ConditionalFlow, size: tuple[int, int]
) -> list[tuple[int, int]]:
    """Sizes at which a program is compared: its own, and where free two others."""
    if not has_free_size(flow):
        return [size]
    m = flow.multiple_of
    return [size, (3 * m, 2 * m), (size[1] + m, size[0])]


def export_program(
    model: Model,
    target: str | Path,
    *,
    size: tuple[int, int] | None = None,
    scale: float | None = None,
) -> ProgramFacts:
    """Write ``g(lr, latents) -> hr`` as a ``.pt2``, reload it, and compare.

    Parameters
    ----------
    model : Model
        On the CPU.
    target : path
        ``.pt2``; replaced if it exists.
    size : (int, int), optional
        Height and width of the LR image that it is traced with: its only size for a
        network of any scale; others take any.
    scale : float, optional
        For a network of any scale.

    Raises
    ------
    ExportError
        If torch cannot export the network, or the program differs from it.
    """
    target = Path(target)
    if target.suffix != ".pt2":
        raise OptionError(f"Programs are written as .pt2; {target.name} was asked for.")
    flow = model.flow.cpu().eval()
    size = size or (8 * flow.multiple_of, 8 * flow.multiple_of)
    check_size(flow, size)
    flow.check_scale(scale)
    decoder = Decoder(flow, scale).eval().requires_grad_(False)
    exported = _export(decoder, size)
    inputs = decoder_inputs(flow, size, scale=scale)
    shapes = tuple(tuple(level.shape[1:]) for level in inputs[1])
    given = float(flow.scales[0] if scale is None else scale)
    about = {
        "card": asdict(model.card),
        "lr_size": size,
        "free_sizes": has_free_size(flow),
        "multiple_of": flow.multiple_of,
        "latent_shapes": shapes,
        "scale": given,
    }
    with atomic_path(target) as temporary:
        # torch wants the suffix.
        written = temporary.with_name(temporary.name + ".pt2")
        try:
            with warnings.catch_warnings():
                # About constants that share storage, which the comparison covers.
                warnings.simplefilter("ignore")
                extra = {CARD_FILE: json.dumps(about)}
                torch.export.save(exported, written, extra_files=extra)
                program = torch.export.load(written).module()
            difference = _compare(program, decoder, comparison_sizes(flow, size))
            if not difference <= TOLERANCE:
                raise ExportError(
                    f"The exported program differs from the network by {difference:g}; "
                    f"at most {TOLERANCE:g} was expected. Nothing was written. Please "
                    "report this with the version of torch."
                )
            written.replace(temporary)
        finally:
            written.unlink(missing_ok=True)
    return ProgramFacts(
        size,
        has_free_size(flow),
        flow.multiple_of,
        given,
        shapes,
        difference,
    )


def _export(decoder: Decoder, size: tuple[int, int]) -> Any:
    flow = decoder.flow
    # Sides that differ, or they would be taken for one and the same.
    example = (size[0], size[1] + flow.multiple_of) if has_free_size(flow) else size
    inputs = decoder_inputs(flow, example, scale=decoder.scale)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(
                decoder, inputs, dynamic_shapes=_dynamic(flow), strict=False
            )
    except Exception as error:
        # torch raises whatever its tracer meets.
        reason = str(error).strip().split("\n")[0][:200]
        raise ExportError(
            f"torch {torch.__version__} cannot export this {flow.family} network "
            f"({reason}). Save it as .safetensors, or try a newer torch."
        ) from error


def load_program(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a ``.pt2`` of ours: the program, and what it says about itself."""
    extra = {CARD_FILE: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise ExportError(
            f"{path} is no program that torch {torch.__version__} can read ({reason})."
        ) from error
    text = extra[CARD_FILE]
    about: dict[str, Any] = json.loads(text) if text else {}
    return program.module(), about
