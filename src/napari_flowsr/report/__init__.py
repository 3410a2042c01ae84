"""Evaluation report: one page of figures, curves and pictures of one or more models."""
