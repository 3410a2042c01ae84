"""Every family through the command line: tiled against whole, and how long it takes.

    python benchmarks/families.py runs.md [family ...]

Each example configuration gets random weights and a file; ``napari-flowsr upscale``
then enlarges a crop of scikit-image's ``cell`` of odd sides, once as a whole and once
in small tiles. Written is a table with the seam: the largest difference between the
two, as a part of the range. Families of any scale run at 3.3; crops are so long that
the halo of a tile does not reach both ends.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
import torch
from skimage.data import cell
from typer.testing import CliRunner

from napari_flowsr.api import posterior
from napari_flowsr.cli.app import app
from napari_flowsr.inference.events import Finished
from napari_flowsr.io.checkpoint import read_model, save_model
from napari_flowsr.models import _registry
from napari_flowsr.models.card import Model, ModelCard
from napari_flowsr.models.learned_prior import LearnedPriorConfig, build_prior

if TYPE_CHECKING:
    from collections.abc import Iterator

TILE = 16
HEAD = (
    "| run | scale | input | result | halo | tiles | seam / range | whole, s "
    "| tiled, s | redrawn |\n|---|---|---|---|---|---|---|---|---|---|"
)


def network(family: str, config: Any) -> Model:
    """Random weights, also where a fresh network has zeros."""
    torch.manual_seed(0)
    flow = _registry.build(family, config).eval()
    with torch.no_grad():
        for parameter in flow.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.02)
        for name, buffer in flow.named_buffers():
            if name.endswith("initialized"):
                buffer.fill_(True)
    card = ModelCard(family, family, flow.scales, flow.channels, temperature=0.6)
    return Model(card, flow)


def crop(halo: int) -> np.ndarray:
    """61 x 47 pixels, or as many columns more as show a border of tiles."""
    width = max(47, 2 * (halo + TILE) + 15)
    return cell()[280:341, 100 : 100 + width].astype(np.float32)


def examples(families: list[str]) -> Iterator[tuple[str, Model, float]]:
    """Name, network and scale of each run; all families if none is named."""
    for family in families or _registry.families():
        for number, config in enumerate(_registry.example_configs(family)):
            model = network(family, config)
            has_range = model.flow.scale_range is not None
            scale = 3.3 if has_range else model.flow.scales[0]
            yield f"{family} {number}", model, scale
    if families and "linf" not in families:
        return
    whole = replace(_registry.example_configs("linf")[1], grid="published")
    yield "linf, published grid", network("linf", whole), 3.3


def by_command(
    folder: Path, model: Path, image: np.ndarray, scale: float, tile: str
) -> tuple[np.ndarray, float, dict[str, Any]]:
    """Result, seconds and report of ``napari-flowsr upscale``."""
    import json

    tifffile.imwrite(folder / "in.tif", image)
    command = ["upscale", str(folder / "in.tif"), "-o", str(folder / "out.ome.tif")]
    command += ["--model", str(model), "--scale", f"{scale:g}", "--tile", tile]
    command += ["--device", "cpu", "--overwrite", "--json"]
    started = time.perf_counter()
    done = CliRunner().invoke(app, command)
    seconds = time.perf_counter() - started
    if done.exit_code:
        raise RuntimeError(f"{' '.join(command)}\n{done.output}\n{done.exception!r}")
    found = tifffile.imread(folder / "out.ome.tif").squeeze()
    return found, seconds, json.loads(done.stdout)[0]["report"]


def row(
    name: str,
    scale: float,
    image: np.ndarray,
    runs: list[tuple[np.ndarray, float, dict[str, Any]]],
) -> str:
    """Line of the table."""
    (whole, slow, _), (tiled, fast, report) = runs
    if not np.isfinite(whole).all() or whole.dtype != np.float32:
        raise RuntimeError(f"{name}: {whole.dtype}, finite: {np.isfinite(whole).all()}")
    seam = np.abs(whole - tiled).max() / np.ptp(whole)
    sizes = (" × ".join(map(str, a.shape)) for a in (image, whole))
    cells = [name, f"{scale:g}", *sizes, report["halo"], report["tiles"]]
    cells += [f"{seam:.1e}", f"{slow:.2f}", f"{fast:.2f}", report["redrawn_blocks"]]
    return "| " + " | ".join(map(str, cells)) + " |"


def with_prior(model: Model) -> Model:
    """The network with an untrained learned prior."""
    side = 2 * model.flow.multiple_of
    shapes = model.flow.latent_spec((side, side)).shapes
    is_linf = model.flow.family == "linf"
    config = LearnedPriorConfig(
        kind="patch" if is_linf else "pyramid",
        level_channels=tuple(shape[0] for shape in shapes),
        dim=8,
        channels=model.flow.channels,
    )
    model.flow.attach_prior(build_prior(config))
    return model


def by_function(
    model: Model, image: np.ndarray, scale: float, tile: int | None
) -> tuple[np.ndarray, float, dict[str, Any]]:
    """The same by ``posterior(prior="learned")``: a prior of random weights."""
    started = time.perf_counter()
    post = posterior(
        image, model, scale=scale, prior="learned", tile=tile, device="cpu"
    )
    *_, last = post.stream(1)
    if not isinstance(last, Finished) or last.result.samples is None:
        raise RuntimeError("The run ended without a sample.")
    seconds = time.perf_counter() - started
    return last.result.samples[0], seconds, dict(last.result.report)


def main(target: Path, families: list[str]) -> None:
    """Run all and write the table."""
    lines = [HEAD]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, model, scale in examples(families):
            path = folder / f"{name.replace(' ', '-').replace(',', '')}.safetensors"
            save_model(path, model.flow, model.card)
            image = crop(model.flow.halo)
            runs = [
                by_command(folder, path, image, scale, tile)
                for tile in ("whole", str(TILE))
            ]
            lines.append(row(name, scale, image, runs))
            target.write_text("\n".join(lines) + "\n")
            if name in ("srflow 0", "linf 1", "compact 0", "hcflow 2"):
                loaded = with_prior(read_model(path))
                pair = [by_function(loaded, image, scale, t) for t in (None, TILE)]
                lines.append(row(f"{name}, learned prior", scale, image, pair))
                target.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
