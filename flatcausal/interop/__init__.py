"""To and from the models of pytorch_tabnet 4.1."""

from flatcausal.interop._incoming import from_pytorch_tabnet
from flatcausal.interop._outgoing import to_pytorch_tabnet

__all__ = ["from_pytorch_tabnet", "to_pytorch_tabnet"]
