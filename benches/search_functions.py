"""Searches the functions of `search_functions` by Optuna's TPE, which begins with the same trials.

    python search_functions.py STARTUP.json [default|univariate ...] > optuna.jsonl

default is `TPESampler()` of Optuna 5, which draws hyperparameters together, as our default does;
univariate is `TPESampler(multivariate=False, constant_liar=False)`, the defaults of Optuna 2 to 4.
"""

import json
import math
import sys
import warnings

import optuna

TRIALS = 60

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore")


def log_continuous(trial):
    rate = math.log10(trial.suggest_float("learning_rate", 1e-5, 1, log=True)) + 2.5
    decay = math.log10(trial.suggest_float("weight_decay", 1e-7, 0.1, log=True)) + 4
    return rate * rate + 0.5 * decay * decay + 0.5 * rate * decay


def mixed(trial):
    size = (trial.suggest_int("batch_size", 1, 64) - 40) / 20
    momentum = trial.suggest_float("momentum", 0, 1) - 0.3
    words = {"sgd": 0.3, "nag": 0.0, "adam": 0.6, "rmsprop": 0.9}
    return size * size + 4 * momentum * momentum + words[trial.suggest_categorical("optimizer", list(words))]


def conditional(trial):
    rate = math.log10(trial.suggest_float("learning_rate", 1e-5, 1, log=True)) + 2
    if trial.suggest_categorical("optimizer", ["sgd", "adam"]) == "sgd":
        rest = 4 * (trial.suggest_float("momentum", 0, 0.99) - 0.9) ** 2
    else:
        rest = 0.2 + 0.1 * (math.log10(trial.suggest_float("epsilon", 1e-9, 0.1, log=True)) + 4) ** 2
    return 0.3 * rate * rate + rest


def read_value(name, text):
    if name == "optimizer":
        return text
    return int(text) if name == "batch_size" else float(text)


def make_sampler(kind, seed):
    if kind == "univariate":
        return optuna.samplers.TPESampler(seed=seed, multivariate=False, constant_liar=False)
    return optuna.samplers.TPESampler(seed=seed)


def main():
    with open(sys.argv[1]) as file:
        startup = json.load(file)
    for function in [log_continuous, mixed, conditional]:
        for kind in sys.argv[2:] or ["default", "univariate"]:
            for seed, trials in enumerate(startup[function.__name__]):
                study = optuna.create_study(direction="minimize", sampler=make_sampler(kind, seed))
                for values in trials:
                    study.enqueue_trial({name: read_value(name, text) for name, text in values.items()})
                study.optimize(function, n_trials=TRIALS)
                line = {"function": function.__name__, "sampler": f"optuna_{kind}", "seed": seed, "best": study.best_value}
                print(json.dumps(line), flush=True)


main()
