from pathlib import Path

import pytest

from benchmarks.support.server_process import PeakMemory, ServerCommand, ServerProcess, parse_metrics

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc here")

STAND_IN = """
import http.server, sys, tempfile
port = int(sys.argv[sys.argv.index("--port") + 1])
held = [tempfile.TemporaryFile(), tempfile.NamedTemporaryFile()]
sys.stderr.write(" ".join(sys.argv[1:]))

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"# HELP a_total of it\\na_total{b=\\"c d\\"} 1.5\\na_total 2.0\\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

import signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerProcess:
    """A server that holds a file without a name and one with a name in its temporary folder."""
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "main.py").write_text(STAND_IN)
    monkeypatch.chdir(tmp_path)
    return ServerCommand("base", ["--beam_size", "1"], ["--keep_warm"]).start()


@needs_proc
def test_figures_of_a_server(process: ServerProcess) -> None:
    with process as server, PeakMemory(server) as peak:
        server.wait_for_uploads(1, timeout_s=30)
        figures = server.figures()
        assert server.metrics() == {"a_total": 3.5}
        assert server.cpu_s() > 0
        with pytest.raises(TimeoutError, match="1 uploads are open after"):
            server.wait_for_uploads(0, timeout_s=0.1)
    assert 0 < server.health_s <= server.ready_s
    assert (figures.n_files, figures.n_unlinked, figures.n_threads) == (1, 1, 1)
    assert figures.n_descriptors >= 5
    assert 5 < figures.memory_mb < 500
    assert peak.mb >= 5
    assert server.errors.startswith("serve --model base --port ")
    assert server.errors.endswith(" --beam_size 1 --keep_warm")


@needs_proc
def test_server_that_does_not_start_is_an_error(process: ServerProcess) -> None:
    Path("pipelines/main.py").write_text("raise SystemExit('no such model')")
    with pytest.raises(RuntimeError, match="no such model"), process:
        pass


def test_metrics_are_summed_over_labels() -> None:
    text = '# TYPE a counter\na{b="1"} 1.0\na{b="}2"} 2.5\nc_sum 4e2\nbad line here\n'
    assert parse_metrics(text) == {"a": 3.5, "c_sum": 400.0}
