"""The command of the harness: exit code, budget, baseline and reports."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import runpy
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from mountsea_banana.contract import Contract
from mountsea_banana.harness import __main__ as command
from mountsea_banana.harness._case import Request
from mountsea_banana.harness._lifecycle import Task, body_of
from mountsea_banana.harness._oracle import Verdict
from mountsea_banana.harness._plan import make_plan
from mountsea_banana.harness._run import Run
from mountsea_banana.harness._transport import Response, Server
from mountsea_banana.harness._verify import response_violations, violations
from mountsea_banana.mock import DEFAULT_KEYS, MockServer
from mountsea_banana.mock._app import build_app
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse

from tests.contract import defects
from tests.contract.conftest import a_small_plan, server_of, the_plan
from tests.contract.plain_server import Handler, PlainServer

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def api_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    monkeypatch.setenv("MOUNTSEA_OTHER_API_KEY", "other-token")


@pytest.fixture
def whole_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the whole plan, built once for all tests."""
    monkeypatch.setattr("mountsea_banana.harness._plan.make_plan", lambda *_, **__: the_plan())


@pytest.fixture
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a part of the plan, for tests that do not depend on what is sent."""
    monkeypatch.setattr("mountsea_banana.harness._plan.make_plan", lambda *_, **__: a_small_plan())
    monkeypatch.setattr("mountsea_banana.harness._outcome.MIN_CASES_PER_RULE", 0)


def run(report: Path, *arguments: str) -> int:
    return command.main(["--report", str(report), *arguments])


def test_the_mock_conforms_to_the_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path) == 0
    output = capsys.readouterr().out
    assert "with seed 1\n" in output
    assert "contract: the server conforms to the contract" in output
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert suite.get("failures") == "0"
    assert int(suite.get("tests", "0")) > 10
    page = (tmp_path / "index.html").read_text("utf-8")
    assert '<h1 class="pass">' in page
    assert page.count('class="accepted"') == 2 * (11 + 11 + 4 * 11 + 4 * 15)
    assert 'class="wrong"' not in page
    assert 'class="none"' not in page


def test_a_violated_rule_is_shown_with_its_sentence_and_a_command_that_repeats_the_request(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("accepts wide ratios with every model") as server:
        assert run(tmp_path, "--base-url", server.url) == 1
        output = capsys.readouterr().out
        line = next(each for each in output.splitlines() if each.strip().startswith("repeat"))
        shell = line.partition("repeat")[2].strip()
        repeated = subprocess.run(
            ["bash", "-c", shell], capture_output=True, text=True, check=True, timeout=30
        )
    assert "accepts a request that it should reject: wide-ratio-needs-2" in output
    assert "nano-banana-2 support all aspect ratios, other models only support" in output
    assert "test-token" not in output
    assert "HTTP/1.1 201" in repeated.stdout
    assert "the server violates the contract in one way" in output
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert suite.get("failures") == "1"
    assert "curl" in (suite.findtext(".//failure") or "")
    page = (tmp_path / "index.html").read_text("utf-8")
    assert 0 < page.count('class="wrong"') < 8
    assert "test-token" not in page


def test_violations_in_the_baseline_do_not_fail_the_run(
    tmp_path: Path, api_keys: None, small_plan: None, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.txt"
    known = "POST /gemini/image/generate accepted model:enum"
    baseline.write_text(f"# seen in spring\n{known}\nPOST /gone accepted x\n")
    with server_of("accepts any model") as server:
        status = run(tmp_path, "--base-url", server.url, "--baseline", str(baseline))
    output = capsys.readouterr().out
    assert status == 0
    assert "known POST /gemini/image/generate accepts" in output
    assert f"fixed; remove it from {baseline}: POST /gone accepted x" in output
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")


@pytest.mark.parametrize("budget", [0, 3])
def test_a_conforming_server_never_exceeds_the_budget(
    tmp_path: Path,
    api_keys: None,
    small_plan: None,
    budget: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with MockServer() as server:
        assert run(tmp_path, "--base-url", server.url, "--budget", str(budget)) == 0
        assert len(server.submissions) == budget
    output = capsys.readouterr().out
    assert f", {budget} submissions accepted" in output
    assert "requests): may be accepted and charged" in output


@pytest.mark.parametrize("budget", [0, 3])
def test_the_run_stops_at_the_first_submission_over_budget(
    tmp_path: Path,
    api_keys: None,
    small_plan: None,
    budget: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with server_of("accepts resolution with every model") as server:
        assert run(tmp_path, "--base-url", server.url, "--budget", str(budget)) == 1
        assert len(server.submissions) == budget + 1
    output = capsys.readouterr().out
    assert f"stopped early: the server accepted {budget + 1} submissions" in output
    assert "FAIL  POST /gemini/image/generate accepts a request that it should reject" in output


def test_a_wrong_key_is_a_one_line_error(
    tmp_path: Path,
    small_plan: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "wrong-key-of-mine")
    with MockServer() as server:
        assert run(tmp_path, "--base-url", server.url) == 2
    output = capsys.readouterr().err
    assert output.count("\n") == 1
    assert "rejects the key in MOUNTSEA_API_KEY with status 401" in output
    assert "wrong-key-of-mine" not in output


def test_a_wrong_second_key_is_a_one_line_error(
    tmp_path: Path,
    small_plan: None,
    api_keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MOUNTSEA_OTHER_API_KEY", "wrong")
    with MockServer() as server:
        assert run(tmp_path, "--base-url", server.url) == 2
    assert "rejects the key in MOUNTSEA_OTHER_API_KEY" in capsys.readouterr().err


def test_a_case_that_needs_a_second_key_is_skipped_without_one(
    tmp_path: Path,
    small_plan: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    with server_of("shows every task to every account") as server:
        assert run(tmp_path, "--base-url", server.url) == 0
    output = capsys.readouterr().out
    assert "another account's task (1 request): set MOUNTSEA_OTHER_API_KEY" in output


def test_a_run_that_tests_a_rule_too_little_exits_with_2(
    tmp_path: Path,
    small_plan: None,
    api_keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mountsea_banana.harness._outcome.MIN_CASES_PER_RULE", 10_000)
    with MockServer() as server:
        assert run(tmp_path, "--base-url", server.url) == 2
    output = capsys.readouterr().out
    assert "inconclusive: too few requests could be sent to test edit-needs-image-urls" in output


def test_plain_http_to_another_machine_is_allowed_if_the_user_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOUNTSEA_ALLOW_HTTP", "1")
    assert run(tmp_path, "--base-url", "http://example.com") == 2
    assert "http://example.com needs an API key: set MOUNTSEA_API_KEY" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base-url", "http://127.0.0.1:1"], "no response from http://127.0.0.1:1"),
        (["--base-url", "https://127.0.0.1:1"], "no response from https://127.0.0.1:1"),
        (["--base-url", "127.0.0.1:8000"], "--base-url must be an http:// or https:// URL"),
        (["--base-url", ""], "--base-url must be an http:// or https:// URL"),
        (["--base-url", "http://example.com"], "would send the API key unencrypted"),
        (["--base-url", "https://example.com"], "set MOUNTSEA_API_KEY"),
        (["--base-url", "http://127.0.0.1:1"], "needs an API key: set MOUNTSEA_API_KEY"),
        (["--base-url", "http://127.0.0.1:1", "--budget", "some"], "or unlimited, not some"),
        (
            ["--base-url", "http://127.0.0.1:1", "--budget", "-1"],
            "--budget must be 0 or more",
        ),
        (["--baseline", "nowhere.txt"], "cannot read the baseline nowhere.txt"),
        (["--spec", "nowhere.yaml"], "cannot read nowhere.yaml"),
        (["--overlay", "rules.yaml"], "cannot read rules.yaml"),
    ],
)
@pytest.mark.usefixtures("small_plan")
def test_a_run_that_cannot_start_exits_with_2_and_a_one_line_error(
    tmp_path: Path,
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "" if "API_KEY" in message else "a-key")
    assert run(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_key_that_a_header_cannot_carry_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "a\nb")
    assert run(tmp_path, "--base-url", "http://127.0.0.1:1") == 2
    assert "an HTTP header cannot carry" in capsys.readouterr().err


def test_a_mock_that_does_not_start_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    assert run(tmp_path) == 2
    assert "the mock server did not start: no output" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_exits_with_2_and_leaves_no_partial_file(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "report" / "junit.xml").mkdir(parents=True)
    with MockServer() as server:
        assert run(tmp_path / "file", "--base-url", server.url) == 2
        assert run(tmp_path / "report", "--base-url", server.url) == 2
    assert "cannot write the report" in capsys.readouterr().err
    assert [each.name for each in (tmp_path / "report").iterdir()] == ["junit.xml"]


def test_an_interrupted_run_exits_with_2(
    tmp_path: Path,
    small_plan: None,
    api_keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mountsea_banana.harness._run.Run.execute", interrupt)
    assert run(tmp_path, "--base-url", "http://127.0.0.1:1") == 2
    assert capsys.readouterr().err == "contract: cannot test: interrupted\n"


def test_without_its_extra_the_command_names_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['schemathesis'] = None\n"
        "from mountsea_banana.harness.__main__ import main; sys.exit(main([]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 2
    assert "pip install 'mountsea-banana[contract]'" in result.stderr


def test_a_terminal_shows_progress(
    tmp_path: Path,
    small_plan: None,
    api_keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with MockServer() as server:
        run(tmp_path, "--base-url", server.url)
    output = capsys.readouterr().err
    assert re.search(r"\rcontract: \d+ of about", output)
    assert output.endswith("\r\x1b[K")


def test_the_same_seed_makes_the_same_cases_and_another_seed_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mountsea_banana.harness._bodies.MAX_COMBINATIONS", 10)
    monkeypatch.setattr("mountsea_banana.harness._generated.EXAMPLES", 10)
    monkeypatch.setattr("mountsea_banana.harness._generated.EXAMPLES_PER_RULE", 5)
    contract = Contract.load()

    def requests(seed: int) -> list[Any]:
        return [case.request for case in make_plan(contract, seed).cases()]

    first = requests(7)
    assert first == requests(7)
    assert first != requests(8)


class Scripted:
    """A server that sends one of the given responses per connection, and then none."""

    def __init__(self, responses: list[bytes], *, closes: bool = False) -> None:
        self._responses = responses
        self._closes = closes

    def __enter__(self) -> str:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        with contextlib.ExitStack() as open_connections:
            for response in [*self._responses, *[b""] * 1000]:
                try:
                    connection, _ = self._socket.accept()
                except OSError:
                    return
                connection.recv(100_000)
                connection.sendall(response)
                if response and not self._closes:
                    open_connections.enter_context(connection)
                else:
                    connection.close()

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


REJECTION = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
KEEP_ALIVE_REJECTION = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"


def test_a_connection_that_the_server_closes_between_requests_is_not_a_failure() -> None:
    with Scripted([KEEP_ALIVE_REJECTION] * 4, closes=True) as url:
        server = Server(url, {})
        responses = [server.send(Request("GET", "/")) for _ in range(4)]
        server.close()
    assert [response.status for response in responses] == [400] * 4


def test_a_request_fails_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}", {}, timeout=0.1)
        assert server.send(Request("GET", "/")).fault == "no response within 0.1 s"
        server.close()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_body_that_is_no_text_is_piped_to_curl(shell: str) -> None:
    body = b"\xff\x00'%s\\n7"
    line = Request("POST", "/", (), body).curl("http://127.0.0.1:1")
    pipe, _, curl = line.partition(" | ")
    shown = subprocess.run([shell, "-c", pipe], capture_output=True, check=True).stdout
    assert shown == body
    assert "--data-binary @-" in curl


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_curl_gets_the_key_and_its_variants_from_the_shell(shell: str) -> None:
    headers = (("A", "{key}"), ("B", "{cut}"), ("C", "{case}"))
    line = Request("HEAD", "/?a=[{task}]", headers).curl("http://127.0.0.1:1", task="1+/é")
    words = subprocess.run(
        [shell, "-c", line.replace("curl", "printf '%s\\n'", 1)],
        env={"MOUNTSEA_API_KEY": "Some key", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert {"A: Some key", "B: Some ke", "C: sOME KEY", "--head", "-g"} <= set(words)
    assert words[-1] == "http://127.0.0.1:1/?a=[1%2B%2F%C3%A9]"


def test_a_body_that_is_too_long_for_a_command_line_is_in_a_file(
    tmp_path: Path,
    api_keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = [case for case in the_plan().cases() if case.check == "edge cases"]
    plan = attrs.evolve(a_small_plan(), groups=(tuple(long),))
    monkeypatch.setattr("mountsea_banana.harness._plan.make_plan", lambda *_, **__: plan)
    with server_of("fails on long prompts") as server:
        assert run(tmp_path, "--base-url", server.url) == 1
    output = capsys.readouterr().out
    assert f"--data-binary @{tmp_path}/body-" in output
    (file,) = tmp_path.glob("body-*.json")
    assert len(json.loads(file.read_bytes())["prompt"]) > 30_000


def test_a_server_may_disconnect_on_a_body_that_is_too_large() -> None:
    case = next(case for case in the_plan().cases() if case.may_disconnect)
    assert list(violations(case, Response(0, fault="closed"))) == []


def test_a_response_with_nan_is_invalid_json() -> None:
    response = Response(201, {"content-type": "application/json"}, b'{"taskId": NaN}')
    found = response_violations(the_plan().submissions[0].operation, response)
    assert [violation.detail for violation in found] == ["invalid JSON"]


def test_fail_fast_stops_at_the_first_failure(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("needs no key to poll") as server:
        assert run(tmp_path, "--base-url", server.url, "--fail-fast") == 1
    assert "stopped early: first failure (--fail-fast)" in capsys.readouterr().out


def test_the_variants_of_one_cause_are_listed(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("needs no key to poll") as server:
        assert run(tmp_path, "--base-url", server.url) == 1
    output = capsys.readouterr().out
    assert "variants  no Authorization header; an empty Authorization header; " in output
    assert " … (27 in total)" in output


def test_a_run_that_stops_at_known_violations_is_inconclusive(
    tmp_path: Path, whole_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.txt"
    baseline.write_text("POST /gemini/image/generate accepted model:enum\n")
    options = ["--budget", "0", "--baseline", str(baseline)]
    with server_of("accepts any model") as server:
        assert run(tmp_path, "--base-url", server.url, *options) == 2
    assert "inconclusive: the run stopped early" in capsys.readouterr().out


def test_the_module_runs_as_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["contract", "--budget", "-1"])
    monkeypatch.delitem(sys.modules, "mountsea_banana.harness.__main__")
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("mountsea_banana.harness", run_name="__main__")
    assert stop.value.code == 2


def test_a_missing_dependency_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mountsea_banana.harness._run", None)
    assert run(tmp_path) == 2
    assert "pip install 'mountsea-banana[contract]'" in capsys.readouterr().err


def test_the_run_ends_when_the_server_stops_responding(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with Scripted([REJECTION] * 3) as url:
        assert run(tmp_path, "--base-url", url, "--budget", "0") == 1
    output = capsys.readouterr().out
    assert "does not respond: the connection was closed without a response" in output
    assert "5 requests got no response" in output


def test_a_server_that_does_not_speak_http_exits_with_2(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with Scripted([b"220 mail.example.com ESMTP\r\n"] * 6) as url:
        assert run(tmp_path, "--base-url", url) == 2
    assert "invalid HTTP response: BadStatusLine" in capsys.readouterr().err


class RateLimited:
    """Rate limits every other request, with a valid or an invalid Retry-After header."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._count = itertools.count()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        count = next(self._count)
        wait = "0" if count % 4 == 1 else "soon"
        response = JSONResponse({}, 429, headers={"Retry-After": wait})
        is_limited = count % 2 and "/images/" not in scope["path"]
        await (response if is_limited else self._app)(scope, receive, send)


