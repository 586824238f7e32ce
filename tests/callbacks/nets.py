"""Stock skorch nets, tiny."""

import numpy as np
import torch
from skorch import NeuralNetClassifier, NeuralNetRegressor
from torch import nn

from tests.estimators.fits import table


def rows(n=70):
    X, y = table(n)
    return X.astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32)[:, None]


def labels(n=70):
    X, y = rows(n)
    return X, np.digitize(y[:, 0], [-0.5, 0.5])


class MLP(nn.Module):
    def __init__(self, n_outputs=1, dropout=0.2):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, n_outputs)
        )

    def forward(self, X):
        return self.layers(X)


def stock_regressor(callbacks=(), **params):
    torch.manual_seed(0)
    small = {"max_epochs": 4, "batch_size": 16, "lr": 0.05, "train_split": None, "verbose": 0}
    small["iterator_train__shuffle"] = True
    return NeuralNetRegressor(MLP, callbacks=list(callbacks), **{**small, **params})


def stock_classifier(callbacks=(), **params):
    torch.manual_seed(0)
    small = {"max_epochs": 4, "batch_size": 16, "lr": 0.05, "verbose": 0, "module__n_outputs": 3}
    return NeuralNetClassifier(
        MLP, criterion=nn.CrossEntropyLoss, callbacks=list(callbacks), **{**small, **params}
    )
