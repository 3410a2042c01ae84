"""The numbers of the report: against `evaluate`, and against their definitions."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from every_family import Case, as_model
from napari_flowsr.core.condition import Condition
from napari_flowsr.core.latents import Latents
from napari_flowsr.errors import Cancelled, OptionError
from napari_flowsr.metrics.evaluate import evaluate, evenly
from napari_flowsr.metrics.fidelity import psnr
from napari_flowsr.metrics.sharpness import fine_ratio, mean_ratio
from napari_flowsr.models import _registry
from napari_flowsr.models.compact import Compact
from napari_flowsr.models.rrdb import CONFIG as RRDB
from napari_flowsr.report.collect import Entry, collect, measure_subject
from napari_flowsr.report.measure import best_of
from napari_flowsr.report.plan import Plan, Subject, subjects

PLAN = Plan(n=3, temperature=0.5, temperatures=(0, 0.5, 1), sweep=2, seed=4)


def measured(model: Any, folder: Path, plan: Plan = PLAN, scale: float = 2.0) -> Entry:
    return measure_subject(folder, Subject(model, scale), plan, None, lambda _: None)


@pytest.fixture(scope="module")
def entry(compact: Case, folder: Path) -> Entry:
    return measured(compact.with_prior(), folder)


def test_best_of_is_the_mean_over_subsets() -> None:
    values = [3.0, 1.0, 4.0, 1.5, 9.0]
    for k, found in enumerate(best_of(values), 1):
        each = [max(part) for part in combinations(values, k)]
        assert found == pytest.approx(np.mean(each))


def test_figures_are_those_of_evaluate(
    entry: Entry, compact: Case, folder: Path
) -> None:
    plain = evaluate(folder, compact.model(), n=3, temperature=0.5, seed=4)
    for key in ("images", "mean", "counts", "unstable", "left_out"):
        np.testing.assert_equal(entry.result[key], plain[key])
    rows = entry.result["report"]["versions"]
    for name in ("bicubic", "mode", "sample", "mean"):
        for key in ("psnr", "ssim", "lr_psnr"):
            assert rows[name][key] == pytest.approx(plain["mean"][key][name])
    assert {"nearest", "lanczos", "predicted", "prior"} < set(rows)
    assert all(row["images"] == 3 for row in rows.values())


def test_sharpness_and_the_encoders_prediction(compact: Case, folder: Path) -> None:
    model, kept = compact.model(), []
    subject = Subject(model, 2.0)
    found = measure_subject(folder, subject, PLAN, None, lambda _: None, kept.append)
    rows = found.result["report"]["versions"]
    expected = mean_ratio(fine_ratio(e.mode, e.hr, 2) for e in kept)
    assert rows["mode"]["sharpness"] == pytest.approx(expected)
    each = [np.mean([fine_ratio(s, e.hr, 2) for s in e.samples]) for e in kept]
    assert rows["sample"]["sharpness"] == pytest.approx(mean_ratio(each))
    with torch.no_grad():
        predicted = [model.flow.predict(torch.from_numpy(e.lr)[None])[0] for e in kept]
    gains = [psnr(p.numpy(), e.hr, 2) for p, e in zip(predicted, kept, strict=True)]
    assert rows["predicted"]["psnr"] == pytest.approx(np.mean(gains), abs=1e-4)


def test_curves_go_through_what_is_known(entry: Entry) -> None:
    report = entry.result["report"]
    mode, same, hot = report["temperatures"]
    assert [row["temperature"] for row in (mode, same, hot)] == [0, 0.5, 1]
    for key in ("psnr", "ssim", "lr_psnr", "sharpness"):
        assert mode[key] == pytest.approx(report["versions"]["mode"][key])
    assert mode["crps"] == pytest.approx(entry.result["mean"]["mae_mode"])
    assert mode["diversity"] == 0 < same["diversity"] < hot["diversity"]
    # Of the three samples at the main temperature the first two are in the curve.
    first_two = [np.mean(row["psnr_samples"][:2]) for row in report["images"]]
    assert same["psnr"] == pytest.approx(np.mean(first_two))
    assert [row["draws"] for row in (mode, same, hot)] == [3, 9, 6]
    assert [row["exploded"] for row in (mode, same, hot)] == [0, 0, 0]
    assert report["best_of"][0] == pytest.approx(report["versions"]["sample"]["psnr"])
    assert sorted(report["best_of"]) == report["best_of"]


def test_the_learned_prior_is_a_row_of_its_own(
    entry: Entry, compact: Case, folder: Path
) -> None:
    """It is the decode of the prior's latents, and changes nothing else."""
    model, kept = compact.with_prior(), []
    evaluate(folder, model, n=1, keep=kept.append)
    gains = []
    for found in kept:
        with torch.no_grad():
            cond = model.flow.condition(torch.from_numpy(found.lr)[None])
            image = model.flow.decode(model.flow.learned_prior(cond), cond)[0]
        gains.append(psnr(image.numpy(), found.hr, 2))
    rows = entry.result["report"]["versions"]
    assert rows["prior"]["psnr"] == pytest.approx(np.mean(gains), abs=1e-3)
    assert rows["prior"]["psnr"] != pytest.approx(rows["mode"]["psnr"], abs=1e-3)
    assert entry.result["report"]["prior_nonfinite"] == 0
    assert "prior" not in measured(compact.model(), folder).result["report"]["versions"]


class Hot(Compact):
    """Explodes where a latent is large; always, on bright images."""

    brightness = math.inf

    def decode(self, latents: Latents, cond: Condition) -> torch.Tensor:
        peak = latents.levels[0].amax((1, 2, 3), keepdim=True)
        bad = (peak > 3.2) | (cond.lr.mean() > self.brightness)
        return torch.where(bad, torch.nan, super().decode(latents, cond))


