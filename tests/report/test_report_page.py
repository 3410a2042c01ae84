"""The page: complete in itself, well formed, honest, whole or not there."""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from every_family import Case
from napari_flowsr.errors import ExportError, OptionError
from napari_flowsr.models import _registry
from napari_flowsr.report.collect import Entry, measure_subject
from napari_flowsr.report.curves import Line, Mark, Panel, draw
from napari_flowsr.report.page import check_report, render, write_report
from napari_flowsr.report.pictures import busiest, data_uri, ranks
from napari_flowsr.report.plan import Plan, Subject
from napari_flowsr.report.tables import number, ratio

PLAN = Plan(n=3, temperatures=(0, 0.9, 1), sweep=3, pictures=2)
_VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Complains of tags that are not closed, and collects addresses and names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.names: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag not in _VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "action"):
                self.addresses.append(value)
            if name == "id":
                self.names.append(value)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def entries(compact: Case, folder: Path) -> list[Entry]:
    model = compact.with_prior()
    odd = replace(model, card=model.card.with_(name="<b>own & odd</b>"))
    rrdb = Case("rrdb", _registry.example_configs("rrdb")[0], 2.0).model(name="plain")
    subjects = [Subject(odd, 2.0), Subject(rrdb, rrdb.flow.scales[0])]
    return [measure_subject(folder, s, PLAN, None, lambda _: None) for s in subjects]


@pytest.fixture(scope="module")
def text(entries: list[Entry]) -> str:
    return render(entries, PLAN, lpips="LPIPS <was> not measured.", seconds=61)


def test_the_page_needs_nothing_else(text: str) -> None:
    page = Page(text)
    inside = ("data:image/png;base64,", "#")
    assert page.addresses
    assert [a for a in page.addresses if not a.startswith(inside)] == []
    for word in ("<script", "@import", "<link", "<iframe", "url(http"):
        assert word not in text
    targets = [a[1:] for a in page.addresses if a.startswith("#")]
    assert set(targets) <= set(page.names)
    assert len(set(page.names)) == len(page.names)  # curves do not clash
    assert page.tags.count("svg") >= 7


def test_names_are_text_and_never_markup(text: str) -> None:
    assert "<b>own" not in text
    assert "&lt;b&gt;own &amp; odd&lt;/b&gt;" in text
    assert "LPIPS &lt;was&gt; not" in text


def test_tables_have_the_numbers(text: str, entries: list[Entry]) -> None:
    plain = re.sub(r"<[^>]+>", " ", text)
    for entry in entries:
        rows = entry.result["report"]["versions"]
        for row in rows.values():
            assert f"{row['psnr']:.2f}" in plain
            assert ratio(row["sharpness"]) in plain
    mean = entries[0].result["mean"]
    for key in ("crps", "mae_mode", "diversity"):
        assert f"{mean[key]:.5f}" in plain
    for image in entries[0].result["report"]["images"]:
        assert image["hash"][:10] in plain
    for word in ("Lanczos", "Learned prior", "at τ = 1", "of 9", "take more"):
        assert word in plain
    assert entries[0].subject.model.card.sha256 in plain


def test_one_prediction_is_no_distribution(text: str) -> None:
    own, plain = text.split('<h2 id="m0">')[1].split('<h2 id="m1">')
    assert "there is no distribution to measure" in plain
    assert "Coverage of" in own
    assert "Coverage of" not in plain
    assert "<svg" not in plain


def test_one_sample_tells_no_distribution(compact: Case, folder: Path) -> None:
    """Its diversity used to be told as 0, and its error as a CRPS."""
    plan = replace(PLAN, n=1, sweep=1, temperatures=(1.0,), limit=1)
    subject = Subject(compact.model(), 2.0)
    entry = measure_subject(folder, subject, plan, None, lambda _: None)
    assert math.isnan(entry.result["report"]["temperatures"][0]["diversity"])
    text = render([entry], plan, lpips="", seconds=1)
    assert "tells nothing of the distribution" in text
    assert "Mean of 1" not in text
    assert f"{entry.result['mean']['crps']:.5f}" not in text.split('id="m0"')[0]


