"""The tables of figures in models.md, from the cards of the built-in models.

    python docs/make_model_tables.py [--check]

Replaces what stands between the markers in models.md; with ``--check`` it only tells
whether that is up to date.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from napari_flowsr.io.collection import builtin_folder
from napari_flowsr.io.header import read_header
from napari_flowsr.io.priors import builtin_prior_folder, prior_header

PAGE = Path(__file__).with_name("models.md")
BEGIN, END = "<!-- figures: made by make_model_tables.py -->", "<!-- end of figures -->"
Figures = dict[str, Any]


def row(*cells: object) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def table(head: list[str], rows: list[str]) -> list[str]:
    """A Markdown table, or nothing."""
    if not rows:
        return []
    return [row(*head), "|" + "---|" * len(head), *rows, ""]


def change(figures: Figures, key: str, digits: int) -> str:
    """From bicubic to temperature 0, and the difference."""
    a, b = figures[key]["bicubic"], figures[key]["mode"]
    return f"{a:.{digits}f} → {b:.{digits}f} (**{b - a:+.{digits}f}**)"


def scales(metrics: Figures) -> list[tuple[str, Figures]]:
    """Figures at each scale that was measured; the first has no name of its own."""
    others = [(key, value) for key, value in metrics.items() if key[-1:] == "x"]
    return [("", metrics), *others]


def flow_rows(name: str, metrics: Figures) -> list[str]:
    """Rows of a flow, one for each scale."""
    rows = []
    for scale, m in scales(metrics):
        rows.append(
            row(
                f"`{name}`{f', {scale}' if scale else ''}",
                change(m, "psnr", 2),
                change(m, "ssim", 4),
                f"{m['psnr']['sample']:.2f}",
                f"{m['lr_psnr']['mode']:.1f} / {m['lr_psnr']['sample']:.1f}",
                f"{m['crps']:.5f} / {m['mae_mode']:.5f} = "
                f"{m['crps'] / m['mae_mode']:.3f}",
                f"{m['coverage_50']:.1%} / {m['coverage_90']:.1%}",
                f"{m['bpd']:.2f}",
                f"{m['nonfinite']:.1%}",
            )
        )
    return rows


def prior_rows(name: str, metrics: Figures) -> list[str]:
    """Rows of a learned prior: it, a sample at 0.8, and temperature 0."""
    rows = []
    for scale, m in scales(metrics):
        for version, title in (
            ("mode", "temperature 0"),
            ("prior", f"**`{name}`**"),
            ("sample_0.8", "sample, temperature 0.8"),
        ):
            found = (
                m["sample_0.8"]
                if version == "sample_0.8"
                else {
                    key: m[key][version]
                    for key in ("psnr", "ssim", "lr_psnr", "sharpness")
                }
            )
            rows.append(
                row(
                    f"{title}{f', {scale}' if scale else ''}",
                    f"{found['psnr']:.2f}",
                    f"{found['ssim']:.4f}",
                    f"{found['lr_psnr']:.1f}",
                    f"{found['sharpness']:.3f}",
                    f"{m['prior_nonfinite']:.1%}" if version == "prior" else "",
                )
            )
    return rows


def rescaling_rows(name: str, metrics: Figures) -> list[str]:
    """Rows of a rescaling model."""
    m = metrics["rescaling"]
    titles = {
        "bicubic": "bicubic down and up",
        "mode": f"**`{name}`**, temperature 0",
        "sample": f"`{name}`, one sample",
        "small": "its small image, against the bicubic one",
    }
    return [
        row(title, f"{m[key]['psnr']:.2f}", f"{m[key]['ssim']:.4f}")
        for key, title in titles.items()
    ]


def tables() -> str:
    """All tables."""
    flows: list[str] = []
    rescaling: list[str] = []
    sizes: list[str] = []
    for file in sorted(builtin_folder().glob("*.safetensors")):
        header = read_header(file)
        card = header.card
        training, megabytes = card.training, file.stat().st_size / 1e6
        sizes.append(
            row(
                f"`{card.name}`",
                f"{card.parameters / 1e6:.2f} M",
                f"{megabytes:.1f} MB",
                training["images"],
                f"{training['steps']:,}".replace(",", " "),
                training.get("how", ""),
            )
        )
        if "rescaling" in card.metrics:
            rescaling += rescaling_rows(card.name, card.metrics)
        else:
            flows += flow_rows(card.name, card.metrics)
    priors: list[str] = []
    for file in sorted(builtin_prior_folder().glob("*.safetensors")):
        about = json.loads(prior_header(file)["about"])
        priors += prior_rows(file.stem, about["metrics"])
    lines = [
        *table(
            ["model", "parameters", "file", "images", "steps", "time"],
            sizes,
        ),
        *table(
            [
                "",
                "PSNR, dB: bicubic → temperature 0",
                "SSIM: bicubic → temperature 0",
                "PSNR of a sample",
                "LR-PSNR: temperature 0 / sample",
                "CRPS / error at temperature 0",
                "50 % / 90 % interval covers",
                "bits per dimension",
                "exploded",
            ],
            flows,
        ),
        *table(
            ["", "PSNR, dB", "SSIM", "LR-PSNR, dB", "fine detail", "exploded"], priors
        ),
        *table(["", "PSNR, dB", "SSIM"], rescaling),
    ]
    return "\n".join(lines)


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    new = f"{before}{BEGIN}\n\n{tables()}\n{END}{after}"
    if given.check:
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
