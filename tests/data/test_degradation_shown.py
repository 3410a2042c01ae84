"""What people see of a degradation, and where it is refused."""

from __future__ import annotations

from napari_flowsr.cli._inspect import card_rows
from napari_flowsr.data.degradation import Degradation
from napari_flowsr.io.header import CARD
from napari_flowsr.models.card import ModelCard

TEXT = "gaussian:na=0.75,wavelength_nm=520,pixel_nm=65,photons=200"


def card(text: str) -> ModelCard:
    how = Degradation.parse(text)
    return ModelCard("own", "compact", (2.0,), 1, degradation=how)


def test_inspect_shows_it_with_its_parameters() -> None:
    assert card_rows(card(TEXT))["Degradation"] == TEXT
    assert card_rows(card("area"))["Degradation"] == "area"


def test_a_card_keeps_it() -> None:
    for text in (TEXT, "paired", "area:read_noise=0.01"):
        stored = CARD.dump_json(card(text))
        assert CARD.validate_json(stored).degradation == Degradation.parse(text)


def test_a_card_of_a_later_version_can_be_read() -> None:
    later = Degradation("motion", {"length": 3.0})
    stored = CARD.dump_json(card("area").with_(degradation=later))
    found = CARD.validate_json(stored).degradation
    assert found == later
    assert not found.has_operator
    assert str(found) == "motion:length=3"
