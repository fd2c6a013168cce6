import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlens.canonical import canonical_json, digest, read_tagged_json, tagged_json

finite = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | st.integers() | finite | st.text()


def values(leaf: st.SearchStrategy) -> st.SearchStrategy:
    keys = st.text().filter(lambda key: key != "$float")
    return st.recursive(leaf, lambda v: st.lists(v) | st.dictionaries(keys, v), max_leaves=10)


def same(a: object, b: object) -> bool:
    """Equal in value and type, NaN equal to NaN, and 0.0 unlike -0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return repr(a) == repr(b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return a == b


@given(values(leaves))
def test_canonical_json_reads_back_as_the_value(value):
    assert same(json.loads(canonical_json(value)), value)


@given(st.dictionaries(st.text(), leaves), st.randoms())
def test_the_order_of_keys_does_not_matter(value, random):
    keys = list(value)
    random.shuffle(keys)
    assert canonical_json({k: value[k] for k in keys}) == canonical_json(value)


@given(values(leaves), values(leaves))
def test_digests_differ_where_values_differ(a, b):
    assert (digest(a) == digest(b)) == same(a, b)


def test_canonical_json_by_hand():
    value = {"b": (1, 1.0, 0.1), "a": None, "é": True}
    assert canonical_json(value) == '{"a":null,"b":[1,1.0,0.1],"\\u00e9":true}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_canonical_json_refuses_what_json_cannot_say_and_names_the_place(number):
    with pytest.raises(ValueError, match=r"\$\.a\[1\]"):
        canonical_json({"a": [0.0, number]})


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {1, 2}}, [b"x"], np.zeros(2)])
def test_canonical_json_refuses_other_types(value):
    with pytest.raises(TypeError, match=r"\$"):
        canonical_json(value)


@given(values(leaves | st.floats()))
def test_tagged_json_keeps_nan_and_infinity(value):
    assert same(read_tagged_json(tagged_json(value)), value)


def test_tagged_json_writes_numpy_numbers_as_python_does():
    value = [np.float64(0.5), np.int32(3), np.bool_(True), np.float32("nan")]
    assert tagged_json(value) == '[0.5,3,true,{"$float":"nan"}]'
