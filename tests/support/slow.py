"""A way to a server that takes as long as a test wants."""

import contextlib
import socket
import threading

BUFFER = 65536


class SlowWay:
    """Forwards every connection to a LiveKinto, `delay_s` after it was opened."""

    def __init__(self, server) -> None:
        self.server = server
        self.delay_s = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._acceptor.start()
        return self

    def __exit__(self, *_error) -> None:
        self._stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection) -> None:
        with connection, contextlib.suppress(OSError):
            if self._stopped.wait(self.delay_s):
                return
            with socket.create_connection(("127.0.0.1", self.server.port)) as there:
                back = threading.Thread(target=self._pump, args=(there, connection), daemon=True)
                back.start()
                self._pump(connection, there)
                back.join(5)

    def _pump(self, source, target) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(BUFFER):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
