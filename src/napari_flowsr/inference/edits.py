"""The methods of `Posterior` that edit a given HR image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from napari_flowsr.core.interrupt import until_cancelled
from napari_flowsr.inference import editing
from napari_flowsr.inference.events import Edited, Progress
from napari_flowsr.inference.options import check_callback
from napari_flowsr.io.flowsr_file import Edit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_flowsr.inference.bound import Bound
    from napari_flowsr.inference.distribution import Posterior
    from napari_flowsr.inference.options import ProgressCallback

__all__ = ["Edits"]

Array = npt.NDArray[Any]


class Edits:
    """Encode an HR image, change its latents, decode: only what can change.

    Each edit has two forms: a generator of `Progress` and, last, `Edited`; and a method
    that consumes it and returns the array.
    """

    _bound: Bound
    progress: ProgressCallback | None

    # --- as events ------------------------------------------------------------

    def resampling(
        self, hr: Any, mask: Any, seed: int, temperature: Any = None
    ) -> Iterator[Progress | Edited]:
        """`resample`, step by step."""
        return editing.resampling(self._bound, hr, mask, seed, temperature)

    def normalising(
        self,
        hr: Any,
        mask: Any = None,
        *,
        collections: str | Sequence[str] = "local",
        seed: int = 0,
        temperature: Any = None,
        strength: float = 1.0,
        amplify: bool = True,
    ) -> Iterator[Progress | Edited]:
        """`normalise`, step by step."""
        return editing.normalising(
            self._bound,
            hr,
            mask,
            collections=collections,
            seed=seed,
            temperature=temperature,
            strength=strength,
            amplify=amplify,
        )

    def finish(
        self,
        events: Iterator[Progress | Edited],
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Edited:
        """Consume the events of an edit.

        Parameters
        ----------
        events : iterator
            Of one of the methods above.
        cancelled : callable, optional
            As in `Posterior.stream`.
        """
        check_callback("cancelled", cancelled, "that tells whether to stop")
        watched = events if cancelled is None else until_cancelled(events, cancelled)
        for event in watched:
            if isinstance(event, Edited):
                return event
            if self.progress is not None:
                self.progress(event.done, event.total)
        raise RuntimeError("The edit ended without a result.")

    # --- as arrays ------------------------------------------------------------

    def resample(
        self,
        hr: Any,
        mask: Any,
        seed: int,
        temperature: Any = None,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Array:
        """Draw new content inside a mask; the rest of the image stays.

        Also with the seed of a sample the content is another than its own. Under a
        posterior with ``consistent=True`` what is new is back-projected. Only what can
        change is computed, so that a small mask in a large image costs little.

        Parameters
        ----------
        hr : array-like
            Of the upscaled shape.
        mask : array-like
            Bool, or float from 0 (keep) to 1 (replace), ``(Y, X)`` on the HR or LR
            grid, or with the looped axes before. Where it is between, old and new
            latents are mixed so that they stay white.
        seed : int
            Of the new content.
        temperature : float or array, optional
            Of the new content; that of the posterior if not given.
        cancelled : callable, optional
            As in `Posterior.stream`.

        Returns
        -------
        ndarray
            Dtype of ``hr``. Beyond the model's reach of the mask its pixels are
            those of ``hr``, bit for bit.

        References
        ----------
        SRFlow (Lugmayr et al., 2020), section 4.1.
        """
        steps = self.resampling(hr, mask, seed, temperature)
        return self.finish(steps, cancelled=cancelled).array

    def normalise(
        self,
        hr: Any,
        mask: Any = None,
        *,
        collections: str | Sequence[str] = "local",
        seed: int = 0,
        temperature: Any = None,
        strength: float = 1.0,
        amplify: bool = True,
        cancelled: Callable[[], bool] | None = None,
    ) -> Array:
        """Make an image likely under the model, given the LR image.

        Its latents get the mean and the variance of white noise, collection by
        collection, and are decoded again: what of the image the model does not expect
        (pasted content, noise, another LR image) is harmonised.

        Parameters
        ----------
        hr : array-like
            Of the upscaled shape; it need not agree with the LR image.
        mask : array-like, optional
            As in `resample`; default: everywhere.
        collections : str or sequence of str
            ``"local"`` (the channels of each position and level), ``"spatial"`` (each
            channel and level) or ``"global"`` (all latents); several are normalised
            one after the other.
        seed : int
            Of the new statistics.
        temperature : float or array, optional
            Their standard deviation; that of the posterior if not given.
        strength : float
            From 0 (the image stays) to 1.
        amplify : bool
            If false, a collection may lose variance but not gain any.
        cancelled : callable, optional
            As in `Posterior.stream`.

        Returns
        -------
        ndarray
            Dtype of ``hr``.

        References
        ----------
        SRFlow (Lugmayr et al., 2020), section 4.3, eqs. (6) and (7).
        """
        steps = self.normalising(
            hr,
            mask,
            collections=collections,
            seed=seed,
            temperature=temperature,
            strength=strength,
            amplify=amplify,
        )
        return self.finish(steps, cancelled=cancelled).array

    def harmonise(
        self,
        hr: Any,
        edited: Any,
        mask: Any = None,
        *,
        normalisation: str | Sequence[str] = "local",
        seed: int = 0,
        temperature: Any = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Array:
        """Make content that was inserted into an HR image agree with the LR image.

        Parameters
        ----------
        hr, edited, mask, normalisation, seed, temperature
            As in `inference.transfer.transfer_content`; ``hr`` of the upscaled shape.
        cancelled : callable, optional
            As in `Posterior.stream`.

        Returns
        -------
        ndarray
            Dtype of ``hr``.

        References
        ----------
        SRFlow (Lugmayr et al., 2020), section 4.4.
        """
        # Those modules make posteriors themselves, and so import this one.
        from napari_flowsr.inference.transfer import transferring

        steps = transferring(
            cast("Posterior", self),
            hr,
            edited,
            mask,
            normalisation=normalisation,
            seed=seed,
            temperature=temperature,
        )
        return self.finish(steps, cancelled=cancelled).array

    def restyle(
        self,
        source_hr: Any,
        mask: Any = None,
        hr: Any = None,
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> Array:
        """Enlarge the image with the latents of another HR image.

        Parameters
        ----------
        source_hr, mask
            As in `inference.styling.transfer_style`.
        hr : array-like, optional
            What is kept outside of the mask; default: sample 0.
        cancelled : callable, optional
            As in `Posterior.stream`.

        Returns
        -------
        ndarray
            Dtype of ``hr``, or of the image.

        References
        ----------
        SRFlow (Lugmayr et al., 2020), section 4.2.
        """
        from napari_flowsr.inference.styling import styling

        steps = styling(cast("Posterior", self), source_hr, mask=mask, hr=hr)
        return self.finish(steps, cancelled=cancelled).array

    # --- to go on with ----------------------------------------------------------

    def snapshot(
        self,
        hr: Any,
        *,
        record: Mapping[str, Any] | None = None,
        layer: Mapping[str, Any] | None = None,
    ) -> Edit:
        """An HR image as latents, with all that it takes to decode them.

        Parameters
        ----------
        hr : array-like
            Of the upscaled shape.
        record : mapping, optional
            How it came about, such as the record of its layer; default: that it is an
            HR image under this posterior, whose making is not known.
        layer : mapping, optional
            What a program wants to know of it later; JSON-able.

        Returns
        -------
        Edit
            For `napari_flowsr.save_edit`.
        """
        image = np.asarray(self._bound.intensities.source.array)
        post = cast("Posterior", self)
        facts = {**post.provenance("given"), **(record or {})}
        latents = post.encode(hr)
        return Edit(latents=latents, image=image, record=facts, layer=layer or {})
