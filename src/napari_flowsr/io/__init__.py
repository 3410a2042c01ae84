"""Files: models, images, and what is written beside them."""
