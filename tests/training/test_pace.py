"""Time left, and the time that finding a pace may take."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from napari_flowsr.errors import TrainingError
from napari_flowsr.training import pace
from napari_flowsr.training.config import Stage
from napari_flowsr.training.control import Control
from napari_flowsr.training.events import Measuring, Paused, Started, Step
from napari_flowsr.training.pace import Clock
from napari_flowsr.training.run import TrainingRun
from napari_flowsr.training.trainer import train


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still unless it is moved."""
    moved = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(
        pace, "time", SimpleNamespace(monotonic=lambda: moved.seconds), raising=True
    )
    return moved


def test_time_that_a_training_waited_is_none_of_its_pace(now):
    clock = Clock(10)
    for step in range(1, 5):
        now.seconds += 2.0
        left = clock.left(step)
    assert left == pytest.approx(2 * 6)
    with clock.stopped():
        now.seconds += 1000.0
    now.seconds += 2.0
    assert clock.left(5) == pytest.approx(2 * 5)
    assert clock.waited == 1000.0


def test_figures_take_a_small_part_of_the_time(now):
    clock = Clock(10)
    assert clock.has_time_for_figures
    with clock.figures():
        now.seconds += 3.0
    now.seconds += 29.0
    assert not clock.has_time_for_figures
    now.seconds += 1.0
    assert clock.has_time_for_figures


def test_a_pause_does_not_count_as_time_left(images, recipe, tmp_path, now):
    control, left = Control(), []
    config = recipe(stage={"steps": 5})
    for event in train(images, config, tmp_path / "m.safetensors", control=control):
        if isinstance(event, Step):
            left.append(event.seconds_left)
            now.seconds += 1.0
            if event.step == 5:
                control.pause()
        if isinstance(event, Paused):
            now.seconds += 1000.0
            control.resume()
    assert left[1:] == pytest.approx([8, 7, 6, 5, 4, 3, 2, 1, 0])


@pytest.mark.parametrize(("lasts", "tried"), [(10.0, 1), (2.0, 2), (0.001, 4)])
def test_measuring_takes_a_tenth_of_the_time(
    images, recipe, tmp_path, monkeypatch, now, lasts, tried
):
    steps, optimise = [], TrainingRun.optimise

    def slow(self, stage: Stage, *arguments):
        now.seconds += lasts
        steps.append(stage.name)
        return optimise(self, stage, *arguments)

    monkeypatch.setattr(TrainingRun, "optimise", slow)
    events = train(images, recipe(minutes=1.0), tmp_path / "m.safetensors")
    first, second, started = next(events), next(events), next(events)
    assert first == Measuring("encoder", 1, 2)
    assert second == Measuring("flow", 2, 2)
    assert steps == ["encoder"] * tried + ["flow"] * tried
    assert isinstance(started, Started)
    # What it took is part of the minute, up to a tenth of it.
    left = 54 - min(6, 2 * tried * lasts)
    assert started.total == pytest.approx(left / lasts, abs=2)
    events.close()


def test_measuring_can_be_stopped_and_leaves_nothing(images, recipe, tmp_path):
    events = train(images, recipe(minutes=1.0), tmp_path / "m.safetensors")
    assert isinstance(next(events), Measuring)
    assert isinstance(next(events), Measuring)
    events.close()
    assert not list(tmp_path.iterdir())


def test_what_was_never_trained_is_no_model(images, recipe, tmp_path):
    control = Control()
    control.finish()
    with pytest.raises(TrainingError, match="before its first step"):
        list(train(images, recipe(), tmp_path / "m.safetensors", control=control))
    assert not (tmp_path / "m.safetensors").exists()