def test_rate_limited_requests_are_retried(
    tmp_path: Path, small_plan: None, api_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    app = defects.application(Contract.load(), "the mock")
    app.add_middleware(RateLimited)
    with MockServer(app=app) as server:
        assert run(tmp_path, "--base-url", server.url) == 0


def test_a_long_response_is_truncated_in_the_report(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = Contract.load()
    odd = defects.responds(submit={"taskId": 5, "padding": "x" * 5000})
    with MockServer(app=build_app(odd(contract, DEFAULT_KEYS), contract)) as server:
        assert run(tmp_path, "--base-url", server.url) == 1
    output = capsys.readouterr().out
    assert "x" * 200 in output
    assert "x" * 400 not in output
    assert " … (5,0" in output


def test_a_server_may_look_up_the_task_before_the_key_if_the_budget_allows_no_task(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("looks up the task before the key") as server:
        status = run(tmp_path, "--base-url", server.url, "--budget", "0")
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("many", [False, True], ids=["one connection at a time", "many"])
@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_an_independent_server_passes(
    tmp_path: Path,
    small_plan: None,
    api_keys: None,
    protocol: str,
    many: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--budget", "unlimited"]
    with PlainServer(protocol=protocol, many=many) as server:
        assert run(tmp_path, "--base-url", server.url, *options) == 0, capsys.readouterr().out
    assert "not tested" not in capsys.readouterr().out


def test_a_server_that_is_not_the_mock_gets_no_submission_unless_it_is_allowed(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with PlainServer(protocol="HTTP/1.1", many=True) as server:
        assert run(tmp_path, "--base-url", server.url) == 0
    output = capsys.readouterr().out
    assert "allow some with --budget N, or all with --budget unlimited" in output
    assert ", 0 submissions accepted" in output
    assert "tasks and their images: no task was created" in output


def test_a_run_says_what_it_may_cost_before_it_starts(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with MockServer() as server:
        run(tmp_path, "--base-url", server.url, "--budget", "7")
    assert "contract: at most 7 valid submissions" in capsys.readouterr().out
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    spent = suite.find("properties/property[@name='submissions']")
    assert spent is not None
    assert spent.get("value") == "7"


def test_tasks_that_never_end_make_a_run_inconclusive(
    tmp_path: Path,
    small_plan: None,
    api_keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "TASK_TIMEOUT", 0.1)
    with server_of("slow tasks") as server:
        assert run(tmp_path, "--base-url", server.url) == 2
    assert "inconclusive: no task reached a final status" in capsys.readouterr().out


def test_a_server_that_fails_everything_is_given_up_on_with_one_cause(
    tmp_path: Path, whole_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("fails on everything") as server:
        assert run(tmp_path, "--base-url", server.url) == 1
    output = capsys.readouterr().out
    assert output.count("FAIL") == 1
    assert "stopped early: each of the first 100 requests failed" in output


def test_the_keys_are_in_no_report_even_if_the_server_echoes_them(
    tmp_path: Path, small_plan: None, api_keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("echoes the key") as server:
        assert run(tmp_path, "--base-url", server.url) == 1
    reports = [path.read_text("utf-8") for path in tmp_path.iterdir()] + [capsys.readouterr().out]
    assert any("{key}" in report for report in reports)
    for secret in ("test-token", "other-token", "test-toke", "TEST-TOKEN"):
        assert not any(secret in report for report in reports)


def test_failing_exchanges_are_written_as_har(
    tmp_path: Path, small_plan: None, api_keys: None
) -> None:
    with server_of("accepts any model") as server:
        run(tmp_path, "--base-url", server.url)
    entries = json.loads((tmp_path / "failures.har").read_text("utf-8"))["log"]["entries"]
    assert entries[0]["request"]["url"] == f"{server.url}/gemini/image/generate"
    assert {"name": "Authorization", "value": "Bearer {key}"} in entries[0]["request"]["headers"]
    assert entries[0]["response"]["status"] == 201


def test_a_written_baseline_makes_the_next_run_pass(
    tmp_path: Path, small_plan: None, api_keys: None
) -> None:
    baseline = tmp_path / "baseline.txt"
    with server_of("accepts any model") as server:
        assert run(tmp_path, "--base-url", server.url, "--write-baseline", str(baseline)) == 1
        assert run(tmp_path, "--base-url", server.url, "--baseline", str(baseline)) == 0


def test_github_gets_a_summary_and_annotations(
    tmp_path: Path,
    small_plan: None,
    api_keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    with server_of("accepts any model") as server:
        run(tmp_path, "--base-url", server.url, "--budget", "3")
    summary = page.read_text("utf-8")
    assert "#### Violations\n\n- POST /gemini/image/generate accepts" in summary
    assert "#### Not tested" in summary
    output = capsys.readouterr().out
    assert "::error title=POST /gemini/image/generate accepts a request" in output
    assert "%0Arequest: POST" in output


def test_without_a_terminal_progress_is_a_line_now_and_then(
    tmp_path: Path,
    small_plan: None,
    api_keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(command, "SECONDS_BETWEEN_LINES", -1.0)
    with MockServer() as server:
        run(tmp_path, "--base-url", server.url)
    assert re.search(r"\ncontract: \d+ of about", capsys.readouterr().err)


def test_a_key_that_is_too_short_to_be_secret_stays_in_the_reports() -> None:
    server = Server("http://127.0.0.1:1", {"{key}": "a", "{other}": "a-second-key"})
    assert server.redact("a second key: a-second-key") == "a second key: {other}"


def test_a_passed_run_has_a_short_summary(
    tmp_path: Path, small_plan: None, api_keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    with MockServer() as server:
        assert run(tmp_path, "--base-url", server.url) == 0
    assert page.read_text("utf-8").startswith(
        "### Contract tests: the server conforms to the contract"
    )
    assert "####" not in page.read_text("utf-8")


def test_a_body_in_the_response_to_head_is_blamed_on_that_request() -> None:
    class HeadWithBody(Handler):
        """Responds to HEAD as to GET, and says something in every response."""

        def do_HEAD(self) -> None:  # noqa: N802
            self.do_GET()

        def respond(self, status: int, body: Mapping[str, Any] | bytes = b"") -> None:
            super().respond(status, body or {"message": "rejected"})

    plan = attrs.evolve(a_small_plan(), tasks=(), submissions=())
    with PlainServer(handler=HeadWithBody) as server:
        keys = command._keys(*DEFAULT_KEYS)
        outcome = Run(plan, Server(server.url, keys), has_other_key=True).execute()
    assert [cause.variants for cause in outcome.causes] == [("a HEAD request",)]


def test_a_body_that_follows_the_response_to_head_is_the_next_response() -> None:
    with (
        Scripted([KEEP_ALIVE_REJECTION], closes=False) as url,
        contextlib.closing(Server(url, {})) as server,
    ):
        response = server.send_both(Request("HEAD", "/"), Request("GET", "/"))
    assert response == Response(0, fault="the rest of the response to HEAD")


def test_a_compressed_response_is_read() -> None:
    app = defects.application(Contract.load(), "the mock")
    app.add_middleware(GZipMiddleware, minimum_size=1)
    with MockServer(app=app) as server, contextlib.closing(Server(server.url, {})) as client:
        response = client.send(Request("GET", "/_mock", (("Accept-Encoding", "gzip"),)))
    assert response.headers["content-encoding"] == "gzip"
    assert "mock" in json.loads(response.body)


def test_a_submission_that_may_be_charged_is_sent_once() -> None:
    accepted: list[int] = []

    class Vanishing(Handler):
        """Closes the connection in place of responding to a submission that it accepts."""

        def respond(self, status: int, body: Mapping[str, Any] | bytes = b"") -> None:
            if status == 201:
                accepted.append(status)
                self.close_connection = True
            else:
                super().respond(status, body)

    with PlainServer(handler=Vanishing) as server:
        keys = command._keys(*DEFAULT_KEYS)
        outcome = Run(a_small_plan(), Server(server.url, keys), budget=3).execute()
    assert outcome.accepted == len(accepted) == 3


def test_a_rejection_with_another_4xx_status_is_only_a_warning() -> None:
    case = next(case for case in the_plan().cases() if case.variant == "no Authorization header")
    assert [each.is_warning for each in violations(case, Response(404))] == [True]
    assert [each.is_warning for each in violations(case, Response(302))] == [False]


def test_a_request_that_the_contract_leaves_open_must_not_get_an_error_as_a_success() -> None:
    case = next(
        case
        for case in the_plan().cases()
        if case.is_submission and case.verdict is Verdict.UNSPECIFIED
    )
    refusal = Response(200, {"content-type": "application/json"}, b'{"code": 400}')
    assert [each.kind for each in violations(case, refusal)] == ["answered"]


def test_a_snapshot_without_a_status_says_nothing_about_its_task() -> None:
    task = Task("a", the_plan().tasks[0])
    assert list(task.observe(Response(200, {}, b'{"taskId": "a"}'))) == []
    assert not task.is_settled


def test_a_body_that_is_not_json_has_no_properties() -> None:
    assert body_of(Request("POST", "/", body=b"{")) == {}
