"""Power of a study: the smallest effect it detects, and the number of seeds that an effect needs.

For paired t tests on per-seed differences, two-sided, each at alpha / arms: the first step of Holm, hence a
promise for one arm that differs among `arms` compared. Exact through the noncentral t (Owen 1965),
not its normal approximation, which overstates power at three to five seeds. Effects and spreads share one
unit, usually percent points.
"""

import math

import numpy as np

MAX_SEEDS = 100_000


def detectable_effect(n: int, sd: float, arms: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true mean difference that n paired seeds detect with the given power; inf below two seeds.

    Args:
        n: paired seeds.
        sd: standard deviation of the paired differences, not of the arms.
        arms: comparisons in the family, at least 1.
    """
    from scipy.optimize import brentq

    _check(sd, arms, alpha, power)
    if n < 2:
        return math.inf
    # Effects in units of sd / sqrt(n): the noncentrality at which the power is reached.
    high = 2.0
    while _power_at(high, n, alpha / arms) < power:
        high *= 2
    noncentrality = brentq(lambda nc: _power_at(nc, n, alpha / arms) - power, 0.0, high, xtol=1e-12)
    return noncentrality * sd / math.sqrt(n)


def paired_power(effect: float, sd: float, n: int, arms: int = 1, alpha: float = 0.05) -> float:
    """Return the probability that the paired t test at alpha / arms finds a true difference; 0 below two seeds."""
    _check(sd, arms, alpha, 0.5)
    if n < 2:
        return 0.0
    if sd == 0:
        return 1.0 if effect else 0.0
    return _power_at(abs(effect) / sd * math.sqrt(n), n, alpha / arms)


def seeds_needed(effect: float, sd: float, arms: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the fewest paired seeds that detect `effect` with the given power; inf when MAX_SEEDS are too few."""
    return fewest_seeds(lambda n: paired_power(effect, sd, n, arms, alpha) >= power)


def equivalence_power(
    effect: float, sd: float, n: int, rope: float, alpha: float = 0.05, freedom: float | None = None
) -> float:
    """Return the probability that two one-sided tests find |difference| < rope when the true one is `effect`.

    Both tests reject when |mean| < rope - t * s / sqrt(n), so it is the normal probability of that window
    averaged over the chi distribution of s (400 quantiles).

    Args:
        freedom: degrees of freedom of the spread; None: n - 1, as of paired differences.
    """
    from scipy import special, stats

    if n < 2 or abs(effect) >= rope:
        return 0.0
    if sd == 0:
        return 1.0
    freedom = n - 1 if freedom is None else freedom
    level = (np.arange(400) + 0.5) / 400
    s = sd * np.sqrt(stats.chi2.ppf(level, freedom) / freedom)
    window = rope - stats.t.ppf(1 - alpha, freedom) * s / math.sqrt(n)
    error = sd / math.sqrt(n)
    inside = special.ndtr((window - effect) / error) - special.ndtr((-window - effect) / error)
    return float(np.where(window > 0, inside, 0.0).mean())


def seeds_for_equivalence(effect: float, sd: float, rope: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the fewest paired seeds with which equivalence_power reaches `power`; inf if effect is outside rope."""
    if not abs(effect) < rope:
        return math.inf
    return fewest_seeds(lambda n: equivalence_power(effect, sd, n, rope, alpha) >= power)


def spread_interval(sd: float, freedom: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of a standard deviation, from the chi-square distribution of its square.

    Args:
        freedom: degrees of freedom of `sd`, one less than the values that it comes from.
    """
    from scipy import special

    tail = (1 - confidence) / 2
    low, high = (sd * math.sqrt(freedom / special.chdtri(freedom, p)) for p in (tail, 1 - tail))
    return low, high


def shared_freedom(freedom_A: np.ndarray) -> float:
    """Return the degrees of freedom of a variance that is pooled over comparisons with one baseline.

    Their differences correlate by 1/2, if runs of a seed gain nothing from it, and the variances by 1/4, so that many
    arms together have at most four times the freedom of one.
    """
    freedom_A = np.asarray(freedom_A, float)
    both_AA = np.minimum.outer(freedom_A, freedom_A) / 4
    return float(freedom_A.sum() ** 2 / (freedom_A.sum() + both_AA.sum() - np.trace(both_AA)))


def t_power(noncentrality: float, freedom: float, bound: float) -> float:
    """Return the probability that a t statistic of this noncentrality lies beyond +-bound."""
    from scipy import special

    # Both tails at once, as the square of t is noncentral F; nctdtr of the lower tail is NaN for some arguments.
    return float(1 - special.ncfdtr(1, freedom, noncentrality**2, bound**2))


def _power_at(noncentrality: float, n: int, alpha: float) -> float:
    from scipy import special

    return t_power(noncentrality, n - 1, special.stdtrit(n - 1, 1 - alpha / 2))


def fewest_seeds(enough) -> float:
    """Return the smallest n in 2 .. MAX_SEEDS that is enough, by bisection; power grows with n."""
    low, high = 1, 2
    while not enough(high):
        low, high = high, high * 2
        if high > MAX_SEEDS:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _check(sd: float, arms: int, alpha: float, power: float) -> None:
    if not (sd >= 0 and math.isfinite(sd)):
        raise ValueError(f"sd={sd}  must be a finite number, not negative")
    if arms < 1:
        raise ValueError(f"arms={arms}  must be at least 1")
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ValueError(f"alpha={alpha}, power={power}  must lie in (0, 1)")
