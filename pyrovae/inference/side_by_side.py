"""Many independent chains of the No-U-Turn sampler, each with a step size and a tree of its own, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Density = Callable[[Array], tuple[Array, Array]]
"""Takes points, (chains, size); returns log-densities, (chains,), and gradients, (chains, size)."""

MOST_ERROR = 1000.0
"""An error in the energy beyond which a transition has diverged, as in Stan."""
FIRST_STEP = 0.5
WINDOWS = (0.15, 0.6)
"""Parts of the warm-up after which a chain's scale is that of its draws since the last."""


@dataclass(frozen=True, eq=False)
class Walks:
    """What chains have drawn.

    Attributes:
        draws: Points, (transitions, chains, size).
        diverging: Which transitions diverged, (transitions, chains).
        gradients: Passes of the density, each for all chains.
    """

    draws: Array
    diverging: Array
    gradients: int


def walk(
    density: Density,
    start: Array,
    *,
    draws: int,
    warmup: int,
    target_accept: float,
    max_depth: int,
    seed: int | list[int],
    progress: Callable[[int], object],
) -> Walks:
    """Run chains side by side; one pass of the density moves each of them by one leapfrog step.

    A chain does not wait for the others: when its trajectory has turned it goes on with its next transition. So the
    chains share nothing but the passes, and a chain is the same whatever stands beside it, but for its random numbers.

    References:
        M. D. Hoffman and A. Gelman, The No-U-Turn Sampler (2014), Journal of Machine Learning Research 15.
        M. Betancourt, A conceptual introduction to Hamiltonian Monte Carlo (2017), for the weights of a trajectory.
        D. Phan, N. Pradhan and M. Jankowiak, Composable effects for flexible and accelerated probabilistic
        programming in NumPyro (2019), for the tree without recursion.

    Args:
        density: Log-density and gradient of many points.
        start: Where the chains begin, (chains, size).
        draws: Transitions that are kept.
        warmup: Transitions that adapt step sizes and scales, and are thrown away.
        target_accept: Acceptance that the step sizes are adapted to.
        max_depth: Doublings of a trajectory at most.
        seed: Seed of all.
        progress: Called with transitions of the slowest chain since the last call.
    """
    chains = _Chains(density, start, warmup, target_accept, max_depth, seed)
    total, told, gradients = warmup + draws, 0, 0
    kept, diverging = np.empty((draws, *start.shape)), np.zeros((draws, len(start)), bool)
    while (least := int(chains.done.min())) < total:
        if least > told:
            progress(least - told)
            told = least
        gradients += 1
        ended, diverged = chains.step()
        place = chains.done[ended] - 1 - warmup
        inside = (place >= 0) & (place < draws)
        rows = ended[inside]
        kept[place[inside], rows], diverging[place[inside], rows] = chains.q[rows], diverged[inside]
    progress(total - told)
    return Walks(kept, diverging, gradients)


