"""LoRA adapters of PEFT: `adapter_config.json`, and a small file of weights, merged with those of a base.

LoRA (Hu et al., 2021): W + s B A, where s is alpha / r, or alpha / sqrt(r) with rank-stabilised LoRA
(Kalajdzievski, 2023). DoRA (Liu et al., 2024) scales each output of that to a length that was learnt. Source:
`peft/tuners/lora` of huggingface/peft.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from model.formats.contents import ModelFiles, Weights, read_json, tokenizer_files
from model.formats.huggingface import EMBEDDING, PROJECTION, network_layout, network_name
from model.formats.mapped_file import FormatError
from model.formats.pytorch import open_torch, state_dict, tensors

CONFIG_FILE = "adapter_config.json"
_WEIGHT_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_PREFIX = "base_model.model."
_EMBEDDING = f"{_PREFIX}model.decoder.embed_tokens"
# The name of a module, and which part of its change a tensor is.
_PART = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_[AB]"
    r"|lora_magnitude_vector(?:\.weight)?)"
)
_PLAIN_INIT = (True, False, None, "gaussian", "eva", "orthogonal")  # others change the weights of the base
_NOT_READ = (
    "layer_replication", "target_parameters", "trainable_token_indices", "alora_invocation_tokens",
    "use_qalora", "use_bdlora", "arrow_config", "velora_config", "megatron_config",
)  # fmt: skip
Array = NDArray[np.generic]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class _Adapter:
    """The content of an adapter.

    Attributes:
        config: content of its `adapter_config.json`.
        replaced: weights that take the place of the base's, by names in `model.network`.
        changes: parts of the changes of weights, by names of modules in transformers.
    """

    config: Mapping[str, Any]
    replaced: dict[str, Array] = field(default_factory=dict)
    changes: dict[str, dict[str, Array]] = field(default_factory=dict)


def base_name(folder: Path) -> str:
    """Returns the name or folder of the model that an adapter changes.

    Raises:
        FormatError: its config does not name one, or is of a kind of adapter that is not read.
    """
    config = read_json(folder / CONFIG_FILE)
    if config.get("peft_type") != "LORA":
        raise FormatError(
            f"{folder} is an adapter of the type {config.get('peft_type')!r:.100}; only LORA is read"
        )
    if unread := [name for name in _NOT_READ if config.get(name)]:
        raise FormatError(
            f"{folder} is an adapter with {', '.join(unread)}, which is not read: merge it with PEFT"
        )
    if config.get("init_lora_weights") not in _PLAIN_INIT:
        raise FormatError(
            f"{folder} is an adapter of a base that its init_lora_weights "
            f"({config['init_lora_weights']!r:.100}) changed: merge it with PEFT"
        )
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise FormatError(
            f"{folder / CONFIG_FILE} does not name its base: write base_model_name_or_path there"
        )
    return name


def open_adapter(folder: Path, base: ModelFiles) -> ModelFiles:
    """Returns the base with the adapter merged into it.

    Raises:
        FormatError: damage, or an adapter that does not fit the base.
    """
    file = next((folder / name for name in _WEIGHT_FILES if (folder / name).is_file()), None)
    if file is None:
        raise FormatError(f"{folder} has neither {' nor '.join(_WEIGHT_FILES)}")
    config = read_json(folder / CONFIG_FILE)
    _scaling(config, "", 1)  # its numbers are checked before anything is loaded
    try:
        names = _names(file)
        has_projection = (
            base.config.has_projection
            or any(name.startswith(f"{_PREFIX}proj_out.") for name in names)
            or _changes_embedding_alone(names, config)
        )
    except SafetensorError as error:
        raise FormatError(f"{file} cannot be read: {error}") from error
    return replace(
        base,
        config=replace(base.config, has_projection=has_projection),
        weight_files=(*base.weight_files, file, folder / CONFIG_FILE),
        tokenizer=tokenizer_files(folder) or base.tokenizer,
        read_weights=lambda: _merged(
            base, _read(config, _tensors(file)), unties=has_projection and not base.config.has_projection
        ),
    )


def _names(file: Path) -> list[str]:
    if file.suffix == ".bin":
        return list(state_dict(open_torch(file).content))
    with safe_open(file, framework="numpy") as stored:
        return list(stored.keys())


def _changes_embedding_alone(names: Collection[str], config: Mapping[str, Any]) -> bool:
    """Whether an adapter changes the embedding, and leaves the projection as its base has it.

    PEFT computes so, although both are one table in the base. Its merge adds the change of LoRA to both, so
    that the merged model is another one than was trained; of `modules_to_save` it keeps them apart. A whole
    embedding that is saved for other reasons takes the place of both.
    """
    if any(name.startswith(f"{_EMBEDDING}.lora_") for name in names):
        return True
    modules = config.get("modules_to_save") or []
    if not isinstance(modules, list):
        raise FormatError(f"the modules_to_save of its adapter is a {type(modules).__name__}")
    saved = [str(module).rpartition(".")[2] for module in modules]
    return (
        "embed_tokens" in saved and f"{_EMBEDDING}.weight" in names and not config.get("ensure_weight_tying")
    )


def _tensors(file: Path) -> Iterator[tuple[str, Array]]:
    if file.suffix == ".bin":
        opened = open_torch(file)
        yield from tensors(opened, opened.content)
        return
    with safe_open(file, framework="numpy") as stored:
        for name in stored.keys():  # noqa: SIM118  the reader is not a mapping
            yield name, stored.get_tensor(name)


def _read(config: Mapping[str, Any], arrays: Iterable[tuple[str, Array]]) -> _Adapter:
    adapter = _Adapter(config)
    for name, array in arrays:
        if not name.startswith(_PREFIX):
            raise FormatError(
                f"its adapter has a weight {name!r:.200}, whose name does not begin with {_PREFIX}"
            )
        name = name.removeprefix(_PREFIX)
        if match := _PART.fullmatch(name):
            part = match["part"].removesuffix(".weight")
            adapter.changes.setdefault(match["module"], {})[part] = array
        else:  # as a whole: of `modules_to_save`, and of a layer whose bias was trained
            ours = network_name(name.replace(".base_layer.", ".").replace(".modules_to_save.", "."))
            adapter.replaced[ours] = network_layout(ours, array)
    return adapter


def _merged(base: ModelFiles, adapter: _Adapter, *, unties: bool) -> Weights:
    """Yields the weights of a base with the changes; `unties` if they make a projection of its own."""
    kernels = {network_name(f"{module}.weight"): module for module in adapter.changes}
    biases = {
        network_name(f"{module}.bias"): module
        for module, parts in adapter.changes.items()
        if "lora_B.bias" in parts
    }
    if (
        unties and EMBEDDING in kernels and EMBEDDING in adapter.replaced
    ):  # the table of both, before the change
        adapter.replaced.setdefault(PROJECTION, adapter.replaced[EMBEDDING])
    unused = {*adapter.replaced, *kernels, *biases}
    for name, weight in _with_projection(base) if unties else base.read_weights():
        unused.discard(name)
        if name in adapter.replaced:
            if adapter.replaced[name].shape != weight.shape:
                raise FormatError(f"its adapter has another shape of {name} than its base")
            weight = adapter.replaced[name]
        with np.errstate(all="ignore"):  # of damaged numbers
            if name in kernels:
                weight = _changed(weight, name, kernels[name], adapter)
            if name in biases:
                weight = _changed_bias(weight, name, biases[name], adapter)
        yield name, weight
    if unused:
        raise FormatError(
            f"its adapter changes {', '.join(sorted(unused)[:3])}, which its base does not have"
        )


def _with_projection(base: ModelFiles) -> Weights:
    """Yields the weights of a base, with its embedding as the projection, too."""
    for name, weight in base.read_weights():
        yield name, weight
        if name == EMBEDDING:
            yield PROJECTION, weight


def _changed_bias(weight: Array, name: str, module: str, adapter: _Adapter) -> Array:
    parts = adapter.changes[module]
    factor = _scaling(adapter.config, module, len(parts["lora_A"]) if "lora_A" in parts else 0)
    return _sum(weight, factor * _wide(parts["lora_B.bias"]), name)


def _changed(weight: Array, name: str, module: str, adapter: _Adapter) -> Array:
    """Returns a kernel or embedding of the base with its change."""
    parts = dict(adapter.changes[module])
    parts.pop("lora_B.bias", None)
    magnitude = parts.pop("lora_magnitude_vector", None)
    if parts.keys() == {"lora_A", "lora_B"}:
        a, b = _wide(parts["lora_A"]), _wide(parts["lora_B"])
        product = _product(b[..., 0] if b.ndim == 3 else b, a, weight.size, module)
        change = _wide(network_layout(name, product))
    elif parts.keys() == {"lora_embedding_A", "lora_embedding_B"}:
        a, b = _wide(parts["lora_embedding_A"]), _wide(parts["lora_embedding_B"])
        change = _product(b, a, weight.size, module).T
    else:
        raise FormatError(f"its adapter lacks a matrix of {module!r:.200}")
    merged = _sum(weight, _scaling(adapter.config, module, len(a)) * change, name)
    if magnitude is None:
        return merged
    if a.ndim != 2 or "lora_A" not in parts or magnitude.shape != merged.shape[1:]:
        raise FormatError(f"its adapter changes {module!r:.200} by DoRA, which is read of linear layers only")
    lengths = np.sqrt(np.square(merged).sum(axis=0))
    return np.asarray(merged * (_wide(magnitude) / lengths), np.float32)


def _product(b: Floats, a: Floats, size: int, module: str) -> Floats:
    """Returns B A for B [outputs, r] and A [r, inputs] or, of a convolution, [r, inputs, width]."""
    fits = b.ndim == 2 and a.ndim in (2, 3) and b.shape[1] == len(a)
    if not fits or len(b) * math.prod(a.shape[1:]) != size:  # of long vectors the product has no bounds
        raise FormatError(f"its adapter has matrices of {module!r:.200} of shapes {a.shape} and {b.shape}")
    return np.asarray(np.tensordot(b, a, 1), np.float32)


def _sum(weight: Array, change: Floats, name: str) -> Floats:
    if weight.shape != change.shape:
        raise FormatError(f"its adapter changes {name} of shape {weight.shape} by the shape {change.shape}")
    return np.asarray(_wide(weight) + change, np.float32)


def _wide(array: Array) -> Floats:
    return np.asarray(array, np.float32)


def _scaling(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Returns the factor of B A for a module, by its rank."""
    alpha = config.get("lora_alpha")
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise FormatError(f"the alpha_pattern of its adapter is a {type(patterns).__name__}")
    for pattern, value in reversed(patterns.items()):  # the first that fits counts
        # PEFT has regular expressions here; a hostile one could take forever.
        if not re.fullmatch(r"\^?[\w.]+", pattern):
            raise FormatError(
                f"the alpha_pattern of its adapter has the expression {pattern!r:.100}, which is not read"
            )
        own = pattern.removeprefix("^")
        if module == own or (own == pattern and module.endswith(f".{own}")):
            alpha = value
    if not isinstance(alpha, int | float) or not math.isfinite(alpha) or rank < 1:
        raise FormatError(f"its adapter has lora_alpha {alpha!r:.100} and rank {rank}")
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))
