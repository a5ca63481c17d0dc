"""Fixtures of Part 3's tests."""
from part1.tests.conftest import call  # noqa: F401 (a fixture)
