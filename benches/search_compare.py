"""Compares samplers by the best values of their searches.

    python search_compare.py ours.jsonl optuna.jsonl

Prints medians, the two-sided p of the Mann-Whitney U test (independent searches) and of Wilcoxon's
signed rank test (searches with the same first trials). Fails unless on each function the medians of
tpe and tpe_separate are better than that of random, and p of both tests is above 0.05 for tpe against
optuna_default, and for tpe_separate against optuna_univariate.
"""

import json
import sys
from collections import defaultdict
from statistics import median

from scipy.stats import mannwhitneyu, wilcoxon

PAIRS = [
    ("tpe", "random"),
    ("tpe_separate", "random"),
    ("tpe", "optuna_default"),
    ("tpe_separate", "optuna_univariate"),
    ("tpe", "tpe_separate"),
    ("optuna_default", "optuna_univariate"),
]

found = defaultdict(dict)
for name in sys.argv[1:]:
    with open(name) as file:
        for line in map(json.loads, file):
            found[line["function"], line["sampler"]][line["seed"]] = line["best"]

failed = False
for function in dict.fromkeys(key[0] for key in found):
    for first, second in PAIRS:
        if (function, first) not in found or (function, second) not in found:
            continue
        a, b = found[function, first], found[function, second]
        seeds = sorted(a.keys() & b.keys())
        x, y = [a[seed] for seed in seeds], [b[seed] for seed in seeds]
        unpaired = mannwhitneyu(x, y).pvalue
        paired = wilcoxon(x, y).pvalue
        wins = sum(p < q for p, q in zip(x, y))
        print(
            f"{function:15} {first:18} {median(x):.3g}  {second:18} {median(y):.3g}  "
            f"{wins} of {len(seeds)} better  Mann-Whitney p {unpaired:.3g}  Wilcoxon p {paired:.3g}"
        )
        if second == "random":
            failed |= median(x) >= median(y)
        if first.startswith("tpe") and second.startswith("optuna"):
            failed |= min(unpaired, paired) <= 0.05
sys.exit(1 if failed else 0)
