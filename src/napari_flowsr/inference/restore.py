"""Restoration: noise and other damage taken out of an image, at its own size.

A degraded image and its own reduction, in which most of the damage has averaged out,
are encoded; the latents are made likely; the decode is the restored image (SRFlow,
section 4.5). `restoring` is a generator that yields `Progress` and, last, `Restored`;
scripts, the command and the dock share it.

References
----------
SRFlow (Lugmayr et al., 2020), arXiv:2006.14200, sections 4.3 and 4.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from napari_flowsr.inference.options import Options, check_progress
from napari_flowsr.inference.restore_usual import NORMALISATION, TOOL
from napari_flowsr.inference.restorer import Asked, Restored, Restorer
from napari_flowsr.io.collection import load_model
from napari_flowsr.io.content import image_hash
from napari_flowsr.io.provenance import record
from napari_flowsr.models.card import Model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import torch

    from napari_flowsr.inference.events import Progress
    from napari_flowsr.inference.options import ProgressCallback

__all__ = ["Restored", "difference", "restore", "restored_record", "restoring"]

Array = npt.NDArray[Any]


def restoring(
    degraded: Any,
    model: Model,
    *,
    normalisation: str | Sequence[str] = NORMALISATION,
    strength: float = 1.0,
    temperature: float | None = None,
    seed: int = 0,
    axes: str | None = None,
    tile: int | Literal["auto"] | None = "auto",
    device: str | torch.device = "auto",
    nan: str = "raise",
    precision: str = "float32",
) -> Iterator[Progress | Restored]:
    """Restore an image, step by step; see `restore`.

    What was asked for is checked at once, the work is done while iterating.
    """
    # One noise for all planes: what is taken away does not flicker.
    options = Options(
        seed=seed, tile=tile, nan=nan, noise="shared", precision=precision
    )
    asked = Asked.of(normalisation, strength, temperature, options)
    return Restorer(degraded, model, asked, axes, device).events()


def restore(
    degraded: Any,
    model: str | Path | Model,
    *,
    normalisation: str | Sequence[str] = NORMALISATION,
    strength: float = 1.0,
    temperature: float | None = None,
    seed: int = 0,
    axes: str | None = None,
    tile: int | Literal["auto"] | None = "auto",
    device: str | torch.device = "auto",
    nan: str = "raise",
    precision: str = "float32",
    progress: ProgressCallback | None = None,
) -> Array:
    """Take noise and other damage out of an image; its size stays.

    Parameters
    ----------
    degraded : array-like
        As in `napari_flowsr.posterior`; of any size.
    model : str, Path or Model
        As in `napari_flowsr.posterior`; any with a flow that enlarges images.
    normalisation : str or sequence of str
        Collections of latents whose statistics are changed: ``"spatial"``, ``"local"``
        or ``"global"``, see `Posterior.normalise`.
    strength : float
        From 0 (the image comes back bit for bit) to 1.
    temperature : float, optional
        By default none is needed: the level of white noise in the image is measured,
        and a collection of latents keeps what noise of that level cannot explain
        (`core.shrink`); nowhere are pixels changed by more than such noise can have
        done. A reduction that has noise left is restored likewise before. An image in
        which no noise is found comes back as it was. A number applies
        equation (7) instead, one collection after the other, with that standard
        deviation, whatever the image is like: it also takes away content.
    seed : int
        Of the noise that the model's answer to noise is measured with, or of the new
        statistics of equation (7).
    axes, tile, device, nan, precision, progress
        As in `napari_flowsr.posterior`; tiles are counted in pixels of the reduction.

    Returns
    -------
    ndarray
        Shape, data type and range of ``degraded``. What replaces the damage is
        inferred by the model, not measured.

    Raises
    ------
    FlowSRError
        A subclass that says what was given, what was expected, and what to do.

    References
    ----------
    SRFlow (Lugmayr et al., 2020), section 4.5.
    """
    check_progress(progress)
    if not isinstance(model, Model):
        model = load_model(model, device=str(device))
    events = restoring(
        degraded,
        model,
        normalisation=normalisation,
        strength=strength,
        temperature=temperature,
        seed=seed,
        axes=axes,
        tile=tile,
        device=device,
        nan=nan,
        precision=precision,
    )
    for event in events:
        if isinstance(event, Restored):
            return event.image
        if progress is not None:
            progress(event.done, event.total)
    raise RuntimeError("The run ended without its last event.")


def restored_record(
    model: Model, degraded: Any, restored: Restored, **options: Any
) -> dict[str, Any]:
    """Record of a restored image (`io.provenance.record`).

    Parameters
    ----------
    model : Model
        That did it.
    degraded : array
        What it was made from.
    restored : Restored
        The result.
    **options
        Keywords of `restoring`, and further facts, such as ``source_name``.
    """
    card, report = model.card, dict(restored.report)
    facts: dict[str, Any] = {
        "tool": TOOL,
        "normalisation": NORMALISATION,
        "strength": 1.0,
        "temperature": None,
        "seed": 0,
        "axes": None,
        "nan": "raise",
        "precision": "float32",
        "scale": report.get("scale"),
        "device": report.get("device"),
        "tile": report.get("tile", "auto"),
        "report": report,
    }
    if "source_sha256" not in options:
        options["source_sha256"] = image_hash(degraded)
    return record(
        "restored",
        model=card.name,
        model_sha256=card.sha256,
        family=card.family,
        **{**facts, **options},
    )


def difference(degraded: Any, restored: Array) -> Array:
    """What was taken away: degraded minus restored, signed, float32.

    Not of pixels without a value, for which it is 0.
    """
    before = np.asarray(degraded).astype(np.float64)
    found = before - restored.astype(np.float64)
    return np.where(np.isfinite(found), found, 0.0).astype(np.float32)
