"""Inference on any image: axes, intensities, tiles, memory, stability, statistics."""
