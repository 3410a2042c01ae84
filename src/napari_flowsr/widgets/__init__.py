"""napari docks, commands, writers and samples: the only place for Qt and napari."""
