"""A boundary that holds at every look: the one-sided normal-mixture confidence sequence.

An analysis looks at a rollout every minute and stops at the first clear answer. A fixed-sample
test at level 0.05 does that with a false alarm in every third rollout; this boundary is crossed
with probability at most alpha over all looks together, however many.

Howard, Ramdas, McAuliffe and Sekhon (2021), "Time-uniform, nonparametric, nonasymptotic
confidence sequences", Annals of Statistics 49(2), 1055-1080, section 3.2: the closed-form upper
bound of the one-sided normal mixture, for a sum in intrinsic time t:

    sqrt(2 (t + rho) log( sqrt((t + rho) / rho) / (2 alpha) + 1 ))

Divided by sqrt(t) it bounds the z-statistic. Scores are standardised with an estimated variance,
so the guarantee is asymptotic (Waudby-Smith et al. 2024, "Time-uniform central limit theory and
asymptotic confidence sequences", Annals of Statistics 52(6)); the tests measure it by simulation
at the sample sizes that are used.
"""

from __future__ import annotations

import math


def tuning(samples: float, alpha: float) -> float:
    """rho that makes the boundary tightest near so many samples (Howard et al. 2021, section 3.5).

    It must be fixed before looking. The one-sided form of their approximation: samples divided by
    2 log(1/(2 alpha)) + log(1 + 2 log(1/(2 alpha))).
    """
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha must be between 0 and 0.5: {alpha}")
    odds = 2 * math.log(1 / (2 * alpha))
    return samples / (odds + math.log(1 + odds))


def boundary(samples: float, alpha: float, rho: float) -> float:
    """What a z-statistic after so many samples must exceed.

    >>> round(boundary(200, 0.05, tuning(200, 0.05)), 2)
    2.78
    """
    total = samples + rho
    spread = math.log(math.sqrt(total / rho) / (2 * alpha) + 1)
    return math.sqrt(2 * total / samples * spread)
