"""The contract of the stores lives in the package; its assertions shall speak as those of a test do."""

import pytest

pytest.register_assert_rewrite("wefted.testing.store_contract")
pytest.register_assert_rewrite("tests.unit.store.keys_contract")
