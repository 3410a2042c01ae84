"""SRFlow: the space of super-resolved images by a conditional normalizing flow.

A pyramid of flow steps (actnorm, 1 x 1 convolution, affine injector, conditional affine
coupling) on the HR image, conditioned at every level on features of an RRDB encoder of
the LR image. Published weights are read by `infer_config` and `remap`.

References
----------
SRFlow: Learning the Super-Resolution Space with Normalizing Flow (Lugmayr et al.,
2020), arXiv:2006.14200, eqs. (1) to (5), section 3.3, and its supplement.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from napari_flowsr.core.condition import Condition
from napari_flowsr.core.encoders.rrdb import RRDB
from napari_flowsr.core.flow import ConditionalFlow, Encoded
from napari_flowsr.core.pyramid import Pyramid
from napari_flowsr.core.scales import sigmoid_scale
from napari_flowsr.core.step import conditional_step, transition_step
from napari_flowsr.errors import CheckpointError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_flowsr.core.latents import Latents, LatentSpec

__all__ = ["ASSUMABLE", "CONFIG", "FLOW", "SRFlow", "SRFlowConfig"]
__all__ += ["example_configs", "infer_config", "remap"]


@dataclass(frozen=True)
class SRFlowConfig:
    """Sizes of an `SRFlow`; by default those of the published 4x network."""

    scale: int = 4
    """2, 4 or 8."""
    channels: int = 3
    width: int = 64
    """Feature channels of the encoder (``nf``)."""
    blocks: int = 23
    """Blocks of the encoder (``nb``)."""
    growth: int = 32
    """Growth of the encoder's dense blocks (``gc``)."""
    stacked_blocks: tuple[int, ...] = (1, 8, 15, 22)
    """Blocks whose outputs are appended to the features, counted from 0."""
    levels: int = 0
    """Levels of the flow (``L``); 0 stands for the published log2(scale) + 1."""
    steps: int = 16
    """Conditional flow steps a level (``K``)."""
    transition_steps: int = 2
    """Unconditional flow steps after each squeeze."""
    hidden: int = 64
    """Width of the nets in the flow steps."""
    affine_eps: float = 1e-4
    """Lower bound of every scale, what decoding divides by at worst."""
    quant: float = 255.0
    """Quantisation levels behind the dequantisation noise of the training."""

    def __post_init__(self) -> None:
        if self.scale not in (2, 4, 8):
            raise OptionError(f"SRFlow scale is {self.scale}; it can be 2, 4 or 8.")
        if self.levels == 0:
            object.__setattr__(self, "levels", self.scale.bit_length())
        if not 1 <= self.levels <= self.scale.bit_length():
            raise OptionError(
                f"SRFlow has {self.levels} levels; at scale {self.scale} it can have 1 "
                f"to {self.scale.bit_length()}."
            )
        names = ("channels", "width", "blocks", "growth", "steps", "hidden")
        for name in names:
            if getattr(self, name) < 1:
                raise OptionError(
                    f"SRFlow {name} is {getattr(self, name)}; give 1 or more."
                )
        if self.transition_steps < 0 or self.affine_eps < 0 or self.quant <= 0:
            raise OptionError(
                "SRFlow transition_steps and affine_eps are at least 0, quant is "
                f"positive; got {self.transition_steps}, {self.affine_eps}, "
                f"{self.quant}."
            )
        if any(not 0 <= block < self.blocks for block in self.stacked_blocks):
            raise OptionError(
                f"SRFlow stacked_blocks are {self.stacked_blocks}; this encoder has "
                f"{self.blocks} blocks, counted from 0. Name blocks that exist."
            )


