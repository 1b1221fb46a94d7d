"""Installation: three packages and config.py, flavours by hardware."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="adaptinf",
    version="0.1.0",
    description="Lifelong multimodal instruction tuning: select, train, measure what is forgotten",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["adaptinf*", "selection*", "stages*"]),
    py_modules=["config"],
    package_data={
        "adaptinf": ["py.typed"],
        "adaptinf.chat": ["page/*"],
        "adaptinf.evaluation": ["drops.json"],
        "adaptinf.models": ["tiny/*"],
        "adaptinf.report": ["templates/*"],
    },
    install_requires=[
        "torch>=2.6",
        "transformers>=5.23",
        "peft>=0.21",
        "accelerate>=1.10",
        "datasets>=4.0",
        "huggingface_hub>=2.0",
        "httpx2>=2.12",
        "safetensors",
        "numpy>=2.0",
        "pyarrow>=18",
        "scikit-learn>=1.5",
        "nltk>=3.9.1",
        "pillow>=11",
        "pydantic>=2.10",
        "pyyaml>=6.0",
        "typer>=0.26",
        "rich>=13.8",
        "jinja2>=3.1.6",
    ],
    extras_require={
        "cpu": ["faiss-cpu>=1.14", "deepspeed>=0.17"],
        "gpu": ["faiss-gpu-cu12>=1.14", "deepspeed>=0.17"],
        "quantize": ["bitsandbytes>=0.46.1"],
        # Some fifty requirements, pinned and conflicting ones among them: an environment of its own
        # is advised (docs/evaluation.md).
        "lmms": ["lmms-eval>=0.7"],
        # For pytest -m browser, beside a Chromium of the system.
        "browser": ["playwright>=1.65"],
        "test": [
            "bitsandbytes>=0.46.1",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "hypothesis>=6",
            "openai>=3.57",
            "pycocoevalcap>=1.2",
            "sacrebleu>=2.5",
            "ruff>=0.9",
            "mypy>=1.14",
            "types-PyYAML>=6.0.12",
        ],
    },
    entry_points={
        "console_scripts": [
            "run-lifelong=stages.cli:run_lifelong",
            "forgetting-report=stages.cli:forgetting_report",
            "download-datasets=stages.cli:download_datasets",
            "adaptinf=stages.cli:adaptinf",
        ]
    },
)
