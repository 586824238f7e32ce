"""Sharpness with and without SAM: run the folder, see ``__main__.py``."""
