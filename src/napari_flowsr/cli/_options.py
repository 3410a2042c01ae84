"""Options that several commands share, with their help texts."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "AxesOption",
    "ConsistentOption",
    "DeviceOption",
    "JsonOption",
    "ModelOption",
    "NanOption",
    "NoiseOption",
    "OutputsOption",
    "OverwriteOption",
    "PixelSizeOption",
    "PriorModelOption",
    "PriorOption",
    "SamplesOption",
    "ScaleOption",
    "SeedOption",
    "TargetOption",
    "TemperatureOption",
    "TileOption",
]

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Name of a model, or path of a model file.")
]
SamplesOption = Annotated[
    int | None,
    typer.Option(
        "--samples",
        "-n",
        min=1,
        help="Number of samples. Default: 1, or 8 for mean, std and quantiles.",
        show_default=False,
    ),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        "--temperature",
        "-t",
        help="Variety of the samples: 0 gives the most likely image, 1 all the variety "
        "that was learned. Default: the model's.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int, typer.Option("--seed", "-s", help="The same seed gives the same samples.")
]
ScaleOption = Annotated[
    float | None,
    typer.Option(
        "--scale", help="Factor, for models that have several or take any number."
    ),
]
AxesOption = Annotated[
    str | None,
    typer.Option(
        "--axes",
        help="One letter per axis, such as TZCYX or YXS (S: RGB), where the file does "
        "not say or is wrong.",
    ),
]
PriorOption = Annotated[
    str,
    typer.Option(
        "--prior",
        help="Where the latents come from: gaussian, or learned (one prediction; needs "
        "--prior-model).",
    ),
]
PriorModelOption = Annotated[
    str | None,
    typer.Option(
        "--prior-model",
        help="Learned prior to load with the model, by name or file; implies --prior "
        "learned.",
    ),
]
TargetOption = Annotated[
    float | None,
    typer.Option(
        "--target-pixel-size",
        help="Pixel size of the result in µm instead of --scale, for models of any "
        "scale.",
    ),
]
NoiseOption = Annotated[
    str,
    typer.Option(
        "--noise",
        help="per-plane: each plane its own noise; shared: the same in all, which "
        "avoids flicker along time or depth.",
    ),
]
ConsistentOption = Annotated[
    bool,
    typer.Option("--consistent", help="Make every sample reduce to the input exactly."),
]
TileOption = Annotated[
    str,
    typer.Option(
        "--tile",
        help="Side of a tile in input pixels, auto (from free memory) or whole. Does "
        "not change the result.",
    ),
]
DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        help="Of the encoder: float32; or bfloat16 or float16, faster on hardware for "
        "it, slower on other CPUs, with a result that differs by a little.",
    ),
]
NanOption = Annotated[
    str, typer.Option("--nan", help="Pixels that are not finite: raise or fill.")
]
PixelSizeOption = Annotated[
    float | None,
    typer.Option(
        "--pixel-size", help="Of the input in µm, where the file does not say."
    ),
]
OutputsOption = Annotated[
    str,
    typer.Option(
        "--outputs", help="Comma-separated: samples, mean, std, quantiles (5 and 95 %)."
    ),
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace files that exist.")
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print only JSON on standard output.")
]
