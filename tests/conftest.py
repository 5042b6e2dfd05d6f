"""What every test may use. That this file is here puts `tests/` on the path: `from oracle import …`."""
