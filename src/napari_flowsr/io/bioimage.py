"""A model as a package of the BioImage Model Zoo (bioimage.io), as TorchScript.

The network inside is ``g(lr, latents...) -> hr`` with one tensor for each level of
latents (`io.program.Decoder`). TorchScript records one run; where a network's program
depends on the size of its image the recording is wrong at every other size, so it is
compared at three sizes before anything is written. Needs the extra ``bioimageio``.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.io.program import (
    TOLERANCE,
    Decoder,
    comparison_sizes,
    decoder_inputs,
    has_free_size,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_flowsr.core.flow import ConditionalFlow
    from napari_flowsr.models.card import Model, ModelCard

__all__ = ["SUFFIX", "export_package", "spdx"]

SUFFIX = ".bioimageio.zip"

_PAPERS = {
    "srflow": ("SRFlow (Lugmayr et al., 2020)", "10.48550/arXiv.2006.14200"),
    "rrdb": ("SRFlow (Lugmayr et al., 2020)", "10.48550/arXiv.2006.14200"),
    "hcflow": ("HCFlow (Liang et al., 2021)", "10.48550/arXiv.2108.05301"),
    "hcflow-rescale": ("HCFlow (Liang et al., 2021)", "10.48550/arXiv.2108.05301"),
}
_HOME = "https://github.com/napari-flowsr/napari-flowsr"


class _Flat(nn.Module):
    """`Decoder` with each level of latents as an input of its own."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, lr: Tensor, *latents: Tensor) -> Tensor:
        out: Tensor = self.decoder(lr, latents)
        return out


def spdx(licence: str) -> str | None:
    """SPDX identifier that a licence's text begins with, None if there is none.

    ``"CC BY-NC-SA 4.0, academic research only"`` is ``"CC-BY-NC-SA-4.0"``.
    """
    from bioimageio.spec.generic.v0_3 import LicenseId

    text = re.split(r"[,;(]", licence)[0].strip()
    for candidate in (text, re.sub(r"\s+", "-", text)):
        try:
            return str(LicenseId(candidate))
        except ValueError:
            continue
    return None


def export_package(
    model: Model, target: str | Path, *, licence: str | None = None
) -> Path:
    """Write a model as a package of bioimage.io.

    Parameters
    ----------
    model : Model
        On the CPU; of a family whose program does not depend on the image's size.
    target : path
        ``.zip``; replaced if it exists.
    licence : str, optional
        SPDX identifier, instead of the card's.

    Raises
    ------
    OptionError
        If the package's needs cannot be met: the extra, a licence, a free size.
    ExportError
        If the recording differs from the network.
    """
    target = Path(target)
    _check_extra()
    flow = model.flow.cpu().eval()
    _check_sound(flow, model.card)
    identifier = _identifier(licence or model.card.licence)
    decoder = Decoder(flow).eval().requires_grad_(False)
    size = _example_size(flow)
    script = _recorded(_Flat(decoder), flow, size)
    with tempfile.TemporaryDirectory(
        prefix="flowsr-", ignore_cleanup_errors=True
    ) as folder:
        description = _description(model, script, size, identifier, Path(folder))
        _save(description, target)
    return target


def _check_extra() -> None:
    try:
        import bioimageio.spec  # noqa: F401
    except ImportError as error:
        raise OptionError(
            "Packages of bioimage.io need bioimageio.spec, which is not installed. "
            "Install it: pip install 'napari-flowsr[bioimageio]'; or export .pt2, "
            "which needs nothing more."
        ) from error


def _check_sound(flow: ConditionalFlow, card: ModelCard) -> None:
    if has_free_size(flow):
        return
    raise OptionError(
        f"'{card.name}' is a network of any scale ({flow.family}): it looks every "
        "position up for one size and scale, which TorchScript would record as "
        "constants, so that a package would be wrong for every other image. Export "
        ".pt2 for one size (--size, --scale), or .safetensors."
    )


def _identifier(licence: str) -> str:
    found = spdx(licence)
    if found is None:
        raise OptionError(
            f"The licence is '{licence}'; a package of bioimage.io needs an SPDX "
            "identifier, such as CC-BY-4.0. Give the one that the weights have, with "
            "--license; without a licence they may not be handed on."
        )
    return found


