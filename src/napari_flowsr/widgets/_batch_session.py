"""State behind the Batch tab, evented and typed, without Qt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from psygnal import SignalGroupDescriptor

from napari_flowsr.errors import OptionError
from napari_flowsr.jobs.order import Order
from napari_flowsr.jobs.plan import is_image, suffix_of
from napari_flowsr.jobs.schedule import check_scheduler
from napari_flowsr.models.card import ModelCard
from napari_flowsr.widgets._session import Session

__all__ = ["BATCH_OUTPUTS", "BatchSession"]

BATCH_OUTPUTS = ("samples", "mean", "std", "quantiles")
"""Files that can be made of each image; quantiles are those of 5 and 95 %."""
_EXISTING = ("keep", "replace")


@dataclass(eq=False)
class BatchSession(Session):
    """Which files to upscale, with what, to where.

    Parameters
    ----------
    source : str
        Folder of images, or one image, such as an OME-Zarr.
    target : str
        Folder of the results.
    pattern : str
        Which files of a folder, such as ``"*.tif"``.
    recursive : bool
        Also folders inside.
    file_format : str
        ``"ome.tif"``, ``"png"`` or ``"ome.zarr"``.
    existing : str
        ``"keep"`` results that are there and do what is missing, or ``"replace"``.
    scheduler : str
        Address of a dask.distributed scheduler; empty to compute here.
    outputs : tuple of str
        Some of `BATCH_OUTPUTS`.
    """

    outputs: tuple[str, ...] = BATCH_OUTPUTS[:3]
    source: str = ""
    target: str = ""
    pattern: str = "*"
    recursive: bool = False
    file_format: str = "ome.tif"
    existing: str = "keep"
    scheduler: str = ""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    @property
    def source_path(self) -> Path:
        """The input, the home folder spelled out."""
        return Path(self.source).expanduser()

    @property
    def target_path(self) -> Path:
        """The folder of the results, the home folder spelled out."""
        return Path(self.target).expanduser()

    @property
    def has_many(self) -> bool:
        """Whether files are to be chosen: not of one image."""
        return not (self.source and is_image(self.source_path))

    @property
    def order(self) -> Order:
        """What is wanted of every file; equal to that of the equivalent command."""
        learned = self.prior == "learned" and self.prior_model is not None
        return Order(
            model=str(self.model),
            prior_model=str(self.prior_model) if learned else None,
            n=self.samples,
            outputs=tuple(k for k in BATCH_OUTPUTS if k in self.outputs),
            pixel_size=self.pixel_size_um,
            options={**self.options(), "axes": None},
        )

    def card(self) -> ModelCard | None:
        """Card of the model; None if only reading the whole file can tell it."""
        return self._card()

    # --- validation ---------------------------------------------------------------

    def _wants_spread(self) -> bool:
        listed = isinstance(self.outputs, tuple | list)
        return listed and bool({"std", "quantiles"} & set(self.outputs))

    def _check_image(self) -> None:
        """Nothing: files, not a layer."""

    def _check_source(self) -> None:
        if not self.source:
            raise OptionError("Choose a folder of images, or one image, as the input.")
        if not self.source_path.exists():
            raise OptionError(
                f"There is no folder or image '{self.source}'. Check the path."
            )

    def _check_target(self) -> None:
        if not self.target:
            raise OptionError("Choose a folder for the results.")
        if self.target_path.exists() and not self.target_path.is_dir():
            raise OptionError(f"'{self.target}' is a file; choose a folder.")

    def _check_model(self) -> None:
        if not isinstance(self.model, str | Path):
            raise OptionError(
                f"The model is of type {type(self.model).__name__}; a batch takes a "
                "name or the path of a file, which each of its processes can load."
            )
        super()._check_model()

    def _check_pattern(self) -> None:
        if not self.pattern:
            raise OptionError("The pattern is empty; '*' takes all files.")

    def _check_file_format(self) -> None:
        suffix_of(self.file_format)

    def _check_existing(self) -> None:
        if self.existing not in _EXISTING:
            raise OptionError(
                f"existing is {self.existing!r}; choose from {', '.join(_EXISTING)}."
            )

    def _check_scheduler(self) -> None:
        if self.scheduler:
            check_scheduler()
            if "://" not in self.scheduler:
                raise OptionError(
                    f"The scheduler is '{self.scheduler}'; give its address, such as "
                    "tcp://node1:8786, or nothing to compute here."
                )

    def _check_outputs(self) -> None:
        given = self.outputs
        listed = isinstance(given, tuple | list) and len(given) > 0
        if not listed or any(kind not in BATCH_OUTPUTS for kind in given):
            raise OptionError(
                f"Outputs are {given!r}; choose one or more of "
                f"{', '.join(BATCH_OUTPUTS)}."
            )
        if self._wants_spread() and (why := self._single()):
            raise OptionError(
                f"{why} there is one image and no spread, which is no sign of "
                "certainty. Leave out uncertainty and quantiles."
            )

    def _check_pixel_size_um(self) -> None:
        size: Any = self.pixel_size_um
        if size is None:
            return
        if not isinstance(size, int | float) or not 0 < size < math.inf:
            raise OptionError(
                f"The pixel size is {size!r}; it is the edge of a pixel in µm, finite "
                "and above 0."
            )
