"""``python -m flatcausal`` is the command ``flatcausal``."""

from __future__ import annotations

from flatcausal.cli import main

if __name__ == "__main__":
    main()
