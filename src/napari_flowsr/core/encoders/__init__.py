"""Networks that turn an LR image into features."""
