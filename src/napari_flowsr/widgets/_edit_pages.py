"""The pages of the Edit dock."""

from __future__ import annotations

__all__ = ["pages"]


def pages() -> list[type]:
    """Classes of the pages, in the order of the box of tools."""
    # Imported when a dock is opened: each takes a while.
    from napari_flowsr.widgets.parts.edit_content_page import ContentPage
    from napari_flowsr.widgets.parts.edit_doubt_page import DoubtPage
    from napari_flowsr.widgets.parts.edit_explore_page import ExplorePage
    from napari_flowsr.widgets.parts.edit_measure_page import MeasurePage
    from napari_flowsr.widgets.parts.edit_resample_page import ResamplePage
    from napari_flowsr.widgets.parts.edit_style_page import StylePage
    from napari_flowsr.widgets.parts.edit_temperature_page import TemperaturePage

    return [
        *(ResamplePage, TemperaturePage, ContentPage, StylePage),
        *(ExplorePage, MeasurePage, DoubtPage),
    ]