def test_curves_take_the_colours_of_the_page(text: str) -> None:
    svgs = re.findall(r"<svg.*?</svg>", text, re.S)
    for svg in svgs:
        ElementTree.fromstring(svg)
        assert "currentColor" in svg
        assert "var(--soft)" in svg
        assert "#01" not in svg
        assert "aria-label" in svg
        assert "<metadata>" not in svg


def test_pictures_are_png_of_the_part_shown(entries: list[Entry]) -> None:
    (first, *_) = entries[0].pictures.values()
    assert set(first.images) == {
        "input", "bicubic", "mode", "sample0", "sample1", "prior", "std", "truth",
    }  # fmt: skip
    _, _, height, width = first.region
    for uri in first.images.values():
        pixels = imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert pixels.shape[:2] == (height, width)
    assert first.spread > 0


def test_a_png_keeps_its_pixels() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    png = base64.b64decode(data_uri(levels).partition(",")[2])
    assert np.array_equal(np.rint(imread(io.BytesIO(png)) * 255), levels)


def test_the_busiest_part_is_found_in_the_truth() -> None:
    truth = np.zeros((1, 96, 64), np.float32)
    truth[:, 70:80, 40:50] = np.random.default_rng(0).random((10, 10))
    top, left, height, width = busiest(truth, 2.0, side=32)
    assert (height, width) == (32, 32)
    assert top <= 70
    assert top + height >= 80
    assert left <= 40
    assert left + width >= 50
    assert busiest(truth, 2.0, side=500) == (0, 0, 96, 64)


def test_failures_are_shown_as_well() -> None:
    gains = {"a": 3.0, "b": -1.0, "c": 1.0, "d": 2.0, "e": 0.0}
    assert [name for name, _ in ranks(gains, 3)] == ["b", "c", "a"]
    assert [why for _, why in ranks(gains, 3)][::2] == ["least gain", "greatest gain"]
    assert [name for name, _ in ranks(gains, 1)] == ["c"]
    assert len(ranks(gains, 9)) == 5
    assert ranks(gains, 0) == ranks({}, 3) == []


def test_diagrams_without_points_are_not_drawn() -> None:
    nothing = Line("a", [0.0, 1.0], [math.nan, math.nan])
    assert draw(Panel("t", "x", "y", [nothing], [Mark("m", 1.0)]), 0) == ""
    some = replace(nothing, y=[1.0, math.nan])
    assert "<svg" in draw(Panel("t", "x", "y", [some], ratio=True), 0)


def test_numbers_are_written_for_people() -> None:
    assert number(math.nan) == number(None) == "–"
    assert number(-1.234, sign=True) == "−1.23"
    assert number(0.5, sign=True) == "+0.50"
    assert number(math.inf) == "∞"
    assert (ratio(0.00042), ratio(1.2345), ratio(math.nan)) == ("0.0004", "1.23", "–")


def test_a_report_is_written_whole_or_not_at_all(
    entries: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_flowsr.report import page

    monkeypatch.setattr(page, "render", lambda *args, **kwargs: "<html></html>")
    path = tmp_path / "r.html"
    write_report(path, entries, PLAN, lpips="", seconds=1)
    before = path.read_bytes()

    def interrupted(self: Path, *args: Any, **kwargs: Any) -> int:
        self.write_bytes(b"<html>")
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(path, entries, PLAN, lpips="", seconds=1)
    assert [f.name for f in tmp_path.iterdir()] == ["r.html"]
    assert path.read_bytes() == before


def test_bad_names_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"\.html"):
        check_report(tmp_path / "r.pdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written"):
        check_report(tmp_path / "file" / "r.html")
