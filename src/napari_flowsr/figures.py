"""Pictures of results, drawn off screen with matplotlib's object interface."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from napari_flowsr.errors import OptionError
from napari_flowsr.io.atomic import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

__all__ = [
    "calibration_curve",
    "check_target",
    "evaluation_figure",
    "overview",
    "save_figure",
]

Image = NDArray[Any]
_INK = "#1b1f24"
_SOFT = "#5b6470"
_FRAME = "#ffb000"
_STD_COLOURS = "magma"
_NICE = (1, 2, 5)
_SHOWN = 128
_CAUTION = "Fine detail is inferred by the model, not measured."


def check_target(path: str | Path) -> None:
    """Raise `OptionError` if no figure can get this name, before anything is done."""
    path = Path(path)
    if path.suffix[1:].lower() not in Figure().canvas.get_supported_filetypes():
        raise OptionError(
            f"'{path.name}' names no format of figures; expected .png, .pdf or .svg."
        )


def save_figure(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a figure whole or not at all; the suffix names the format."""
    path = Path(path)
    check_target(path)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=dpi, format=path.suffix[1:].lower())
    return path


# --- overview -----------------------------------------------------------------


def overview(
    lr: Image,
    bicubic: Image,
    samples: Sequence[Image],
    mean: Image,
    std: Image,
    *,
    pixel_size: float | None = None,
    title: str = "",
    caption: str = "",
    region: tuple[int, int, int, int] | None = None,
) -> Figure:
    """The input, and one region of it in every version, at the same contrast.

    Parameters
    ----------
    lr : ndarray
        Input, ``(h, w)`` or ``(h, w, 3)``.
    bicubic, mean, std : ndarray
        ``(H, W)`` or ``(H, W, 3)``, intensities of the input.
    samples : sequence of ndarray
        The first two are shown.
    pixel_size : float, optional
        Of the input, in µm; without it the scale bar counts pixels of the input.
    title, caption : str
        Above and below.
    region : tuple of int, optional
        ``(top, left, height, width)`` in pixels of the input; by default the part with
        the most structure.
    """
    factor = mean.shape[0] / lr.shape[0]
    top, left, height, width = region or _busiest(lr)
    layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.06)
    figure = Figure(figsize=(14.6, 7.4), facecolor="white", layout=layout)
    ratio = lr.shape[1] / lr.shape[0]
    widths = [max(0.7, min(2.0, 2.0 * ratio)), 1.0, 1.0, 1.0]
    grid = figure.add_gridspec(2, 4, width_ratios=widths)

    whole = figure.add_subplot(grid[:, 0])
    _show(whole, lr, _limits(lr), f"Input, {lr.shape[1]} × {lr.shape[0]} pixels")
    whole.add_patch(
        Rectangle((left - 0.5, top - 0.5), width, height, fill=False, ec=_FRAME, lw=1.8)
    )
    _scale_bar(whole, lr.shape[:2], 1.0, pixel_size)

    def zoom(image: Image) -> Image:
        s = image.shape[0] / lr.shape[0]
        rows = slice(round(top * s), round((top + height) * s))
        return image[rows, round(left * s) : round((left + width) * s)]

    limits = _limits(zoom(lr))
    panels: list[tuple[str, Image]] = [
        ("Input (framed part)", zoom(lr)),
        ("Bicubic", zoom(bicubic)),
        ("Mean of the samples", zoom(mean)),
    ]
    panels += [(f"Sample {i}", zoom(s)) for i, s in enumerate(samples[:2])]
    for cell, (name, image) in zip(
        [grid[row, column] for row in range(2) for column in (1, 2, 3)],
        panels,
        strict=False,
    ):
        axes = figure.add_subplot(cell)
        _show(axes, image, limits, name, frame=_FRAME)
        s = 1.0 if name.startswith("Input") else factor
        _scale_bar(axes, image.shape[:2], s, pixel_size)
    _uncertainty(figure, grid[1, 3], zoom(std))
    if title:
        figure.suptitle(title, fontsize=15, color=_INK, weight="bold")
    figure.supxlabel(f"{caption} {_CAUTION}".strip(), fontsize=10, color=_SOFT)
    return figure


