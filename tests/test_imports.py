"""Every way in which exercises import the scripts."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from itertools import islice

import pytest

FUNCTIONS = {
    "0-stream_users": ["stream_users"],
    "1-batch_processing": ["stream_users_in_batches", "batch_processing"],
    "2-lazy_paginate": ["paginate_users", "lazy_pagination", "lazy_paginate"],
    "4-stream_ages": ["stream_user_ages", "calculate_average_age"],
}


def from_file(project, name: str, registered_as: str | None = None):
    """Load a script from its file; enter it into sys.modules only under registered_as."""
    spec = importlib.util.spec_from_file_location(
        registered_as or "exercise", project / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    if registered_as:
        sys.modules[registered_as] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_way_gives_the_functions(project, name):
    modules = [
        importlib.import_module(name),
        __import__(name),
        from_file(project, name),
        from_file(project, name, registered_as="registered"),
    ]
    del sys.modules["registered"]
    for module in modules:
        assert all(callable(getattr(module, function)) for function in FUNCTIONS[name])


def test_the_module_itself_is_called(seeded, project):
    users = list(importlib.import_module("0-stream_users").stream_users())
    assert len(users) == 1000
    assert list(__import__("0-stream_users")()) == users
    registered = from_file(project, "0-stream_users", registered_as="registered")
    assert list(registered()) == users
    assert list(islice(from_file(project, "0-stream_users").stream_users(), 6)) == users[:6]


def test_another_module_of_the_same_name_is_left_alone(project):
    stranger = sys.modules["exercise"] = type(sys)("exercise")
    try:
        from_file(project, "0-stream_users")
        assert type(stranger) is type(sys)
    finally:
        del sys.modules["exercise"]


def test_lazy_paginate_is_lazy_pagination():
    module = importlib.import_module("2-lazy_paginate")
    assert module.lazy_paginate is module.lazy_pagination
