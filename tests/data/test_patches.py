"""Patches are aligned, balanced, and a function of seed and step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from napari_flowsr.data.degrade import Degradation, downscale
from napari_flowsr.data.patches import PatchSampler
from napari_flowsr.data.source import Plane

AREA_MEAN = Degradation("area")


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
    share = sampler.probabilities[-1]
    assert share == np.float64(1 / 5)  # sqrt(1) against sqrt(16)


def test_detail_is_preferred() -> None:
    pixels = np.zeros((1, 64, 256), np.float32)
    noise = np.random.default_rng(0).random((1, 64, 128), np.float32)
    pixels[:, :, :128] = noise
    pixels[:, :, 128:] = 0.5 + 0.15 * noise
    sampler = PatchSampler((Plane(pixels, ""),), 2, patch=4, batch=200)
    _, hr = sampler.draw(0)
    kinds = Counter("weak" if float(p.std()) < 0.15 else "strong" for p in hr)
    assert kinds["strong"] > 2 * kinds["weak"] > 0


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("scale_range", [None, (1.5, 3.0)])
def test_images_that_are_mostly_black_give_no_black_patches(noise, scale_range) -> None:
    """Of 256 x 256 pixels, 40 x 40 have something in them."""
    rng = np.random.default_rng(1)
    pixels = np.zeros((1, 256, 256), np.float32)
    pixels[0, 150:190, 20:60] = np.kron(rng.random((10, 10)), np.ones((4, 4)))
    pixels += noise * rng.random(pixels.shape, np.float32)
    sampler = PatchSampler(
        (Plane(pixels, ""),), 2, patch=8, batch=150, scale_range=scale_range
    )
    _, hr = sampler.draw(0)
    black = sum(float(p.max()) <= max(noise, 1e-6) for p in hr)
    assert black == 0 if noise == 0 else black <= 0.2 * len(hr)


def test_single_bright_pixels_are_images_too() -> None:
    pixels = np.zeros((1, 64, 64), np.float32)
    pixels[0, 9, 9] = 1e-4
    lr, hr = PatchSampler((Plane(pixels, ""),), 2, patch=4, batch=4).draw(0)
    assert lr.shape == (4, 1, 4, 4)
    assert hr.shape == (4, 1, 8, 8)


def test_batches_of_a_plain_recipe_are_what_they_were() -> None:
    """Checkpoints of earlier versions go on with the same patches."""
    lr, hr = PatchSampler([plane(i) for i in range(3)], 2, 8, 4, seed=7).draw(5)
    assert [round(float(p.double().sum()), 2) for p in hr] == [
        120.35,
        130.49,
        125.47,
        120.81,
    ]
    assert [round(float(p.double().sum()), 2) for p in lr] == [
        30.33,
        32.4,
        31.48,
        30.19,
    ]


@pytest.mark.parametrize("name", ["matlab-bicubic", "area", "gaussian:sigma=1.2"])
def test_any_scale_is_drawn_with_the_batch(name: str) -> None:
    """One scale for all patches; the LR patch is the reduction of the HR patch."""
    how = Degradation.parse(name)
    sampler = PatchSampler(
        (plane(0),), 4, 9, 3, seed=2, degradation=how, scale_range=(1.0, 4.0)
    )
    scales = [sampler.scale_at(step) for step in range(20)]
    assert min(scales) < 1.5
    assert max(scales) > 3.3
    assert len(set(scales)) == 20
    for step, scale in enumerate(scales[:5]):
        lr, hr = sampler.draw(step)
        assert lr.shape == (3, 1, 9, 9)
        assert hr.shape[-1] == round(9 * scale)
        torch.testing.assert_close(lr, downscale(hr, scale, how), atol=1e-6, rtol=0)
        again = sampler.draw(step, slice(1, None, 2))
        assert torch.equal(again[0], lr[1::2])
    assert sampler.min_side == 36


def test_misaligned_patches_are_shifted_by_whole_pixels() -> None:
    """A ramp tells by how much; LR patches are those without misalignment."""
    y, x = np.mgrid[:128, :128] / 256
    ramp = Plane(np.stack((y, x, y + x)).astype(np.float32), "")
    straight = PatchSampler((ramp,), 2, 6, 60, seed=3)
    moved = PatchSampler((ramp,), 2, 6, 60, seed=3, misalignment=4)
    for sampler, most in ((straight, 0), (moved, 4)):
        lr, hr = sampler.draw(0)
        gap = 256 * (hr.mean((2, 3)) - lr.mean((2, 3)))[:, :2]
        assert float((gap - gap.round()).abs().max()) < 1e-3
        found = {int(v) for v in gap.round().flatten()}
        assert found == set(range(-most, most + 1))


def test_noise_is_that_of_the_degradation_and_of_the_patch() -> None:
    flat = np.full((1, 64, 64), 0.5, np.float32)
    flat[0, ::8] = 0.6
    how = Degradation("area", {"photons": 50.0, "read_noise": 0.02})
    noisy = PatchSampler((Plane(flat, ""),), 2, 8, 64, seed=1, degradation=how)
    clean = PatchSampler((Plane(flat, ""),), 2, 8, 64, seed=1, degradation=AREA_MEAN)
    (lr, hr), (plain, same) = noisy.draw(3), clean.draw(3)
    assert torch.equal(hr, same)
    expected = float((plain / 50 + 0.02**2).mean())
    assert float((lr - plain).square().mean()) == pytest.approx(expected, rel=0.1)
    assert abs(float((lr - plain).mean())) < 0.01
    assert torch.equal(noisy.draw(3, slice(1, None, 2))[0], lr[1::2])


@pytest.mark.parametrize("misalignment", [0, 3])
def test_pairs_stay_together(misalignment: int) -> None:
    """Both are cut, flipped and transposed alike: LR holds each pixel's own code."""
    codes = np.arange(24 * 30, dtype=np.float32).reshape(1, 24, 30) / 1000
    hr = codes.repeat(3, 1).repeat(3, 2)
    pair = Plane(hr, "a", lr=codes)
    how = Degradation("paired")
    sampler = PatchSampler(
        (pair,), 3, 5, 50, degradation=how, misalignment=misalignment
    )
    lr, hr_patch = sampler.draw(0)
    assert lr.shape == (50, 1, 5, 5)
    assert hr_patch.shape == (50, 1, 15, 15)
    same = [torch.equal(b[:, 1::3, 1::3], a) for a, b in zip(lr, hr_patch, strict=True)]
    assert all(same) if misalignment == 0 else 0 < sum(same) < 25
    inner = set(lr[0].flatten().tolist()) & set(hr_patch[0].flatten().tolist())
    assert len(inner) >= 16


def test_pairs_have_computed_unusual_patches() -> None:
    pair = Plane(np.ones((1, 32, 32), np.float32), "a", lr=np.ones((1, 16, 16), "f"))
    how = Degradation("paired")
    lr, hr = PatchSampler((pair,), 2, 4, 30, degradation=how, unusual=1.0).draw(0)
    torch.testing.assert_close(lr, downscale(hr, 2))
    assert float(hr.std()) > 0.1
