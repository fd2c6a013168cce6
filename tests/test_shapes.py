"""Annotated shapes are checked in the suite."""

import numpy as np
import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError, jaxtyped

import tiny
from adaptlens.lm.states import States, lens
from adaptlens.lm.unembedding import by_owner
from adaptlens.stats import crossed
from typing_checks import MOST_CALLS, another_test, shapes, watched


def test_an_array_of_another_shape_or_format_than_annotated_is_refused():
    with pytest.raises(TypeCheckError, match="residual"):
        States(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))
    with pytest.raises(TypeCheckError, match="final"):
        States(np.zeros((2, 3, 4), np.float32), np.zeros((5, 4), np.float32))
    with pytest.raises(TypeCheckError, match="final"):
        States(np.zeros((2, 3, 4), np.float32), np.zeros((2, 4), np.float64))
    with pytest.raises(TypeCheckError, match="residual"):
        lens(tiny.tiny_lm("llama"), np.zeros((2, 3, 32)), [5])
    with pytest.raises(TypeCheckError, match="owners"):
        by_owner(tiny.tiny_lm("llama").architecture, torch.zeros(3, 32), torch.zeros(2).long(), 1)


def test_what_comes_back_is_checked_too_and_what_is_no_array_is_not():
    def doubled(x: Float[np.ndarray, " n"], times: int) -> Float[np.ndarray, " 2*n"]:
        return np.tile(x, times)

    found = jaxtyped(typechecker=shapes)(doubled)
    assert found(np.zeros(3), 2).shape == (6,)
    assert found(np.zeros(3), np.int64(2)).shape == (6,)
    with pytest.raises(TypeCheckError, match="return"):
        found(np.zeros(3), 3)


def test_where_no_array_is_annotated_the_rest_is_still_checked():
    assert crossed.MeanSquares(2, (3,), 1.0, (1,), (1.0,)).variance > 0
    with pytest.raises(BeartypeCallHintViolation, match="queries"):
        crossed.MeanSquares("2", (3,), 1.0, (1.0,), (1.0,))


def test_a_function_is_followed_in_its_first_calls_of_each_test():
    def cut(x: Float[np.ndarray, " n"], to: int) -> Float[np.ndarray, " n"]:
        return x[:to]

    followed = watched(cut, typechecker=shapes)
    for _ in range(MOST_CALLS):
        with pytest.raises(TypeCheckError, match="return"):
            followed(np.zeros(4), 1)
    assert followed(np.zeros(4), 1).shape == (1,)
    another_test()
    with pytest.raises(TypeCheckError, match="return"):
        followed(np.zeros(4), 1)
