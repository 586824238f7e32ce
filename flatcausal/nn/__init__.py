"""TabNet as a function of one population matrix: one row a member."""

from flatcausal.nn._entmax import entmax15
from flatcausal.nn._gradient import backpropagate
from flatcausal.nn._layout import Block, Layout
from flatcausal.nn._sparsemax import sparsemax
from flatcausal.nn._tabnet import TabNet

__all__ = ["Block", "Layout", "TabNet", "backpropagate", "entmax15", "sparsemax"]
