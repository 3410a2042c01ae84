"""The object behind every sample, statistic and edit: `Posterior`."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.device import resolve_device
from napari_flowsr.core.interrupt import until_cancelled
from napari_flowsr.core.precision import check_precision
from napari_flowsr.errors import OptionError
from napari_flowsr.inference import given
from napari_flowsr.inference.bound import Bound, flow_on
from napari_flowsr.inference.doubt import Doubting
from napari_flowsr.inference.edits import Edits
from napari_flowsr.inference.ensemble import check_quantiles
from napari_flowsr.inference.events import Event, Finished, Result
from napari_flowsr.inference.exploring import Exploring
from napari_flowsr.inference.intensity import check_single_precision
from napari_flowsr.inference.lazy import SampleTiles
from napari_flowsr.inference.maps import parse_temperature
from napari_flowsr.inference.options import check_callback, why_single
from napari_flowsr.inference.outputs import Order
from napari_flowsr.io.provenance import image_hash, record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch

    from napari_flowsr.core.latents import Latents
    from napari_flowsr.inference.intensity import Intensities
    from napari_flowsr.inference.options import Options, ProgressCallback
    from napari_flowsr.models.card import Model

__all__ = ["Posterior"]

Array = npt.NDArray[Any]
_LOG = logging.getLogger(__name__)


class Posterior(Edits, Exploring, Doubting):
    """Distribution of HR images given one LR image.

    Made by `inference.posterior.posterior`.

    Everything is computed when it is asked for, by one generator, `stream`. Sample
    ``i`` is the same in every call.

    Attributes
    ----------
    geometry : Geometry
        Axes, scale per axis, input and output shape.
    model : Model
        As given.
    options : Options
        As given.
    device : torch.device
        Where it is computed.
    device_reason : str
        Why there, in one sentence.
    """

    def __init__(
        self,
        model: Model,
        intensities: Intensities,
        *,
        temperature: Any,
        options: Options,
        device: str | torch.device,
        progress: ProgressCallback | None,
    ) -> None:
        self.model, self.options, self.progress = model, options, progress
        self.device, self.device_reason = resolve_device(device)
        check_precision(options.precision, self.device)
        self.geometry = intensities.source.geometry
        self._temperature = temperature
        self._bound = Bound(
            card=model.card,
            flow=flow_on(model.flow, self.device),
            intensities=intensities,
            temperature=parse_temperature(temperature, self.geometry),
            options=options,
        )
        self._source_hash = ""
        self._report: dict[str, Any] = {}

    @property
    def intensities(self) -> Intensities:
        """The image and its ranges."""
        return self._bound.intensities

    @property
    def temperature(self) -> Any:
        """As given: a number, or a map."""
        return self._temperature

    # --- samples and statistics -----------------------------------------------

    def stream(
        self,
        n: int = 1,
        outputs: Sequence[str] | None = None,
        quantiles: Sequence[float] = (0.05, 0.95),
        *,
        preview: bool = True,
        cancelled: Callable[[], bool] | None = None,
    ) -> Iterator[Event]:
        """Compute samples and statistics, and tell what happens meanwhile.

        Options are checked at once; the work is done while iterating. Not iterating on
        cancels it after a batch of a tile; ``cancelled`` does so amid one.

        Parameters
        ----------
        n : int
            Samples, numbered from 0.
        outputs : sequence of str
            Some of ``"samples"``, ``"mean"``, ``"std"``, ``"quantiles"``. Samples that
            are not asked for are not held, so that memory does not grow with ``n``.
            Default: all, but ``"std"`` and ``"quantiles"`` of one image, which has no
            spread.
        quantiles : sequence of float
            From 0 to 1.
        preview : bool
            Finish sample 0 everywhere before the others are begun; costs one more
            decode per tile, for samples of a tile share work.
        cancelled : callable, optional
            Asked before each step of the network, from the thread that iterates; once
            it returns true, `Cancelled` is raised.

        Yields
        ------
        Progress
            After each tile and batch.
        SampleReady
            Sample 0 as soon as it is complete, the others (if asked for) at the end.
        Finished
            Last, with a report: ``redrawn_blocks``, ``redrawn_samples``,
            ``redraw_attempts``, ``seconds``, ``tile``, ``tiles``, ``halo``,
            ``seam_error`` (part of the range by which tiles may differ from the whole;
            0 where they see all that the network can see), ``batch``,
            ``peak_bytes`` (estimate for a tile), ``memory_shortage``, ``device``,
            ``filled_pixels``, ``consistent``, ``identical`` (whether all samples are
            the same one), ``notices`` (texts on what the outputs do not mean),
            ``typicality`` (``score``, ``threshold`` and ``is_outside`` of `doubt`),
            ``lr_psnr`` (dB per sample; ``None`` if exact).

        Raises
        ------
        OptionError
            Unknown outputs, quantiles outside 0 .. 1, ``n`` below 1, or the spread of
            one image.
        ImageError
            Single precision does not resolve the image, and not only samples are asked
            for.
        OutOfMemoryError
            Not even the smallest tile fits.
        UnstableDecodeError
            Redrawing did not make a sample finite.
        Cancelled
            ``cancelled()`` is true, or the ``progress`` callback raises it.
        """
        order = Order.checked(
            n,
            outputs,
            quantiles,
            consistent=self.options.consistent,
            degradation=self.model.card.degradation,
            preview=preview,
            single=why_single(self.options.prior, self.model.flow),
        )
        if order.statistics:
            levels = bool(order.outputs & {"mean", "quantiles"})
            check_single_precision(self._bound.intensities, levels=levels)
        check_callback("cancelled", cancelled, "that tells whether to stop")
        events = self._events(order)
        return events if cancelled is None else until_cancelled(events, cancelled)

    def _result(self, n: int, outputs: str, quantiles: Sequence[float] = ()) -> Result:
        for event in self.stream(n, (outputs,), quantiles, preview=False):
            if isinstance(event, Finished):
                for text in event.result.report["notices"]:
                    if text == self.doubt().text:
                        # No mistake in the call, and no reason to end a script for
                        # which warnings are errors.
                        _LOG.warning(text)
                    else:
                        warnings.warn(text, stacklevel=3)  # at the method's caller
                return event.result
        raise RuntimeError("The stream ended without a result.")

    def sample(self, n: int = 1) -> Array:
        """Samples ``(n, *upscaled shape)``, dtype and range of the image."""
        samples = self._result(n, "samples").samples
        return _present(samples)

    def mean(self, n: int = 8) -> Array:
        """Mean of samples 0 .. n - 1, float32, intensity units."""
        return _present(self._result(n, "mean").mean)

    def std(self, n: int = 8) -> Array:
        """Standard deviation of samples 0 .. n - 1 (sum over n), float32, as `mean`.

        `OptionError` where there is no spread: of one sample, of a deterministic model
        and with a learned prior. At temperature 0 it is 0 everywhere, with a warning.
        """
        return _present(self._result(n, "std").std)

    def quantile(self, q: float | Sequence[float], n: int = 8) -> Array:
        """Quantiles of samples 0 .. n - 1, float32; stacked if ``q`` is a sequence.

        Errors and warnings as of `std`.
        """
        wanted = [q] if np.ndim(q) == 0 else list(q)  # type: ignore[arg-type]
        checked = check_quantiles(wanted)  # type: ignore[arg-type]
        if not checked:
            raise OptionError(f"q is {q!r}; give at least one number from 0 to 1.")
        found = self._result(n, "quantiles", checked).quantiles
        arrays = [found[value] for value in checked]
        return arrays[0] if np.ndim(q) == 0 else np.stack(arrays)

    def tiles(self, sample: int = 0) -> SampleTiles:
        """Any tile of one sample, computed alone, for images that are looked at.

        Parameters
        ----------
        sample : int
            Its number.

        Raises
        ------
        OptionError
            Back-projection or a learned prior, which need whole planes.
        """
        return SampleTiles(self._bound, sample)

    # --- given HR images ------------------------------------------------------

    def encode(self, hr: Any) -> Latents:
        """White latents of an HR image.

        Parameters
        ----------
        hr : array-like
            Of the upscaled shape, in the intensity units of the image.

        Returns
        -------
        Latents
            Batch: planes in C order of the looped axes (each colour component apart for
            a one-channel model); 1 for a 2-D image. On the padded plane where the model
            needs padding.
        """
        return given.encode(self._bound, hr)

    def decode(self, latents: Latents) -> Array:
        """HR image of latents as `encode` gives them; dtype and range of the image.

        Raises
        ------
        SizeError
            The latents belong to another image or model.
        UnstableDecodeError
            The decode is not finite; given latents are not redrawn.
        """
        return given.decode(self._bound, latents)

    def log_prob(self, hr: Any) -> Array:
        """Log-density of an HR image, one number per plane.

        Returns
        -------
        ndarray
            Float64 ``(planes,)``, nats, of the normalised intensities (SRFlow, eq. 1).
            Colour components add up for a one-channel model. Where the model needs
            padding the padded plane is measured; each plane needs to fit into memory.
        """
        return given.log_prob(self._bound, hr)

    def consistency(self, hr: Any) -> tuple[float, Array]:
        """How well the downscale of an HR image gives the input back.

        Returns
        -------
        psnr : float
            LR-PSNR in dB over all planes, peak 1 in normalised intensities; infinite if
            exact.
        residual : ndarray
            ``D(hr) - image``, float32, shape and intensity units of the image, with the
            degradation operator of the model's card.
        """
        return given.consistency(self._bound, hr)

    # --- provenance -----------------------------------------------------------

    def provenance(self, kind: str, **extra: Any) -> dict[str, Any]:
        """Record of how a result came about, JSON-able (see `io.provenance.record`).

        Parameters
        ----------
        kind : str
            ``"sample"``, ``"mean"``, ``"std"``, ``"quantile"``, …; ``"interpolation"``
            (with ``first``, ``second``, ``t``), ``"sweep"`` (with ``temperatures``,
            ``sample``), ``"levels"`` (with ``factors``, ``sample``), ``"best"`` (with
            ``n``, ``by``, ``sample``, the number of the best one).
        **extra
            Further facts, such as ``source_name``, ``n`` or ``sample``.
        """
        if not self._source_hash:
            self._source_hash = image_hash(self._bound.intensities.source.array)
        facts = {
            **self._bound.facts(),
            # A learned prior has none: its latents are decoded as they are.
            "temperature": None
            if self.options.prior == "learned"
            else self._temperature,
            "device": self.device.type,
            "report": self._report,
        }
        if "tile" in self._report:
            facts["tile"] = self._report["tile"]
        card = self.model.card
        return record(
            kind,
            model=card.name,
            model_sha256=card.sha256,
            family=card.family,
            source_sha256=self._source_hash,
            **{**facts, **extra},
        )


def _present(array: Array | None) -> Array:
    if array is None:
        raise RuntimeError("The run did not give what was asked for.")
    return array
