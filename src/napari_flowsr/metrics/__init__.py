"""Figures of merit: fidelity, consistency with the input, calibration."""
