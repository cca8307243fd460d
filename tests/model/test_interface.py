import pickle
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

from model.config import MAX_TEXT_POSITIONS
from model.interface import TRANSCRIBE, DecodingOptions, ModelOptions, Request
from model.option_fields import option_fields


@pytest.mark.parametrize("kind", [ModelOptions, DecodingOptions])
def test_each_field_is_an_option_with_a_default_and_a_help_sentence(kind: type[object]) -> None:
    options = kind()
    assert [one.name for one in option_fields(options)] == [one.name for one in fields(options)]  # type: ignore[arg-type]
    for one in option_fields(options):
        assert one.metadata["help"]
        assert one.default == getattr(options, one.name)
    assert pickle.loads(pickle.dumps(options)) == options


def test_no_option_belongs_to_the_model_and_to_requests() -> None:
    names = [{one.name for one in option_fields(kind)} for kind in (ModelOptions, DecodingOptions)]
    assert not names[0] & names[1]


def test_half_of_the_positions_are_for_new_tokens() -> None:
    assert ModelOptions().max_new_tokens == MAX_TEXT_POSITIONS // 2


def test_a_request_is_transcribed_with_timestamps_by_default() -> None:
    request, options = Request(np.zeros(1, np.float32)), DecodingOptions()
    assert options.task is None  # what the checkpoint is configured for, else:
    assert (request.task, request.timestamps) == (TRANSCRIBE, options.return_timestamps)
    assert (request.word_timestamps, request.prompt, request.hotwords) == (options.word_timestamps, "", "")


def test_the_interface_needs_no_jax() -> None:
    program = "import sys, model.interface; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
