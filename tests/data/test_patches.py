"""Patches are aligned, balanced, and a function of seed and step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from napari_flowsr.data.degrade import downscale
from napari_flowsr.data.patches import PatchSampler
from napari_flowsr.data.source import Plane


def plane(seed: int, group: str = "", side: int = 96) -> Plane:
    pixels = np.random.default_rng(seed).random((1, side, side), np.float32)
    return Plane(pixels, str(seed), group)


def test_lr_patch_is_the_crop_of_the_whole_reduced_image() -> None:
    """No border effect: the margin covers the degradation's kernel."""
    source = plane(0)
    for scale in (2, 4):
        sampler = PatchSampler((source,), scale, patch=6, batch=4)
        lr, hr = sampler.draw(0)
        whole = torch.from_numpy(source.pixels)
        for a, b in zip(lr, hr, strict=True):
            found = False
            for flipped in _orientations(whole):
                for y in range(96 - 6 * scale + 1):
                    rows = flipped[0, y, :]
                    start = _find(rows, b[0, 0])
                    if start is None or not torch.equal(
                        flipped[0, y : y + 6 * scale, start : start + 6 * scale], b[0]
                    ):
                        continue
                    # Reduce with the patch's own phase, then compare.
                    top, left = y % scale, start % scale
                    part = flipped[:, top:, left:]
                    height, width = (n // scale * scale for n in part.shape[1:])
                    small = downscale(part[:, :height, :width], scale)
                    i, j = y // scale, start // scale
                    torch.testing.assert_close(
                        small[:, i : i + 6, j : j + 6], a, atol=2e-6, rtol=0
                    )
                    found = True
            assert found


def _orientations(image: torch.Tensor) -> list[torch.Tensor]:
    views = []
    for base in (image, image.mT):
        views += [base, base.flip(1), base.flip(2), base.flip(1, 2)]
    return views


def _find(row: torch.Tensor, part: torch.Tensor) -> int | None:
    windows = row.unfold(0, len(part), 1)
    hits = (windows == part).all(1).nonzero()
    return int(hits[0]) if len(hits) else None


def test_draw_depends_on_seed_step_and_index_alone() -> None:
    planes = [plane(i) for i in range(3)]
    sampler = PatchSampler(planes, 2, patch=8, batch=6, seed=4)
    lr, hr = sampler.draw(11)
    again = PatchSampler(planes, 2, patch=8, batch=6, seed=4).draw(11)
    assert torch.equal(lr, again[0])
    assert torch.equal(hr, again[1])
    for rank in range(2):  # two processes take turns in the same batch
        part = slice(rank, None, 2)
        assert torch.equal(sampler.draw(11, part)[1], hr[part])
    assert not torch.equal(sampler.draw(12)[1], hr)
    assert not torch.equal(PatchSampler(planes, 2, 8, 6, seed=5).draw(11)[1], hr)


def test_groups_are_drawn_by_the_root_of_their_counts() -> None:
    planes = [plane(i, "many") for i in range(16)] + [plane(99, "few")]
    sampler = PatchSampler(planes, 2, patch=8, batch=1)
    share = sampler._probabilities()[-1]
    assert share == np.float64(1 / 5)  # sqrt(1) against sqrt(16)


def test_detail_is_preferred_and_background_not_absent() -> None:
    pixels = np.zeros((1, 64, 128), np.float32)
    pixels[:, :, 64:] = np.random.default_rng(0).random((1, 64, 64), np.float32)
    sampler = PatchSampler((Plane(pixels, ""),), 2, patch=4, batch=200)
    _, hr = sampler.draw(0)
    kinds = Counter("flat" if float(p.std()) == 0 else "detail" for p in hr)
    assert kinds["detail"] > 2 * kinds["flat"] > 0
