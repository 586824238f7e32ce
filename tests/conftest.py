"""Settings that hold for every test."""

import os
import signal

# Before torch or numpy load: one thread a process, so that parallel processes do not wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before scipy loads: without it scikit-learn's check of array API input would be skipped.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture
def interruptible():
    """Let child processes be interrupted, also where a shell's background job ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
