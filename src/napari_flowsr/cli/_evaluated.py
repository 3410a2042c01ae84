"""What `evaluate` tells: tables, figures in words, JSON, the picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari_flowsr.cli._show import counted, humanly, say, show_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from napari_flowsr.metrics.evaluate import Evaluated

__all__ = ["draw", "tell", "with_null"]

_SINGLE = {
    "crps": ("CRPS (fair)", "lower is better; the error of a distribution"),
    "mae_mode": ("Mean absolute error of the mode", "what the CRPS is compared to"),
    "diversity": ("Diversity", "pixel standard deviation of the samples"),
    "bpd": ("Bits per dimension", "lower is better; of the 8-bit image"),
    "coverage_50": ("Coverage of 50 % intervals", "0.50 is perfect"),
    "coverage_90": ("Coverage of 90 % intervals", "0.90 is perfect"),
    "nonfinite": ("Share of exploded decodes", "before any redraw; 0 is perfect"),
}
_VERSIONS = {
    "nearest": "nearest",
    "bicubic": "bicubic",
    "lanczos": "Lanczos",
    "predicted": "encoder alone",
    "mode": "mode (τ = 0)",
    "sample": "sample",
    "mean": "mean",
    "prior": "learned prior",
}
_ALWAYS = ("psnr", "ssim", "lr_psnr")
_ROWS = (
    ("psnr", "PSNR, dB", 2),
    ("ssim", "SSIM", 4),
    ("lr_psnr", "LR-PSNR, dB", 2),
    ("sharpness", "Fine detail", 4),
    ("lpips", "LPIPS", 4),
)


def with_null(value: Any) -> Any:
    """Copy with None (null in JSON) for NaN: there is no such figure."""
    if isinstance(value, dict):
        return {key: with_null(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_null(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def tell(results: Sequence[dict[str, Any]], seconds: float) -> None:
    """Tables and figures for people, those of one result after the other."""
    for number, result in enumerate(results):
        say("\n" if number else "", quiet=not number)
        show_table(_table(result))
        say(_single(result))
        for name in result["unstable"]:
            say(f"\nUnstable, in no mean but that of exploded decodes: {name}")
        for item in result["left_out"]:
            say(f"\nLeft out: {item['name']}. {item['reason']}")
    count = max(len(result["images"]) for result in results)
    say(f"\n{count} image{'s' if count > 1 else ''} in {humanly(seconds)}.")


def _table(result: dict[str, Any]) -> Table:
    from rich.table import Table

    count = result["counts"]["psnr"]
    table = Table(
        title=f"{result['model']}, {result['scale']:g}×, mean over {count} "
        f"image{'' if count == 1 else 's'}, {counted(result['n'], 'sample')} at "
        f"temperature {result['temperature']:g}"
    )
    table.add_column("")
    columns = _columns(result)
    for name in columns:
        table.add_column(_VERSIONS[name], justify="right")
    for key, label, digits in _ROWS:
        values = [column.get(key, math.nan) for column in columns.values()]
        if key in _ALWAYS or not all(map(math.isnan, values)):
            table.add_row(label, *(_number(value, digits) for value in values))
    return table


def _columns(result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Figures of each version: of the report's, if there is one."""
    found: dict[str, dict[str, float]] = result.get("report", {}).get("versions", {})
    mean = result["mean"]
    own = {
        name: {key: mean[key][name] for key in _ALWAYS}
        for name in ("bicubic", "mode", "sample", "mean")
    }
    return {name: found[name] for name in _VERSIONS if name in found} or own


def _number(value: float, digits: int = 4) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _single(result: dict[str, Any]) -> str:
    mean = dict(result["mean"])
    if result["n"] == 1:
        mean["diversity"] = mean["crps"] = math.nan  # one sample has no spread
    ratio = mean["crps"] / mean["mae_mode"] if mean["mae_mode"] else math.nan
    lines = [
        f"{label:34}{_number(mean[key]):>9}   {meaning}{_floor(result, key)}"
        for key, (label, meaning) in _SINGLE.items()
    ]
    lines.insert(
        2,
        f"{'CRPS / error of the mode':34}{_number(ratio):>9}"
        "   0.7075: calibrated Gaussian",
    )
    return "\n".join(lines)


def _floor(result: dict[str, Any], key: str) -> str:
    """What the number of samples allows a coverage to show."""
    floor = result["coverage_floor"].get(key, 0.0)
    if not floor:
        return ""
    n = f"{result['n']} sample{'' if result['n'] == 1 else 's'}"
    if math.isnan(result["mean"][key]) and result["counts"]["psnr"]:
        return f"; {n} cannot tell, take more"
    return f"; {n} cannot show less than {floor:.2f}"


def draw(kept: list[Evaluated], path: Path, result: dict[str, Any]) -> Path:
    """Draw images and calibration; see `figures.evaluation_figure`."""
    from napari_flowsr.figures import evaluation_figure, save_figure

    title = (
        f"{result['model']}, {result['scale']:g}×, {len(kept)} "
        f"image{'' if len(kept) == 1 else 's'}, {result['n']} samples at temperature "
        f"{result['temperature']:g}"
    )
    return save_figure(evaluation_figure(kept, title=title), path, dpi=110)
