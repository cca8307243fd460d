"""Identity of a run: what its transcripts depend on, its input, and the form of its files.

Runs that differ in what transcripts depend on (options, weights, version) never share a folder. A changed
input is no other run, nor is another form of the files: transcripts are taken from the commit log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipelines.flags import program_version
from pipelines.options import TranscribeOptions, shaping_options
from transforms.core.redaction import redact

SCHEMA_VERSION = 6  # version of the output files and of the commit log; a run of another one is not resumed

_FORM = ("format", "num_shards", "remove_unlisted")
"""Options that the files depend on, and transcripts do not."""

_KNOWN = {"digest": str, "options": dict, "inputs": str, "weights": str, "languages": list, "version": str}
"""Fields of the JSON object of a run's identity, with their types."""


@dataclass(frozen=True)
class ModelIdentity:
    """Identity of the model of a run.

    Attributes:
        weights: digest of its weights.
        languages: codes of its languages; only `en` for an English-only one.
    """

    weights: str
    languages: tuple[str, ...]


@dataclass(frozen=True)
class RunIdentity:
    """Identity of a run.

    Attributes:
        options: options that transcripts depend on, by name, without credentials.
        model: the model's weights and languages.
        version: version of the program.
        form: options that only the files depend on, by name.
        inputs: a hash of the listed input.
    """

    options: Mapping[str, Any]
    model: ModelIdentity
    version: str
    form: Mapping[str, Any]
    inputs: str

    @property
    def digest(self) -> str:
        """Hash of the identity: a finished run with the same one has nothing left to do."""
        return _hash([self.transcripts, dict(self.form), self.inputs])

    @property
    def transcripts(self) -> str:
        """Hash of what the transcript of a recording depends on."""
        return _hash([SCHEMA_VERSION, dict(self.options), self.model.weights, self.version])

    def to_json(self) -> dict[str, Any]:
        """Returns the identity as a JSON object."""
        return {
            "digest": self.digest,
            "schema_version": SCHEMA_VERSION,
            "version": self.version,
            "options": dict(self.options),
            "weights": self.model.weights,
            "languages": list(self.model.languages),
            "form": dict(self.form),
            "inputs": self.inputs,
        }


def identity_of(options: TranscribeOptions, model: ModelIdentity, inputs: Iterable[str]) -> RunIdentity:
    """Returns the identity of a run.

    Args:
        options: options of the run.
        model: identity of its model.
        inputs: a stable name of each recording or shard that was listed.
    """
    listed = hashlib.sha256("\n".join(sorted(inputs)).encode("utf-8", "surrogatepass")).hexdigest()
    public = public_options(options)
    form = {name: public[name] for name in _FORM} | {"format": sorted(set(public["format"]))}
    return RunIdentity(_as_json(shaping_options(public)), model, program_version(), _as_json(form), listed)


def public_options(options: TranscribeOptions) -> dict[str, Any]:
    """Returns the options by name, as JSON values without credentials."""
    return {option.name: _public(getattr(options, option.name)) for option in fields(options)}


def is_identity(found: Mapping[str, Any]) -> bool:
    """Whether a JSON object is an identity that `to_json` of this version or another one returned."""
    is_current = found.get("schema_version") == SCHEMA_VERSION
    needed = _KNOWN if is_current else ("digest", "options", "inputs")
    return all(isinstance(found.get(name), _KNOWN[name]) for name in needed)


def difference(found: Mapping[str, Any], identity: RunIdentity) -> str | None:
    """Describes another run; None if its transcripts are those of this one, whatever its input and form.

    Args:
        found: the JSON object of a run's identity.
        identity: identity of this run.
    """
    version = found.get("schema_version")
    if version != SCHEMA_VERSION:
        age = "a later" if isinstance(version, int) and version > SCHEMA_VERSION else "an earlier"
        schema = "" if version is None else f" (schema {version})"
        return f"a run of {age} version of whisper-beam{schema}, which this version cannot resume"
    if found["version"] != identity.version:
        return f"a run of whisper-beam {found['version']}, which {identity.version} cannot resume"
    before = found["options"]
    for name, now in identity.options.items():
        if before.get(name) != now:
            return f"another run (with --{name} {_format(before.get(name))}, not {_format(now)})"
    if before.keys() != identity.options.keys():
        return "a run of another version of whisper-beam, which this version cannot resume"
    if found["weights"] != identity.model.weights:
        model = identity.options.get("model")
        return f"another run (whose weights of {model} differ from those of now)"
    return None


def _format(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _public(value: Any) -> Any:  # noqa: ANN401  # of whatever type the option is
    if isinstance(value, tuple):
        return [_public(one) for one in value]
    return redact(value) if isinstance(value, str) and "://" in value else value


def _as_json(options: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(dict(options)))
    return result


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
