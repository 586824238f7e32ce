"""SciPy's minimiser for several members, whose points are evaluated together."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult, minimize

Evaluate = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def minimize_members(
    evaluate: Evaluate, starts: np.ndarray, bounds: np.ndarray, **options: Any
) -> list[OptimizeResult]:
    """``scipy.optimize.minimize`` by L-BFGS-B for each row: the same as one after another.

    Each minimiser has a thread, in which it waits until all have asked for a point; ``evaluate`` runs in the
    calling thread.

    Parameters
    ----------
    evaluate : callable
        From points (K, p) to values (K,) and gradients (K, p), each row by itself.
    starts : ndarray of shape (K, p)
        Where the minimisers start.
    bounds : ndarray of shape (K, p)
        Largest size of each coordinate.
    **options
        Of the minimiser.
    """
    n_members = len(starts)
    asked: SimpleQueue[tuple[int, np.ndarray | None]] = SimpleQueue()
    answers: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(n_members)]

    def one(k: int) -> OptimizeResult:
        def function(x: np.ndarray) -> tuple[float, np.ndarray]:
            asked.put((k, x.copy()))
            answer = answers[k].get()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        try:
            box = list(zip(-bounds[k], bounds[k], strict=True))
            return minimize(function, starts[k], jac=True, bounds=box, method="L-BFGS-B", options=options)
        finally:
            asked.put((k, None))

    with ThreadPoolExecutor(n_members) as pool:
        futures = [pool.submit(one, k) for k in range(n_members)]
        try:
            _answer(evaluate, starts.copy(), asked, answers)
        except BaseException as error:  # an interrupt too: no thread may wait for ever
            for answer in answers:
                answer.put(error)
            raise
        return [future.result() for future in futures]


def _answer(evaluate: Evaluate, points: np.ndarray, asked: SimpleQueue, answers: list[SimpleQueue]) -> None:
    """Evaluate whenever all minimisers that are still at work have asked."""
    working, waiting = set(range(len(points))), set()
    while working:
        k, point = asked.get()
        if point is None:
            working.discard(k)
        else:
            points[k] = point
            waiting.add(k)
        if waiting and waiting == working:
            values, gradients = evaluate(points)
            for j in waiting:
                answers[j].put((float(values[j]), gradients[j]))
            waiting = set()
