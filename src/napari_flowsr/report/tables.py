"""Tables of the report, as HTML."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from scipy.stats import beta

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_flowsr.report.collect import Entry

__all__ = [
    "distribution", "explosions", "facts", "number", "overview", "per_image",
    "rescaled", "table", "versions",
]  # fmt: skip

Figures = dict[str, Any]
_CALIBRATED = 0.7075
_SURE = 0.95
_FAINT = 0.1
_OF_A_SPREAD = ("crps", "coverage_50", "coverage_90", "diversity")
_NAMES = {
    "nearest": "Nearest neighbour",
    "bicubic": "Bicubic",
    "lanczos": "Lanczos",
    "predicted": "Encoder's own prediction, no flow",
    "mode": "Mode (τ = 0)",
    "mean": "Mean of {n} samples (τ = {t:g})",
    "sample": "Sample (τ = {t:g})",
    "prior": "Learned prior",
}


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """Decimal number; a dash for what is none."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return text.replace("-", "−")


def ratio(value: float | None) -> str:
    """Share of the truth's fine detail, from thousandths to hundreds."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.4f}" if value < _FAINT else number(value)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str = "") -> str:
    """HTML table; the first cell of a row is its heading. Cells are HTML."""
    titles = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(f"<td>{cell}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{titles}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(rows: Figures) -> str:
    """Names and values, the values as text."""
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
        for name, value in rows.items()
    )
    return f"<dl>{items}</dl>"


def overview(entries: Sequence[Entry]) -> str:
    """One row for each subject."""
    head = [
        "Model", "Images", "Bicubic, dB", "Mode, dB", "Sample, dB", "CRPS",
        "CRPS / error of the mode", "Coverage 50 %", "Coverage 90 %", "Diversity",
        "Bits / dim", "Fine detail, mode", "Fine detail, sample",
    ]  # fmt: skip
    prior = any("prior" in e.result["report"]["versions"] for e in entries)
    if prior:
        head += ["Fine detail, prior", "Prior, dB"]
    rows = []
    for place, entry in enumerate(entries):
        mean = entry.result["mean"] | _unknown(entry)
        found = entry.result["report"]["versions"]
        detail = {name: row["sharpness"] for name, row in found.items()}
        base = mean["psnr"]["bicubic"]
        cells = [
            f'<a href="#m{place}">{escape(entry.subject.title)}</a>',
            str(entry.result["counts"]["psnr"]),
            number(base),
            _gained(mean["psnr"]["mode"], base),
            _gained(mean["psnr"]["sample"], base),
            number(mean["crps"], 5),
            number(_ratio(mean["crps"], mean["mae_mode"]), 3),
            number(mean["coverage_50"], 3),
            number(mean["coverage_90"], 3),
            number(mean["diversity"], 4),
            number(mean["bpd"], 3),
            ratio(detail.get("mode")),
            ratio(detail.get("sample")),
        ]
        if prior:
            own = found.get("prior", {}).get("psnr", math.nan)
            cells += [ratio(detail.get("prior")), _gained(own, base)]
        rows.append(cells)
    return table(head, rows)


def _unknown(entry: Entry) -> Figures:
    """Figures that one image does not have: no spread is no sign of certainty."""
    single = entry.subject.model.flow.deterministic or entry.result["n"] < 2
    return dict.fromkeys(_OF_A_SPREAD, math.nan) if single else {}


def _gained(value: float, base: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{number(value)} <small>({number(value - base, sign=True)})</small>"


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def name_of(version: str, result: Figures, prior: str = "") -> str:
    """Heading of a row."""
    name = _NAMES[version].format(n=result["n"], t=result["temperature"])
    return f"{name}: {prior}" if version == "prior" and prior else name


def versions(entry: Entry) -> str:
    """A model's ways to an image, next to interpolation."""
    result, found = entry.result, entry.result["report"]["versions"]
    if not found:
        return "<p>No image could be decoded.</p>"
    lpips = any("lpips" in row for row in found.values())
    partly = len({row["images"] for row in found.values()}) > 1
    head = ["", "PSNR, dB", "over bicubic", "SSIM", "LR-PSNR, dB", "Fine detail"]
    head += ["LPIPS"] * lpips + ["Images"] * partly
    base = found["bicubic"]["psnr"]
    prior = str(entry.subject.model.card.prior.get("name", ""))
    rows = []
    for version, row in found.items():
        if version == "mean" and result["n"] < 2:
            continue
        cells = [
            escape(name_of(version, result, prior)),
            number(row["psnr"]),
            "" if version == "bicubic" else number(row["psnr"] - base, sign=True),
            number(row["ssim"], 4),
            number(row["lr_psnr"]),
            ratio(row["sharpness"]),
        ]
        cells += [number(row.get("lpips"), 4)] * lpips + [str(row["images"])] * partly
        rows.append(cells)
    return table(head, rows)


def distribution(entry: Entry) -> str:
    """What the samples are together."""
    result, mean = entry.result, entry.result["mean"]
    ratio = _ratio(mean["crps"], mean["mae_mode"])
    rows = [
        ("CRPS (fair estimator)", number(mean["crps"], 5), "lower is better"),
        (
            "Mean absolute error of the mode",
            number(mean["mae_mode"], 5),
            "the CRPS of one image",
        ),
        (
            "CRPS / error of the mode",
            number(ratio, 4),
            f"{_CALIBRATED} for a Gaussian as wide as its errors",
        ),
        (
            "Diversity",
            number(mean["diversity"], 5),
            "standard deviation of the samples, mean over pixels",
        ),
        ("Bits per dimension", number(mean["bpd"], 3), "lower is better"),
        *(
            (
                f"Coverage of {level} % intervals",
                number(mean[f"coverage_{level}"], 3),
                f"0.{level // 10}0 is right{_floor(result, f'coverage_{level}')}",
            )
            for level in (50, 90)
        ),
        (
            "Exploded decodes",
            number(100 * mean["nonfinite"], 2) + " %",
            f"of first draws at τ = {result['temperature']:g}; 0 is right",
        ),
    ]
    return table(["", "Mean", ""], rows, kind="said")


