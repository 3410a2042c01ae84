"""Latents that a learned prior predicts, once for each plane.

The prior starts from latents that the flow assigns to the enlarged LR image; these are
encoded tile by tile. Its own network is a function of the whole plane (it interpolates
between halved sizes), so it runs on the whole plane at once, whatever the tiles are.

References
----------
Boosting Flow-based Generative Super-Resolution Models via Learned Prior (Tsao et al.,
2024), arXiv:2403.10988, section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import OptionError, OutOfMemoryError
from napari_flowsr.inference.encoding import encode_tiles, fitting
from napari_flowsr.inference.memory import empty_cache, is_out_of_memory

if TYPE_CHECKING:
    from napari_flowsr.core.latents import LatentSpec
    from napari_flowsr.inference.decoder import UnitDecoder

__all__ = ["LearnedLatents"]


class LearnedLatents:
    """Latents of one unit, predicted when they are first asked for.

    Parameters
    ----------
    decoder : UnitDecoder
        Of the unit.
    """

    def __init__(self, decoder: UnitDecoder) -> None:
        self._decoder = decoder
        self._found: Latents | None = None

    def draw(self, spec: LatentSpec, samples: range) -> Latents:
        """Cells of a placed spec, the same for all samples; on the CPU."""
        if self._found is None:
            self._found = self._predicted()
        part = self._found.crop(spec)
        return part.map(lambda t: t.expand(len(samples), -1, -1, -1))

    def _predicted(self) -> Latents:
        decoder = self._decoder
        flow, module = decoder.setup.flow, decoder.setup.flow.latent_module
        if module is None:
            raise OptionError("This model has no learned prior. Load it with one.")
        lr, whole = decoder.input.window(), decoder.setup.whole
        hr = module.enlarged(lr, whole.hr_size)
        initial = fitting(
            decoder, lambda plan: encode_tiles(decoder, hr, plan, keep=True)
        )
        weight = next(flow.parameters())
        module.to(weight.device, weight.dtype)
        try:
            there = initial.to(weight.device, weight.dtype)
            found = module.predict(there, lr.to(weight.device, weight.dtype))
            return Latents(found.to(torch.device("cpu")).levels, whole)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        decoder.release()
        empty_cache(flow.device)
        raise OutOfMemoryError(
            f"Memory does not suffice for the learned prior on a plane of "
            f"{lr.shape[-2]} x {lr.shape[-1]} LR pixels, which it sees as a whole. "
            "Crop the image, or choose the Gaussian prior, which works in tiles "
            "(prior='gaussian', no --prior-model, or 'Prior' under More options)."
        )
