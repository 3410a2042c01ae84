"""Local re-sampling against a full decode, in one run.

    python benchmarks/resampling.py

For HR layers of 1024 and 2048 pixels and square masks of 32 to 256: the time of
`Posterior.resample` as a share of the time of one full sample, and the largest change
beyond the reach of the mask. The image is smooth noise, for times do not depend on
what is seen.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from scipy.ndimage import gaussian_filter

import napari_flowsr as flowsr

MODELS = ("micro-2x", "micro-4x")
SIDES, MASKS = (1024, 2048), (32, 64, 128, 256)


def measure(name: str, side: int) -> list[str]:
    """Rows of the table."""
    model = flowsr.load_model(name)
    scale = int(model.flow.scales[0])
    rng = np.random.default_rng(0)
    lr = gaussian_filter(rng.normal(size=(side // scale, side // scale)), 3)
    post = flowsr.posterior(lr.astype(np.float32), model)
    began = time.perf_counter()
    hr = post.sample(1)[0]
    full = time.perf_counter() - began
    rows = []
    for size in MASKS:
        first = (side - size) // 2
        mask = np.zeros(hr.shape, bool)
        mask[first : first + size, first : first + size] = True
        began = time.perf_counter()
        new = post.resample(hr, mask, seed=1)
        taken = time.perf_counter() - began
        reach = scale * model.flow.latent_reach
        low, high = max(0, first - reach - scale), first + size + reach + scale
        beyond = np.abs(new - hr)
        beyond[low:high, low:high] = 0
        changed = int((new != hr).sum())
        rows.append(
            f"| {name} | {side} | {size} | {full:.2f} | {taken:.2f} | "
            f"{100 * taken / full:.1f} % | {changed} | {beyond.max():g} |"
        )
    return rows


def main() -> None:
    """Print a markdown table."""
    out = sys.stdout.write
    titles = ("model", "HR side", "mask", "full sample, s", "re-sample, s", "share")
    titles += ("pixels changed", "largest change beyond reach")
    out(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}\n")
    for name in MODELS:
        for side in SIDES:
            for row in measure(name, side):
                out(row + "\n")


if __name__ == "__main__":
    main()
