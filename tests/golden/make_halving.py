"""Writes decisions of Optuna's SuccessiveHalvingPruner for the test `decisions_are_optunas`.

    python tests/golden/make_halving.py tests/golden/halving.json    (pip install optuna==5.0.0)
"""

import json
import sys

import numpy as np
import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
EPOCHS = 26

cases = []
for seed, (eta, min_epochs, direction) in enumerate([(3, 1, "maximize"), (2, 2, "minimize"), (4, 1, "minimize")]):
    rng = np.random.default_rng(seed)
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=eta)
    study = optuna.create_study(direction=direction, pruner=pruner)
    curves = []
    for _ in range(60):
        curve = rng.uniform(0, 1) * (1 - np.exp(-np.arange(1, EPOCHS + 1) / 5)) + rng.normal(0, 0.05, EPOCHS)
        curve = np.round(curve if direction == "maximize" else 1 - curve, 2).tolist()
        trial = study.ask()
        stopped_at = None
        for epoch, score in enumerate(curve, start=1):
            trial.report(score, epoch)
            if trial.should_prune():
                stopped_at = epoch
                break
        if stopped_at is None:
            study.tell(trial, curve[-1])
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        curves.append({"scores": curve[:stopped_at], "stopped_at": stopped_at})
    cases.append({"eta": eta, "min_epochs": min_epochs, "direction": direction, "trials": curves})
with open(sys.argv[1], "w") as file:
    json.dump({"optuna": optuna.__version__, "cases": cases}, file)
