"""Pins of torch's threads leave nothing behind."""

import subprocess
import sys

OVERLAPPING = """
import threading, torch
from flatcausal._threads import pinned_threads

torch.set_num_threads(2)
first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
found = []

def first():
    with pinned_threads(1):
        first_in.set()
        second_in.wait(10)
    first_out.set()

def second():
    first_in.wait(10)
    with pinned_threads(1):
        second_in.set()
        first_out.wait(10)
        found.append(torch.get_num_threads())

threads = [threading.Thread(target=run) for run in (first, second)]
for thread in threads: thread.start()
for thread in threads: thread.join()
late = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
late.start(); late.join()
print(*found, torch.get_num_threads())
"""


def test_overlapping_pins_restore_what_the_first_found():
    command = [sys.executable, "-c", OVERLAPPING]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.split() == ["1", "2", "2"]
