"""Degradations, normalisation and training patches."""
