"""Averages of weights along a trajectory, over any optimizer.

An average is told of every step and of every epoch and only reads the weights: training goes on as if it
were not there. At the end it is copied to wherever it is wanted, and BatchNorm's running statistics, which
belong to other weights, are estimated anew.

Examples
--------
>>> import copy, torch
>>> from flatcausal.optim import SAM, averaging
>>> _ = torch.manual_seed(0)
>>> X = torch.randn(256, 4)
>>> y = X[:, :1] ** 2
>>> layers = torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
>>> model = torch.nn.Sequential(*layers)
>>> optimizer = SAM(rho=0.01).build(model, lr=0.1)
>>> average = averaging.SWA(start=0.5).build(model, n_epochs=20)
>>> for epoch in range(20):
...     for rows in torch.randperm(256).split(32):
...
...         def closure():
...             optimizer.zero_grad()
...             loss = torch.nn.functional.mse_loss(model(X[rows]), y[rows])
...             loss.backward()
...             return loss
...
...         _ = optimizer.step(closure)
...         average.after_step()
...     average.after_epoch()
>>> averaged = copy.deepcopy(model)
>>> average.copy_to(averaged)
>>> averaging.update_batch_norm(averaged, X.split(32))
>>> bool(torch.nn.functional.mse_loss(averaged.eval()(X), y) < 0.5 * y.var())
True
"""

from flatcausal.optim.averaging._average import Average
from flatcausal.optim.averaging._batch_norm import update_batch_norm
from flatcausal.optim.averaging._ema import EMA, EMAAverage
from flatcausal.optim.averaging._lawa import LAWA, LAWAAverage
from flatcausal.optim.averaging._recipe import AveragingRecipe
from flatcausal.optim.averaging._registry import get, names
from flatcausal.optim.averaging._swa import SWA, SWAAverage
from flatcausal.optim.averaging._swad import SWAD, SWADAverage

__all__ = [
    "EMA",
    "LAWA",
    "SWA",
    "SWAD",
    "Average",
    "AveragingRecipe",
    "EMAAverage",
    "LAWAAverage",
    "SWAAverage",
    "SWADAverage",
    "get",
    "names",
    "update_batch_norm",
]
