"""Picture of a restoration for the documentation, from a bundled image.

    python docs/make_restoration_picture.py

Noise of 20 grey levels of 255 is added to a part of scikit-image's ``cell`` and taken
out again; what was taken is shown at the same contrast.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from skimage.data import cell

import napari_flowsr as flowsr
from napari_flowsr.metrics.fidelity import psnr

TARGET = Path(__file__).parent / "images" / "restoration.png"
MODEL = "micro-4x"
PART = (slice(210, 434), slice(270, 494))
SIGMA = 20 / 255


def main() -> None:
    """Degrade, restore, draw."""
    image = np.asarray(cell())[PART].astype(np.float32)
    low, high = np.percentile(image, (0.1, 99.9))
    clean = np.clip((image - low) / (high - low), 0, 1).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, SIGMA, clean.shape)
    degraded = (clean + noise).astype(np.float32)
    model = flowsr.load_model(MODEL)
    restored = flowsr.restore(degraded, model)
    before, after = (psnr(x, clean, 4) for x in (degraded, restored))
    panels = {
        f"with noise: {before:.1f} dB": degraded,
        f"restored: {after:.1f} dB": restored,
        "without noise": clean,
    }
    figure = Figure(figsize=(12.5, 3.35), layout="constrained")
    axes = figure.subplots(1, len(panels) + 1)
    for axis, (title, shown) in zip(axes, panels.items(), strict=False):
        axis.imshow(shown, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title)
    axes[-1].imshow(degraded - restored, cmap="coolwarm", vmin=-0.25, vmax=0.25)
    axes[-1].set_title("what was removed")
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(TARGET, dpi=80)


if __name__ == "__main__":
    main()
