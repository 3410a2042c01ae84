"""Exploring: between samples, level by level, over temperatures, the best of n."""

from __future__ import annotations

import numpy as np
import pytest

from every_family import as_model, over_every_flow, over_every_prior
from napari_flowsr.errors import AxesError, Cancelled, ImageError, OptionError
from napari_flowsr.inference import explored
from napari_flowsr.inference.drawing import Interpolation
from napari_flowsr.inference.events import Finished, Progress, SampleReady
from napari_flowsr.inference.posterior import posterior
from napari_flowsr.models import _registry
from napari_flowsr.models.card import OWN_NETWORK

CLOSE = 1e-5


def close(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= CLOSE * np.ptp(expected)


def differ(found, expected):
    assert np.abs(found - expected).max() > 1e-3 * np.ptp(expected)


# --- every family ---------------------------------------------------------------


@over_every_flow
def test_every_family_between_samples(case) -> None:
    """The ends are the samples; between, tiles give what the whole gives."""
    model, strip = case.model(), case.strip(9)
    options = {"scale": case.scale, "temperature": 0.5}
    post = posterior(strip, model, tile=9, **options)
    samples = post.sample(2)
    found = post.interpolate(1, 0, [0, 0.4, 1])
    close(found[0], samples[1])
    close(found[2], samples[0])
    whole = posterior(strip, model, tile=None, **options).interpolate(1, 0, 0.4)
    close(found[1], whole)
    differ(found[1], samples[0])
    differ(found[1], samples[1])


@over_every_flow
def test_every_family_over_temperatures(case) -> None:
    model, image = case.model(), case.strip(9)[:, :21]
    post = posterior(image, model, tile=9, scale=case.scale, temperature=0.5)
    found = post.sweep([0, 0.5, 0.3], sample=1)
    close(found[1], post.sample(2)[1])
    for number, tau in ((0, 0), (2, 0.3)):
        other = posterior(image, model, scale=case.scale, temperature=tau)
        close(found[number], other.sample(2)[1])
    differ(found[1], found[2])


@over_every_flow
def test_every_family_level_by_level(case) -> None:
    model, image = case.model(), case.strip(9)[:, :21]
    post = posterior(image, model, tile=9, scale=case.scale, temperature=0.5)
    count = len(post.level_sides)
    assert count == len(model.flow.latent_spec((8, 8), case.scale).levels)
    assert list(post.level_sides) == sorted(post.level_sides)
    sample, mode = post.sample(2)[1], post.sweep([0], 1)[0]
    close(post.with_levels([1] * count, 1), sample)
    close(post.with_levels([0] * count, 1), mode)
    close(post.with_levels([0.6] * count, 1), post.sweep([0.3], 1)[0])
    alone = [
        post.with_levels([float(i == level) for i in range(count)], 1)
        for level in range(count)
    ]
    assert all(np.abs(found - mode).max() > 1e-4 * np.ptp(mode) for found in alone)


@over_every_flow
@pytest.mark.parametrize("by", ["consistency", "likelihood", "reference"])
def test_every_family_the_best_of_many(case, by) -> None:
    model, strip = case.model(), case.strip(9)[:, :21]
    post = posterior(strip, model, tile=9, scale=case.scale, temperature=0.5)
    samples = post.sample(3)
    given = {"reference": samples[2] + 0.01} if by == "reference" else {}
    if by == "consistency" and model.card.degradation.name == OWN_NETWORK:
        with pytest.raises(OptionError, match="Rank by another"):
            post.best_of(3, by=by)
        return
    found = post.best_of(3, by=by, **given)
    if by == "consistency":
        expected = [post.consistency(sample)[0] for sample in samples]
    elif by == "likelihood":
        expected = [post.log_prob(sample).sum() for sample in samples]
    else:
        span = post._bound.intensities.range(0, 0)
        unit = span.high - span.low
        errors = [((s - given["reference"]) / unit).astype(float) for s in samples]
        expected = [-10 * np.log10(np.mean(error**2)) for error in errors]
        assert found.index == 2
    np.testing.assert_allclose(found.scores, expected, rtol=1e-3)
    assert found.index == int(np.argmax(found.scores))
    close(found.image, samples[found.index])


@over_every_prior
def test_nothing_to_explore_with_a_learned_prior(case) -> None:
    ramp = np.arange(48, dtype=np.float32).reshape(6, 8)
    post = posterior(ramp, case.with_prior(), prior="learned", scale=case.scale)
    for asked in (
        lambda: post.interpolate(0, 1, 0.5),
        lambda: post.sweep([0, 1]),
        lambda: post.with_levels([1]),
        lambda: post.best_of(2, "reference", post.sample(1)[0]),
        lambda: post.apply(np.mean, 2),
    ):
        with pytest.raises(OptionError, match="learned prior makes one prediction"):
            asked()
    assert post.apply(np.mean, 1) == pytest.approx(post.sample(1).mean(), rel=1e-5)


def test_nothing_to_explore_without_a_flow(image) -> None:
    config = _registry.example_configs("rrdb")[0]
    model = as_model(_registry.build("rrdb", config))
    if model.flow.channels == 3:
        image = np.stack([image] * 3, -1)
    post = posterior(image, model, axes="YXS" if image.ndim == 3 else "YX")
    with pytest.raises(OptionError, match="deterministic model"):
        post.interpolate(0, 1, 0.5)
    with pytest.raises(OptionError, match="deterministic model"):
        post.best_of(1, by="likelihood")
    assert post.best_of(1).index == 0


# --- axes, dtypes ---------------------------------------------------------------


def test_more_axes_and_colour(model, image) -> None:
    stack = np.stack([image, 2 * image, image + 1])
    stack = np.stack([stack, stack, 3 * stack], -1)  # ZYXS
    post = posterior(stack, model, axes="ZYXS", tile=16)
    samples = post.sample(2)
    found = post.interpolate(0, 1, (1, 0.5))
    close(found[0], samples[1])
    assert found.shape == (2, 3, 74, 58, 3)
    close(post.sweep([model.card.temperature], 1)[0], samples[1])
    close(post.with_levels([1], 1), samples[1])
    best = post.best_of(2, "reference", samples[1])
    assert best.index == 1
    assert best.scores[1] > 80


def test_integers_come_back_as_integers(model) -> None:
    given = (np.random.default_rng(0).random((9, 7)) * 255).astype(np.uint8)
    post = posterior(given, model)
    samples = post.sample(3)
    assert post.interpolate(0, 2, 1.0).dtype == np.uint8
    assert np.abs(post.interpolate(0, 2, 1.0).astype(int) - samples[2]).max() <= 1
    best = post.best_of(3, "reference", samples[2])
    assert best.image.dtype == np.uint8
    assert best.index == 2


def test_a_temperature_map_is_kept(model, image) -> None:
    taus = np.zeros_like(image)
    taus[:, 15:] = 1
    post = posterior(image, model, temperature=taus)
    samples = post.sample(2)
    found = post.interpolate(0, 1, [0.0, 0.5])
    close(found[0], samples[0])
    close(found[1][:, :8], samples[0][:, :8])  # beyond the reach of the warm half
    differ(found[1][:, 40:], samples[0][:, 40:])


def test_back_projected_images_agree_with_the_input(model, image) -> None:
    post = posterior(image, model, consistent=True)
    found = post.interpolate(0, 1, [0, 0.5])
    close(found[0], post.sample(1)[0])
    assert post.consistency(found[1])[0] > 60


def test_a_constant_image_stays_what_it_is(model) -> None:
    post = posterior(np.full((6, 5), 7, np.uint8), model)
    assert (post.interpolate(0, 1, [0, 0.5]) == 7).all()
    best = post.best_of(3, "reference", np.full((12, 10), 8, np.uint8))
    assert best.index == 0
    assert (best.image == 7).all()


def test_redraws_are_those_of_the_samples(make_pyramid, image) -> None:
    """Where a sample explodes, the end of the way is its redrawn version."""
    model = make_pyramid(threshold=3.2, beyond=float("inf"))
    post = posterior(image, model, tile=16, temperature=1.0, seed=1)
    samples = post.sample(2)
    assert post._report["redrawn_blocks"] > 0
    found = post.interpolate(0, 1, [0, 0.5, 1])
    assert post._report["redrawn_blocks"] > 0
    assert np.isfinite(found).all()
    close(found[0], samples[0])
    close(found[2], samples[1])


# --- what is refused ------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 0, 0.5), "two different samples"),
        ((0, -1, 0.5), "second is -1"),
        ((0.5, 1, 0.5), "first is 0.5"),
        ((0, 1, 1.5), "t is 1.5"),
        ((0, 1, float("nan")), "t is nan"),
        ((0, 1, []), r"t is \[\]"),
        ((0, 1, "half"), "t is"),
        ((0, 1, [[0.1, 0.2]]), "t is"),
        ((0, 1, None), "t is None"),
    ],
)
def test_bad_interpolations(model, image, arguments, said) -> None:
    with pytest.raises(OptionError, match=said):
        posterior(image, model).interpolate(*arguments)


