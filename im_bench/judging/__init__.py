"""Judges: who grades and compares answers."""
