"""``python -m napari_flowsr`` is ``napari-flowsr``."""

from napari_flowsr.cli import main

if __name__ == "__main__":
    main()