def hot(compact: Case, brightness: float = math.inf) -> Any:
    model = compact.model()
    flow = Hot(compact.config).eval()
    flow.load_state_dict(model.flow.state_dict())
    flow.brightness = brightness
    return replace(model, flow=flow)


def test_explosions_are_counted_by_temperature(compact: Case, folder: Path) -> None:
    plan = replace(PLAN, temperature=1.0, n=4, sweep=4, temperatures=(0, 0.4, 1))
    report = measured(hot(compact), folder, plan).result["report"]
    cold, mild, warm = report["temperatures"]
    assert cold["exploded"] == mild["exploded"] == 0 < warm["exploded"] < 12
    assert warm["nonfinite"] == warm["exploded"] / 12
    assert math.isfinite(warm["psnr"])


def test_an_undecodable_image_counts_and_is_in_no_curve(
    compact: Case, folder: Path
) -> None:
    means: list[float] = []
    evaluate(folder, compact.model(), n=1, keep=lambda e: means.append(e.lr.mean()))
    model = hot(compact, sorted(means)[-1] - 1e-4)
    found = measured(model, folder, replace(PLAN, temperature=0.4)).result
    assert len(found["unstable"]) == 1
    at = {row["temperature"]: row for row in found["report"]["temperatures"]}
    assert at[0]["images"] == 2
    assert at[0]["draws"] == 2
    same = measured(
        model, folder, replace(PLAN, temperature=0.5, temperatures=(0.5,), n=2)
    ).result["report"]["temperatures"][0]
    assert (same["draws"], same["images"]) == (6, 2)
    assert same["exploded"] >= 2


def test_a_rescaling_model_is_measured_from_eight_bits(folder: Path) -> None:
    config = _registry.example_configs("hcflow-rescale")[0]
    torch.manual_seed(0)
    model, kept = as_model(_registry.build("hcflow-rescale", config)), []
    scale = model.flow.scales[0]
    plan = replace(PLAN, temperature=0.05, temperatures=())
    found = measure_subject(
        folder, Subject(model, scale), plan, None, lambda _: None, kept.append
    ).result["report"]["rescaling"]
    assert set(found) == {"small", "bicubic", "mode", "sample", "mean"}
    gains = []
    for e in kept:
        small = np.rint(np.clip(e.lr, 0, 1) * 255) / 255
        with torch.no_grad():
            cond = model.flow.condition(torch.from_numpy(small.astype("f4"))[None])
            image = model.flow.sample(cond, 1, temperature=0.0)[0]
        gains.append(psnr(image.numpy(), e.hr, math.ceil(scale)))
    assert found["mode"]["psnr"] == pytest.approx(np.mean(gains), abs=1e-3)
    assert all(math.isfinite(row["psnr"]) for row in found.values())
    # An untrained network keeps the image in its small one, which is all it gives back.
    assert found["small"]["psnr"] > 15


def test_a_deterministic_model_has_no_curves(folder: Path) -> None:
    case = Case("rrdb", _registry.example_configs("rrdb")[0], 2.0)
    assert isinstance(case.config, RRDB)
    found = measured(case.model(), folder, replace(PLAN, temperatures=(0, 1)))
    assert found.result["report"]["temperatures"] == []
    assert found.result["report"]["versions"]["mode"]["psnr"] == pytest.approx(
        found.result["report"]["versions"]["sample"]["psnr"]
    )


def test_progress_grows_to_the_end_and_can_cancel(compact: Case, folder: Path) -> None:
    seen: list[tuple[float, str]] = []
    both = [Subject(compact.model(), 2.0)] * 2
    collect(folder, both, PLAN, progress=lambda *args: seen.append(args))
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    # Each image's share passes in steps, not at once.
    assert len(set(shares)) > 2 * 3 * 3

    def stop(share: float, _: str) -> None:
        if share > 0.1:
            raise Cancelled

    with pytest.raises(Cancelled):
        collect(folder, both, PLAN, progress=stop)


def test_images_are_chosen_evenly(compact: Case, folder: Path) -> None:
    assert evenly("abcdefghij", 3) == ["b", "f", "i"]
    assert evenly("abc", 9) == list("abc")
    assert evenly("abc", 1) == ["b"]
    found = evaluate(folder, compact.model(), n=1, limit=1)
    assert [row["name"] for row in found["images"]] == ["1.tif"]
    with pytest.raises(OptionError, match="limit is 0"):
        evaluate(folder, compact.model(), limit=0)


def test_models_are_measured_at_the_scales_that_they_have(compact: Case) -> None:
    fixed = compact.model(name="fixed")
    free = Case("linf", _registry.example_configs("linf")[0], 2.0).model(name="free")

    def titles(*args: Any, **options: Any) -> list[str]:
        return [s.title for s in subjects(*args, **options)]

    suggested = [f"free, {scale:g}×" for scale in sorted(free.flow.scales)]
    assert titles([free], [], every=True) == suggested
    assert titles([fixed, free], [], every=False)[0] == "fixed, 2×"
    assert len(titles([free], [], every=False)) == 1
    assert titles([fixed, free], [2, 3.5], every=True) == [
        "fixed, 2×", "free, 2×", "free, 3.5×",
    ]  # fmt: skip
    for scales in ([3.5], [2, 7]):
        with pytest.raises(OptionError, match="Scale"):
            subjects([fixed], scales, every=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n": 0}, "n is 0"),
        ({"temperatures": (0.5, -1)}, "temperature is -1"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"pictures": -1}, "pictures is -1"),
    ],
)
def test_bad_plans_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Plan(**options)
