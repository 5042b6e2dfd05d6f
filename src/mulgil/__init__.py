"""Mulgil."""
