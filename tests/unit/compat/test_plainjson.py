"""JSON for simple requests is JSON."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from wefted.compat.plainjson import encode

values = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(), st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


@given(values)
def test_every_value_is_written_as_json_writes_it(value: object) -> None:
    assert json.loads(encode(value)) == value
