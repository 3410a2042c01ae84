"""The work of ``napari-flowsr rescale``: files in, files and figures out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_flowsr.cli import _jobs as jobs
from napari_flowsr.cli._show import progress_bar, warn
from napari_flowsr.errors import AxesError, ExportError, OptionError
from napari_flowsr.io.atomic import make_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_flowsr.cli._jobs import Job
    from napari_flowsr.inference.rescale_error import Loss
    from napari_flowsr.inference.rescaled_facts import Rescaled
    from napari_flowsr.io.image_file import ImageFile
    from napari_flowsr.models.card import Model

__all__ = ["BITS", "beside", "bring_back", "check", "load", "make_small", "target_of"]

BITS = {"8": 8, "16": 16, "float": None}
"""What ``--bits`` takes besides ``auto``."""


# --- files --------------------------------------------------------------------


def target_of(source: Path, target: Path | None, what: str) -> Path:
    from napari_flowsr.io import images

    if target is None:
        stem = source.name[: -len(images.suffix(source)) or None]
        return source.with_name(f"{stem}-{what}.ome.tif")
    if images.suffix(target) not in images.WRITABLE:
        raise OptionError(
            f"'{target}' names no format that can be written; expected a name that "
            f"ends in {', '.join(images.WRITABLE)}."
        )
    return target


def beside(small: Path) -> Path:
    from napari_flowsr.io import images
    from napari_flowsr.io.suffixes import LATENTS

    return small.with_name(small.name[: -len(images.suffix(small))] + LATENTS)


def check(source: Path, files: dict[str, Path], job: Job) -> None:
    """Refuse what cannot be kept, before the long work."""
    jobs.expand([str(source)])
    for path in files.values():
        if path.resolve() == source.resolve():
            raise OptionError(f"'{source}' would be overwritten by its own result.")
        if path.exists() and not job.overwrite:
            raise ExportError(
                f"'{path}' exists already. Add --overwrite, or name another OUTPUT."
            )
    jobs.check_targets(files, job)


def load(job: Job) -> Model:
    from napari_flowsr.inference.rescale import load_rescaling
    from napari_flowsr.io.catalogue import notices

    model = load_rescaling(job.model, job.device)
    warn(notices(model.card))
    return model


def _sizes(
    image: ImageFile, factor: float, pixel_size: float | None
) -> dict[str, float] | None:
    """Pixel sizes in µm, those of Y and X multiplied."""
    sizes = dict(image.pixel_size or {})
    if pixel_size is not None:
        sizes |= {"Y": pixel_size, "X": pixel_size}
    return {k: v * factor if k in "YX" else v for k, v in sizes.items()} or None


def _write(
    path: Path,
    array: Any,
    axes: str,
    image: ImageFile,
    sizes: dict[str, float] | None,
    provenance: dict[str, Any],
    job: Job,
) -> None:
    from napari_flowsr.io.images import write_image

    make_folder(path.parent)
    write_image(
        path,
        array,
        axes=axes,
        pixel_size=sizes,
        unit="µm" if sizes else "pixel",
        channel_names=image.channel_names if "C" in axes else (),
        provenance=provenance,
        overwrite=job.overwrite,
        # The bytes of 8 and 16 bits as they are: they are to come back.
        **({"bits": 8 * array.dtype.itemsize} if array.dtype.kind == "u" else {}),
    )


def _follow(events: Iterable[Any], name: str) -> Any:
    """Show progress; return the last event."""
    from napari_flowsr.inference.events import Progress

    with progress_bar() as bar:
        task = bar.add_task(name, total=None)
        for event in events:
            if not isinstance(event, Progress):
                return event
            bar.update(task, completed=event.done, total=event.total)
    raise RuntimeError("The run ended without its last event.")


def _file_bytes(path: Path) -> int:
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


# --- the work -----------------------------------------------------------------


def make_small(
    source: Path, files: dict[str, Path], job: Job, model: Model, bits: str, *,
    check: bool,
) -> dict[str, Any]:  # fmt: skip
    from napari_flowsr.inference import rescale
    from napari_flowsr.inference.rescale_error import pixel_bytes
    from napari_flowsr.inference.rescale_record import auto_bits, small_record
    from napari_flowsr.inference.rescaled import save_latents
    from napari_flowsr.io.images import read_image

    started = time.perf_counter()
    image = read_image(source)
    wanted = auto_bits(image.data.dtype) if bits == "auto" else BITS[bits]
    events = rescale.down(
        image.data,
        model,
        bits=wanted,
        axes=job.axes or image.axes,
        tile=job.tile_side,
        device=job.device,
        nan=job.nan,
    )
    made = _follow(events, f"{source.name}: making it small")
    about = made.latents.about
    errors = _errors(image.data, made, job, model, exact="latents" in files, on=check)
    sizes = _sizes(image, about.scale, job.pixel_size)
    record = small_record(model, made, source_name=source.name, nan=job.nan)
    _write(files["small"], made.small, about.axes, image, sizes, record, job)
    if "latents" in files:
        save_latents(files["latents"], made.latents, overwrite=job.overwrite)
    return {
        "input": str(source),
        "outputs": {kind: str(path) for kind, path in files.items()},
        "input_shape": list(about.shape),
        "output_shape": list(about.small_shape),
        "axes": about.axes,
        "bits": about.bits,
        "model": model.card.name,
        "bytes": {
            "before": pixel_bytes(image.data),
            "after": pixel_bytes(made.small),
            "latents": made.latents.nbytes if "latents" in files else None,
        },
        "file_bytes": {
            "before": _file_bytes(source),
            **{kind: _file_bytes(path) for kind, path in files.items()},
        },
        "errors": {kind: loss.facts() for kind, loss in errors.items()},
        "said": {kind: loss.said() for kind, loss in errors.items()},
        "report": dict(made.report),
        "seconds": time.perf_counter() - started,
    }


def _errors(
    image: Any, made: Any, job: Job, model: Model, *, exact: bool, on: bool
) -> dict[str, Loss]:
    """Error of bringing it back: the most likely image, and the exact one."""
    from napari_flowsr.inference.rescale_error import compare
    from napari_flowsr.inference.rescale_up import up

    found: dict[str, Loss] = {}
    about = made.latents.about
    ways: dict[str, dict[str, Any]] = {"mode": {"like": about, "temperature": 0.0}}
    if exact:
        ways["with latents"] = {"latents": made.latents}
    for kind, keywords in ways.items() if on else ():
        events = up(
            made.small, model, tile=job.tile_side, device=job.device, **keywords
        )
        restored = _follow(events, f"bringing it back ({kind})")
        found[kind] = compare(image, restored.image, about)[0]
    return found


def bring_back(
    source: Path,
    target: Path,
    job: Job,
    model: Model,
    latents_file: Path | None,
    reference: Path | None,
) -> dict[str, Any]:
    from napari_flowsr.inference.rescale_error import pixel_bytes
    from napari_flowsr.inference.rescale_record import record_of, restored_record
    from napari_flowsr.inference.rescale_up import up
    from napari_flowsr.inference.rescaled import load_latents
    from napari_flowsr.io.content import image_hash
    from napari_flowsr.io.images import read_image

    started = time.perf_counter()
    image = read_image(source)
    latents = None if latents_file is None else load_latents(latents_file)
    about = record_of(image.metadata) if latents is None else latents.about
    small = _in_order(image, about)
    axes = None if about is not None else job.axes or image.axes
    restored = _follow(
        up(
            small, model, latents=latents, like=about, temperature=job.temperature,
            seed=job.seed, axes=axes, tile=job.tile_side, device=job.device,
        ),
        f"{source.name}: bringing it back",
    )  # fmt: skip
    loss = _against(reference, restored.image, restored.about)
    sizes = _sizes(image, 1 / restored.about.scale, job.pixel_size)
    record = restored_record(
        model, restored, exact=latents is not None, small_sha256=image_hash(small),
        temperature=job.temperature, seed=job.seed, source_name=source.name,
    )  # fmt: skip
    _write(target, restored.image, restored.about.axes, image, sizes, record, job)
    return {
        "input": str(source),
        "outputs": {"restored": str(target)},
        "input_shape": list(small.shape),
        "output_shape": list(restored.image.shape),
        "axes": restored.about.axes,
        "model": model.card.name,
        "exact": latents is not None,
        "recorded": about is not None,
        "temperature": record["temperature"],
        "seed": record["seed"],
        "bytes": {"before": pixel_bytes(small), "after": pixel_bytes(restored.image)},
        "file_bytes": {"before": _file_bytes(source), "restored": _file_bytes(target)},
        "errors": {} if loss is None else {"reference": loss.facts()},
        "said": {} if loss is None else {"reference": loss.said()},
        "report": dict(restored.report),
        "seconds": time.perf_counter() - started,
    }


def _in_order(image: ImageFile, about: Rescaled | None) -> Any:
    """Small image with its axes as they were when it was made; files may order them."""
    if about is None or image.axes is None or image.axes == about.axes:
        return image.data
    if sorted(image.axes) != sorted(about.axes):
        return image.data
    return image.data.transpose([image.axes.index(a) for a in about.axes])


def _against(reference: Path | None, back: Any, about: Rescaled) -> Loss | None:
    from napari_flowsr.inference.rescale_error import compare
    from napari_flowsr.io.images import read_image

    if reference is None:
        return None
    original = read_image(reference)
    if original.axes and sorted(original.axes) != sorted(about.axes):
        raise AxesError(
            f"'{reference}' has the axes {original.axes}, the image {about.axes}. Give "
            "the original of the small image."
        )
    return compare(_in_order(original, about), back, about)[0]
