"""Recorded numbers of the published learned priors, SRFlow-LP and LINF-LP."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from golden_numbers import Case, Numbers, Output
from torch import Tensor

from napari_flowsr.core.flow import ConditionalFlow
from napari_flowsr.models import linf_published, srflow_published
from napari_flowsr.models.learned_prior import PyramidPrior, build_prior
from napari_flowsr.models.learned_prior_published import infer_config, remap
from napari_flowsr.models.linf import LINF
from napari_flowsr.models.srflow import SRFlow


def _with_prior(flow: ConditionalFlow, state: dict[str, Tensor]) -> ConditionalFlow:
    config = infer_config(state)
    module = build_prior(config)
    module.load_state_dict(remap(state, config))
    flow.attach_prior(module)
    return flow.eval()


class _PriorNumbers(Numbers):
    def wrong(self, case: Case) -> Case:
        """Batch normalisation with another variance."""
        name = next(key for key in case.prior if key.endswith("running_var"))
        return replace(case, prior={**case.prior, name: 1.1 * case.prior[name]})


class SRFlowPriorNumbers(_PriorNumbers):
    """Latents of the enlarged image, standardised, predicted; the image."""

    cases = {"srflow_lp_tiny_x4": ("square_b1", "rect_b2")}
    expected = {}  # too large for the repository

    def facts(self, config: dict) -> dict[str, Any]:
        return {"blocks": config["stackRRDB_blocks"]}

    def build(self, case: Case) -> ConditionalFlow:
        config, _, _ = srflow_published.infer_config(
            case.state, {"stacked_blocks": case.facts["blocks"]}
        )
        flow = SRFlow(config)
        flow.load_state_dict(srflow_published.remap(case.state, config))
        return _with_prior(flow, case.prior)

    def outputs(self, case: Case, network: ConditionalFlow) -> Iterator[Output]:
        cond = network.condition(case.image("lr_u8"))
        initial = network.latent_module.initial(network, cond)
        predicted = network.learned_prior(cond)
        for prefix, latents in (
            ("enc_eps", initial),
            ("norm_eps", PyramidPrior.standardised(initial)),
            ("prior_eps", predicted),
        ):
            for i, level in enumerate(latents.levels):
                yield f"{prefix}_{i}", level
        hr = network.decode(predicted, cond)
        yield "sr", hr
        as_8_bit = (hr.clamp(0, 1) * 255).to(torch.uint8)
        yield "sr_u8", as_8_bit.permute(0, 2, 3, 1)


class LINFPriorNumbers(_PriorNumbers):
    """Latents of the enlarged image, predicted; the image. On the published grid."""

    cases = {"linf_lp_tiny_3x3": ("b1", "b2_odd")}
    expected = {
        "linf_lp_tiny_3x3": {
            "z_lr_s3p3", "z_prior_s3p3", "sr_s3p3", "z_lr_s4", "z_prior_s4", "sr_s4",
        }
    }  # fmt: skip

    def build(self, case: Case) -> ConditionalFlow:
        config, _, _ = linf_published.infer_config(case.state, {"grid": "published"})
        flow = LINF(config)
        flow.load_state_dict(linf_published.remap(case.state, config))
        return _with_prior(flow, case.prior)

    def outputs(self, case: Case, network: ConditionalFlow) -> Iterator[Output]:
        cond = network.condition(case.image("lr_u8"))
        for scale in case.info["scales"]:
            name = f"s{scale:g}".replace(".", "p")
            (initial,) = network.latent_module.initial(network, cond, scale).levels
            predicted = network.learned_prior(cond, scale)
            yield f"z_lr_{name}", initial
            yield f"z_prior_{name}", predicted.levels[0]
            yield f"sr_{name}", network.decode(predicted, cond)

    # --- only for making small files

    def is_kept(self, network: str, case: str, array: str) -> bool:
        return case == "b1"

    def info_kept(self) -> tuple[str, ...]:
        return ("scales",)

    def bits(self, name: str, tensor: Tensor) -> int:
        """Fewer for the large tensors of the UNet, which matter less."""
        if name.startswith("prior:") and tensor.numel() > 100:
            return 15 if tensor.numel() > 2000 else 19
        return 20
