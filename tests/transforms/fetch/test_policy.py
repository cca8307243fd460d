import pickle

from model.option_fields import option_fields, select_options
from pipelines.options import TranscribeOptions
from transforms.fetch.policy import DEFAULT_POLICY, FetchOptions, FetchPolicy, Limits


def test_the_default_policy_fetches_from_public_hosts_alone() -> None:
    assert FetchPolicy(allow_private_hosts=False, trust_manifests=False, limits=Limits()) == DEFAULT_POLICY
    assert pickle.loads(pickle.dumps(DEFAULT_POLICY)) == DEFAULT_POLICY


def test_limits_are_no_options() -> None:
    assert option_fields(FetchPolicy) == option_fields(FetchOptions)
    assert all(not one.metadata["shapes_output"] for one in option_fields(FetchPolicy))


def test_a_run_has_the_options_of_its_policy() -> None:
    options = TranscribeOptions(input=("a.wav",), output="out", fetch_timeout_s=60, trust_manifests=True)
    assert select_options(options, FetchPolicy) == FetchPolicy(fetch_timeout_s=60, trust_manifests=True)
    assert select_options(TranscribeOptions(input=("a.wav",), output="out"), FetchPolicy) == DEFAULT_POLICY


def test_an_attempt_has_time_before_its_download_is_given_up() -> None:
    limits = Limits()
    assert limits.connect_s + limits.read_s < limits.give_up_s < DEFAULT_POLICY.fetch_timeout_s
    assert limits.bytes_each <= limits.bytes_total
