"""Families of conditional flows, one paper a file, and their registry."""
