"""The random numbers: published vectors, uniform and independent in every stream, and never renumbered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.kernels.uncompiled import plain
from twin.chance import Stream, chance, draw, philox

ONES = 0xFFFFFFFF
VECTORS = [  # kat_vectors of Random123 (Salmon et al. 2011): counter, key, philox4x32-10
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([ONES] * 4, [ONES] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]

KIND_OF_SEED_7 = [0.495039792148, 0.887346624209, 0.289636654122]


@pytest.mark.parametrize(("counter", "key", "words"), VECTORS)
@pytest.mark.filterwarnings("ignore:overflow")  # 64 bits wrap round, compiled or not
def test_published_vectors(counter: list[int], key: list[int], words: list[int]) -> None:
    given = [np.uint64(word) for word in counter + key]
    assert [int(word) for word in philox(*given)] == words
    assert [int(word) for word in plain(philox)(*given)] == words


def test_a_draw_is_53_bits_of_one_block() -> None:
    """The first 27 bits of word 0 and the first 26 of word 1, of counter (row, low tick, stream, high tick)."""
    for seed, stream, row, tick in ((1, 2, 3, 4), (2**40 + 5, 9, 2**31, 2**35 + 6), (0, 1, 0, 0)):
        a, b, _, _ = philox(*(np.uint64(w) for w in (row, tick & ONES, stream, tick >> 32, seed & ONES, seed >> 32)))
        exact = ((int(a) >> 5) * 2**26 + (int(b) >> 6)) / 2**53
        assert draw(seed, stream, row, tick) == exact == chance(seed, Stream(stream), row, tick)[0]
        assert 0 <= exact < 1


def test_numbers_of_streams_stay() -> None:
    """A renumbered stream changes every result; a new one gets a number that nobody has."""
    numbers = [member.value for member in Stream.__members__.values()]
    assert len(set(numbers)) == len(Stream.__members__)  # two names of one number would share their luck
    assert (Stream.KIND, Stream.BOOTSTRAP, Stream.ESTIMATE, Stream.PROFILE) == (1, 38, 90, 120)
    assert chance(7, Stream.KIND, [0, 1, 2]).round(12).tolist() == KIND_OF_SEED_7


def test_order_and_batch_change_nothing() -> None:
    rows, ticks = np.arange(50), np.arange(50) * 3
    whole = chance(3, Stream.DEPART, rows, ticks)
    assert chance(3, Stream.DEPART, rows[::-1], ticks[::-1]).tolist() == whole[::-1].tolist()
    assert [float(chance(3, Stream.DEPART, r, t)[0]) for r, t in zip(rows, ticks, strict=True)] == whole.tolist()
    grid = chance(3, Stream.DEPART, rows[:, None], ticks[None, :])
    assert grid.shape == (50, 50)
    assert np.diag(grid).tolist() == whole.tolist()


@pytest.mark.parametrize("along", ["row", "tick", "seed"])
def test_every_stream_is_uniform(along: str) -> None:
    """Chi-square over 64 bins; draws are fixed, so this passes or fails for good."""
    n = 6400
    for stream in Stream:
        if along == "seed":
            u = np.array([draw(seed, int(stream), 5, 9) for seed in range(640)])
        else:
            u = chance(11, stream, np.arange(n), 4) if along == "row" else chance(11, stream, 4, np.arange(n))
        p = stats.chisquare(np.histogram(u, bins=64, range=(0, 1))[0]).pvalue
        assert 1e-4 < p < 1 - 1e-4, stream.name


def test_streams_rows_and_ticks_are_independent() -> None:
    """Correlations of all pairs of streams, and of neighbours in row, tick and seed, are those of chance."""
    n = 4000
    drawn = np.array([chance(5, stream, np.arange(n)) for stream in Stream])
    r = np.corrcoef(drawn)[np.triu_indices(len(drawn), 1)]
    assert stats.kstest(r * n**0.5, "norm").pvalue > 1e-4
    assert np.abs(r).max() * n**0.5 < stats.norm.isf(1e-4 / len(r))
    by_tick = chance(5, Stream.RETRY, 3, np.arange(n + 1))
    by_seed = np.array([draw(seed, int(Stream.RETRY), 3, 0) for seed in range(n + 1)])
    for u in (drawn[0], by_tick, by_seed):
        assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) * n**0.5 < 4
    assert len(np.unique(drawn)) == drawn.size