def _floor(result: Figures, key: str) -> str:
    least, n = result["coverage_floor"][key], result["n"]
    if not least:
        return ""
    if math.isnan(result["mean"][key]):
        return f"; {n} samples cannot tell, take more"
    return f"; {n} samples cannot show less than {least:.2f}"


def explosions(entry: Entry) -> str:
    """Share of decodes that exploded, by temperature."""
    report = entry.result["report"]
    lpips = any("lpips" in row for row in report["temperatures"])
    head = ["", "Exploded", "of decodes", "at most (95 %)", "LR-PSNR, dB"]
    head += ["LPIPS"] * lpips
    rows = []
    for row in report["temperatures"]:
        cells = [
            f"τ = {row['temperature']:g}",
            f"{number(100 * row['nonfinite'], 2)} %",
            f"{row['exploded']} of {row['draws']}",
            _at_most(row["exploded"], row["draws"]),
            number(row["lr_psnr"]),
        ]
        rows.append(cells + [number(row.get("lpips"), 4)] * lpips)
    if "prior_nonfinite" in report:
        prior, count = report["versions"].get("prior", {}), len(report["images"])
        share = report["prior_nonfinite"]
        exploded = 0 if math.isnan(share) else round(share * count)
        cells = [
            "Learned prior",
            f"{number(100 * share, 2)} %",
            f"{exploded} of {count}",
            _at_most(exploded, count),
            number(prior.get("lr_psnr")),
        ]
        rows.append(cells + [number(prior.get("lpips"), 4)] * lpips)
    return table(head, rows) if rows else ""


def _at_most(exploded: int, draws: int) -> str:
    """Upper limit of the share (Clopper and Pearson, 1934; one-sided)."""
    if exploded >= draws:
        return "100 %"
    limit = float(beta.ppf(_SURE, exploded + 1, draws - exploded))
    return f"{number(100 * limit, 1)} %"


def rescaled(entry: Entry) -> str:
    """Images that were made small and brought back."""
    found = entry.result["report"].get("rescaling")
    if not found:
        return ""
    temperature, n = entry.result["temperature"], entry.result["n"]
    names = {
        "bicubic": "Bicubic down and up",
        "mode": "Model, latents 0",
        "sample": f"Model, sampled latents (τ = {temperature:g})",
        "mean": f"Model, mean of {n} samples",
    }
    rows = [
        (text, number(found[key]["psnr"]), number(found[key]["ssim"], 4))
        for key, text in names.items()
    ]
    small = found["small"]
    return (
        "<h3>Made small and brought back</h3>"
        "<p>The small image is rounded to 8 bits, as a file would keep it.</p>"
        + table(["Against the true image", "PSNR, dB", "SSIM"], rows)
        + "<p>The 8-bit small image itself against the bicubic small image: PSNR "
        f"{number(small['psnr'])} dB, SSIM {number(small['ssim'], 4)}.</p>"
    )


def per_image(entry: Entry) -> str:
    """Figures of each image."""
    found: dict[str, list[Figures]] = {}
    for row in entry.result["report"]["images"]:
        found.setdefault(row["name"], []).append(row)
    prior = entry.subject.has_prior
    head = [
        "Image", "Size", "Bicubic, dB", "Mode, dB", "Sample, dB", "SSIM, mode",
        "LR-PSNR, sample", "CRPS", "Coverage 90 %", "Diversity", "Bits / dim",
        "Fine detail, mode", "Fine detail, sample",
    ]  # fmt: skip
    head += ["Fine detail, prior", "Prior, dB"] * prior
    head += ["Exploded", "Seed", "Hash"]
    rows = []
    for row in entry.result["images"]:
        more = found[row["name"]].pop(0) if found.get(row["name"]) else None
        rows.append(_image_row(row | _unknown(entry), more, prior=prior))
    return table(head, rows, kind="small")


def _image_row(row: Figures, more: Figures | None, *, prior: bool) -> list[str]:
    ways = more["versions"] if more else {}

    def of(version: str, key: str) -> float:
        value: float = ways.get(version, {}).get(key, math.nan)
        return value

    cells = [
        escape(row["name"]),
        "×".join(str(side) for side in more["size"]) if more else "–",
        number(row["psnr"]["bicubic"]),
        number(row["psnr"]["mode"]),
        number(row["psnr"]["sample"]),
        number(row["ssim"]["mode"], 4),
        number(row["lr_psnr"]["sample"]),
        number(row["crps"], 5),
        number(row["coverage_90"], 3),
        number(row["diversity"], 4),
        number(row["bpd"], 3),
        ratio(of("mode", "sharpness")),
        ratio(of("sample", "sharpness")),
    ]
    if prior:
        cells += [ratio(of("prior", "sharpness")), number(of("prior", "psnr"))]
    return [
        *cells,
        f"{number(100 * row['nonfinite'], 1)} %",
        str(more["seed"]) if more else "–",
        f"<code>{more['hash'][:10]}</code>" if more else "unstable",
    ]