class _Chains:
    """The states of all chains; the rows of every array are chains."""

    def __init__(
        self, density: Density, start: Array, warmup: int, target_accept: float, max_depth: int, seed: int | list[int]
    ) -> None:
        self._density, self._numbers = density, np.random.default_rng(seed)
        self._max_depth, self._rows = max_depth, np.arange(len(start))
        self.q = start.astype(float)
        self.log_p, self.gradient = density(self.q)
        count, size = start.shape
        self.done = np.zeros(count, int)
        self._tuning = _Tuning(count, size, warmup, target_accept)
        # The tree: its two ends as position, momentum and gradient; its proposal; the sum of its momenta; its weight.
        self._ends = np.empty((2, 3, count, size))
        self._proposal, self._proposed_log_p, self._proposed_gradient = self.q.copy(), self.log_p.copy(), self.q.copy()
        self._momenta, self._log_weight = np.empty((count, size)), np.empty(count)
        self._energy, self._depth = np.empty(count), np.empty(count, int)
        self._accepted, self._leaves = np.empty(count), np.empty(count)
        # The subtree that grows: where it stands, where it goes, and the same of it.
        self._here = np.empty((3, count, size))
        self._side, self._leaf = np.empty(count, int), np.empty(count, int)
        self._sub_proposal, self._sub_log_p, self._sub_gradient = self.q.copy(), self.log_p.copy(), self.q.copy()
        self._sub_momenta, self._sub_log_weight = np.empty((count, size)), np.empty(count)
        self._marks = np.empty((2, max_depth + 1, count, size))  # momenta at corners of subtrees, and sums up to there
        self._begin(self._rows)

    def _begin(self, rows: Array) -> None:
        """New momenta, and a tree of one point."""
        momentum = self._numbers.normal(size=(len(rows), self.q.shape[1])) / np.sqrt(self._tuning.variance[rows])
        for end in self._ends:
            end[0, rows], end[1, rows], end[2, rows] = self.q[rows], momentum, self.gradient[rows]
        self._proposal[rows], self._proposed_log_p[rows] = self.q[rows], self.log_p[rows]
        self._proposed_gradient[rows] = self.gradient[rows]
        self._momenta[rows], self._log_weight[rows], self._depth[rows] = momentum, 0.0, 0
        self._accepted[rows], self._leaves[rows] = 0.0, 0
        kinetic = 0.5 * (self._tuning.variance[rows] * momentum**2).sum(1)
        self._energy[rows] = kinetic - self.log_p[rows]
        self._sprout(rows)

    def _sprout(self, rows: Array) -> None:
        """A subtree as large as the tree, from one of its ends, forwards or backwards in time."""
        side = self._numbers.integers(2, size=len(rows))
        self._side[rows], self._leaf[rows] = side, 0
        self._here[:, rows] = self._ends[side, :, rows].swapaxes(0, 1)
        self._sub_momenta[rows], self._sub_log_weight[rows] = 0.0, -np.inf

    def step(self) -> tuple[Array, Array]:
        """One leapfrog step of every chain.

        Returns:
            The chains whose transition ended with it, and which of those diverged.
        """
        log_p = self._leap()
        _, p, _ = self._here
        variance = self._tuning.variance
        with np.errstate(invalid="ignore", over="ignore"):
            error = 0.5 * (variance * p**2).sum(1) - log_p - self._energy
        error = np.where(np.isnan(error), np.inf, error)
        diverged = error > MOST_ERROR
        self._accepted += np.exp(-np.maximum(error, 0.0))
        self._leaves += 1
        self._choose(-error, log_p, diverged)
        turned = self._turns_inside()
        self._leaf += 1
        whole = self._leaf == 2**self._depth
        ended = turned | diverged
        merging = self._rows[whole & ~ended]
        ended[merging] = self._merge(merging)
        self._sprout(self._rows[whole & ~ended])
        return self._end(self._rows[ended]), diverged[ended]

    def _leap(self) -> Array:
        """Move position, momentum and gradient by one step; log-densities there."""
        q, p, gradient = self._here
        step = (self._tuning.step * (2 * self._side - 1))[:, None]
        with np.errstate(invalid="ignore", over="ignore"):
            p += 0.5 * step * gradient
            q += step * self._tuning.variance * p
            log_p, gradient[:] = self._density(q)
            p += 0.5 * step * gradient
        return log_p

    def _choose(self, weight: Array, log_p: Array, diverged: Array) -> None:
        """Take the new point as the subtree's proposal by its share of the weight."""
        weight = np.where(diverged, -np.inf, weight)
        total = np.logaddexp(self._sub_log_weight, weight)
        with np.errstate(invalid="ignore"):
            share = np.exp(weight - total)
        take = self._numbers.random(len(weight)) < share
        q, p, gradient = self._here
        self._sub_proposal[take], self._sub_log_p[take], self._sub_gradient[take] = q[take], log_p[take], gradient[take]
        self._sub_log_weight = total
        self._sub_momenta += p

    def _turns_inside(self) -> Array:
        """Whether any of the balanced subtrees that end at this leaf has turned.

        A leaf of even number begins subtrees: its momentum is kept at a place that its binary digits give. One of odd
        number ends as many as its binary digits end in ones.
        """
        momentum, leaf = self._here[1], self._leaf
        place = _ones(leaf >> 1)
        even = self._rows[leaf % 2 == 0]
        self._marks[0, place[even], even] = momentum[even]
        self._marks[1, place[even], even] = self._sub_momenta[even]
        turned = np.zeros(len(leaf), bool)
        ends = _trailing_ones(leaf)
        for back in range(int(ends.max())):
            rows = self._rows[ends > back]
            first, before = self._marks[:, place[rows] - back, rows]
            among = self._sub_momenta[rows] - before + first
            turned[rows] |= self._turned(rows, first, momentum[rows], among)
        return turned

    def _turned(self, rows: Array, first: Array, last: Array, total: Array) -> Array:
        """The criterion of a trajectory with these momenta at its ends, and this sum of all."""
        along = self._tuning.variance[rows] * (total - 0.5 * (first + last))
        return ((along * first).sum(1) <= 0) | ((along * last).sum(1) <= 0)

    def _merge(self, rows: Array) -> Array:
        """Join whole subtrees to their trees; whether these have turned, or are as deep as they may be."""
        with np.errstate(over="ignore"):
            take = self._numbers.random(len(rows)) < np.exp(self._sub_log_weight[rows] - self._log_weight[rows])
        taken = rows[take]
        self._proposal[taken], self._proposed_log_p[taken] = self._sub_proposal[taken], self._sub_log_p[taken]
        self._proposed_gradient[taken] = self._sub_gradient[taken]
        self._log_weight[rows] = np.logaddexp(self._log_weight[rows], self._sub_log_weight[rows])
        self._momenta[rows] += self._sub_momenta[rows]
        self._ends[self._side[rows], :, rows] = self._here[:, rows].swapaxes(0, 1)
        self._depth[rows] += 1
        turned = self._turned(rows, self._ends[0, 1, rows], self._ends[1, 1, rows], self._momenta[rows])
        return turned | (self._depth[rows] >= self._max_depth)

    def _end(self, rows: Array) -> Array:
        """Move to the proposals, adapt, and begin the next transitions."""
        self.q[rows], self.log_p[rows] = self._proposal[rows], self._proposed_log_p[rows]
        self.gradient[rows] = self._proposed_gradient[rows]
        self._tuning.learn(rows, self.done[rows], self.q[rows], self._accepted[rows] / self._leaves[rows])
        self.done[rows] += 1
        self._begin(rows)
        return rows


