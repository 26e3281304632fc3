"""Fake W&B server on loopback: standard library only, all data in memory, one object to inspect.

It speaks as much of the private protocol of wandb 0.31 as the real client needs here: runs with history, summary,
files, resume and artifacts; `wandb sync`; sweeps with their agent (grid); `wandb.Api` reads; saved views and reports.
Answers are picked by the GraphQL operation's name (fake_wandb_answers.py) and hold more fields than were asked for.
It can also be a bad server: busy, dying, or silent.

    with FakeWandb() as server:                      # the kernel picks a port
        environ |= {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        ...
        server.runs["abc"].history
"""

import gzip
import http.server
import json
import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.support.fake_wandb_answers import Answers, Refusal, Run

KEY = "f" * 40
"""API key of the right length, of no real account."""


@dataclass(kw_only=True)
class Request:
    """One request of a client, kept for the privacy tests."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class Mood:
    """Failures that the server simulates."""

    statuses: list[int] = field(default_factory=list)
    """Refuse one request with each of these, in order."""
    period: int = 0
    """Refuse every request but each period-th with `busy_status`; 0: none."""
    busy_status: int = 503
    """Status of those refusals."""
    silent: threading.Event = field(default_factory=threading.Event)
    """While set, requests are read and never answered."""
    delay_seconds: float = 0.0
    """Seconds to wait before each answer."""
    count: int = 0
    """Number of requests so far."""

    def refusal(self) -> int | None:
        """Return the status with which to refuse the next request, or None."""
        self.count += 1
        if self.statuses:
            return self.statuses.pop(0)
        return self.busy_status if self.period and self.count % self.period else None


class FakeWandb:
    """The server; a context manager, or start() and stop().

    Args:
        port: 0 lets the kernel pick one.
    """

    def __init__(self, port: int = 0):
        self.answers = Answers()
        self.mood = Mood()
        self.requests: list[Request] = []
        self.errors: list[str] = []
        """Errors of this server itself; a passing test has none."""
        self.lock = threading.Lock()
        self._http = http.server.ThreadingHTTPServer(
            ("127.0.0.1", port), type("OwnHandler", (Handler,), {"fake": self})
        )
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None  # a client that hangs up is no error here
        self.port = self._http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    @property
    def runs(self) -> dict[str, Run]:
        """Runs by id."""
        return self.answers.runs

    def start(self) -> "FakeWandb":
        """Start serving in a thread."""
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Close the port: refuse new connections, and end open ones at their next request."""
        self.mood.statuses = [0] * 1000
        self._http.shutdown()
        self._http.server_close()

    def __enter__(self) -> "FakeWandb":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.mood.silent.clear()
        self.stop()

    def sent(self) -> bytes:
        """Return everything that clients have sent, joined."""
        return b"\n".join(
            b"\n".join([r.path.encode(), json.dumps(r.headers).encode(), r.body]) for r in list(self.requests)
        )

    def file_stream(self, run_id: str, message: dict[str, Any]) -> None:
        """Store lines of a run's history, summary and events at the client's offsets."""
        run = self.answers.run(run_id)
        for name, part in (message.get("files") or {}).items():
            lines = [json.loads(line) for line in part["content"]] if name.startswith("wandb-") else []
            if name == "wandb-summary.json":
                run.summary = lines[-1]
            elif name in ("wandb-history.jsonl", "wandb-events.jsonl"):
                kept = run.history if name == "wandb-history.jsonl" else run.events
                if not part.get("offset"):
                    kept.clear()  # begun anew: the real server, too, replaces what a run of that id had
                for place, line in enumerate(lines, start=part.get("offset", 0)):
                    kept[place : place + 1] = [line]
        if message.get("complete"):
            run.exit_code = message.get("exitcode", 0)


class Handler(http.server.BaseHTTPRequestHandler):
    """Request handler; FakeWandb subclasses it with itself as `fake`."""

    fake: FakeWandb
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = read_chunks(self.rfile)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self.fake.lock:
            headers = dict(self.headers)
            self.fake.requests.append(Request(method=self.command, path=self.path, headers=headers, body=body))
        return body

    def write(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def answer(self) -> None:
        body = self.read()
        time.sleep(self.fake.mood.delay_seconds)
        while self.fake.mood.silent.is_set():
            time.sleep(0.05)
        with self.fake.lock:
            status, value = self.fake.mood.refusal(), None
            try:
                value = None if status is not None else self.route(body)
            except Refusal as error:
                value, status = {"errors": [{"message": str(error)}], "data": None}, error.status
            except Exception as error:
                self.fake.errors.append(f"{self.path}: {error!r}")
                status = 500
        if status == 0:  # a dead server: close the connection without an answer
            self.close_connection = True
        else:
            self.write(value if status is None or value else {"error": "refused by the test"}, status or 200)

    do_GET = do_POST = do_PUT = answer  # noqa: N815 - names that http.server looks for

    def route(self, body: bytes) -> Any:
        if self.path.endswith("/graphql") and self.command == "POST":
            return self.fake.answers.graphql(json.loads(body), f"http://{self.headers['Host']}")
        if match := re.match(r"/files/(?:[^/]*/)*?([^/]+)/file_stream$", self.path):
            self.fake.file_stream(match[1], json.loads(body))
            return {"exitcode": None, "limits": {}}
        if match := re.match(r"/upload/([^/]+)/(.+)$", self.path):
            self.fake.answers.run(match[1]).files[match[2]] = body
        elif match := re.match(r"/artifact-upload/(.+)$", self.path):
            self.fake.answers.blobs[match[1]] = body
        return {}  # telemetry and other requests


def read_chunks(stream: Any) -> bytes:
    """Read the body of a request with Transfer-Encoding: chunked."""
    body = b""
    while size := int(stream.readline().split(b";")[0] or b"0", 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body
