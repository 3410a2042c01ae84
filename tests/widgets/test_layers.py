"""From results to layers: colours, names, records, and whose layers are replaced."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_flowsr.inference.events import Result
from napari_flowsr.io.checkpoint import save_model
from napari_flowsr.io.collection import load_model
from napari_flowsr.io.provenance import NAMESPACE, image_hash, provenance_script
from napari_flowsr.widgets._geometry import resolve_roi
from napari_flowsr.widgets._layers import (
    Source,
    add_outputs,
    make_output,
    make_outputs,
    own_layers,
)
from napari_flowsr.widgets._session import OUTPUT_KINDS, Session
from napari_flowsr.widgets._upscale import Preview, Ready, Request

KINDS = ("sample", "mean", "std", "quantile-range")


@pytest.fixture
def viewer():
    return ViewerModel()


def source_of(layer, roi="whole"):
    return Source.of(layer, resolve_roi(layer, roi, None))


def records(source):
    facts = {"source_name": source.name, "detail_inferred": True, "report": {"a": [1]}}
    return {kind: {"kind": kind, "n": 2, **facts} for kind in KINDS}


def result_for(source, n=2, factor=2, seed=0):
    shape = [*source.box.shape]
    shape[-2:] = [factor * side for side in shape[-2:]]
    if source.layer.rgb:
        shape.append(3)
    rng = np.random.default_rng(seed)
    dtype = np.dtype(source.array.dtype)
    samples = rng.uniform(0, 200, (n, *shape)).astype(dtype)
    exact = samples.astype("float32")
    low, high = np.quantile(exact, (0.05, 0.95), axis=0).astype("float32")
    return Result(samples, exact.mean(0), exact.std(0), {0.05: low, 0.95: high})


def outputs_of(layer, *, stack=True, roi="whole", seed=0, **options):
    source = source_of(layer, roi)
    result = result_for(source, seed=seed)
    return source, make_outputs(
        source, result, records(source), stack=stack, model="m", **options
    )


def names(layers):
    return [layer.name for layer in layers]


# --- what a layer looks like --------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "rgb"), [((16, 16, 3), True), ((3, 16, 16), False), ((16, 16, 3), False)]
)
@pytest.mark.parametrize("stack", [True, False])
def test_colour_is_never_guessed(viewer, shape, rgb, stack):
    """napari takes a (32, 32, 3) array for colour and a (16, 16, 3) one for a stack."""
    labels = ("y", "x", "z") if shape[-1] == 3 and not rgb else None
    layer = viewer.add_image(np.zeros(shape, "uint8"), rgb=rgb, axis_labels=labels)
    source = source_of(layer)
    hr = tuple(
        side * (1 + (letter in "YX"))
        for side, letter in zip(shape, source.axes, strict=True)
    )
    sample = np.zeros((2, *hr), "uint8")
    result = Result(sample, sample[0].astype("float32"), sample[0].astype("float32"))
    made = make_outputs(source, result, records(source), stack=stack)
    added = add_outputs(viewer, source, made)
    for new in added:
        kind = new.metadata[NAMESPACE]["kind"]
        assert new.rgb is (rgb and kind != "std")
        assert new.ndim == (2 if rgb else 3) + (stack and kind == "sample")


def test_spread_of_colours_is_one_channel(viewer):
    layer = viewer.add_image(np.zeros((6, 5, 3), "uint8"), rgb=True)
    source, made = outputs_of(layer)
    result = result_for(source)
    by_kind = {o.options["metadata"][NAMESPACE]["kind"]: o for o in made}
    assert by_kind["std"].data.shape == (12, 10)
    np.testing.assert_array_equal(by_kind["std"].data, result.std.mean(-1))
    assert by_kind["std"].options["metadata"][NAMESPACE]["colour"] == "mean"
    # napari shows colour as bytes or from 0 to 1, so the mean has the input's type.
    assert by_kind["mean"].data.dtype == np.uint8
    np.testing.assert_array_equal(by_kind["mean"].data, np.rint(result.mean))
    assert by_kind["mean"].options["metadata"][NAMESPACE]["rounded_to"] == "uint8"


def test_images_look_like_the_input_and_spreads_start_at_zero(viewer):
    layer = viewer.add_image(
        np.zeros((6, 5), "uint16"), colormap="cyan", contrast_limits=(3, 170), gamma=0.7
    )
    source, made = outputs_of(layer, colormap="viridis")
    added = add_outputs(viewer, source, made)
    samples, mean, std, spread = added
    for image in (samples, mean):
        assert image.colormap.name == "cyan"
        assert image.contrast_limits == [3, 170]
        assert image.gamma == pytest.approx(0.7)
    for image in (std, spread):
        assert image.colormap.name == "viridis"
        assert image.contrast_limits[0] == 0
        # A few extreme pixels must not leave the rest black.
        high = float(np.quantile(image.data, 0.995))
        assert image.contrast_limits[1] == pytest.approx(high)
    assert samples.data.dtype == np.uint16
    assert mean.data.dtype == np.float32


def test_no_spread_at_all_has_usable_limits(viewer):
    """At temperature 0 all samples are the same."""
    layer = viewer.add_image(np.ones((6, 5)))
    source = source_of(layer)
    made = make_output(source, "std", np.zeros((12, 10), "float32"), {"kind": "std"})
    assert add_outputs(viewer, source, [made])[0].contrast_limits == [0, 1]
    few = np.zeros((12, 10), "float32")
    few[0, 0] = 3
    made = make_output(source, "std", few, {"kind": "std"})
    low_high = made.options["contrast_limits"]
    assert 0 == low_high[0] < low_high[1] <= 3


def test_a_stack_or_a_layer_for_each_sample(viewer):
    layer = viewer.add_image(np.zeros((6, 5), "uint8"), name="cells", scale=(3, 3))
    source, made = outputs_of(layer, stack=True)
    added = add_outputs(viewer, source, made)
    assert added[0].data.shape == (2, 12, 10)
    assert added[0].axis_labels[0] == "sample"
    assert added[0].metadata[NAMESPACE]["n"] == 2
    source, made = outputs_of(layer, stack=False)
    added = add_outputs(viewer, source, made)
    assert names(added) == [
        "cells · sample 0 · m",
        "cells · sample 1 · m",
        "cells · mean · m",
        "cells · uncertainty (std) · m",
        "cells · 5–95 % range · m",
    ]
    for number, sample in enumerate(added[:2]):
        assert sample.data.shape == (12, 10)
        np.testing.assert_allclose(sample.scale, 1.5)
        record = sample.metadata[NAMESPACE]
        assert record["sample"] == number
        assert "n" not in record


def test_samples_are_seen_first(viewer):
    layer = viewer.add_image(np.zeros((6, 5), "uint8"))
    added = add_outputs(viewer, *outputs_of(layer, stack=False))
    assert [x.visible for x in added] == [True, True, False, False, False]
    source, made = outputs_of(viewer.add_image(np.zeros((6, 5), "uint8")))
    assert add_outputs(viewer, source, made[2:])[0].visible  # nothing else to look at


# --- records ------------------------------------------------------------------


def test_each_layer_has_a_record_of_its_own(viewer):
    layer = viewer.add_image(np.zeros((6, 5), "uint8"))
    source = source_of(layer)
    given = records(source)
    before = copy.deepcopy(given)
    made = make_outputs(source, result_for(source), given, stack=False)
    added = add_outputs(viewer, source, made)
    added[0].metadata[NAMESPACE]["report"]["a"].append("scribble")
    added[0].metadata["note"] = "mine"
    assert given == before
    for other in added[1:]:
        assert other.metadata[NAMESPACE]["report"] == {"a": [1]}
        assert "note" not in other.metadata
    assert layer.metadata == {}


def request(layer, model, *, roi="whole", **changes):
    options = {
        "image": layer,
        "model": model,
        "samples": 2,
        "seed": 5,
        "temperature": 0.8,
        "outputs": OUTPUT_KINDS,
        "device": "cpu",
        **changes,
    }
    session = Session(**options)
    return Request.of(session, source_of(layer, roi), "inferno")


def ready(request):
    events = list(request.events())
    assert isinstance(events[-1], Ready)
    return events[-1].outputs


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(path, model.flow, model.card)
    return str(path)


def remake(layer_metadata, image, path):
    """Run the script as whoever pasted it would."""
    script = provenance_script(layer_metadata)
    scope = {"__name__": "remake"}
    exec(compile(script, "remake.py", "exec"), scope)
    return scope["remake"](image, model=path)


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("roi", ["whole", (3, 2, 9, 11)])
def test_the_script_of_a_layer_remakes_it_bit_for_bit(viewer, image, saved, stack, roi):
    layer = viewer.add_image(image, name="cells")
    run = request(layer, saved, roi=roi, stack=stack)
    made = ready(run)
    assert len(made) == 4 + (not stack)
    for output in made:
        again = remake(output.options["metadata"], image, saved)
        assert again.dtype == output.data.dtype
        np.testing.assert_array_equal(again, output.data)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 9, 8), {"axis_labels": ("t", "y", "x")}),
        ((9, 8, 3), {"rgb": True}),
        ((9, 8, 2), {"axis_labels": ("y", "x", "c")}),
    ],
)
@pytest.mark.parametrize("roi", ["whole", (1, 2, 6, 5)])
def test_the_script_of_other_axes(viewer, saved, shape, options, roi):
    image = np.random.default_rng(1).integers(0, 255, shape, "uint8")
    layer = viewer.add_image(image, **options)
    for output in ready(request(layer, saved, roi=roi, consistent=True)):
        again = remake(output.options["metadata"], image, saved)
        np.testing.assert_array_equal(again, output.data)


def test_records_say_everything_and_are_json(viewer, image, saved):
    layer = viewer.add_image(image, name="cells")
    made = ready(request(layer, saved, roi=(3, 2, 9, 11), stack=False))
    for output in made:
        record = output.options["metadata"][NAMESPACE]
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        assert record["detail_inferred"] is True
        assert record["model"] == "tiny"
        assert record["model_sha256"] == load_model(saved).card.sha256
        assert record["source_name"] == "cells"
        assert record["source_sha256"] == image_hash(image)
        assert record["roi"] == [[3, 12], [2, 13]]
        assert (record["seed"], record["temperature"]) == (5, 0.8)
        assert {"family", "prior", "noise", "tile", "versions"} <= set(record)
    kinds = [o.options["metadata"][NAMESPACE]["kind"] for o in made]
    assert kinds == ["sample", "sample", "mean", "std", "quantile-range"]


def test_the_preview_is_the_first_sample(viewer, image, model):
    events = list(request(viewer.add_image(image), model).events())
    previews = [e for e in events if isinstance(e, Preview)]
    assert len(previews) == 1
    assert previews[0].output.data.shape == (1, 34, 40)
    stack = events[-1].outputs[0].data
    np.testing.assert_array_equal(previews[0].output.data[0], stack[0])
    # A single sample is finished when it could be shown.
    events = list(
        request(viewer.layers[0], model, samples=1, outputs=("samples",)).events()
    )
    assert not [e for e in events if isinstance(e, Preview)]


def test_only_what_was_asked_for(viewer, image, model):
    made = ready(request(viewer.add_image(image), model, outputs=("std",)))
    assert [o.options["metadata"][NAMESPACE]["kind"] for o in made] == ["std"]


def test_a_request_does_not_follow_the_session(viewer, image, model):
    session = Session(image=viewer.add_image(image), model=model, samples=2)
    run = Request.of(session, source_of(session.image), "inferno")
    session.samples, session.seed, session.outputs = 7, 9, ("mean",)
    made = ready(run)
    assert made[0].data.shape[0] == 2
    assert made[0].options["metadata"][NAMESPACE]["seed"] == 0


# --- whose layers are replaced ------------------------------------------------


@pytest.fixture
def done(viewer):
    """One image, a second one, and the outputs of the first."""
    layer = viewer.add_image(np.zeros((6, 5), "uint8"), name="cells")
    viewer.add_image(np.ones((6, 5), "uint8"), name="other")
    return layer, add_outputs(viewer, *outputs_of(layer))


def test_a_rerun_replaces_its_own_layers(viewer, done):
    layer, first = done
    count = len(viewer.layers)
    second = add_outputs(viewer, *outputs_of(layer, seed=1))
    assert len(viewer.layers) == count
    assert names(second) == names(first)
    for old in first:
        assert old not in viewer.layers
    assert own_layers(viewer.layers, source_of(layer)) == second


def test_what_the_user_did_to_the_look_is_kept(viewer, done):
    layer, (samples, mean, std, _) = done
    samples.visible, samples.opacity = False, 0.4
    std.visible, mean.blending = True, "additive"
    samples, mean, std, spread = add_outputs(viewer, *outputs_of(layer, seed=1))
    assert (samples.visible, samples.opacity) == (False, 0.4)
    assert (std.visible, mean.visible, spread.visible) == (True, False, False)
    assert mean.blending == "additive"
    # The data's own range, not that of the run before, sets the limits.
    high = float(np.quantile(std.data, 0.995))
    assert std.contrast_limits[1] == pytest.approx(high)


def test_the_users_layers_stay(viewer, done):
    layer, first = done
    title = first[0].name
    first[0].name = "a better name"
    mine = [
        viewer.add_image(np.zeros((12, 10)), name=title),
        viewer.add_image(np.zeros((6, 5)), name="cells, denoised"),
        viewer.add_labels(np.zeros((6, 5), int), name="mask of cells"),
        viewer.add_image(np.zeros((6, 5)), metadata={"source_name": "cells"}),
        viewer.add_image(np.zeros((6, 5)), metadata={NAMESPACE: "a note"}),
    ]
    added = add_outputs(viewer, *outputs_of(layer, seed=1))
    assert all(x in viewer.layers for x in mine)
    assert first[0] not in viewer.layers
    assert len(added) == len(first)


def test_a_duplicate_of_an_output_is_the_users(viewer, done):
    """Whoever duplicates a layer wants to keep it."""
    layer, first = done
    data, options, _ = first[0].as_layer_data_tuple()
    kept = viewer.add_image(data, **{**options, "name": "keep this"})
    assert NAMESPACE in kept.metadata
    add_outputs(viewer, *outputs_of(layer, seed=1))
    assert kept in viewer.layers


def test_outputs_of_other_images_stay(viewer, done):
    layer, first = done
    other = viewer.layers["other"]
    of_other = add_outputs(viewer, *outputs_of(other))
    assert all(x in viewer.layers for x in first)
    add_outputs(viewer, *outputs_of(layer, seed=1))
    assert all(x in viewer.layers for x in of_other)


def test_a_renamed_image_is_the_same_image(viewer, done):
    layer, first = done
    layer.name = "renamed"
    viewer.layers["other"].name = "cells"  # and what has its name now is not
    of_other = add_outputs(viewer, *outputs_of(viewer.layers["cells"]))
    assert all(x in viewer.layers for x in first)
    second = add_outputs(viewer, *outputs_of(layer))
    assert not any(x in viewer.layers for x in first)
    assert all(x in viewer.layers for x in (*second, *of_other))
    assert second[0].name.startswith("renamed · ")


def test_an_image_renamed_during_the_run(viewer, done):
    layer, first = done
    source, made = outputs_of(layer, seed=1)
    layer.name = "renamed"
    second = add_outputs(viewer, source, made)
    assert not any(x in viewer.layers for x in first)
    assert own_layers(viewer.layers, source_of(layer)) == second
    assert {x.metadata[NAMESPACE]["source_name"] for x in second} == {"cells"}


def test_an_output_made_elsewhere_is_told_by_its_record(viewer):
    """A script may add layers of its own with the plugin's record."""
    layer = viewer.add_image(np.zeros((6, 5), "uint8"), name="cells")
    record = {"kind": "mean", "source_name": "cells"}
    made = viewer.add_image(np.zeros((12, 10)), metadata={NAMESPACE: record})
    assert own_layers(viewer.layers, source_of(layer)) == [made]
