"""What is wanted of every image: model, outputs, options. It travels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from napari_flowsr.errors import OptionError
from napari_flowsr.inference.options import check_spread, why_single
from napari_flowsr.io.collection import find_model, load_model
from napari_flowsr.io.prior_files import find_prior

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_flowsr.inference.distribution import Posterior
    from napari_flowsr.inference.events import Result
    from napari_flowsr.io.image_file import ImageFile
    from napari_flowsr.models.card import Model

__all__ = ["Order"]


@lru_cache(maxsize=1)
def _model(name: str, prior: str | None, device: str, _: object) -> Model:
    """Kept, for a worker has many planes to do."""
    return load_model(name, device=device, prior=prior)


def _state(path: Path) -> tuple[str, int, int]:
    """Tells a model's file from one that takes its place."""
    about = path.stat()
    return str(path), about.st_mtime_ns, about.st_size


@dataclass(frozen=True)
class Order:
    """What is wanted of every image.

    Parameters
    ----------
    model : str
        Name or path; workers load it by that too.
    prior_model : str, optional
        Learned prior that it is loaded with.
    n : int
        Samples.
    outputs : tuple of str
        Some of ``"samples"``, ``"mean"``, ``"std"``, ``"quantiles"``.
    quantiles : tuple of float
        From 0 to 1.
    pixel_size : float, optional
        Of Y and X of the inputs, µm, instead of what the files say.
    target_pixel_size : float, optional
        Of the results, µm; the scale follows from it.
    options : dict
        Of `inference.posterior.posterior`, except image, model and progress; the
        temperature is a number.
    """

    model: str = "micro-2x"
    prior_model: str | None = None
    n: int = 1
    outputs: tuple[str, ...] = ("samples",)
    quantiles: tuple[float, ...] = (0.05, 0.95)
    pixel_size: float | None = None
    target_pixel_size: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        temperature = self.options.get("temperature")
        if temperature is not None and not isinstance(temperature, int | float):
            raise OptionError(
                f"temperature is of type {type(temperature).__name__}; files are "
                "computed at one number, such as 0.8. For a map of temperatures use "
                "napari_flowsr.posterior with the image."
            )

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> Order:
        """What `dataclasses.asdict` made, after JSON, which has no tuples."""
        lists = {name: tuple(told[name]) for name in ("outputs", "quantiles")}
        return cls(**{**told, **lists})

    @property
    def device(self) -> str:
        """Where to compute, as it was asked for."""
        return str(self.options.get("device", "auto"))

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the files to write, one per output and quantile."""
        out: list[str] = []
        for name in self.outputs:
            out += map(_quantile, self.quantiles) if name == "quantiles" else [name]
        return tuple(out)

    def load(self) -> Model:
        """The model, where it is to be computed.

        Raises
        ------
        OptionError
            It makes one image only, and how samples differ was asked for.
        """
        states = [_state(find_model(self.model))]
        if self.prior_model is not None:
            states.append(_state(find_prior(self.prior_model)))
        model = _model(self.model, self.prior_model, self.device, tuple(states))
        if {"std", "quantiles"} & set(self.outputs):
            prior = "learned" if self.prior_model else self.options.get("prior", "")
            check_spread(self.n, why_single(prior, model.flow))
        return model

    def bind(self, image: ImageFile, model: Model) -> Posterior:
        """The posterior of an image."""
        # An order is made without torch, and carried out with it.
        from napari_flowsr.inference.posterior import posterior

        given = {
            **self.options,
            "axes": self.options.get("axes") or image.axes,
            "scale": self.scale_of(image),
        }
        if self.prior_model:
            given["prior"] = "learned"
        return posterior(image.data, model, **given)

    def scale_of(self, image: ImageFile) -> float | None:
        """Scale to use, from the pixel sizes if a target was given.

        Raises
        ------
        OptionError
            The pixel size of the input is unknown, or its pixels are not square.
        """
        if self.target_pixel_size is None:
            scale: float | None = self.options.get("scale")
            return scale
        sizes = dict(image.pixel_size or {})
        if self.pixel_size is not None:
            sizes |= {"Y": self.pixel_size, "X": self.pixel_size}
        if not {"Y", "X"} <= set(sizes):
            raise OptionError(
                "--target-pixel-size needs the pixel size of the input, which the file "
                "does not say. Add --pixel-size."
            )
        if not math.isclose(sizes["Y"], sizes["X"], rel_tol=1e-3):
            raise OptionError(
                f"The input's pixels are {sizes['Y']:g} x {sizes['X']:g} µm; "
                "--target-pixel-size needs square ones. Give --scale instead."
            )
        return sizes["Y"] / self.target_pixel_size

    def arrays(self, result: Result) -> Iterator[tuple[str, Any]]:
        """Each of `kinds`, with its array."""
        found = {"samples": result.samples, "mean": result.mean, "std": result.std}
        found |= {_quantile(q): array for q, array in result.quantiles.items()}
        for kind in self.kinds:
            yield kind, found[kind]

    def axes(self, kind: str, post: Posterior) -> str:
        """Of the array of a kind; N are samples."""
        return f"N{post.geometry.axes}" if kind == "samples" else post.geometry.axes

    def facts(self, kind: str, image: ImageFile, post: Posterior, name: str,
              **further: Any) -> dict[str, Any]:  # fmt: skip
        """What `io.images.write_image` is told of a result besides its array.

        Parameters
        ----------
        kind : str
            One of `kinds`.
        image : ImageFile
            The input.
        post : Posterior
            Of the image.
        name : str
            Of the input file.
        **further
            For the provenance.
        """
        extra: dict[str, Any] = {"n": self.n, "source_name": name, **further}
        title = "sample" if kind == "samples" else kind
        if kind.startswith("q"):
            title, extra["quantile"] = "quantile", int(kind[1:]) / 100
        sizes = self._pixel_size(image, post)
        return {
            "axes": self.axes(kind, post),
            "pixel_size": sizes,
            "unit": "µm" if sizes else "pixel",
            "channel_names": image.channel_names if "C" in post.geometry.axes else (),
            "provenance": post.provenance(title, **extra),
        }

    def _pixel_size(self, image: ImageFile, post: Posterior) -> dict[str, float] | None:
        """Pixel size of the result in µm; None if that of the input is unknown."""
        sizes, geometry = dict(image.pixel_size or {}), post.geometry
        if self.pixel_size is not None:
            sizes |= {"Y": self.pixel_size, "X": self.pixel_size}
        shapes = zip(
            geometry.axes, geometry.input_shape, geometry.output_shape, strict=True
        )
        for axis, before, after in shapes:
            if axis in sizes:
                sizes[axis] *= before / after
        return sizes or None


def _quantile(q: float) -> str:
    return f"q{round(q * 100):02d}"
