"""Writes log densities of Optuna's Parzen estimator for the test `densities_are_optunas`.

    python tests/golden/make_parzen.py tests/golden/parzen.json      (pip install optuna==5.0.0)
"""

import json
import sys

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator, _ParzenEstimatorParameters
from optuna.samplers._tpe.sampler import default_weights

SPACES = {
    "linear": ({"x": FloatDistribution(-2.0, 5.0)}, {"Continuous": [("x", -2.0, 5.0, "Linear")]}),
    "log": ({"x": FloatDistribution(1e-5, 0.1, log=True)}, {"Continuous": [("x", 1e-5, 0.1, "Logarithmic")]}),
    "integer": ({"x": IntDistribution(1, 9)}, {"Integer": [("x", 1, 9, "Linear")]}),
    "integer_log": ({"x": IntDistribution(1, 256, log=True)}, {"Integer": [("x", 1, 256, "Logarithmic")]}),
    "words": ({"x": CategoricalDistribution(["a", "b", "c"])}, {"Categorical": [("x", ["a", "b", "c"])]}),
    "joint": (
        {"n": IntDistribution(1, 9), "x": FloatDistribution(1e-5, 0.1, log=True), "w": CategoricalDistribution(["a", "b"])},
        {"Integer": [("n", 1, 9, "Linear")], "Continuous": [("x", 1e-5, 0.1, "Logarithmic")], "Categorical": [("w", ["a", "b"])]},
    ),
}


def draw(distribution, rng, size):
    if isinstance(distribution, CategoricalDistribution):
        return rng.integers(0, len(distribution.choices), size).astype(float)
    low, high = distribution.low, distribution.high
    values = np.exp(rng.uniform(np.log(low), np.log(high), size)) if distribution.log else rng.uniform(low, high, size)
    return np.round(values) if isinstance(distribution, IntDistribution) else values


def ranges(spec):
    result = {}
    for kind, entries in spec.items():
        if kind == "Categorical":
            result["CategoricalParameterRanges"] = [{"Name": n, "Values": v} for n, v in entries]
        else:
            result[f"{kind}ParameterRanges"] = [
                {"Name": n, "MinValue": low, "MaxValue": high, "ScalingType": s} for n, low, high, s in entries
            ]
    return result


# Which of equal observations has which neighbor is open; ours are in the order of their age.
argsort = np.argsort
np.argsort = lambda values, kind="stable": argsort(values, kind=kind)

parameters = _ParzenEstimatorParameters(1.0, True, False, default_weights, True)
rng = np.random.default_rng(0)
cases = []
for name, (space, spec) in SPACES.items():
    for count in [0, 1, 2, 5, 26, 40]:
        observed = {key: draw(d, rng, count) for key, d in space.items()}
        points = {key: draw(d, rng, 8) for key, d in space.items()}
        estimator = _ParzenEstimator(observed, space, parameters)
        cases.append({
            "name": f"{name}, {count} observations",
            "ranges": ranges(spec),
            "names": list(space),
            "observations": np.array([observed[key] for key in space]).T.tolist(),
            "points": np.array([points[key] for key in space]).T.tolist(),
            "log_densities": estimator.log_pdf(points).tolist(),
        })
with open(sys.argv[1], "w") as file:
    json.dump({"optuna": optuna.__version__, "cases": cases}, file)
