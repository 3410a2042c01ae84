"""From a preset's name to a configuration."""

from __future__ import annotations

import pytest

from napari_flowsr.errors import OptionError, TrainingError
from napari_flowsr.io.checkpoint import read_header
from napari_flowsr.io.collection import find_model
from napari_flowsr.training.presets import PRESETS, preset
from napari_flowsr.training.recipe import (
    FINER,
    fitting,
    named,
    recipe,
    scale_of,
    sentence,
    shared_out,
    siblings,
)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_says_what_it_is_for(name):
    assert sentence(name).endswith(".")
    assert named(name) == name


def test_scales_are_chosen_among_the_presets_of_a_kind():
    found = siblings("compact-4x")
    assert found[2] == "compact-2x"
    assert list(found) == sorted(found)
    assert siblings("compact-any") == {}
    assert named("compact") == "compact-2x"
    assert named("compact", 4) == named("compact-2x", 4) == "compact-4x"
    with pytest.raises(OptionError, match="'compact' has presets for 2,"):
        named("compact", 7)
    with pytest.raises(OptionError, match="'compost' is unknown; known are"):
        named("compost")


def test_what_people_choose_is_in_the_configuration():
    usual = preset("compact-2x")
    found = recipe("compact-2x", steps=350, batch=2, patch=12, learning_rate=1e-4)
    assert found.steps == 350
    ratio = usual.stages[0].steps / usual.steps
    assert found.stages[0].steps == round(350 * ratio)
    assert {(s.batch, s.patch) for s in found.stages} == {(2, 12)}
    assert max(s.learning_rate for s in found.stages) == pytest.approx(1e-4)
    assert [s.steps for s in shared_out(usual.stages, 1)] == [1, 1, 1]
    assert recipe("compact-2x", seed=5, name="own").name == "own"
    own = {"name": "own", "steps": 3, "losses": {"nll": 1.0}}
    (only,) = recipe("compact-2x", stages=[own], batch=2).stages
    assert (only.name, only.steps, only.batch) == ("own", 3, 2)


def test_compact_presets_end_with_encoder_and_flow_together():
    encoder, flow, joint = preset("compact-4x").stages
    assert (encoder.optimiser, encoder.learning_rate) == ("muon", 1e-3)
    assert flow.encoder_frozen_until == 1.0
    assert set(joint.losses) == {"nll", "mode_log_mse"}
    assert joint.encoder_frozen_until == 0.0


def test_a_fine_tuning_has_the_network_and_conventions_of_the_model():
    header = read_header(find_model("micro-4x"))
    assert fitting("micro-4x") == "compact-4x"
    found = recipe("compact-2x", start_from="micro-4x")
    assert dict(found.model) == dict(header.config)
    assert found.degradation == header.card.degradation
    assert found.start_from == "micro-4x"
    usual = preset("compact-2x").stages[-1]
    (ours,) = found.stages
    assert ours.losses == usual.losses
    assert ours.learning_rate == pytest.approx(FINER * usual.learning_rate)
    # A recipe of one's own is followed as it is.
    own = recipe(preset("compact-2x"), start_from="micro-4x")
    assert own.model == preset("compact-2x").model


def test_a_learned_prior_has_the_scale_of_its_flow():
    assert scale_of(recipe("compact-prior", start_from="micro-4x")) == 4.0
    assert scale_of(preset("compact-3x")) == 3.0


def test_a_model_of_another_family_is_refused():
    with pytest.raises(TrainingError, match="for which there is 'compact-2x', for one"):
        recipe("srflow-4x", start_from="micro-2x")
