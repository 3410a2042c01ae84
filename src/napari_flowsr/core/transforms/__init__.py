"""Invertible transforms, one concept a file."""