def _show(
    axes: Axes,
    image: Image,
    limits: tuple[float, float],
    name: str,
    frame: str | None = None,
    colours: str = "gray",
) -> Any:
    """Draw one image at given contrast; return the artist for a colour bar."""
    low, high = limits
    if image.ndim == 3:
        unit = (image[..., :3].astype(np.float64) - low) / max(high - low, 1e-12)
        artist = axes.imshow(np.clip(unit, 0, 1), interpolation="nearest")
    else:
        artist = axes.imshow(
            image, cmap=colours, vmin=low, vmax=high, interpolation="nearest"
        )
    axes.set_title(name, fontsize=11, color=_INK, pad=5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame is not None)
        spine.set_edgecolor(frame or _INK)
        spine.set_linewidth(1.4)
    return artist


def _uncertainty(figure: Figure, cell: Any, std: Image) -> None:
    axes = figure.add_subplot(cell)
    plane = std.mean(-1) if std.ndim == 3 else std
    high = max(float(np.percentile(plane, 99.5)), 1e-12)
    artist = _show(axes, plane, (0.0, high), "Uncertainty (std)", _FRAME, _STD_COLOURS)
    bar = figure.colorbar(artist, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("intensity units", fontsize=9, color=_SOFT)
    bar.ax.tick_params(labelsize=8, colors=_SOFT)


def _limits(image: Image) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(image, (0.1, 99.9)))
    return (low, high) if high > low else (low, low + 1.0)


