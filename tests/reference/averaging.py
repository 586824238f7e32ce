"""Averages of weights written out in numpy, from the whole list of weights at once."""

from __future__ import annotations

import numpy as np


def swa(epoch_ends, start, freq=1):
    """Mean of every ``freq``-th epoch end after the share ``start`` of them."""
    first = int(np.floor(round(start * len(epoch_ends), 6)))
    return np.mean(epoch_ends[first::freq], axis=0)


def ema(steps, decay):
    """Mean of all steps, which count by their age."""
    ages = np.arange(len(steps))[::-1]
    return np.average(steps, axis=0, weights=np.float64(decay) ** ages)


def lawa(epoch_ends, k):
    """Mean of the last ``k`` epoch ends."""
    return np.mean(epoch_ends[-k:], axis=0)


def swad(steps, losses, freq, *rule):
    """Mean of the segments that :func:`swad_segments` names."""
    segments = [np.mean(steps[i * freq : (i + 1) * freq], axis=0) for i in range(len(losses))]
    return np.mean([segments[i] for i in swad_segments(losses, *rule)], axis=0)


def swad_segments(losses, n_converge=3, n_tolerance=6, tolerance_ratio=0.3):
    """Segments, from 0, that SWAD averages: each once, from the valley's beginning to its end."""
    for decided in range(n_converge - 1, len(losses)):
        start = decided - n_converge + 1
        window = losses[start : decided + 1]
        if np.isfinite(window).all() and np.argmin(window) == 0:
            break
    else:
        return [len(losses) - 1]
    threshold = np.mean(window) + tolerance_ratio * abs(np.mean(window))
    seen = max(0, decided + 1 - max(n_converge, n_tolerance))
    while start > seen and losses[start - 1] <= threshold:
        start -= 1
    last = start
    for i in range(start, len(losses)):
        if losses[i] <= threshold:
            last = i
        if i - last >= n_tolerance:
            break
    return list(range(start, last + 1))


def released_swad_counts(losses, n_converge=3, n_tolerance=6, tolerance_ratio=0.3):
    """How often the authors' code averages each segment (khanrc/swad, ``LossValley``), quirks included.

    What the average is first made of is overwritten by the first segment absorbed; the way back over low
    losses is cut from the left of a queue that may not be full yet, and leaves out its first; segments of
    the beginning are absorbed a second time as they leave the queue.
    """
    queue, absorbed = [], []
    start, threshold, dead = None, np.inf, False
    for i in range(len(losses)):
        queue = [*queue, i][-n_tolerance:]
        if start is None:
            window = list(range(i - n_converge + 1, i + 1))
            if window[0] < 0 or np.argmin([losses[j] for j in window]) != 0:
                continue
            start = window[0]
            threshold = (1 + tolerance_ratio) * np.mean([losses[j] for j in window])
            if n_tolerance < n_converge:
                absorbed += window[1 : 1 + n_converge - n_tolerance]
            elif n_tolerance > n_converge:
                before = queue[: n_tolerance - n_converge + 1]
                high = [place for place, j in enumerate(before) if losses[j] > threshold]
                absorbed += before[(high[-1] + 1 if high else 0) + 1 :]
        elif queue[0] >= start:
            if min(losses[j] for j in queue) > threshold:
                dead = True
                break
            absorbed.append(queue[0])
    if start is None:
        return {len(losses) - 1: 1}
    if not dead:
        queue = queue[1:]
        while queue and min(losses[j] for j in queue) <= threshold:
            absorbed.append(queue.pop(0))
    absorbed = absorbed or [start]
    return {i: absorbed.count(i) for i in sorted(set(absorbed))}
