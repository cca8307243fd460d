"""Tiny random copies of published Whisper checkpoints: their token ids and configs, with other weights.

Nothing is stored: weights come from a seed, by `numpy.random.RandomState`, whose streams never change. The
ids that transformers writes with each are in `tests/model/layout_ids.json`, which
`tests/support/layout_ids.py` makes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from model.languages import LANGUAGES

D_MODEL, N_HEADS, D_MLP = 32, 2, 64
N_WINDOWS, MAX_NEW_TOKENS = 24, 40
N_TIMESTAMPS = 1501
TEXT_SCALE, END_SCALE, ADDED_SCALE, AUDIO_GAIN, POSITION_SCALE = 0.53, 2.0, 2.6, 2.0, 4.0
"""So that times and the end are written now and then, and texts differ between windows."""

Json = dict[str, Any]
Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Layout:
    """The facts of a checkpoint that its ids depend on.

    Attributes:
        seed: of the weights.
        n_text: tokens of text, before the end of text.
        n_languages: tokens of languages, in the order of `LANGUAGES`.
        n_mels: mel bands.
        decoder_layers: layers of the decoder.
        english_only: whether the vocabulary is GPT-2's, and languages and tasks are not used.
        behind: tokens behind the timestamps; whether each is special.
        n_padding: rows of the embedding without a token.
        is_tied: whether the embedding is the projection, too.
        has_generation: whether there is a `generation_config.json`.
        generation: values that are changed in it; None removes one.
        config: values that are added to `config.json`.
        language: the language that the configs name.
        task: the task that they name.
    """

    seed: int
    n_text: int = 50_257
    n_languages: int = 99
    n_mels: int = 80
    decoder_layers: int = 2
    english_only: bool = False
    behind: Mapping[str, bool] = field(default_factory=dict)
    n_padding: int = 0
    is_tied: bool = True
    has_generation: bool = True
    generation: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    language: str | None = None
    task: str | None = None

    def id_of(self, name: str) -> int:
        """Returns the id of a special token, as Whisper's vocabularies order them."""
        return self.n_text + self._special_names().index(name)

    @property
    def timestamp_begin(self) -> int:
        """Id of the timestamp 0.00 s."""
        return self.id_of("notimestamps") + 1

    @property
    def n_tokens(self) -> int:
        """Number of ids with a token."""
        return self.timestamp_begin + N_TIMESTAMPS + len(self.behind)

    def _special_names(self) -> list[str]:
        tasks = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
        return ["endoftext", "startoftranscript", *list(LANGUAGES)[: self.n_languages], *tasks]

    def tokenizer(self) -> Tokenizer:
        """Returns bytes, filler, and the special tokens; in GPT-2's order where it is English-only."""
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        merged = ["\u0120the", "\u0120th"] if self.english_only else ["\u0120th", "\u0120the"]
        names = [*alphabet, *merged]
        names += [f"filler{i}" for i in range(self.n_text - len(names))]
        tokenizer = Tokenizer(BPE({name: i for i, name in enumerate(names)}, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        specials = [AddedToken(f"<|{name}|>", special=True) for name in self._special_names()]
        tokenizer.add_special_tokens(specials)
        tokenizer.add_tokens([f"<|{i * 0.02:.2f}|>" for i in range(N_TIMESTAMPS)])
        for name, is_special in self.behind.items():
            token = AddedToken(name, special=is_special)
            _ = tokenizer.add_special_tokens([token]) if is_special else tokenizer.add_tokens([token])
        return tokenizer

    def config_json(self) -> Json:
        """Returns the content of `config.json`."""
        end = self.id_of("endoftext")
        return {
            "model_type": "whisper",
            "architectures": ["WhisperForConditionalGeneration"],
            "num_mel_bins": self.n_mels,
            "d_model": D_MODEL,
            "encoder_ffn_dim": D_MLP,
            "decoder_ffn_dim": D_MLP,
            "encoder_layers": 1,
            "decoder_layers": self.decoder_layers,
            "encoder_attention_heads": N_HEADS,
            "decoder_attention_heads": N_HEADS,
            "vocab_size": self.n_tokens + self.n_padding,
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
            "decoder_start_token_id": self.id_of("startoftranscript"),
            "begin_suppress_tokens": [220, end],
            "tie_word_embeddings": self.is_tied,
            **self.config,
        }

    def generation_json(self) -> Json:
        """Returns the content of `generation_config.json`, also where the checkpoint has none."""
        end, transcribe = self.id_of("endoftext"), self.id_of("transcribe")
        values: Json = {
            "bos_token_id": end,
            "eos_token_id": end,
            "pad_token_id": end,
            "decoder_start_token_id": self.id_of("startoftranscript"),
            "is_multilingual": not self.english_only,
            "max_initial_timestamp_index": 50,
            "max_length": 448,
            "no_timestamps_token_id": self.id_of("notimestamps"),
            "prev_sot_token_id": self.id_of("startofprev"),
            "begin_suppress_tokens": [220, end],
            "suppress_tokens": [1, 2, 7, 8, 9, 10, 14, *self.never()],
        }
        if not self.english_only:
            codes = list(LANGUAGES)[: self.n_languages]
            values["lang_to_id"] = {f"<|{code}|>": self.id_of(code) for code in codes}
            values["task_to_id"] = {"transcribe": transcribe, "translate": self.id_of("translate")}
            values["forced_decoder_ids"] = [[1, None], [2, transcribe]]
        changed = values | dict(self.generation)
        return {name: value for name, value in changed.items() if value is not None}

    def never(self) -> list[int]:
        """Returns the special tokens that openai/whisper never writes."""
        names = ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev", "nospeech")
        return [self.id_of(name) for name in names]

    def padding(self) -> list[int]:
        """Returns the ids without a token."""
        return list(range(self.n_tokens, self.n_tokens + self.n_padding))


_TOKENS_OF_DISFLUENCIES = {"[UH]": False, "[UM]": False, "<|speaker|>": True}
_V3 = {"n_languages": 100, "n_mels": 128}
_SMALL = 3_000

LAYOUTS: Mapping[str, Layout] = {
    "large-v1": Layout(1),
    "large-v2": Layout(2),
    "large-v3": Layout(103, **_V3),
    "large-v3-turbo": Layout(304, **_V3, decoder_layers=1),
    "distil-large-v3": Layout(5, **_V3, generation={"alignment_heads": [[7, 0], [10, 17]]}),
    "kotoba-whisper-v2.0": Layout(106, **_V3, generation={"forced_decoder_ids": None, "task": "transcribe"}),
    "CrisperWhisper": Layout(907, **_V3, generation={"alignment_heads": [[0, 1]], "median_filter_width": 3}),
    "tiny.en": Layout(608, n_text=50_256, english_only=True),
    "tiny.en, a token added": Layout(109, n_text=50_256, english_only=True, behind={"[UH]": False}),
    "tiny.en, no generation config": Layout(
        610, n_text=50_256, english_only=True, behind={"[UH]": False}, has_generation=False
    ),
    "tokens added": Layout(121, behind=_TOKENS_OF_DISFLUENCIES),
    "padded": Layout(112, behind={"[UH]": False}, n_padding=38),
    "pruned": Layout(113, n_text=_SMALL),
    "pruned, no generation config": Layout(14, n_text=_SMALL, has_generation=False),
    "no generation config": Layout(115, has_generation=False),
    "untied": Layout(316, is_tied=False),
    "forced language and task": Layout(
        517, generation={"language": "<|ru|>", "task": "translate"}, language="ru", task="translate"
    ),
    "forced ids": Layout(
        318,
        n_text=_SMALL,
        has_generation=False,
        config={"forced_decoder_ids": [[1, _SMALL + 4], [2, _SMALL + 2 + 99 + 1]]},  # German, transcribe
        generation={"forced_decoder_ids": [[1, _SMALL + 4], [2, _SMALL + 2 + 99 + 1]]},
        language="de",
        task="transcribe",
    ),
    "one language": Layout(119, n_text=_SMALL, generation={"lang_to_id": {"<|ru|>": _SMALL + 2 + 4}}),
    "nothing suppressed": Layout(20, n_text=_SMALL, generation={"suppress_tokens": []}),
}


def save_layout(layout: Layout, folder: Path) -> Path:
    """Writes a checkpoint of a layout, as transformers does."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(random_weights(layout), folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(layout.config_json()))
    if layout.has_generation:
        (folder / "generation_config.json").write_text(json.dumps(layout.generation_json()))
    layout.tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def windows() -> list[NDArray[np.float32]]:
    """Returns windows of 6 s, which differ in their tones, for a network of random weights to tell apart."""
    random, time = np.random.RandomState(99), np.arange(96_000) / 16_000
    made = []
    for _ in range(N_WINDOWS):
        tones = [
            amplitude * np.sin(2 * np.pi * (pitch * time + phase)) * (time % period < period / 2)
            for amplitude, pitch, phase, period in zip(
                random.uniform(0.02, 0.3, 4),
                random.uniform(80, 6_000, 4),
                random.uniform(0, 1, 4),
                random.uniform(0.1, 8, 4),
                strict=True,
            )
        ]
        hiss = random.standard_normal(96_000) * random.uniform(0.0001, 0.02)
        made.append((sum(tones) + hiss).astype(np.float32))
    return made


def random_weights(layout: Layout) -> Weights:
    """Returns random weights under their names in transformers."""
    random = np.random.RandomState(layout.seed)

    def normal(scale: float, *shape: int) -> NDArray[np.float32]:
        return (random.standard_normal(shape) * scale).astype(np.float32)

    n_vocab = layout.n_tokens + layout.n_padding

    def table() -> NDArray[np.float32]:
        rows = normal(1, n_vocab, D_MODEL)
        rows *= TEXT_SCALE * np.float32(np.sqrt(D_MODEL)) / np.linalg.norm(rows, axis=1, keepdims=True)
        rows[layout.id_of("endoftext")] *= END_SCALE
        rows[layout.timestamp_begin + N_TIMESTAMPS :] *= ADDED_SCALE
        return rows

    embedding = table()
    weights = {
        "model.encoder.conv1.weight": normal(0.1, D_MODEL, layout.n_mels, 3),
        "model.encoder.conv1.bias": normal(0.1, D_MODEL),
        "model.encoder.conv2.weight": normal(0.2, D_MODEL, D_MODEL, 3),
        "model.encoder.conv2.bias": normal(0.1, D_MODEL),
        "model.encoder.embed_positions.weight": normal(0.1, 1500, D_MODEL),
        "model.decoder.embed_positions.weight": normal(POSITION_SCALE, 448, D_MODEL),
        "model.decoder.embed_tokens.weight": embedding,
    }
    if not layout.is_tied:
        weights["proj_out.weight"] = table()
    for side, n_layers in (("encoder", 1), ("decoder", layout.decoder_layers)):
        attentions: Sequence[str] = ["self_attn"] if side == "encoder" else ["self_attn", "encoder_attn"]
        for layer in (f"layers.{i}." for i in range(n_layers)):
            for norm in [*attentions, "final"]:
                _add_norm(weights, f"model.{side}.{layer}{norm}_layer_norm", normal)
            for name in attentions:
                for projection in ("q_proj", "k_proj", "v_proj", "out_proj"):
                    _add_linear(weights, f"model.{side}.{layer}{name}.{projection}", D_MODEL, D_MODEL, normal)
            if side == "decoder":
                weights[f"model.{side}.{layer}encoder_attn.out_proj.weight"] *= AUDIO_GAIN
            _add_linear(weights, f"model.{side}.{layer}fc1", D_MLP, D_MODEL, normal)
            _add_linear(weights, f"model.{side}.{layer}fc2", D_MODEL, D_MLP, normal)
        _add_norm(weights, f"model.{side}.layer_norm", normal)
    return weights


def _add_norm(weights: Weights, name: str, normal: Any) -> None:  # noqa: ANN401
    weights[f"{name}.weight"] = 1 + normal(0.1, D_MODEL)
    weights[f"{name}.bias"] = normal(0.1, D_MODEL)


def _add_linear(weights: Weights, name: str, outputs: int, inputs: int, normal: Any) -> None:  # noqa: ANN401
    weights[f"{name}.weight"] = normal(1.5 / np.sqrt(inputs), outputs, inputs)
    if not name.endswith("k_proj"):
        weights[f"{name}.bias"] = normal(0.1, outputs)
