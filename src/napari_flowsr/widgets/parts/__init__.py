"""Reusable parts of the docks."""
