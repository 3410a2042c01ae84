"""Latents in a ``.safetensors`` file: what all files that hold latents share.

Tensors, and one JSON entry in the header's metadata under a key of the kind of file.
Nothing in such a file is executed, and all of it may come from anybody.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from napari_flowsr.core.places import LatentLevel, LatentSpec, Place, Window
from napari_flowsr.errors import CheckpointError
from napari_flowsr.io.atomic import atomic_path
from napari_flowsr.io.provenance import versions
from napari_flowsr.io.untrusted import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

__all__ = ["Kind", "levels_of", "spec_facts", "spec_of", "tensors_of"]


@dataclass(frozen=True)
class Kind:
    """A kind of file with latents, and what is said of files that are not of it.

    Parameters
    ----------
    key : str
        Of its entry in the metadata.
    version : int
        Of the format that is written, and the newest that is read.
    what : str
        What it holds, without an article.
    expected : str
        A sentence: which file to give instead.
    remedy : str
        A sentence: what to do about a damaged file.
    """

    key: str
    version: int
    what: str
    expected: str
    remedy: str

    def write(
        self,
        path: Path,
        tensors: Mapping[str, Tensor],
        about: Mapping[str, Any],
        *,
        overwrite: bool,
    ) -> None:
        """Write a file, whole or not at all."""
        told = {"format": self.version, "versions": versions(), **about}
        data = save(
            {name: t.detach().cpu().contiguous() for name, t in tensors.items()},
            metadata={self.key: json.dumps(told, sort_keys=True)},
        )
        with atomic_path(path, overwrite=overwrite) as temporary:
            temporary.write_bytes(data)

    def read(self, path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a file says about itself, and its tensors.

        Raises
        ------
        CheckpointError
            No file, another kind of file, a newer format, or a damaged one.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if self.key not in metadata:
                    raise CheckpointError(
                        f"'{path}' holds no {self.what}. {self.expected}"
                    )
                about = self._about(metadata[self.key], path)
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError as error:
            raise CheckpointError(
                f"There is no file '{path}' of {self.what}. Check the path. "
                f"{self.expected}"
            ) from error
        # What sizes that nobody can have lead torch to is a RuntimeError.
        except (SafetensorError, OSError, RuntimeError, OverflowError) as error:
            raise CheckpointError(
                f"'{path}' is no file of {self.what}, or a damaged one ({error}). "
                f"{self.expected}"
            ) from error
        return about, tensors

    def _about(self, text: str, path: Path) -> dict[str, Any]:
        try:
            about: dict[str, Any] = parse_json(text)
            version = about["format"]
            if isinstance(version, bool) or int(version) != version or version < 1:
                raise ValueError(f"format is {version!r}; expected a whole number")
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise self.damaged(path, error) from error
        if version > self.version:
            raise CheckpointError(
                f"'{path.name}' has format {version}; this version of napari-flowsr "
                f"reads up to {self.version}. Update napari-flowsr."
            )
        return about

    def damaged(self, path: Path, error: Exception) -> CheckpointError:
        """Error for a file of this kind whose entries do not fit."""
        return CheckpointError(f"'{path}' is damaged ({error}). {self.remedy}")


# --- latents ------------------------------------------------------------------


def tensors_of(levels: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Tensors of latents, under the names that they have in a file."""
    return {f"level.{i}": t for i, t in enumerate(levels)}


def levels_of(tensors: Mapping[str, Tensor], spec: LatentSpec) -> tuple[Tensor, ...]:
    """Tensors of latents that a file holds; `ValueError` if they are no floats."""
    levels = tuple(tensors[f"level.{i}"] for i in range(len(spec.levels)))
    if not all(t.is_floating_point() for t in levels):
        raise ValueError("the latents are no floating-point numbers")
    return levels


def spec_facts(spec: LatentSpec) -> dict[str, Any]:
    """Sizes and places of latents as plain values for JSON."""
    place = spec.place
    return {
        "levels": [[*level.shape, str(level.rate)] for level in spec.levels],
        "starts": [list(level.start) for level in spec.levels],
        "sides": [level.side for level in spec.levels],
        "lr_size": list(spec.lr_size),
        "hr_size": list(spec.hr_size),
        "hr_start": list(spec.hr_start),
        "scale": spec.scale,
        "place": None
        if place is None
        else [
            [place.window.y, place.window.x, place.window.height, place.window.width],
            list(place.whole),
            place.scale,
        ],
    }


def spec_of(facts: Mapping[str, Any]) -> LatentSpec:
    """Take `spec_facts` back; the errors of conversions for what is none."""
    shapes = facts["levels"]
    starts = facts.get("starts") or [(0, 0)] * len(shapes)
    sides = facts.get("sides") or [None] * len(shapes)
    levels = tuple(
        LatentLevel(
            int(c),
            int(h),
            int(w),
            Fraction(rate),
            _pair(start),
            None if side is None else int(side),
        )
        for (c, h, w, rate), start, side in zip(shapes, starts, sides, strict=True)
    )
    scale, place = facts.get("scale"), facts.get("place")
    return LatentSpec(
        levels,
        _pair(facts["lr_size"]),
        _pair(facts["hr_size"]),
        scale=None if scale is None else float(scale),
        place=None if place is None else _place(*place),
        hr_start=_pair(facts.get("hr_start") or (0, 0)),
    )


def _place(window: Any, whole: Any, scale: Any) -> Place:
    y, x, height, width = (int(number) for number in window)
    at = Window(y, x, height, width)
    return Place(at, _pair(whole), None if scale is None else float(scale))


def _pair(values: Any) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    return first, second
