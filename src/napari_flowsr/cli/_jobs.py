"""Upscaling of one file: what `upscale` and `batch` have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.io.atomic import check_writable, make_folder

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from napari_flowsr.inference.posterior import Posterior
    from napari_flowsr.io.image_file import ImageFile
    from napari_flowsr.models.card import Model

OUTPUTS = ("samples", "mean", "std", "quantiles")
_QUANTILES = (0.05, 0.95)


@dataclass(frozen=True)
class Job:
    """What to do with every file."""

    model: str = "micro-2x"
    n: int | None = None
    temperature: float | None = None
    seed: int = 0
    scale: float | None = None
    axes: str | None = None
    prior: str = "gaussian"
    noise: str = "per-plane"
    consistent: bool = False
    tile: str = "auto"
    device: str = "auto"
    nan: str = "raise"
    pixel_size: float | None = None
    outputs: str = "samples"
    overwrite: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.wanted if name not in OUTPUTS]
        if unknown or not self.wanted:
            raise OptionError(
                f"--outputs is '{self.outputs}'; expected names out of "
                f"{', '.join(OUTPUTS)}, separated by commas."
            )
        if self.pixel_size is not None and not self.pixel_size > 0:
            raise OptionError(
                f"--pixel-size is {self.pixel_size:g}; expected a positive size in µm."
            )
        _ = self.tile_side

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the outputs, in the order of `OUTPUTS`."""
        names = [part.strip().lower() for part in self.outputs.split(",")]
        return tuple(sorted({n for n in names if n}, key=[*OUTPUTS, *names].index))

    @property
    def count(self) -> int:
        """Number of samples."""
        if self.n is not None:
            return self.n
        return 1 if self.wanted == ("samples",) else 8

    @property
    def tile_side(self) -> int | str | None:
        """As `napari_flowsr.posterior` takes it."""
        text = self.tile.strip().lower()
        if text in ("auto", "whole", "none"):
            return "auto" if text == "auto" else None
        if not text.isdigit() or int(text) < 1:
            raise OptionError(
                f"--tile is '{self.tile}'; expected a number of pixels, 'auto' or "
                "'whole'."
            )
        return int(text)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the files to write, one per output and quantile."""
        out: list[str] = []
        for name in self.wanted:
            out += (
                [f"q{round(q * 100):02d}" for q in _QUANTILES]
                if (name == "quantiles")
                else [name]
            )
        return tuple(out)

    def load(self) -> Model:
        """Load the model."""
        from napari_flowsr.io.collection import load_model

        return load_model(self.model, device=self.device)

    def posterior(self, image: ImageFile, model: Model) -> Posterior:
        """Bind an image to the model."""
        from napari_flowsr.inference.posterior import posterior

        return posterior(
            image.data,
            model,
            temperature=self.temperature,
            seed=self.seed,
            scale=self.scale,
            axes=self.axes or image.axes,
            prior=self.prior,
            noise=self.noise,
            consistent=self.consistent,
            tile=self.tile_side,  # type: ignore[arg-type]
            device=self.device,
            nan=self.nan,
        )


def targets(source: Path, job: Job, output: Path | None, folder: Path | None,
            suffix: str = ".ome.tif") -> dict[str, Path]:  # fmt: skip
    """File for each kind of output.

    A named ``output`` is taken as it is if there is one kind, else the kind is put
    before its suffix: ``cell.ome.tif`` to ``cell-mean.ome.tif``.

    Raises
    ------
    ExportError
        The name has no writable suffix.
    """
    from napari_flowsr.io import images

    if output is not None:
        kind = images.suffix(output)
        if kind not in images.WRITABLE:
            raise ExportError(
                f"'{output}' names no format that can be written; expected a name that "
                f"ends in {', '.join(images.WRITABLE)}."
            )
        if len(job.kinds) == 1:
            found = {job.kinds[0]: output}
        else:
            stem = output.name[: -len(kind)]
            found = {k: output.with_name(f"{stem}-{k}{kind}") for k in job.kinds}
    else:
        base = folder or source.parent
        stem = source.name[: -len(images.suffix(source)) or None]
        found = {k: base / f"{stem}-{k}{suffix}" for k in job.kinds}
    return found


def exists(path: Path) -> bool:
    """Whether a result is there; several samples as PNG have numbered names."""
    return path.exists() or (
        path.suffix == ".png" and path.with_name(f"{path.stem}-0.png").exists()
    )


def check_targets(files: dict[str, Path], job: Job) -> None:
    """Raise `ExportError` unless every file can be written, before the long work.

    That is, where a file exists that may not be replaced, a folder is in the way or
    cannot be written to, or the format lacks its package.
    """
    present = [str(path) for path in files.values() if exists(path)]
    if present and not job.overwrite:
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


def upscale_file(
    source: Path, files: dict[str, Path], job: Job, model: Model, bar: Bar
) -> dict[str, Any]:
    """Upscale one file and write all its outputs; return the facts for people.

    Nothing is written before everything is computed.
    """
    from napari_flowsr.cli._show import follow
    from napari_flowsr.io.images import read_image

    task = bar.add_task(source.name, total=None)
    try:
        image = read_image(source)
        post = job.posterior(image, model)
        result = follow(
            post.stream(
                job.count, outputs=job.wanted, quantiles=_QUANTILES, preview=False
            ),
            bar,
            task,
        )
    finally:
        bar.remove_task(task)
    arrays: dict[str, Any] = {
        "samples": result.samples,
        "mean": result.mean,
        "std": result.std,
        **{f"q{round(q * 100):02d}": a for q, a in result.quantiles.items()},
    }
    written = []
    for kind, path in files.items():
        make_folder(path.parent)
        paths = _write(path, arrays[kind], kind, image, source, post, job)
        written += [{"kind": kind, "path": str(p)} for p in paths]
    shape = tuple(result.samples.shape[1:]) if result.samples is not None else None
    return {
        "input": str(source),
        "input_shape": list(image.data.shape),
        "output_shape": list(shape or arrays[next(iter(files))].shape),
        "axes": post.geometry.axes,
        "n": job.count,
        "outputs": written,
        "report": dict(result.report),
    }


def _write(
    path: Path,
    array: Any,
    kind: str,
    image: ImageFile,
    source: Path,
    post: Posterior,
    job: Job,
) -> list[Path]:
    from napari_flowsr.io.images import write_image

    extra: dict[str, Any] = {"n": job.count, "source_name": source.name}
    name = "sample" if kind == "samples" else kind
    if kind.startswith("q"):
        name, extra["quantile"] = "quantile", int(kind[1:]) / 100
    sizes = output_pixel_size(image, post, job.pixel_size)
    axes = post.geometry.axes
    return write_image(
        path,
        array,
        axes=f"N{axes}" if kind == "samples" else axes,
        pixel_size=sizes,
        unit="µm" if sizes else "pixel",
        channel_names=image.channel_names if "C" in axes else (),
        provenance=post.provenance(name, **extra),
        overwrite=job.overwrite,
    )


def output_pixel_size(
    image: ImageFile, post: Posterior, pixel_size: float | None = None
) -> dict[str, float] | None:
    """Pixel size of the result in µm; None if that of the input is unknown."""
    sizes = dict(image.pixel_size or {})
    if pixel_size is not None:
        sizes |= {"Y": pixel_size, "X": pixel_size}
    for axis, before, after in zip(
        post.geometry.axes,
        post.geometry.input_shape,
        post.geometry.output_shape,
        strict=True,
    ):
        if axis in sizes:
            sizes[axis] *= before / after
    return sizes or None


def expand(patterns: Sequence[str]) -> list[Path]:
    """Files of paths and glob patterns; shells that do not expand get it done here.

    Raises
    ------
    OptionError
        A pattern matches nothing, or a file is missing.
    """
    from glob import glob, has_magic

    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern).expanduser()
        if path.exists():
            found.append(path)
            continue
        if not has_magic(pattern):
            raise OptionError(f"There is no file '{pattern}'. Check the path.")
        matches = sorted(glob(pattern, recursive=True))
        if not matches:
            raise OptionError(f"Nothing matches '{pattern}'. Check the pattern.")
        found += [Path(match) for match in matches]
    return list(dict.fromkeys(found))