class SRFlow(ConditionalFlow):
    """Conditional flow on an RRDB encoder."""

    family: ClassVar[str] = "srflow"
    exact_halo_up_to: ClassVar[int] = 128
    """Receptive fields up to this get an exact halo, LR pixels."""
    practical_halo: ClassVar[int] = 48
    """Halo of networks that see further, LR pixels."""

    def __init__(self, config: SRFlowConfig) -> None:
        super().__init__()
        self.config = config
        self.channels = config.channels
        self.scales = (float(config.scale),)
        self.multiple_of = max(1, 2**config.levels // config.scale)
        self.encoder = RRDB(
            config.channels, config.width, config.blocks, config.growth, config.scale
        )
        condition_channels = config.width * (1 + len(config.stacked_blocks))
        self.flow = Pyramid(
            config.channels,
            config.levels,
            transition_step,
            partial(
                conditional_step,
                condition_channels=condition_channels,
                hidden=config.hidden,
                log_scale=partial(sigmoid_scale, eps=config.affine_eps),
            ),
            transitions=config.transition_steps,
            steps=config.steps,
        )
        # Features of the coarsest level are read two cells further, by an injector that
        # precedes the first coupling; those cells are `multiple_of` LR pixels wide, and
        # see as far as the encoder does.
        cells = 3 * self.multiple_of
        reach = math.ceil(self.flow.reach / config.scale)
        self.receptive_field = reach + cells + self.encoder.reach

    @property
    def halo(self) -> int:
        """LR pixels around a tile: the receptive field, or less where that is huge.

        The published networks see hundreds of LR pixels, nearly all of it through
        residual branches whose influence has decayed long before; with this halo tiles
        differ from the whole by little, not by nothing.
        """
        exact = self.receptive_field <= self.exact_halo_up_to
        return self.receptive_field if exact else self.practical_halo

    def condition(self, lr: Tensor) -> Condition:
        """Encode ``lr`` into one map a level, finest first."""
        self.check_lr(lr)
        doublings = self.config.scale.bit_length() - 1
        sizes = [doublings - level for level in range(1, self.config.levels + 1)]
        maps = self.encoder.maps(lr, sizes, self.config.stacked_blocks)
        return Condition(lr, maps)

    def latent_spec(
        self, lr_size: tuple[int, int], scale: float | None = None
    ) -> LatentSpec:
        """One level for each split, and the last one."""
        self.check_scale(scale)
        return self.flow.spec(lr_size, self.config.scale)

    def encode(self, hr: Tensor, cond: Condition) -> Encoded:
        """Map ``hr`` to latents; the learned split priors standardise them."""
        self.check_hr(hr, cond)
        latents, logdet = self.flow(hr, cond.features)
        return Encoded(self.make_latents(latents, cond), logdet, cond.lr)

    def decode(self, latents: Latents, cond: Condition) -> Tensor:
        """Map latents to an HR image."""
        return self.inverse(latents, cond)[0]

    def inverse(self, latents: Latents, cond: Condition) -> tuple[Tensor, Tensor]:
        """HR image as `decode`, and the log-determinant ``(B,)`` of that direction."""
        hr, logdet = self.flow.inverse(latents.levels, cond.features)
        return hr, logdet

    def predict(self, lr: Tensor) -> Tensor:
        """The encoder's own HR image, which its pre-training compares by L1."""
        self.check_lr(lr)
        return self.encoder.predict(lr)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters of the RRDB encoder."""
        return list(self.encoder.parameters())


CONFIG = SRFlowConfig
FLOW = SRFlow


def example_configs() -> tuple[SRFlowConfig, ...]:
    """Tiny configurations of odd sizes, for the contract suite."""
    return (
        SRFlowConfig(
            scale=4,
            width=4,
            blocks=2,
            growth=2,
            stacked_blocks=(1, 0),
            steps=1,
            transition_steps=1,
            hidden=4,
        ),
        SRFlowConfig(
            scale=8,
            channels=1,
            width=4,
            blocks=1,
            growth=2,
            stacked_blocks=(),
            steps=1,
            transition_steps=2,
            hidden=4,
        ),
        SRFlowConfig(
            scale=2,
            channels=1,
            width=4,
            blocks=2,
            growth=3,
            stacked_blocks=(0,),
            levels=1,
            steps=2,
            transition_steps=0,
            hidden=5,
            affine_eps=1e-3,
        ),
    )


# --- published weights ----------------------------------------------------------

ASSUMABLE = ("stacked_blocks", "quant", "affine_eps")
"""What no tensor of a published file tells."""

# Which blocks were stacked, by (blocks, scale): from the published configurations.
_STACKED = {
    (23, 4): (1, 8, 15, 22),
    (23, 8): (1, 3, 5, 7),
    (8, 8): (1, 3, 5, 7),
}
_LAYER = re.compile(r"flowUpsamplerNet\.layers\.(\d+)\.(.+)")
# A first version's output head, stored and never used.
_UNUSED = ("flowUpsamplerNet.f.0.weight", "flowUpsamplerNet.f.0.bias")


def _layers(state: Mapping[str, Tensor]) -> list[str]:
    """Kind of each entry of the published flat list of layers, by index."""
    names: dict[int, set[str]] = {}
    for key in state:
        if match := _LAYER.fullmatch(key):
            names.setdefault(int(match[1]), set()).add(match[2])

    def kind(own: set[str]) -> str:
        if "conv.weight" in own:
            return "split"
        affine = any(name.startswith("affine.") for name in own)
        return "step" if affine else "transition"

    if not names:
        raise CheckpointError(
            "The SRFlow file has no flow layers (flowUpsamplerNet.layers.*); it is "
            "incomplete. Copy or download it again."
        )
    # An index without tensors is a squeeze.
    return [kind(names[i]) if i in names else "squeeze" for i in range(max(names) + 1)]


def _expected(levels: int, transitions: int, steps: int) -> list[str]:
    level = ["squeeze", *["transition"] * transitions, *["step"] * steps]
    return [
        kind
        for number in range(1, levels + 1)
        for kind in [*level, *(["split"] if number < levels - 1 else [])]
    ]


def _stacked(blocks: int, scale: int, count: int, assume: Mapping[str, Any]) -> Any:
    if "stacked_blocks" in assume:
        chosen = tuple(int(block) for block in assume["stacked_blocks"])
        if len(chosen) != count:
            raise OptionError(
                f"stacked_blocks was assumed as {chosen}; this file was trained with "
                f"{count} stacked blocks. Name {count}."
            )
        return chosen
    known = _STACKED.get((blocks, scale), ())
    if len(known) == count:
        return known
    raise CheckpointError(
        f"The file's encoder has {blocks} blocks of which {count} are stacked, and no "
        f"published {scale}x network is like that; which ones cannot be read from the "
        f'file. Give them, counted from 0: assume={{"stacked_blocks": [...]}}.'
    )


def infer_config(
    state: Mapping[str, Tensor], assume: Mapping[str, Any]
) -> tuple[SRFlowConfig, dict[str, Any], dict[str, Any]]:
    """Hyper-parameters of a published state dict.

    Returns
    -------
    config : SRFlowConfig
    inferred : dict
        What the names and shapes of the tensors told.
    assumed : dict
        What they could not tell, and what was taken.
    """
    layers = _layers(state)
    try:
        width, channels = state["RRDB.conv_first.weight"].shape[:2]
        growth = state["RRDB.RRDB_trunk.0.RDB1.conv1.weight"].shape[0]
        net = (
            f"flowUpsamplerNet.layers.{layers.index('step')}.affine.fFeatures.0.weight"
        )
        hidden, seen = state[net].shape[:2]
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"The SRFlow file lacks what tells its sizes ({error}); it is incomplete. "
            "Copy or download it again."
        ) from error
    trunk = {key.split(".")[2] for key in state if key.startswith("RRDB.RRDB_trunk.")}
    upconvs = {key for key in state if re.match(r"RRDB\.upconv\d+\.weight", key)}
    levels = layers.count("squeeze")
    inferred = {
        "scale": 2 ** len(upconvs),
        "channels": channels,
        "width": width,
        "blocks": len(trunk),
        "growth": growth,
        "levels": levels,
        "steps": layers.count("step") // levels,
        "transition_steps": layers.count("transition") // levels,
        "hidden": hidden,
    }
    expected = _expected(levels, inferred["transition_steps"], inferred["steps"])
    if layers != expected or seen % width:
        raise CheckpointError(
            "The SRFlow file has an arrangement of flow layers that no published "
            f"network has ({len(layers)} layers, {levels} levels, conditions of {seen} "
            f"channels). Only files of the published architecture can be read."
        )
    count = seen // width - 1
    assumed = {
        "stacked_blocks": _stacked(len(trunk), inferred["scale"], count, assume),
        "quant": float(assume.get("quant", 32.0)),
        "affine_eps": float(assume.get("affine_eps", 1e-4)),
    }
    return SRFlowConfig(**inferred, **assumed), inferred, assumed


def _step_name(rest: str) -> str:
    """Name inside one of our flow steps for a name inside a published one."""
    for theirs, ours in (
        ("actnorm.", "transforms.0."),
        ("invconv.", "transforms.1."),
        ("affine.fFeatures.", "transforms.2.net."),
        ("affine.fAffine.", "transforms.3.net."),
    ):
        if rest.startswith(theirs):
            return ours + rest.removeprefix(theirs)
    raise CheckpointError(f"The SRFlow file has an unknown tensor in a step: {rest}.")


def _flow_names(config: SRFlowConfig) -> list[str]:
    """Our prefix for each index of the published flat list of layers."""
    names = []
    for level in range(config.levels):
        here = f"flow.levels.{level}"
        count = config.transition_steps + config.steps
        names += [f"{here}.squeeze"]
        names += [f"{here}.steps.transforms.{k}" for k in range(count)]
        if level + 1 < config.levels - 1:
            names += [f"{here}.split"]
    return names


def remap(state: Mapping[str, Tensor], config: SRFlowConfig) -> dict[str, Tensor]:
    """Published names to ours; every actnorm counts as initialised.

    The published files do not say that an actnorm was initialised; without the flag,
    one whose trained bias happens to be 0 would be initialised again by training.
    """
    names = _flow_names(config)
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key in _UNUSED:
            continue
        if key.startswith("RRDB."):
            out["encoder." + key.removeprefix("RRDB.")] = tensor
            continue
        match = _LAYER.fullmatch(key)
        if match is None:
            raise CheckpointError(
                f"The SRFlow file has a tensor that no published network has: {key}."
            )
        prefix, rest = names[int(match[1])], match[2]
        if prefix.endswith(".split"):
            own = f"{prefix}.net.{rest.removeprefix('conv.')}"
        else:
            own = f"{prefix}.{_step_name(rest)}"
        out[own] = tensor
        is_actnorm = rest.startswith("actnorm.") or ".actnorm." in rest
        if is_actnorm and own.endswith(".bias"):
            out[own.removesuffix("bias") + "initialized"] = torch.tensor(True)
    return out
