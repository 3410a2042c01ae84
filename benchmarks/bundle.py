"""Make a built-in model, or learned prior, of a trained file.

    python benchmarks/bundle.py FILE TRAIN VAL [--flow MODEL] [--crop SIDE] [--how TEXT]

Measures the model, at the precision at which it will be stored (float16), on the images
in VAL; writes its figures, and what the LR images of its training images (TRAIN) were
like, into its card; and puts the file among the weights that come with the package. A
learned prior is measured with --flow, the model that it was trained for.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from typical_inputs import measured

from napari_flowsr import load_model
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.collection import builtin_folder
from napari_flowsr.io.priors import builtin_prior_folder, read_prior, write_prior
from napari_flowsr.report.collect import measure_subject
from napari_flowsr.report.plan import Plan, Subject

if TYPE_CHECKING:
    from napari_flowsr.models.card import Model


def figures(model: Model, images: Path, side: int | None) -> dict[str, Any]:
    """Figures for a card, at the model's first scale and those that it suggests."""
    plan = Plan(n=8, temperatures=(0.8,), sweep=4, side=side, pictures=0)
    scales = (2.0, 3.0, 4.0) if model.card.scale_range else model.card.scales[:1]
    out: dict[str, Any] = {}
    for scale in scales:
        subject = Subject(model, scale)
        result = measure_subject(images, subject, plan, None, lambda share: None).result
        found = {**result["mean"], "sharpness": {}, "images": len(result["images"])}
        for name, row in result["report"]["versions"].items():
            found["sharpness"][name] = row["sharpness"]
            for key in ("psnr", "ssim", "lr_psnr"):
                found[key][name] = row[key]
        (cooler,) = result["report"]["temperatures"] or ({},)
        found["sample_0.8"] = {
            key: cooler[key] for key in ("psnr", "ssim", "lr_psnr", "sharpness")
        }
        for key in ("rescaling", "prior_nonfinite"):
            if key in result["report"]:
                found[key] = result["report"][key]
        if scale == scales[0]:
            out |= found
        else:
            out[f"{scale:g}x"] = found
    crop = "whole" if side is None else f"their central {side} x {side} pixels"
    out["protocol"] = (
        f"{out['images']} held-out images, {crop}; 8 samples at temperature 1; see "
        "metrics/evaluate.py"
    )
    return out


def bundle_model(file: Path, given: argparse.Namespace) -> Path:
    """Write a flow among the built-in models."""
    target = builtin_folder() / file.name
    model = load_model(file, device="cpu")
    save_model(target, model.flow, model.card, dtype=torch.float16)
    stored = load_model(target, device="cpu")
    training = dict(stored.card.training) | {"sources": "docs/models.md"}
    if given.how:
        training["how"] = given.how
    card = stored.card.with_(
        training=training, metrics=figures(stored, given.val, given.crop)
    )
    if not hasattr(stored.flow, "downscale"):
        card = card.with_(typical=measured(given.train, stored))
    save_model(target, stored.flow, card, dtype=torch.float16)
    print(json.dumps(card.metrics, indent=1))
    return target


def bundle_prior(file: Path, given: argparse.Namespace) -> Path:
    """Write a learned prior among the built-in ones."""
    target = builtin_prior_folder() / file.name
    target.parent.mkdir(exist_ok=True)
    prior = read_prior(file)
    about = dict(prior.about)
    for measures in (False, True):
        if measures:
            model = load_model(given.flow, prior=target, device="cpu")
            about["metrics"] = figures(model, given.val, given.crop)
            # The flow as it is stored, in half precision and with its final card.
            about["flow"] = {"name": model.card.name, "sha256": model.card.sha256}
        write_prior(
            target,
            prior.module,
            licence=prior.licence,
            about=about,
            dtype=torch.float16,
        )
    print(json.dumps(about["metrics"], indent=1))
    return target


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("val", type=Path)
    parser.add_argument("--flow")
    parser.add_argument("--crop", type=int)
    parser.add_argument("--how", default="")
    given = parser.parse_args()
    began = time.monotonic()
    target = (bundle_prior if given.flow else bundle_model)(given.file, given)
    size = target.stat().st_size / 1e6
    print(f"{target.name}: {size:.2f} MB, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
