"""Power and number of seeds under the declared error: paired, pooled or welch.

A study compares `arms` arms with one baseline. Its family is the arms, of which the pooled error judges each by
Dunnett's bound, or a number of other questions (claims, main effects), judged by Bonferroni's bound as the first step
of Holm's procedure. Both are the first step of a step-down test: a promise for one difference among the family. The
spread is always that of a paired difference of two arms: sqrt(2) times the residual spread of one run. Exact through
the noncentral t; under `welch` the freedom is taken as that of equal spreads, 2 * (n - 1).
"""

import math
from dataclasses import dataclass

import numpy as np

from .dunnett import HALF, critical_value
from .power import equivalence_power, fewest_seeds, t_power


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One question among a family, under an error."""

    error: str = "paired"
    arms: int = 1
    """Arms that are compared with the baseline; under pooled all of them make the error."""
    family: int | None = None
    """Number of questions; None: the arms against the baseline."""
    alpha: float = 0.05

    @property
    def size(self) -> int:
        """Number of questions in the family, at least 1."""
        return max(1, self.arms if self.family is None else self.family)

    def freedom(self, n: int) -> float:
        """Return the degrees of freedom of the error with n seeds."""
        return (n - 1) * {"paired": 1, "pooled": max(1, self.arms), "welch": 2}[self.error]

    def bound(self, n: int) -> float:
        """Return the critical value of |t| with n seeds; inf below two."""
        from scipy import special

        if n < 2:
            return math.inf
        if self.error == "pooled" and self.family is None:
            return critical_value(np.full(self.size, HALF), self.freedom(n), self.alpha)
        return float(special.stdtrit(self.freedom(n), 1 - self.alpha / self.size / 2))

    def power(self, effect: float, sd: float, n: int) -> float:
        """Return the probability that n seeds find a true difference `effect` of two arms."""
        if n < 2:
            return 0.0
        if sd == 0:
            return 1.0 if effect else 0.0
        return t_power(abs(effect) / sd * math.sqrt(n), self.freedom(n), self.bound(n))

    def detectable_effect(self, n: int, sd: float, power: float = 0.8) -> float:
        """Return the smallest true difference that n seeds find with this power; inf below two seeds."""
        from scipy.optimize import brentq

        if n < 2:
            return math.inf
        freedom, bound, high = self.freedom(n), self.bound(n), 2.0
        while t_power(high, freedom, bound) < power:
            high *= 2
        return brentq(lambda nc: t_power(nc, freedom, bound) - power, 0.0, high, xtol=1e-12) * sd / math.sqrt(n)

    def seeds_needed(self, effect: float, sd: float, power: float = 0.8) -> float:
        """Return the fewest seeds that find `effect` with this power; inf when power.MAX_SEEDS are too few."""
        return fewest_seeds(lambda n: self.power(effect, sd, n) >= power)

    def equivalence_power(self, effect: float, sd: float, n: int, rope: float) -> float:
        """Return the probability that n seeds show a true difference to lie within the ROPE, after Bonferroni."""
        return equivalence_power(effect, sd, n, rope, self.alpha / self.size, self.freedom(n) if n > 1 else None)

    def seeds_for_equivalence(self, effect: float, sd: float, rope: float, power: float = 0.8) -> float:
        """Return the fewest seeds that show it with this power; inf if `effect` lies outside the ROPE."""
        if not abs(effect) < rope:
            return math.inf
        return fewest_seeds(lambda n: self.equivalence_power(effect, sd, n, rope) >= power)

    def seeds_to_decide(self, effect: float, sd: float, rope: float) -> float:
        """Return the fewest seeds that find the effect or, if it lies within the ROPE, show that it does."""
        return min(self.seeds_needed(effect, sd), self.seeds_for_equivalence(effect, sd, rope))
