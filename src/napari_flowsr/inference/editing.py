"""Edits of HR images of any axes, as events: what the methods of `Edits` consume."""

from __future__ import annotations

import numbers
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_flowsr.core.normalise import check_collections
from napari_flowsr.errors import OptionError
from napari_flowsr.inference.changes import Normalise, Redraw
from napari_flowsr.inference.coding import UnitCoder
from napari_flowsr.inference.consistency import Projection
from napari_flowsr.inference.editor import Edit, edit_unit
from napari_flowsr.inference.events import Edited, Progress
from napari_flowsr.inference.intensity import cast
from napari_flowsr.inference.maps import FieldMap, parse_mask, parse_temperature
from napari_flowsr.inference.source import plane_view

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from napari_flowsr.inference.bound import Bound
    from napari_flowsr.inference.editor import Change
    from napari_flowsr.inference.units import Unit

__all__ = ["check_flow", "check_mask", "edited", "normalising", "resampling"]


def check_mask(mask: Any, bound: Bound) -> FieldMap:
    """Check a mask; ``None`` is everything.

    Raises
    ------
    OptionError
        It has no pixels, values outside 0 .. 1, or a shape that does not fit.
    """
    if mask is None:
        return FieldMap(1.0)
    found = parse_mask(mask, bound.geometry)
    if found.is_zero:
        raise OptionError(
            "The mask is empty: no pixel of it is above 0, so that nothing would "
            "change. Mark the pixels that are to change."
        )
    return found


def check_flow(bound: Bound) -> None:
    """Raise `OptionError` for a model that has no latents."""
    if bound.flow.deterministic:
        raise OptionError(
            f"The model '{bound.card.name}' ({bound.card.family}) is deterministic: it "
            "has no latents that could be edited. Choose a model with a flow."
        )


def edited(
    bound: Bound, hr: Any, mask: FieldMap, change: Change
) -> Iterator[Progress | Edited]:
    """Apply a change of latents to an HR image inside a mask.

    Parameters
    ----------
    bound : Bound
        LR image and model.
    hr : array-like
        Of the upscaled shape.
    mask : FieldMap
        Of `check_mask`.
    change : Change
        One of `inference.changes`.

    Yields
    ------
    Progress
        After each tile.
    Edited
        Last.
    """
    check_flow(bound)
    started = time.perf_counter()
    source = bound.hr_source(hr)
    if bound.waits_for_seam:
        yield Progress(0, 1, "measuring how far the network sees")
    setup = bound.setup(1, parts=True)
    out = np.array(source.array, dtype=source.dtype)
    units = [u for u in setup.workload if np.any(mask.plane(u.plane))]
    units = [u for u in units if not setup.workload.constant(u)]
    done, report = 0, {"changed_pixels": 0, "computed": 0, "attempts": 0}
    for number, unit in enumerate(units):
        values = bound.normalised_hr(source, unit)
        steps = edit_unit(UnitCoder(setup, unit), values, mask, change)
        last = 0
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                found: Edit = end.value
                break
            last = step.done
            total = done + step.total * (len(units) - number)
            yield Progress(done + step.done, total, step.message)
        done += last
        if bound.options.consistent:
            found = _projected(bound, unit, values, found)
        report["changed_pixels"] += _write(out, bound, unit, found)
        report["computed"] += found.computed
        report["attempts"] = max(report["attempts"], found.attempts)
    facts = {
        **report,
        "consistent": bound.options.consistent,
        "seconds": round(time.perf_counter() - started, 3),
        "tile": setup.plan.tile,
        "halo": setup.plan.halo,
        "seam_error": setup.border_error,
        "device": str(setup.flow.device),
    }
    yield Edited(out, facts)


def _projected(bound: Bound, unit: Unit, values: Tensor, edit: Edit) -> Edit:
    """Back-project what an edit changed; the rest of the image stays.

    The edit fades out towards the end of its reach, so that cutting the projection off
    there leaves the agreement with the LR image as it is.
    """
    hr = values.clone()
    for patch in edit.patches:
        y0, y1, x0, x1 = patch.box
        new, where = torch.from_numpy(patch.values), torch.from_numpy(patch.changed)
        hr[:, y0:y1, x0:x1] = torch.where(where, new, hr[:, y0:y1, x0:x1])
    lr, scale = bound.workload.normalised(unit), bound.geometry.scale
    projection = Projection(hr, lr, scale, bound.card.degradation)
    while not projection.finished:
        projection.step()
    full = projection.result()[0].numpy()
    patches = []
    for patch in edit.patches:
        y0, y1, x0, x1 = patch.box
        patches.append(replace(patch, values=full[:, y0:y1, x0:x1]))
    return replace(edit, patches=tuple(patches))


def _write(out: Any, bound: Bound, unit: Unit, edit: Edit) -> int:
    """Write the changed pixels of a unit; how many there are."""
    view, count = plane_view(out, bound.geometry.upscaled, unit.plane), 0
    for patch in edit.patches:
        y0, y1, x0, x1 = patch.box
        for i, component in enumerate(unit.components):
            span = bound.intensities.range(unit.plane, component)
            new = cast(span.to_intensity(patch.values[i]), out.dtype)
            view[y0:y1, x0:x1, component][patch.changed] = new[patch.changed]
        count += int(patch.changed.sum())
    return count


def _is_share(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and 0 <= value <= 1


def _temperature(bound: Bound, temperature: Any) -> FieldMap:
    if temperature is None:
        return bound.temperature
    return parse_temperature(temperature, bound.geometry)


def resampling(
    bound: Bound, hr: Any, mask: Any, seed: int, temperature: Any
) -> Iterator[Progress | Edited]:
    """New content inside the mask (SRFlow, section 4.1)."""
    checked = replace(bound.options, seed=seed).seed
    change = Redraw(checked, _temperature(bound, temperature))
    return edited(bound, hr, check_mask(mask, bound), change)


def normalising(
    bound: Bound,
    hr: Any,
    mask: Any,
    *,
    collections: str | Sequence[str],
    seed: int,
    temperature: Any,
    strength: float,
    amplify: bool,
) -> Iterator[Progress | Edited]:
    """Latents of ``hr`` brought to the statistics of white noise (section 4.3)."""
    if not _is_share(strength):
        raise OptionError(
            f"strength is {strength!r}; it must be from 0 (as it is) to 1 (all)."
        )
    change = Normalise(
        check_collections(collections),
        replace(bound.options, seed=seed).seed,
        _temperature(bound, temperature),
        float(strength),
        amplify,
    )
    return edited(bound, hr, check_mask(mask, bound), change)