def _busiest(lr: Image) -> tuple[int, int, int, int]:
    """Square region with the most local contrast, away from the border if possible."""
    plane = lr[..., :3].mean(-1) if lr.ndim == 3 else np.asarray(lr, np.float64)
    height, width = plane.shape
    side = min(height, width, max(48, round(min(height, width) / 8)))
    energy = np.abs(np.gradient(plane, axis=0)) if height > 1 else np.zeros_like(plane)
    if width > 1:
        energy = energy + np.abs(np.gradient(plane, axis=1))
    sums = np.pad(energy, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    box = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side]
    box = box + sums[:-side, :-side]
    margin = min(side // 4, (box.shape[0] - 1) // 2, (box.shape[1] - 1) // 2)
    inner = box[margin : box.shape[0] - margin, margin : box.shape[1] - margin]
    y, x = np.unravel_index(int(np.argmax(inner)), inner.shape)
    return int(y) + margin, int(x) + margin, side, side


def _scale_bar(
    axes: Axes, shape: Sequence[int], factor: float, pixel_size: float | None
) -> None:
    """Bar of a round length, a fifth of the width or less, bottom left."""
    per_pixel = (pixel_size if pixel_size is not None else 1.0) / factor
    wanted = shape[1] * per_pixel * 0.28
    power = 10.0 ** math.floor(math.log10(wanted))
    length = max((n * power for n in _NICE if n * power <= wanted), default=power)
    unit = "µm" if pixel_size is not None else "px"
    x, y = shape[1] * 0.05, shape[0] * 0.93
    thick = shape[0] * 0.014
    axes.add_patch(
        Rectangle(
            (x, y), length / per_pixel, thick, fc="white", ec="black", lw=0.6, zorder=3
        )
    )
    text = axes.text(
        x, y - shape[0] * 0.012, f"{length:g} {unit}",
        color="white", fontsize=9, va="bottom", ha="left", zorder=3,
    )  # fmt: skip
    _outline(text)


def _outline(text: Any) -> None:
    from matplotlib import patheffects

    text.set_path_effects([patheffects.withStroke(linewidth=2.2, foreground="black")])


# --- evaluation ---------------------------------------------------------------


def calibration_curve(
    errors: Image, std: Image, bins: int = 12
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Error that was found where a certain uncertainty was predicted.

    Parameters
    ----------
    errors : ndarray
        Differences between truth and the mean of the samples.
    std : ndarray
        Predicted standard deviations, of the same shape.
    bins : int
        Bins of equal population.

    Returns
    -------
    predicted, found, count : ndarray
        Root mean square of ``std`` and of ``errors`` per bin; on the diagonal the
        uncertainty is right on average.
    """
    order = np.argsort(std, axis=None, kind="stable")
    parts = [p for p in np.array_split(order, bins) if p.size]
    flat_std, flat = std.ravel().astype(np.float64), errors.ravel().astype(np.float64)
    predicted = np.array([np.sqrt(np.mean(flat_std[p] ** 2)) for p in parts])
    found = np.array([np.sqrt(np.mean(flat[p] ** 2)) for p in parts])
    return predicted, found, np.array([p.size for p in parts])


def evaluation_figure(rows: Sequence[Any], *, title: str = "") -> Figure:
    """Images side by side, one row per image, and error against uncertainty.

    Parameters
    ----------
    rows : sequence of metrics.evaluate.Evaluated
        With ``name``, ``hr``, ``bicubic``, ``mode``, ``samples``, ``mean`` and
        ``figures``; images ``(C, H, W)`` in ``[0, 1]``. At most four are drawn, their
        central part, each row at the contrast of its true image; the curve uses all.
    title : str
        Above.
    """
    if not rows:
        raise OptionError("There is no evaluated image to draw; expected at least one.")
    shown = list(rows[:4])
    height = 2.15 * len(shown) + 0.9
    figure = Figure(figsize=(19.0, max(height, 4.2)), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=[4.1, 1.15])
    left, right = parts
    grid = left.subplots(len(shown), 7, squeeze=False)
    for axes, row in zip(grid, shown, strict=True):
        _evaluation_row(left, axes, row, first=row is shown[0])
    _calibration(right.subplots(), rows)
    if title:
        figure.suptitle(title, fontsize=14, color=_INK, weight="bold")
    figure.supxlabel(
        f"Central {_SHOWN} × {_SHOWN} pixels or less, rows at the contrast of their "
        f"true image; PSNR of the whole image evaluated. {_CAUTION}",
        fontsize=9,
        color=_SOFT,
    )
    return figure


def _last(image: Image) -> Image:
    """``(C, H, W)`` to what is drawn."""
    return image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, -1)


def _evaluation_row(figure: Any, axes: Any, row: Any, *, first: bool) -> None:
    psnr = row.figures["psnr"]
    std = row.samples.std(0)
    error = np.abs(row.mean - row.hr)
    # One range for both maps, so that a person can compare them.
    high = max(float(np.percentile(_centre(_last(error)), 99.5)), 1e-6)
    images = [
        ("True image", row.hr, None),
        ("Bicubic", row.bicubic, psnr["bicubic"]),
        ("Mode (τ = 0)", row.mode, psnr["mode"]),
        ("Sample 0", row.samples[0], psnr["sample"]),
        ("Mean", row.mean, psnr["mean"]),
    ]
    limits = _limits(_centre(_last(row.hr)))
    for place, (name, image, decibel) in zip(axes, images, strict=False):
        _show(place, _centre(_last(image)), limits, name if first else "")
        if decibel is not None:
            # The figure of samples is a mean over them, not that of the one shown.
            text = f"{decibel:.2f} dB" + (
                " (mean of all)" if name == "Sample 0" else ""
            )
            place.set_xlabel(text, fontsize=9, color=_SOFT)
    axes[0].set_ylabel(_short(row.name), fontsize=8, color=_SOFT)
    for place, name, values in (
        (axes[5], "|error| of the mean", error),
        (axes[6], "Uncertainty (std)", std),
    ):
        view = _centre(values.mean(0))
        artist = _show(place, view, (0.0, high), name if first else "", None, "magma")
    bar = figure.colorbar(artist, ax=list(axes[5:7]), fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=7, colors=_SOFT)


def _short(name: str, most: int = 26) -> str:
    return name if len(name) <= most else f"…{name[-most + 1 :]}"


def _centre(image: Image, side: int = _SHOWN) -> Image:
    """Central part: whole images would hide at this size what there is to compare."""
    height, width = image.shape[:2]
    top, left = max(0, (height - side) // 2), max(0, (width - side) // 2)
    return image[top : top + side, left : left + side]


def _calibration(axes: Axes, rows: Sequence[Any]) -> None:
    n = len(rows[0].samples)
    axes.set_title("Error against uncertainty", fontsize=11, color=_INK)
    if n < 2:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "needs 2 samples or more", ha="center", color=_SOFT)
        return
    errors = np.concatenate([(row.mean - row.hr).ravel() for row in rows])
    std = np.concatenate([row.samples.std(0, ddof=1).ravel() for row in rows])
    # The mean of n samples errs by more than one distribution's width, even if that is
    # right: by its own scatter, 1 / n of the variance.
    std = std * math.sqrt(1.0 + 1.0 / n)
    predicted, found, _ = calibration_curve(errors, std)
    top = 1.1 * float(max(predicted.max(), found.max(), 1e-6))
    axes.plot([0, top], [0, top], color=_SOFT, lw=1, ls="--", label="perfect")
    axes.plot(predicted, found, "o-", color="#0b62a4", ms=5, lw=1.6, label="this model")
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_aspect("equal")
    axes.set_xlabel("predicted error of the mean", fontsize=10, color=_INK)
    axes.set_ylabel("error found (RMS)", fontsize=10, color=_INK)
    axes.tick_params(labelsize=8, colors=_SOFT)
    axes.grid(color="#e3e6ea", lw=0.6)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