def _example_size(flow: ConditionalFlow) -> tuple[int, int]:
    """Smallest LR size of which something is left within the halo."""
    m = flow.multiple_of
    side = (2 * flow.halo // m + 2) * m
    return side, side


def _recorded(network: _Flat, flow: ConditionalFlow, size: tuple[int, int]) -> Any:
    lr, latents = decoder_inputs(flow, (4 * flow.multiple_of,) * 2)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace
        script = trace(network, (lr, *latents), check_trace=False)
        worst = 0.0
        for number, one in enumerate(comparison_sizes(flow, size), 1):
            lr, latents = decoder_inputs(flow, one, seed=number)
            try:
                got = script(lr, *latents)
            except RuntimeError as error:
                raise _unsound(flow, str(error).strip().split("\n")[-1]) from error
            worst = max(worst, float((got - network(lr, *latents)).abs().max()))
    if not worst <= TOLERANCE:
        raise _unsound(flow, f"it differs by {worst:g}")
    return script


def _unsound(flow: ConditionalFlow, reason: str) -> ExportError:
    return ExportError(
        f"TorchScript's recording of this {flow.family} network is wrong for images "
        f"of another size ({reason[:200]}). Nothing was written. Export .pt2 or "
        ".safetensors."
    )


# --- what the package says ------------------------------------------------------


def _array(tensor: Tensor, path: Path) -> Any:
    from bioimageio.spec.common import FileDescr

    np.save(path, tensor.numpy().astype(np.float32))
    return FileDescr(source=path)


def _sides(reference: str | None, rate: Any, low: int, step: int, halo: int) -> Any:
    """Axes y and x of a tensor with ``rate`` pixels for each LR pixel."""
    from bioimageio.spec.model import v0_5 as v

    axes = []
    for name in ("y", "x"):
        axis: dict[str, Any] = {"id": v.AxisId(name), "scale": 1 / float(rate)}
        if reference is None:
            axis["size"] = v.ParameterizedSize(min=low, step=step)
            axes.append(v.SpaceInputAxis(**axis))
            continue
        axis["size"] = v.SizeReference(
            tensor_id=v.TensorId(reference), axis_id=v.AxisId(name)
        )
        if halo:
            axes.append(v.SpaceOutputAxisWithHalo(halo=halo, **axis))
        else:
            axes.append(v.SpaceInputAxis(**axis))
    return axes


def _head(channels: int, what: str) -> list[Any]:
    from bioimageio.spec.model import v0_5 as v

    names = [v.Identifier(f"{what}{i}") for i in range(channels)]
    return [v.BatchAxis(size=1), v.ChannelAxis(channel_names=names)]


def _preprocessing(card: ModelCard) -> list[Any]:
    from bioimageio.spec.model import v0_5 as v

    kept = card.normalisation
    if kept.kind != "percentile":
        return []
    return [
        v.ScaleRangeDescr(
            kwargs=v.ScaleRangeKwargs(
                axes=(v.AxisId("channel"), v.AxisId("y"), v.AxisId("x")),
                min_percentile=kept.low,
                max_percentile=kept.high,
            )
        )
    ]


def _inputs(
    model: Model, lr: Tensor, latents: Sequence[Tensor], folder: Path
) -> list[Any]:
    from bioimageio.spec.model import v0_5 as v

    flow, card = model.flow, model.card
    side, m = lr.shape[-1], flow.multiple_of
    found = [
        v.InputTensorDescr(
            id=v.TensorId("lr"),
            description="The low-resolution image, its range as [0, 1].",
            axes=[
                *_head(flow.channels, "channel"),
                *_sides(None, 1, side, m, 0),
            ],
            test_tensor=_array(lr, folder / "lr.npy"),
            preprocessing=_preprocessing(card),
        )
    ]
    if flow.deterministic:
        return found
    for number, level in enumerate(flow.latent_spec((side, side)).levels):
        found.append(
            v.InputTensorDescr(
                id=v.TensorId(f"latents{number}"),
                description="Normal numbers of mean 0, standard deviation "
                f"{card.temperature:g} proposed; zeros: the most likely image.",
                axes=[
                    *_head(level.channels, "latent"),
                    *_sides("lr", level.rate, 0, 0, 0),
                ],
                test_tensor=_array(latents[number], folder / f"latents{number}.npy"),
            )
        )
    return found


def _readme(model: Model) -> str:
    card = model.card
    drawn = (
        "It is deterministic: the same image gives the same result."
        if model.flow.deterministic
        else "Each draw of the latents gives another plausible image. Draw them from "
        f"the normal distribution with standard deviation {card.temperature:g}."
    )
    return (
        f"# {card.name}\n\n{card.description}\n\n## Use\n\n`g(lr, latents...) -> hr`, "
        f"{card.scales[0]:g} times as many pixels to each side. {drawn}\n\nThe detail "
        "is inferred, not measured. It is not for "
        f"{card.not_for or 'measurements of what the input does not show.'}\n\n"
        f"## Facts\n\n- Domain: {card.domain}\n- Licence of the weights: "
        f"{card.licence}\n- The low-resolution image is taken to have arisen by: "
        f"{card.degradation}\n\n## Validation\n\n"
        f"{card.metrics or 'No figures were measured.'}\n\nMade by napari-flowsr "
        f"({_HOME}).\n"
    )


def _description(
    model: Model, script: Any, size: tuple[int, int], licence: str, folder: Path
) -> Any:
    from bioimageio.spec.common import FileDescr
    from bioimageio.spec.model import v0_5 as v

    flow, card = model.flow, model.card
    lr, latents = decoder_inputs(flow, size, seed=1)
    with torch.no_grad():
        hr = script(lr, *latents)
    weights, readme = folder / "weights.pt", folder / "README.md"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(script, weights)
    readme.write_text(_readme(model), encoding="utf-8")
    scale = int(flow.scales[0])
    output = v.OutputTensorDescr(
        id=v.TensorId("hr"),
        description="The high-resolution image, in the range of the input as [0, 1].",
        axes=[
            *_head(flow.channels, "channel"),
            *_sides("lr", scale, 0, 0, scale * flow.halo),
        ],
        test_tensor=_array(hr, folder / "hr.npy"),
    )
    text, doi = _PAPERS.get(card.family, ("napari-flowsr", None))
    cite = {"doi": doi} if doi else {"url": _HOME}
    version = torch.__version__.partition("+")[0]
    return v.ModelDescr(
        name=_plain_name(card),
        description=f"{scale}x super-resolution, {card.family} family"[:1024],
        documentation=FileDescr(source=readme),
        authors=[v.Author(name="napari-flowsr developers")],
        cite=[v.CiteEntry(text=text, **cite)],
        license=licence,
        inputs=_inputs(model, lr, latents, folder),
        outputs=[output],
        config=_config(float(hr.max())),
        tags=["super-resolution", "normalizing-flow", "napari"],
        weights=v.WeightsDescr(
            torchscript=v.TorchscriptWeightsDescr(
                source=weights, pytorch_version=v.Version(version)
            )
        ),
    )


def _config(largest: float) -> Any:
    """How far a run elsewhere may be from the test output; at most 1 % of it."""
    if largest <= 0:
        raise ExportError(
            "The network gives no value above 0 for a test image, so that the package "
            "could not say how exact a run elsewhere has to be. Is it trained?"
        )
    from bioimageio.spec.model import v0_5 as v

    tolerance = v.ReproducibilityTolerance(
        absolute_tolerance=min(1e-3, 0.009 * largest)
    )
    return v.Config(
        bioimageio=v.BioimageioConfig(reproducibility_tolerance=[tolerance])
    )


def _plain_name(card: ModelCard) -> str:
    """The zoo's names have letters, digits, spaces, and a few signs."""
    return re.sub(r"[^A-Za-z0-9_+\- ()]", "_", f"{card.name} (napari-flowsr)")[:128]


def _save(description: Any, target: Path) -> None:
    from bioimageio.spec import save_bioimageio_package

    with atomic_path(target) as temporary:
        # The library insists on the suffix and on a name that is free.
        written = temporary.with_name(temporary.name + ".zip")
        try:
            save_bioimageio_package(description, output_path=written)
            written.replace(temporary)
        finally:
            written.unlink(missing_ok=True)
