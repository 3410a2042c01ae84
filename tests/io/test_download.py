"""Downloads from an address and from the hub; only this machine is asked."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from napari_flowsr.errors import Cancelled, CheckpointError, OptionError
from napari_flowsr.io.download import HubFile, download, is_address, parse_hub

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_FLOWSR_HOME", str(tmp_path / "home"))
    # A proxy of this machine has nothing to do with a server inside the test.
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    return tmp_path / "home"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "model.pth").write_bytes(CONTENT)
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("localhost", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{running.server_port}"
        running.shutdown()


def test_a_file_with_the_right_sum_is_kept(server: str, home: Path) -> None:
    told: list[tuple[int, int]] = []
    path = download(
        f"{server}/model.pth?raw=1",
        f"sha256:{SHA256.upper()}",
        progress=lambda done, total: told.append((done, total)),
    )
    assert path.name == "model.pth"
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(home / "downloads")
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in path.parent.iterdir()] == ["model.pth"]


def test_another_sum_is_refused_and_nothing_kept(server: str, home: Path) -> None:
    with pytest.raises(CheckpointError, match=f"{SHA256}, expected {'0' * 64}"):
        download(f"{server}/model.pth", "0" * 64)
    assert list((home / "downloads").iterdir()) == []


def test_a_download_can_be_cancelled(server: str, home: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        download(f"{server}/model.pth", SHA256, progress=stop)
    assert list((home / "downloads").iterdir()) == []


def test_what_is_not_there_is_one_clear_error(server: str) -> None:
    with pytest.raises(CheckpointError, match=r"could not be downloaded.*404"):
        download(f"{server}/absent.pth", SHA256)
    with pytest.raises(CheckpointError, match="could not be downloaded"):
        download("http://localhost:9/model.pth", SHA256)


@pytest.mark.parametrize(
    ("address", "sha256", "message"),
    [
        ("https://example.org/m.pth", None, "needs the SHA-256"),
        ("https://example.org/m.pth", "123", "64 hexadecimal digits"),
        ("model.pth", "0" * 64, "is no address"),
        ("hub:owner", None, "names no file of a hub repository"),
    ],
)
def test_bad_addresses_and_sums(address: str, sha256: str | None, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        download(address, sha256)


def test_addresses_are_told_from_paths() -> None:
    assert is_address("https://example.org/m.pth")
    assert is_address("hub:owner/name/m.safetensors")
    assert not is_address("models/m.pth")
    assert parse_hub("hub:a/b-c/d/e.pth@v1.0") == HubFile("a/b-c", "d/e.pth", "v1.0")
    assert parse_hub("hub:a/b/c.pth") == HubFile("a/b", "c.pth")


def test_the_hub_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(OptionError, match=r"pip install 'napari-flowsr\[hub\]'"):
        download("hub:owner/name/model.pth")


def test_a_file_of_the_hub(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    asked: list[tuple[Any, ...]] = []

    def fetch(
        repository: str, path: str, *, revision: str | None, local_dir: str
    ) -> str:
        asked.append((repository, path, revision))
        if repository == "a/broken":
            raise RuntimeError("401 no such repository")
        target = Path(local_dir, path)
        target.write_bytes(CONTENT)
        return str(target)

    hub = ModuleType("huggingface_hub")
    hub.hf_hub_download = fetch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert download("hub:a/b/m.pth@main").read_bytes() == CONTENT
    assert asked == [("a/b", "m.pth", "main")]
    with pytest.raises(CheckpointError, match="expected"):
        download("hub:a/b/m.pth", "1" * 64)
    with pytest.raises(CheckpointError, match=r"a/broken could not.*401"):
        download("hub:a/broken/m.pth")
