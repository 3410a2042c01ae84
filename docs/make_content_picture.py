"""Picture of content transfer for the documentation, from a bundled photograph.

    python docs/make_content_picture.py

Vessels of one part of scikit-image's ``retina`` are pasted into another part and
harmonised with what that looks like at a quarter of its resolution.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from skimage.data import retina

import napari_flowsr as flowsr
from napari_flowsr.inference.paste import paste
from napari_flowsr.inference.reduced import reduced

TARGET = Path(__file__).parent / "images" / "content_transfer.png"
MODEL = "micro-4x"
HOST = (slice(792, 952), slice(872, 1032))
PATCH = (slice(939, 1003), slice(486, 550))
AT = (48, 48)


def main() -> None:
    """Paste, harmonise, draw."""
    green = np.asarray(retina())[..., 1]
    host, patch = green[HOST], green[PATCH]
    rows, columns = np.mgrid[-1 : 1 : len(patch) * 1j, -1 : 1 : len(patch) * 1j]
    pasted, mask = paste(host, patch, at=AT, mask=rows**2 + columns**2 < 1, match=True)
    model = flowsr.load_model(MODEL)
    small = reduced(host, model).lr
    found = flowsr.transfer_content(host, pasted, mask, model)
    post = flowsr.posterior(small, model)
    before, after = (post.consistency(image)[0] for image in (pasted, found))
    panels = {
        "host": host,
        "its low-resolution image": small,
        f"pasted: {before:.1f} dB": pasted,
        f"harmonised: {after:.1f} dB": found,
    }
    figure = Figure(figsize=(12.5, 3.0), layout="constrained")
    low, high = np.percentile(host, (0.5, 99.5))
    axes = figure.subplots(1, len(panels) + 1)
    for axis, (title, image) in zip(axes, panels.items(), strict=False):
        axis.imshow(image, cmap="gray", vmin=low, vmax=high)
        axis.set_title(title)
    change = found.astype(float) - host
    reach = (high - low) / 3
    axes[-1].imshow(change, cmap="coolwarm", vmin=-reach, vmax=reach)
    axes[-1].set_title("harmonised − host, ×3")
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(TARGET, dpi=100)


if __name__ == "__main__":
    main()
