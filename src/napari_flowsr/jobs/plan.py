"""Which files become which: found, named, and checked before the long work."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.io.atomic import check_writable
from napari_flowsr.io.images import READABLE, WRITABLE
from napari_flowsr.io.images import suffix as ending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["check_distinct", "check_targets", "exists", "find_images", "plan_folder"]
__all__ += ["is_image", "suffix_of", "targets"]


def plan_folder(
    source: Path,
    target: Path,
    kinds: Sequence[str],
    *,
    pattern: str = "*",
    recursive: bool = False,
    file_format: str = "ome.tif",
) -> dict[Path, dict[str, Path]]:
    """Every image of a folder, and the files of its results; folders inside are kept.

    A ``source`` that is an image itself, such as an OME-Zarr, is the only one.

    Raises
    ------
    OptionError
        Nothing fits, or two results would have one name.
    ExportError
        The folder of the results cannot be written.
    """
    suffix = suffix_of(file_format)
    plan = {}
    for path in find_images(source, pattern, target, recursive=recursive):
        inside = "." if path == source else path.parent.relative_to(source)
        folder = target / inside
        plan[path] = targets(path, kinds, None, folder, suffix)
    check_distinct(plan)
    check_writable(next(iter(next(iter(plan.values())).values())))
    return plan


def suffix_of(file_format: str) -> str:
    """Suffix of a format, named with or without its dot."""
    suffix = f".{file_format.lower().lstrip('.')}"
    if suffix not in WRITABLE:
        raise OptionError(
            f"--format is '{file_format}'; expected ome.tif, png or ome.zarr."
        )
    return suffix


def find_images(
    source: Path, pattern: str, target: Path, *, recursive: bool = False
) -> list[Path]:
    """Images of a folder, without those among the results; or one that is named.

    Raises
    ------
    OptionError
        It is neither folder nor image, that of the results, or holds no image that
        fits.
    """
    if is_image(source):
        if source.resolve() in (target.resolve(), *target.resolve().parents):
            raise OptionError(
                f"'{target}' is the input itself or inside of it; give another folder "
                "for the results."
            )
        return [source]
    if not source.exists():
        raise OptionError(f"There is no folder or image '{source}'. Check the path.")
    if not source.is_dir():
        raise OptionError(
            f"'{source}' is neither a folder nor an image that can be read; expected a "
            f"folder, or an image that ends in {', '.join(READABLE)}."
        )
    if source.resolve() == target.resolve():
        raise OptionError(
            f"'{target}' is the input folder; give another one for the results."
        )
    found = sorted(source.rglob(pattern) if recursive else source.glob(pattern))
    own = target.resolve()
    chosen = [
        path
        for path in found
        if ending(path) in READABLE
        # Hidden: what a killed program left half-written, and notes of the system.
        and not path.name.startswith(".")
        and own not in path.resolve().parents
        and not any(part.endswith(".zarr") for part in path.parent.parts)
    ]
    if not chosen:
        raise OptionError(
            f"No image in '{source}' fits '{pattern}'; expected files of "
            f"{', '.join(READABLE)}."
        )
    return chosen


def is_image(path: Path) -> bool:
    """Whether there is a single image of this name; OME-Zarr is a folder."""
    kind = ending(path)
    return bool(kind) and path.exists() and path.is_dir() == kind.endswith(".zarr")


def targets(
    source: Path,
    kinds: Sequence[str],
    output: Path | None = None,
    folder: Path | None = None,
    suffix: str = ".ome.tif",
) -> dict[str, Path]:
    """File for each kind of output.

    A named ``output`` is taken as it is if there is one kind, else the kind is put
    before its suffix: ``cell.ome.tif`` to ``cell-mean.ome.tif``.

    Raises
    ------
    ExportError
        The name has no writable suffix.
    """
    if output is not None:
        kind = ending(output)
        if kind not in WRITABLE:
            raise ExportError(
                f"'{output}' names no format that can be written; expected a name that "
                f"ends in {', '.join(WRITABLE)}."
            )
        if len(kinds) == 1:
            found = {kinds[0]: output}
        else:
            stem = output.name[: -len(kind)]
            found = {k: output.with_name(f"{stem}-{k}{kind}") for k in kinds}
    else:
        base = folder or source.parent
        stem = source.name[: -len(ending(source)) or None]
        found = {k: base / f"{stem}-{k}{suffix}" for k in kinds}
    return found


def check_distinct(plan: Mapping[Path, Mapping[str, Path]]) -> None:
    """Raise if two inputs would be written to the same file."""
    owner: dict[Path, Path] = {}
    for source, files in plan.items():
        for path in files.values():
            if path.resolve() == source.resolve():
                raise OptionError(f"'{source}' would be overwritten by its own result.")
            if (other := owner.setdefault(path.resolve(), source)) != source:
                raise OptionError(
                    f"'{other}' and '{source}' would both be written to '{path}'. "
                    "Upscale them apart, to different folders."
                )


def exists(path: Path) -> bool:
    """Whether a result is there; several samples as PNG have numbered names."""
    return path.exists() or (
        path.suffix == ".png" and path.with_name(f"{path.stem}-0.png").exists()
    )


def check_targets(files: Mapping[str, Path], *, overwrite: bool) -> None:
    """Raise `ExportError` unless every file can be written, before the long work.

    That is, where a file exists that may not be replaced, a folder is in the way or
    cannot be written to, or the format lacks its package.
    """
    present = [str(path) for path in files.values() if exists(path)]
    if present and not overwrite:
        raise ExportError(
            f"{', '.join(present)} exists already. Add --overwrite, or choose another "
            "name with --output or --output-dir."
        )
    for path in files.values():
        if path.suffix == ".zarr" and find_spec("zarr") is None:
            raise ExportError(
                f"'{path}' is OME-Zarr, which needs zarr 3; install it with "
                "`pip install napari-flowsr[zarr]`, or choose .ome.tif."
            )
        check_writable(path)
