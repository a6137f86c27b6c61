"""What all tests share: the options that let the slow ones and those with fetched data run."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: more threads only wait for each other

_OPTIONS = {
    "slow": "takes minutes; run it with --slow",
    "data": "needs fetched data (edgemat data fetch); run it with --data",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, reason in _OPTIONS.items():
        parser.addoption(f"--{name}", action="store_true", help=f"also run what {reason.split(';')[0]}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for name, reason in _OPTIONS.items():
            if item.get_closest_marker(name) and not config.getoption(f"--{name}"):
                item.add_marker(pytest.mark.skip(reason=reason))
