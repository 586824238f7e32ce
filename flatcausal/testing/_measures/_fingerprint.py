"""All that measuring a model could change."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from flatcausal.testing._measures._subject import Measure

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fingerprint(model: nn.Module) -> dict[str, Any]:
    """Of a model and the process, by name."""
    found: dict[str, Any] = {}
    for name, p in model.named_parameters():
        found[f"parameter {name}"] = _about(p)
        found[f"requires_grad of {name}"] = p.requires_grad
        found[f"gradient of {name}"] = None if p.grad is None else _about(p.grad)
        found[f"hooks of {name}"] = list(p._backward_hooks or ())
    for name, buffer in model.named_buffers():
        found[f"buffer {name}"] = _about(buffer)
    for name, layer in model.named_modules():
        found[f"training flag of {name or 'the model'}"] = layer.training
        found[f"hooks of {name or 'the model'}"] = [list(getattr(layer, hooks)) for hooks in _HOOKS]
    return found | _of_process()


def _about(tensor: Tensor) -> tuple[Any, ...]:
    """Another tensor with the same numbers is a change: an optimizer holds the old one."""
    numbers = tensor.detach().cpu().numpy().tobytes()
    return id(tensor), tensor.data_ptr(), tensor.dtype, tensor.shape, hashlib.sha256(numbers).hexdigest()


def _of_process() -> dict[str, Any]:
    return {
        "torch's global random state": torch.get_rng_state().numpy().tobytes(),
        "NumPy's global random state": repr(np.random.get_state()),  # noqa: NPY002
        "Python's global random state": random.getstate(),
        "torch's number of threads": torch.get_num_threads(),
        "whether torch records gradients": torch.is_grad_enabled(),
        "torch's default dtype": torch.get_default_dtype(),
    }


@contextmanager
def left_alone(measure: Measure, model: nn.Module, when: str = "") -> Iterator[None]:
    """Claim that what goes on inside changes nothing."""
    before = fingerprint(model)
    yield
    after = fingerprint(model)
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    measure.claim(
        not changed,
        f"changes {', '.join(changed[:3])}{when}: measure a copy of the model, draw "
        "from generators of your own, and restore what you set in a finally clause.",
    )


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Other global random states for a while."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
