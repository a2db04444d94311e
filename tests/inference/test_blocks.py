"""Images shared out over processes give the same bits as one process."""

from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import numpy as np
import pytest
import torch

from pyrovae import CVAE, VAE, SemiSupervisedVAE
from pyrovae.child_processes import KilledError, Outcome, carry, end_children
from pyrovae.data import HIDDEN, ImageSet, Split, fixed_split
from pyrovae.inference import blocks
from pyrovae.inference.annealing import Annealing, annealed, bidirectional
from pyrovae.inference.blocks import block_seed, in_blocks
from pyrovae.inference.importance import importance_weighted
from pyrovae.inference.nuts import nuts_posterior

FEW = Annealing(4, 150, 2)
"""Thirteen images in a block."""


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor
    end_children()


@pytest.fixture
def model() -> CVAE:
    torch.manual_seed(0)
    return CVAE((1, 8, 8), 10, 3)


@pytest.fixture
def split(digits: ImageSet) -> Split:
    return fixed_split(digits.split("test"), "dynamic").take(range(45))


def same(one: object, other: object) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("log_likelihood", "error", "bias"))


@pytest.mark.slow
def test_every_estimator_gives_the_same_bits(pool: Executor, model: CVAE, split: Split) -> None:
    done: list[int] = []
    here = importance_weighted(model, split, 130, sweep=(7, 130))
    there = importance_weighted(model, split, 130, sweep=(7, 130), executor=pool, progress=done.append)
    assert same(here, there)
    assert np.array_equal(here.pareto, there.pareto)
    assert here.sweep == there.sweep
    assert sum(done) == 130 * 45
    assert same(annealed(model, split, FEW), annealed(model, split, FEW, executor=pool))
    here, there = (bidirectional(model, 30, FEW, seed=3, executor=executor) for executor in (None, pool))
    assert same(here.lower, there.lower)
    assert same(here.upper, there.upper)
    lengths = {"warmup": 6, "draws": 6, "together": 4}
    here, there = (nuts_posterior(model, split.take(range(10)), **lengths, executor=e) for e in (None, pool))
    assert np.array_equal(here.z, there.z)
    assert np.array_equal(here.diverging, there.diverging)


def test_an_image_has_its_bits_whatever_stands_behind_it(model: CVAE, split: Split) -> None:
    """Whole blocks are the same in a longer split; another seed gives others."""
    long, short = (importance_weighted(model, split.take(range(count)), 50) for count in (45, 40))
    assert np.array_equal(long.log_likelihood[:40], short.log_likelihood)
    other = importance_weighted(model, split.take(range(40)), 50, seed=1)
    assert not np.any(short.log_likelihood == other.log_likelihood)


def test_seeds_of_blocks_differ() -> None:
    seeds = {block_seed(seed, first, part) for seed in range(20) for first in range(0, 400, 20) for part in range(2)}
    assert len(seeds) == 800
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_labels_that_are_partly_hidden_are_refused_whole(split: Split) -> None:
    """Also where each block is all hidden, or not at all."""
    labels = split.labels.clone()
    labels[:20] = HIDDEN
    with pytest.raises(ValueError, match="the labels of 20 of 45 images are hidden"):
        importance_weighted(SemiSupervisedVAE((1, 8, 8), 10, 2), Split(split.images, labels), 4)


class Deadly(Executor):
    """An executor whose processes die now and then."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths

    def submit(self, function, task):
        future: Future = Future()
        if self.deaths:
            self.deaths -= 1
            future.set_result(Outcome(error=KilledError("killed")))
        else:
            future.set_result(carry(task))
        return future


def count(some: list[int], progress) -> list[int]:
    progress(len(some))
    return [2 * each for each in some]


@pytest.mark.parametrize("number", [1, 2, 5, 16, 17, 100])
def test_results_stand_in_their_order_and_progress_is_whole(number: int, pool: Executor) -> None:
    for executor in (None, pool):
        done: list[int] = []
        assert in_blocks(count, range(number), executor, done.append) == [2 * i for i in range(number)]
        assert sum(done) == number


def test_a_process_that_dies_is_replaced_twice() -> None:
    assert in_blocks(count, range(3), Deadly(2), lambda done: None) == [0, 2, 4]
    with pytest.raises(KilledError):
        in_blocks(count, range(1, 3), Deadly(2 * (blocks.DEATHS + 1)), lambda done: None)
    end_children()


def test_an_executor_that_is_shut_down_is_refused(model: CVAE, split: Split) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(ValueError, match="takes no more work"):
        importance_weighted(model, split, 4, executor=executor)


def test_a_model_that_cannot_be_sent_is_refused(pool: Executor, split: Split) -> None:
    class Local(VAE):
        pass

    with pytest.raises(ValueError, match="cannot be sent to another process"):
        importance_weighted(Local((1, 8, 8), 2), split, 4, executor=pool)
