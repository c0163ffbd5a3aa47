"""A session from its start to its end, as the bytes that go over standard input and output."""

import json
import re
import subprocess
import sys

import pytest


def message(**content):
    body = json.dumps({"jsonrpc": "2.0", **content}).encode()
    return b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


BEGIN = message(id=1, method="initialize", params={"processId": None, "capabilities": {}})
SHUTDOWN = message(id=2, method="shutdown")
EXIT = message(method="exit")


def session(*messages):
    """The exit code of a server, what it answered by id, and what it complained about."""
    done = subprocess.run(
        [sys.executable, "-m", "mimodsl", "lsp"],
        input=b"".join(messages),
        capture_output=True,
        check=False,
        timeout=60,
    )
    bodies = re.split(rb"Content-Length: \d+\r\n[^{]*", done.stdout)
    answers = [json.loads(body) for body in bodies if body]
    return done.returncode, {one.get("id"): one for one in answers}, done.stderr.decode()


@pytest.mark.parametrize("end", [(EXIT,), ()], ids=["unasked", "cut off"])
def test_a_server_ends_with_its_editor_even_where_it_was_not_asked_to(end):
    assert session(BEGIN, *end)[::2] == (1, "")


def test_what_an_editor_may_say_is_no_complaint():
    settings = message(method="workspace/didChangeConfiguration", params={"settings": {}})
    late = message(method="$/cancelRequest", params={"id": 77})
    unknown = message(id=3, method="textDocument/unheard", params={})
    code, answers, complaints = session(BEGIN, settings, late, unknown, SHUTDOWN, EXIT)
    assert (code, complaints) == (0, "")
    assert answers[3]["error"]["code"] == -32601
    assert answers[2]["result"] is None


def test_nonsense_does_not_stop_a_server():
    code, answers, complaints = session(BEGIN, b"Content-Length: 5\r\n\r\n{abc}", SHUTDOWN, EXIT)
    assert (code, answers[2]["result"]) == (0, None)
    assert "Unable to handle message" in complaints
