"""Upscaling of one file: what `upscale` and `batch` have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import OptionError

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from napari_flowsr.jobs.order import Order
    from napari_flowsr.models.card import Model

OUTPUTS = ("samples", "mean", "std", "quantiles")


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
    precision: str = "float32"
    pixel_size: float | None = None
    target_pixel_size: float | None = None
    prior_model: str | None = None
    outputs: str = "samples"
    overwrite: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.wanted if name not in OUTPUTS]
        if unknown or not self.wanted:
            raise OptionError(
                f"--outputs is '{self.outputs}'; expected names out of "
                f"{', '.join(OUTPUTS)}, separated by commas."
            )
        for name in ("pixel_size", "target_pixel_size"):
            size = getattr(self, name)
            if size is not None and not 0 < size < math.inf:
                raise OptionError(
                    f"--{name.replace('_', '-')} is {size:g}; expected a positive size "
                    "in µm."
                )
        if self.scale is not None and self.target_pixel_size is not None:
            raise OptionError("Give --scale or --target-pixel-size, not both.")
        if self.prior == "learned" and self.prior_model is None:
            raise OptionError(
                "--prior learned needs a learned prior; say which by --prior-model "
                "NAME or FILE."
            )
        if self.n is not None and self.n < 2 and self.wants_spread:
            raise OptionError(
                f"--outputs is '{self.outputs}' with --samples {self.n}; one sample "
                "has no spread. Give --samples 2 or more, better 8, or leave std and "
                "quantiles out."
            )
        _ = self.tile_side

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the outputs, in the order of `OUTPUTS`."""
        names = [part.strip().lower() for part in self.outputs.split(",")]
        return tuple(sorted({n for n in names if n}, key=[*OUTPUTS, *names].index))

    @property
    def wants_spread(self) -> bool:
        """Whether the outputs show how the samples differ."""
        return bool({"std", "quantiles"} & set(self.wanted))

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
    def order(self) -> Order:
        """What is wanted of every file."""
        from napari_flowsr.jobs.order import Order

        names = ["temperature", "seed", "scale", "axes", "prior", "noise"]
        names += ["consistent", "device", "nan", "precision"]
        return Order(
            model=self.model,
            prior_model=self.prior_model,
            n=self.count,
            outputs=self.wanted,
            pixel_size=self.pixel_size,
            target_pixel_size=self.target_pixel_size,
            options={n: getattr(self, n) for n in names} | {"tile": self.tile_side},
        )

    def load(self) -> Model:
        """Load the model, and say what is to be known of it.

        Raises
        ------
        OptionError
            It makes one image only, and how samples differ was asked for.
        """
        from napari_flowsr.cli._show import warn
        from napari_flowsr.io.catalogue import notices

        model = self.order.load()
        warn(notices(model.card))
        return model


def check_targets(files: dict[str, Path], job: Job) -> None:
    """Raise `ExportError` unless every file can be written, before the long work."""
    from napari_flowsr.jobs.plan import check_targets as check

    check(files, overwrite=job.overwrite)


def upscale_file(
    source: Path, files: dict[str, Path], job: Job, bar: Bar
) -> dict[str, Any]:
    """Upscale one file with a bar of its own; return the facts for people."""
    from napari_flowsr.jobs.files import upscale_file as upscale

    task = bar.add_task(source.name, total=None)

    def tell(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)

    try:
        return upscale(source, files, job.order, job.overwrite, tell)
    finally:
        bar.remove_task(task)


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
