"""The pytest fixtures for the tests of programs that use the package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .conftest import run_suite

SUITE = """
import asyncio

import pytest
from mountsea_banana import SubmissionUnknown
from mountsea_banana.mock import Plan


@pytest.fixture(scope="session")
def url(banana_server):
    return banana_server.url


def test_a_task_completes(banana, banana_server, url):
    assert banana.generate("a cat").wait().is_final
    assert sum(banana_server.clock.sleeps) > 3  # in no time, by the clock that counts them
    assert (banana_server.charged, banana_server.url) == (1, url)


def test_each_test_starts_with_a_reset_server(banana, banana_server):
    assert (banana_server.charged, banana_server.submissions) == (0, [])
    banana_server.next_task(Plan(drops=True))
    with pytest.raises(SubmissionUnknown):
        banana.generate("a cat")
    banana_server.plan = Plan(ends_as="failed")


def test_plans_and_sleeps_do_not_leak_between_tests(banana_server):
    assert banana_server.plan == Plan()
    assert banana_server.clock.sleeps == []


@pytest.mark.parametrize("number", [1, 2])
def test_the_async_client_works_in_any_event_loop(async_banana, number):
    async def main():
        task = await async_banana.generate("a cat")
        return await task.wait()

    assert asyncio.run(main()).is_final


@pytest.mark.anyio
async def test_the_async_client_works_with_an_async_test_plugin(async_banana):
    result = await (await async_banana.generate("a cat")).wait()
    assert (await result.read()).startswith(b"\\x89PNG")


@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def test_the_fixtures_work_without_real_waiting(tmp_path: Path) -> None:
    suite = tmp_path / "test_suite.py"
    suite.write_text(SUITE)
    assert run_suite("-Werror", suite).startswith("6 passed in ")


def test_a_suite_without_the_fixtures_imports_nothing(tmp_path: Path) -> None:
    suite = tmp_path / "test_suite.py"
    suite.write_text(
        "import sys\n\ndef test_it():\n"
        "    assert 'pytest_mountsea_banana' in sys.modules\n"
        "    assert not {'mountsea_banana', 'httpx', 'uvicorn'} & set(sys.modules)\n"
    )
    assert run_suite(suite).startswith("1 passed in ")


def test_the_plugin_alone_does_not_import_the_package() -> None:
    code = "import sys, pytest_mountsea_banana; print('mountsea_banana' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
