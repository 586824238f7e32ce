"""
Compare optimizers on your own table
====================================

Writes scikit-learn's diabetes data to a CSV file and runs the study that this command runs::

    flatcausal study --data diabetes.csv --target target --store diabetes.db --report diabetes.html

Without a graph the report tells predictive error, importances with their spread, and flatness.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from sklearn.datasets import load_diabetes

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
folder.mkdir(parents=True, exist_ok=True)

# %%
# The table: ten measurements of 442 patients, and the progress of their disease a year later.

table = folder / "diabetes.csv"
load_diabetes(as_frame=True, scaled=False).frame.to_csv(table, index=False)

# %%
# The study: the quick preset's optimizers and training, on random splits of the table.

subprocess.run(
    [
        *(sys.executable, "-m", "flatcausal", "study"),
        *("--data", str(table), "--target", "target"),
        *("--store", str(folder / "diabetes.db"), "--report", str(folder / "diabetes.html")),
    ],
    check=True,
)
