"""Everything that the report says of one image, beyond the figures of `evaluate`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_flowsr.errors import UnstableDecodeError
from napari_flowsr.io.content import image_hash
from napari_flowsr.metrics.baselines import lanczos, nearest
from napari_flowsr.metrics.fidelity import psnr, ssim
from napari_flowsr.metrics.perceptual import Perceptual
from napari_flowsr.metrics.plane import VERSIONS, Sampler, compare, reduction
from napari_flowsr.metrics.sharpness import fine_ratio
from napari_flowsr.report.plan import Plan, Subject
from napari_flowsr.report.rescaling import measure_rescaling

if TYPE_CHECKING:
    from napari_flowsr.metrics.plane import Evaluated

__all__ = ["OF_A_VERSION", "SWEPT", "Measurer", "best_of"]

Image = NDArray[np.float32]
Figures = dict[str, Any]

OF_A_VERSION = ("psnr", "ssim", "lr_psnr", "sharpness", "lpips")
"""Figures of each version of an image."""
SWEPT = (
    *OF_A_VERSION, "psnr_mean", "crps", "diversity", "coverage_50", "coverage_90",
)  # fmt: skip
"""Figures at each temperature of the curves."""


def best_of(values: list[float]) -> list[float]:
    r"""Expected largest of ``k`` of the ``n`` values, for ``k`` from 1 to ``n``.

    Over all subsets of size ``k``: of the values in ascending order,
    :math:`\sum_i x_{(i)} \binom{i-1}{k-1} / \binom{n}{k}`. Unbiased, and smoother than
    the running maximum, which depends on the order of the samples.
    """
    ordered, n = sorted(values), len(values)
    return [
        sum(x * math.comb(i, k - 1) for i, x in enumerate(ordered)) / math.comb(n, k)
        for k in range(1, n + 1)
    ]


@dataclass(frozen=True)
class Measurer:
    """Measures images for one subject.

    Parameters
    ----------
    subject : Subject
        Model and scale.
    plan : Plan
        What to measure.
    lpips : callable or None
        Perceptual metric, if there is one.
    tick : callable
        Called after each run, with the number of decodes that were made; and without
        any while one is running, to be interrupted.
    """

    subject: Subject
    plan: Plan
    lpips: Perceptual | None
    tick: Callable[[int], None]

    @property
    def decodes(self) -> int:
        """Decodes of an image, those of `evaluate` included."""
        plan, subject = self.plan, self.subject
        swept = sum(1 if t == 0 else plan.sweep for t in plan.temperatures)
        single = subject.model.flow.deterministic
        further = (subject.has_prior, subject.has_prediction)
        rescaled = plan.n + 1 if subject.rescales else 0
        return 1 + plan.n + (0 if single else swept) + sum(further) + rescaled

    def measure(self, found: Evaluated) -> tuple[Figures, dict[str, Image]]:
        """Figures, and versions of the image that `evaluate` does not make."""
        model, scale = self.subject.model, self.subject.scale
        reduce = reduction(model, scale)

        def quality(image: Image) -> Figures:
            border = math.ceil(scale)
            reduced = reduce(torch.from_numpy(np.ascontiguousarray(image)))
            return {
                "psnr": psnr(image, found.hr, border),
                "ssim": ssim(image, found.hr, border),
                "lr_psnr": psnr(reduced.numpy(), found.lr, 1),
                **self._texture(image, found),
            }

        further, exploded = self._further(found)
        each = [psnr(s, found.hr, math.ceil(scale)) for s in found.samples]
        rows = {
            "nearest": quality(nearest(found.lr, scale)),
            "lanczos": quality(lanczos(found.lr, scale)),
            **{name: quality(image) for name, image in further.items()},
            **self._of_evaluate(found),
        }
        figures = {
            "name": found.name,
            "hash": image_hash(found.hr),
            "size": [int(side) for side in found.hr.shape[1:]],
            "seed": found.seed,
            "versions": rows,
            "psnr_samples": each,
            "best_of": best_of(each),
            "temperatures": self._sweep(found),
        }
        if self.subject.has_prior:
            figures["prior_exploded"] = exploded
        if self.subject.rescales:
            figures["rescaling"] = measure_rescaling(
                found, self.subject, self.plan, self.tick
            )
        return figures, further

    def _texture(self, image: Image, found: Evaluated) -> Figures:
        """Figures that no protocol but the report's has."""
        border = math.ceil(found.scale)
        out = {"sharpness": fine_ratio(image, found.hr, border)}
        if self.lpips is not None:
            out["lpips"] = self.lpips(image, found.hr, border)
        return out

    def _textures(self, samples: Image, found: Evaluated) -> Figures:
        each = [self._texture(sample, found) for sample in samples]
        return {key: float(np.mean([row[key] for row in each])) for key in each[0]}

    def _of_evaluate(self, found: Evaluated) -> dict[str, Figures]:
        """The versions of `evaluate`, whose figures are taken over."""
        images = {"bicubic": found.bicubic, "mode": found.mode, "mean": found.mean}
        rows = {name: self._texture(image, found) for name, image in images.items()}
        rows["sample"] = self._textures(found.samples, found)
        for name in VERSIONS:
            for key in ("psnr", "ssim", "lr_psnr"):
                rows[name][key] = found.figures[key][name]
        return rows

    def _further(self, found: Evaluated) -> tuple[dict[str, Image], bool]:
        """Prediction of the encoder and of the learned prior; whether that exploded."""
        subject, images, exploded = self.subject, {}, False
        if subject.has_prediction:
            flow = subject.model.flow
            with torch.inference_mode():
                lr = torch.from_numpy(found.lr)[None].to(flow.device)
                images["predicted"] = flow.predict(lr)[0].cpu().numpy()
            self.tick(1)
        if subject.has_prior:
            try:
                drawn, result = self._sampler(found).draw(0.0, 1, prior="learned")
            except UnstableDecodeError:
                exploded = True
            else:
                images["prior"] = np.ascontiguousarray(drawn[0])
                exploded = bool(result.report["redrawn_samples"])
            self.tick(1)
        return images, exploded

    def _sampler(self, found: Evaluated) -> Sampler:
        return Sampler(
            self.subject.model,
            found.lr,
            self.subject.scale,
            found.seed,
            lambda *_: self.tick(0),
        )

    # --- temperatures ---------------------------------------------------------

    def _sweep(self, found: Evaluated) -> list[Figures]:
        if self.subject.model.flow.deterministic:
            return []
        return [self._at(found, temperature) for temperature in self.plan.temperatures]

    def _at(self, found: Evaluated, temperature: float) -> Figures:
        n = self.plan.sweep if temperature > 0 else 1
        try:
            samples, draws, exploded = self._samples(found, temperature, n)
        except UnstableDecodeError:
            nothing = dict.fromkeys(SWEPT, math.nan)
            return {
                "temperature": temperature, **nothing, "draws": n, "exploded": n,
            }  # fmt: skip
        finally:
            self.tick(n)
        mean = samples.mean(0, dtype=np.float64).astype(np.float32)
        reduce = reduction(self.subject.model, self.subject.scale)
        figures = compare(replace(found, samples=samples, mean=mean), reduce)
        out = {key: value for key, value in figures.items() if key in SWEPT}
        out |= {key: figures[key]["sample"] for key in ("psnr", "ssim", "lr_psnr")}
        out["psnr_mean"] = figures["psnr"]["mean"]
        if n < 2 and temperature > 0:
            out["diversity"] = math.nan  # one sample does not tell
        return {
            "temperature": temperature,
            **out,
            **self._textures(samples, found),
            "draws": draws,
            "exploded": exploded,
        }

    def _samples(
        self, found: Evaluated, temperature: float, n: int
    ) -> tuple[Image, int, int]:
        """Samples, how many were drawn, and how many of these exploded at first."""
        drawn = len(found.samples)
        if temperature == self.plan.temperature and n <= drawn:
            exploded = round(found.figures["nonfinite"] * drawn)
            return found.samples[:n], drawn, exploded
        samples, result = self._sampler(found).draw(temperature, n)
        return samples, n, len(result.report["redrawn_samples"])
