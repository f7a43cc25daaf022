"""Figures on speed, printed and never asserted: `make bench`."""
