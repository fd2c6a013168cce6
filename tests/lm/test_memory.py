"""What is done where memory runs out."""

import weakref

import pytest
import torch

from adaptlens.errors import UserError
from adaptlens.lm.memory import attempt, halving

CPU = torch.device("cpu")
OUT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    RuntimeError("MPS backend out of memory"),
]


def run(count: int, most: int, room: int, error: Exception = OUT[0]) -> list[tuple[int, int]]:
    """Return the chunks that were run through in a memory that holds `room` things at once."""
    done = []
    for chunk in halving(count, most, CPU, "a thing does not fit"):
        with chunk as (low, high):
            if high - low > room:
                raise error
            done.append((low, high))
        assert chunk.ran_out == (high - low > room)
    return done


def test_where_memory_lasts_chunks_are_as_large_as_asked():
    assert run(7, 3, room=3) == [(0, 3), (3, 6), (6, 7)]
    assert run(2, 9, room=9) == [(0, 2)]
    assert run(2, 0, room=1) == [(0, 1), (1, 2)]
    assert run(0, 3, room=0) == []


@pytest.mark.parametrize("error", OUT)
def test_where_it_runs_out_the_chunk_is_halved_and_stays_so(error):
    # 10 and 5 do not fit, 2 do.
    assert run(11, 10, room=3, error=error) == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10), (10, 11)]


@pytest.mark.parametrize("count", [1, 5])
def test_a_single_thing_that_does_not_fit_is_said_with_the_way_out(count):
    with pytest.raises(UserError, match="a thing does not fit the memory of cpu; use shorter"):
        run(count, 4, room=0)


def test_other_errors_are_not_taken_for_lack_of_memory():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        run(4, 4, room=1, error=RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(ValueError, match="out of memory"):
        run(4, 4, room=1, error=ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="mat1"):
        attempt(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3), CPU)


def test_an_attempt_that_ran_out_of_memory_holds_on_to_nothing():
    held = []

    def scarce() -> int:
        large = torch.zeros(4)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError("out of memory")

    assert attempt(scarce, CPU) is None
    assert held[0]() is None
    assert attempt(lambda: 3, CPU) == 3