def test_bad_sweeps_levels_and_choices(model, make_pyramid, image) -> None:
    post = posterior(image, model)
    with pytest.raises(OptionError, match="temperatures is -1"):
        post.sweep([0.5, -1])
    with pytest.raises(OptionError, match=r"temperatures is 0\.5"):
        post.sweep(0.5)
    with pytest.raises(OptionError, match=r"sample is 1\.5"):
        post.sweep([0.5], 1.5)
    with pytest.raises(OptionError, match="has 1 level of latents"):
        post.with_levels([1, 1])
    with pytest.raises(OptionError, match="factors is -1"):
        post.with_levels([-1])
    two = posterior(image, make_pyramid())
    with pytest.raises(OptionError, match=r"2 levels .*cells of 1, 4 HR pixels"):
        two.with_levels(0.5)
    with pytest.raises(OptionError, match="choose from consistency"):
        post.best_of(2, by="beauty")
    with pytest.raises(OptionError, match="no reference was given"):
        post.best_of(2, by="reference")
    with pytest.raises(OptionError, match="a reference was given"):
        post.best_of(2, reference=image)
    with pytest.raises(AxesError, match="must be"):
        post.best_of(2, "reference", image)
    with pytest.raises(OptionError, match="n is 0"):
        post.best_of(0)


