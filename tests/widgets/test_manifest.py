"""The manifest: valid, importable, and with the names that scripts rely on."""

from __future__ import annotations

import dataclasses
import os
from importlib.resources import files

import pytest
from npe2 import PluginManifest

from napari_flowsr.widgets._preferences import Preferences, read_preferences


@pytest.fixture(scope="module")
def manifest():
    return PluginManifest.from_file(str(files("napari_flowsr") / "napari.yaml"))


def test_every_command_can_be_imported(manifest):
    """What ``npe2 validate --imports`` checks."""
    manifest.validate_imports()


def test_the_docks_have_the_names_that_scripts_use(manifest):
    names = [w.display_name for w in manifest.contributions.widgets]
    assert names == [
        "Upscale",
        "Edit",
        "Restore",
        "Rescale",
        "Models",
        "Train",
        "Export",
    ]
    # One below the other they would not fit on a screen.
    assert all(w.tabify for w in manifest.contributions.widgets)


def test_no_writer_claims_plain_tiff(manifest):
    """A plugin's writer would be preferred to napari's own for every such file."""
    claimed = {e for w in manifest.contributions.writers for e in w.filename_extensions}
    assert claimed == {".ome.tif", ".ome.tiff", ".ome.zarr"}


def test_menu_items_are_where_napari_takes_them(manifest):
    from napari._app_model.constants import MenuId

    allowed = {menu.value for menu in MenuId.contributables()}
    menus = manifest.contributions.menus
    assert {m for m in menus if m.startswith("napari/")} <= allowed
    commands = {c.id for c in manifest.contributions.commands}
    submenus = {s.id for s in manifest.contributions.submenus}
    for items in menus.values():
        for item in items:
            assert (
                getattr(item, "command", None) in commands or item.submenu in submenus
            )
    assert {m for m in menus if not m.startswith("napari/")} == submenus


def test_preferences_and_manifest_have_the_same_defaults(manifest):
    configurations = manifest.contributions.configurations
    declared = {
        name: prop.default
        for page in configurations.values()
        for name, prop in page.properties.items()
    }
    assert declared == dataclasses.asdict(Preferences())


def test_preferences_hold_without_napari_settings(monkeypatch):
    """napari before 0.9 has no pages for plugins."""
    import napari.settings

    monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    assert read_preferences() == Preferences()


def test_preferences_hold_for_an_unregistered_plugin(monkeypatch):
    import napari.settings

    def unknown(plugin):
        raise KeyError(plugin)

    monkeypatch.setattr(napari.settings, "get_plugin_settings", unknown, raising=False)
    assert read_preferences() == Preferences()


@pytest.fixture
def saved_page(plugin_settings, npe2pm, manifest, monkeypatch, tmp_path):
    """What napari builds the page from, which it has not done yet."""
    from napari import settings

    npe2pm.register(manifest)
    for name in [name for name in os.environ if name.startswith("NAPARI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(settings, "_CFG_PATH", str(tmp_path / "settings.yaml"))
    settings._PLUGIN_SETTINGS.clear()
    yield settings
    settings._PLUGIN_SETTINGS.clear()


def test_preferences_are_read_from_where_napari_keeps_them(saved_page, tmp_path):
    """Without building the page, which takes long; with it once it is built."""
    assert read_preferences() == Preferences()
    assert not saved_page._PLUGIN_SETTINGS
    page = saved_page.get_plugin_settings("napari-flowsr")
    assert page.config_path == tmp_path / "napari-flowsr.yaml"
    page.inference.samples = 7
    page.editing.feather = 1.5
    told = read_preferences()
    assert (told.samples, told.feather) == (7, 1.5)
    page.save()
    saved_page._PLUGIN_SETTINGS.clear()
    assert read_preferences() == told
    assert not saved_page._PLUGIN_SETTINGS


@pytest.mark.parametrize(
    "text",
    [
        *("a: [", "a: 3", "- 1", "a: {tile: x}", "a: {samples: 0}"),
        *("a: {feather: -3.0}", "a: {uncertainty_colormap: nosuch}"),
    ],
)
def test_napari_judges_an_odd_file(saved_page, tmp_path, monkeypatch, text):
    asked = []
    monkeypatch.setattr(saved_page, "get_plugin_settings", asked.append)
    (tmp_path / "napari-flowsr.yaml").write_text(text)
    assert read_preferences() == Preferences()
    assert asked == ["napari-flowsr"]


def test_a_variable_sets_a_preference(saved_page, monkeypatch):
    monkeypatch.setenv("NAPARI_INFERENCE_SAMPLES", "9")
    assert read_preferences().samples == 9


def test_preferences_follow_the_page(plugin_settings, npe2pm, manifest):
    from napari.settings import get_plugin_settings

    npe2pm.register(manifest)
    settings = get_plugin_settings("napari-flowsr")
    settings.inference.tile = 96
    settings.inference.samples = 7
    settings.inference.temperature = 0.4
    assert read_preferences().temperature_option is None
    settings.inference.temperature_from = "the value below"
    settings.display.uncertainty_colormap = "viridis"
    found = read_preferences()
    assert (found.tile, found.samples) == (96, 7)
    assert found.tile_option == 96
    assert found.temperature_option == 0.4
    assert found.uncertainty_colormap == "viridis"
    assert Preferences().tile_option == "auto"
    with pytest.raises(ValueError, match="temperature"):
        settings.inference.temperature = -1.0


def test_the_plugin_in_a_viewer(make_napari_viewer, tmp_path):
    """Discovery, samples, the writer and the menu command, as a user meets them."""
    from napari._app_model import get_app_model
    from napari.utils.notifications import notification_manager
    from qtpy.QtWidgets import QApplication

    viewer = make_napari_viewer()
    [layer] = viewer.open_sample("napari-flowsr", "microaneurysms")
    path = tmp_path / "a.ome.tif"
    assert layer.save(str(path)) == [str(path)]
    assert b"napari-flowsr" in path.read_bytes()

    _, widget = viewer.window.add_plugin_dock_widget("napari-flowsr", "Export")
    assert type(widget).__name__ == "ExportDock"

    QApplication.clipboard().setText("before")
    commands = get_app_model().commands
    commands.execute_command("napari-flowsr.copy_as_python").result()
    said = notification_manager.records[-1].message
    assert "'microaneurysms' is selected" in said
    assert QApplication.clipboard().text() == "before"
