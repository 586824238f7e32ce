"""Settings that hold for every test."""

import os

# Before torch or numpy load: one thread a process, so that parallel processes do not wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")