def test_a_score_that_is_no_number_is_not_the_best(model, image, monkeypatch) -> None:
    monkeypatch.setattr(explored.Choice, "score", lambda self, image: float("nan"))
    with pytest.raises(ImageError, match="Sample 0 has no score by consistency"):
        posterior(image, model).best_of(2)


# --- events, memory -------------------------------------------------------------


def test_samples_are_handed_over_and_not_held(make_pyramid, image) -> None:
    model = make_pyramid()
    post = posterior(image, model, tile=16)
    samples = post.sample(9)
    events = list(post.each(9))
    ready = [e for e in events if isinstance(e, SampleReady)]
    assert [e.index for e in ready] == list(range(9))
    for event in ready:
        close(event.array, samples[event.index])
    # Each array holds the samples of one pass and not all.
    assert len({id(e.array.base) for e in ready}) >= 3
    assert max(e.array.base.shape[0] for e in ready) <= 4
    assert isinstance(events[-1], Finished)
    assert events[-1].result.samples is None
    ticks = [e for e in events if isinstance(e, Progress)]
    assert ticks[-1].done == ticks[-1].total == 9 * 6
    first = next(i for i, e in enumerate(events) if isinstance(e, SampleReady))
    assert events[first - 1].done < ticks[-1].total / 2


def test_conditions_of_tiles_are_computed_once_for_all_passes(make_pyramid, image):
    model = make_pyramid()
    post = posterior(image, model, tile=16)
    before = len(model.flow.windows)
    *_, last = post.each(9)
    probes = [w for w in model.flow.windows[before:] if w == (16, 16)]
    assert len(model.flow.windows) - before - len(probes) == last.result.report["tiles"]


def test_a_drawing_as_events(model, image) -> None:
    post = posterior(image, model, tile=16)
    events = list(post.explore(Interpolation(0, 1, (0.0, 0.5)), 2))
    assert [e.index for e in events if isinstance(e, SampleReady)] == [0, 1]
    close(events[-1].result.samples, post.interpolate(0, 1, [0, 0.5]))
    assert events[-1].result.report["tiles"] == 6


@pytest.mark.parametrize(
    "ask",
    [
        lambda post, **k: post.interpolate(0, 1, [0.2, 0.5], **k),
        lambda post, **k: post.sweep([0.2, 0.5], **k),
        lambda post, **k: post.with_levels([1], **k),
        lambda post, **k: post.best_of(3, **k),
        lambda post, **k: post.apply(np.mean, 3, **k),
    ],
    ids=["interpolate", "sweep", "levels", "best", "apply"],
)
def test_progress_and_cancelling(model, image, ask) -> None:
    told = []
    post = posterior(image, model, tile=16, progress=lambda *t: told.append(t))
    own = []
    ask(post, progress=lambda *t: own.append(t))
    assert own == told
    assert own[-1][0] == own[-1][1]
    seen = []
    with pytest.raises(Cancelled):
        ask(post, cancelled=lambda: len(seen) > 1, progress=lambda *t: seen.append(t))
    assert len(seen) == 2
    with pytest.raises(OptionError, match="cancelled"):
        ask(post, cancelled=3)