class _Tuning:
    """Step sizes by dual averaging, and scales of each dimension by the draws of a window, for each chain."""

    def __init__(self, count: int, size: int, warmup: int, target_accept: float) -> None:
        self._warmup, self._target = warmup, target_accept
        self._windows = [int(warmup * part) for part in WINDOWS]
        self.variance = np.ones((count, size))
        self.step = np.full(count, FIRST_STEP)
        self._centre, self._smooth = np.log(10 * self.step), np.log(self.step)
        self._error, self._time = np.zeros(count), np.zeros(count)
        self._number, self._mean, self._square = np.zeros(count), np.zeros((count, size)), np.zeros((count, size))

    def learn(self, rows: Array, done: Array, q: Array, accepted: Array) -> None:
        """Hear of a transition of some chains, each its `done`-th."""
        warm = done < self._warmup
        rows, done, q, accepted = rows[warm], done[warm], q[warm], accepted[warm]
        self._average(rows, accepted)
        self._number[rows] += 1
        away = q - self._mean[rows]
        self._mean[rows] += away / self._number[rows][:, None]
        self._square[rows] += away * (q - self._mean[rows])
        closing = np.isin(done + 1, self._windows)
        self._rescale(rows[closing & (done + 1 > self._windows[0])])  # those of the first are the way from the start
        self._restart(rows[closing])
        last = rows[done + 1 == self._warmup]
        self.step[last] = np.exp(self._smooth[last])

    def _average(self, rows: Array, accepted: Array) -> None:
        """Dual averaging towards the acceptance, with the constants of Hoffman and Gelman."""
        self._time[rows] += 1
        time = self._time[rows]
        share = 1 / (time + 10)
        self._error[rows] = (1 - share) * self._error[rows] + share * (self._target - accepted)
        log_step = self._centre[rows] - np.sqrt(time) / 0.05 * self._error[rows]
        weight = time**-0.75
        self._smooth[rows] = weight * log_step + (1 - weight) * self._smooth[rows]
        self.step[rows] = np.exp(log_step)

    def _rescale(self, rows: Array) -> None:
        """Take the variances of the window's draws, a little towards one."""
        number = self._number[rows][:, None]
        spread = self._square[rows] / np.maximum(number - 1, 1)
        self.variance[rows] = (number * spread + 5e-3) / (number + 5)

    def _restart(self, rows: Array) -> None:
        """Begin the step size from where it is, and an empty window."""
        self._centre[rows], self._time[rows], self._error[rows] = np.log(10 * self.step[rows]), 0, 0.0
        self._number[rows], self._mean[rows], self._square[rows] = 0, 0.0, 0.0


def _ones(number: Array) -> Array:
    """How many binary digits of numbers are one."""
    found = np.zeros_like(number)
    while number.any():
        found += number & 1
        number = number >> 1
    return found


def _trailing_ones(number: Array) -> Array:
    """How many ones the binary digits of numbers end in."""
    return _ones(number ^ (number + 1)) - 1
