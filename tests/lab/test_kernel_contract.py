"""The real kernel keeps the promises of `Kernel`."""

from __future__ import annotations

import pytest

from wefted.testing.kernel_contract import KernelContract

from .conftest import LabHost

pytestmark = pytest.mark.lab


class TestLinuxKernel(KernelContract):
    @pytest.fixture
    def world(self, host: LabHost) -> LabHost:
        return host
