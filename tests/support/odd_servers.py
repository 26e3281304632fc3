"""Servers on loopback that no HTTP client expects: one answers byte by byte, one speaks another protocol."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

HEADER = b"HTTP/1.1 200 OK\r\nX-Long: "


@contextmanager
def raw_server(answer: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Yield the URL of a server that calls `answer` with each connection and an event that ends it."""
    ended, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def handle(connection: socket.socket) -> None:
        with connection:
            try:
                answer(connection, ended)
            except OSError:
                return  # the client hung up

    def serve() -> None:
        while not ended.is_set():
            connection, _ = listener.accept()
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    ended.set()
    socket.create_connection(("127.0.0.1", port)).close()
    thread.join()
    listener.close()


def drip(connection: socket.socket, ended: threading.Event) -> None:
    """Send a header byte by byte, for ten seconds, then a good answer."""
    connection.recv(65536)
    connection.sendall(HEADER)
    for _ in range(100):
        if ended.wait(0.1):
            return
        connection.sendall(b"x")
    connection.sendall(b"\r\nContent-Length: 0\r\n\r\n")


def greet(connection: socket.socket, ended: threading.Event) -> None:
    """Answer as an SSH server does."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
    connection.recv(65536)
