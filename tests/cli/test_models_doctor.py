"""`models`, `doctor`, and the program as a whole."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from napari_flowsr.errors import Cancelled
from napari_flowsr.io.collection import load_model

pytestmark = pytest.mark.usefixtures("home")


def test_list_shows_imported_models(cli):
    done = cli("models", "list")
    assert done.status == 0
    assert "tiny-2x" in done.out
    assert "imported" in done.out
    cards = {card["name"]: card for card in cli("models", "list", "--json").json}
    assert cards["tiny-2x"]["scales"] == [2.0]
    assert len(cards["tiny-2x"]["sha256"]) == 64
    assert cards["tiny-2x"]["built_in"] is False


def test_inspect_tells_card_configuration_and_sizes(cli, home):
    done = cli("models", "inspect", "tiny-2x")
    assert done.status == 0, done.err
    for word in ("compact", "matlab-bicubic", "SHA-256", "Latents", "width 8"):
        assert word in done.out
    path = home / "models" / "tiny-2x.safetensors"
    found = cli("models", "inspect", path, "--json").json
    assert found["config"]["steps"] == 2
    assert found["latents"]["shapes"] == [[4, 8, 8]]
    assert found["receptive_field"] > 0


def test_import_export_remove(cli, home, tmp_path):
    source = home / "models" / "tiny-2x.safetensors"
    done = cli("models", "import", source, "--name", "second", "--json")
    assert done.status == 0, done.err
    assert done.json["name"] == "second"
    assert cli("models", "import", source, "--name", "second").status == 2
    target = tmp_path / "copy.safetensors"
    done = cli("models", "export", "second", target)
    assert done.status == 0, done.err
    assert target.read_bytes() == (home / "models" / "second.safetensors").read_bytes()
    refused = cli("models", "export", "second", target)
    assert refused.status == 2
    assert "--overwrite" in refused.err
    assert cli("models", "remove", "second").status == 0
    assert cli("models", "remove", "second").status == 2


def test_export_as_float16_is_smaller_and_nearly_the_same(cli, home, tmp_path):
    target = tmp_path / "half.safetensors"
    done = cli("models", "export", "tiny-2x", target, "--half", "--json")
    assert done.status == 0, done.err
    whole = (home / "models" / "tiny-2x.safetensors").stat().st_size
    assert done.json["bytes"] < 0.75 * whole
    half, full = load_model(target, device="cpu"), load_model("tiny-2x", device="cpu")
    assert half.card.sha256 == done.json["sha256"]
    for a, b in zip(half.flow.parameters(), full.flow.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)


def test_a_damaged_model_file_is_one_line(cli, home, tmp_path):
    path = tmp_path / "bad.safetensors"
    path.write_bytes((home / "models" / "tiny-2x.safetensors").read_bytes()[:-100])
    for arguments in (("inspect", path), ("import", path)):
        done = cli("models", *arguments)
        assert done.status == 2
        assert "truncated" in done.err or "damaged" in done.err
        assert done.err.count("\n") == 1


def test_assume_must_be_a_pair(cli):
    done = cli("models", "inspect", "tiny-2x", "--assume", "quant")
    assert done.status == 2
    assert "KEY=VALUE" in done.err
    done = cli("models", "inspect", "tiny-2x", "--assume", "quatn=255")
    assert done.status == 2
    assert "quatn" in done.err


# --- doctor -------------------------------------------------------------------


def test_doctor_tells_what_works_here(cli, home):
    found = cli("doctor", "--json").json
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0] or (
        found["versions"]["torch"] == torch.__version__
    )
    assert found["computing"]["device"]
    assert found["computing"]["why"].endswith(".")
    assert "GiB" in found["computing"]["memory"]
    assert "qt" in found["display"]
    assert found["folders"]["imported models"] == str(home / "models")
    assert {row["name"] for row in found["models"]} >= {"tiny-2x"}
    done = cli("doctor")
    assert done.status == 0
    assert "Versions" in done.out


def test_doctor_tells_what_bounds_memory(cli, home, monkeypatch, tmp_path):
    monkeypatch.setenv("NAPARI_FLOWSR_MEMORY", "1GB")
    monkeypatch.setenv("NAPARI_FLOWSR_SCRATCH", str(tmp_path))
    found = cli("doctor", "--json").json
    assert found["computing"]["NAPARI_FLOWSR_MEMORY"] == "1GB"
    assert found["computing"]["planned with"] == "0.9 GiB"
    assert found["folders"]["large results"] == str(tmp_path)
    monkeypatch.setenv("NAPARI_FLOWSR_MEMORY", "much")
    monkeypatch.setenv("NAPARI_FLOWSR_SCRATCH", str(tmp_path / "gone"))
    found = cli("doctor", "--json").json
    assert "'much'; give an amount" in found["computing"]["planned with"]
    assert "there is no such folder" in found["folders"]["large results"]


def test_doctor_survives_a_qt_that_aborts(cli, monkeypatch):
    monkeypatch.setattr("napari_flowsr.cli.doctor._PROBE", "import os; os.abort()")
    done = cli("doctor", "--json")
    assert done.status == 0
    assert done.json["display"]["qt"].startswith("does not start")
    assert "napari-flowsr[all]" in done.json["display"]["remedy"]


@pytest.mark.parametrize(
    ("version", "counts", "bad"),
    [("6.12.0", True, True), ("6.12.0", False, False), ("6.10.3", True, False)],
)
def test_doctor_knows_a_binding_that_aborts(cli, monkeypatch, version, counts, bad):
    found = {"binding": "PySide6", "version": version, "platform": "xcb"}
    doctor = "napari_flowsr.cli.doctor"
    monkeypatch.setattr(f"{doctor}._probe", lambda environment: (found, ""))
    monkeypatch.setattr(f"{doctor}._COUNTS_NONE", counts)
    told = cli("doctor", "--json").json["display"]
    assert ("PySide6==6.10.3" in told.get("known problem", "")) is bad


# --- the program --------------------------------------------------------------


def test_help_imports_nothing_heavy():
    code = (
        "import sys\n"
        "from napari_flowsr.cli.app import run\n"
        "status = run(['upscale', '--help'])\n"
        "heavy = {'torch', 'numpy', 'napari', 'matplotlib'} & set(sys.modules)\n"
        "assert status == 0 and not heavy, (status, heavy)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "For example" in done.stdout


@pytest.mark.parametrize(
    "command",
    ["demo", "upscale", "batch", "evaluate", "train", "doctor", "models", "models list",
     "models inspect", "models import", "models export", "models remove"],
)  # fmt: skip
def test_every_command_explains_itself(cli, command):
    done = cli(*command.split(), "--help")
    assert done.status == 0
    assert "Usage" in done.out


def test_version_and_unknown_commands(cli):
    import napari_flowsr

    assert cli("--version").out.strip() == napari_flowsr.__version__
    done = cli("upscal")
    assert done.status == 2
    assert done.err.startswith("Error: ")
    assert "upscal" in done.err


def test_no_arguments_show_the_help(cli):
    done = cli()
    assert done.status == 2
    assert "Usage" in done.out + done.err


def test_a_cancellation_is_an_interruption(cli, monkeypatch):
    def cancelled() -> None:
        raise Cancelled("stop")

    monkeypatch.setattr("napari_flowsr.io.collection.list_models", cancelled)
    assert cli("models", "list").status == 130


def test_json_holds_numbers_that_json_lacks(cli, capsys):
    from napari_flowsr.cli._show import show_json

    show_json({"psnr": float("inf"), "n": np.int64(3)})
    assert json.loads(capsys.readouterr().out) == {"psnr": "inf", "n": 3}


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.25, "0.2 s"), (75, "1 min 15 s"), (7260, "2 h 1 min")]
)
def test_durations_are_readable(seconds, said):
    from napari_flowsr.cli._show import humanly

    assert humanly(seconds) == said
