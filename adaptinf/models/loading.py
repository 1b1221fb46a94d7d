"""Load a model and its processor by name: the shipped tiny LLaVA, a hub id, or a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from adaptinf.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel, ProcessorMixin

    from config import Model

TINY = "tiny"


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What to load and how: ``dtype`` is a torch dtype's name or ``auto`` (as saved).

    ``quantize``: 4bit or 8bit, see ``adaptinf.models.quantization``.
    """

    name: str
    revision: str | None = None
    dtype: str = "auto"
    attention: str | None = None
    quantize: str | None = None

    @classmethod
    def of(cls, model: Model) -> ModelSource:
        """As a recipe has it."""
        return cls(model.name, model.revision, model.dtype, model.attention, model.quantize)

    @property
    def path(self) -> str:
        """Folder of the shipped model for ``tiny``, otherwise the name itself."""
        return str(Path(__file__).with_name(TINY)) if self.name == TINY else self.name

    @property
    def torch_dtype(self) -> str:
        """The tiny model is stored in half precision and computes in single."""
        return "float32" if self.name == TINY and self.dtype == "auto" else self.dtype


def load_processor(source: ModelSource) -> ProcessorMixin:
    """The processor (tokenizer, image processor, chat template) without any weights."""
    from transformers import AutoProcessor

    load_config(source)  # one file of the hub: where that is silent, it is asked for no other
    with _telling(source):
        processor = AutoProcessor.from_pretrained(source.path, **_asked(source))
    if getattr(processor, "chat_template", None) is None:
        raise UserError(
            "the model's processor has no chat template",
            where="model.name",
            seen=source.name,
            hint="choose an instruction-tuned image-text-to-text model",
        )
    return processor


def load_model(source: ModelSource) -> PreTrainedModel:
    """The model in evaluation mode on the best device that there is.

    Raises:
        UserError: it cannot be loaded, or not in so few bits.
    """
    import torch
    from transformers import AutoModelForImageTextToText

    extra: dict[str, Any] = {}
    if source.attention:
        extra["attn_implementation"] = source.attention
    if source.quantize:
        extra["quantization_config"] = _quantized(source)
    with _telling(source):
        model = AutoModelForImageTextToText.from_pretrained(
            source.path, dtype=source.torch_dtype, **_asked(source), **extra
        )
    if source.quantize:
        from adaptinf.models.quantization import keep_way_back

        keep_way_back(model)
        return model.eval()  # it is where it was quantised
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else "cpu"
    return model.to(device).eval()


def dtype_of(source: ModelSource, config: Any) -> torch.dtype:
    """Number type of the weights as they are loaded."""
    import torch

    if source.torch_dtype != "auto":
        return getattr(torch, source.torch_dtype)  # type: ignore[no-any-return]
    return config.dtype or config.get_text_config().dtype or torch.float32


def _quantized(source: ModelSource) -> BitsAndBytesConfig:
    from adaptinf.models.quantization import quantized

    config = load_config(source)
    return quantized(str(source.quantize), config, dtype_of(source, config))


def load_config(source: ModelSource) -> Any:
    """The model's configuration only; enough to count parameters and FLOPs."""
    from transformers import AutoConfig

    with _telling(source):
        return AutoConfig.from_pretrained(source.path, **_asked(source))


def model_fingerprint(source: ModelSource) -> str:
    """SHA-256 that names the weights: of the files in a folder, of id and commit for the hub.

    Of how they are loaded, too: number type, attention kernel, bits.
    """
    how = [source.torch_dtype, source.attention, *([source.quantize] if source.quantize else [])]
    state = hashlib.sha256("".join(f"{part}\n" for part in how).encode())
    folder = Path(source.path)
    if not folder.is_dir():
        state.update(f"{source.name}@{_hub_commit(source)}".encode())
        return state.hexdigest()
    for file in sorted(folder.glob("*")):
        if file.suffix in {".safetensors", ".json", ".jinja", ".model", ".txt"}:
            with file.open("rb") as stream:
                state.update(f"{file.name}\n".encode())
                state.update(hashlib.file_digest(stream, "sha256").digest())
    return state.hexdigest()


def _hub_commit(source: ModelSource) -> str:
    commit = getattr(load_config(source), "_commit_hash", None)
    return commit or source.revision or "main"


def _asked(source: ModelSource) -> dict[str, Any]:
    """Code that comes with a model is never run, nor is anybody asked whether it may."""
    return {"revision": source.revision, "trust_remote_code": False}


@contextmanager
def _telling(source: ModelSource) -> Iterator[None]:
    """Turns the many errors of a failed hub or folder load into one that says what to do."""
    from huggingface_hub.errors import StrictDataclassError

    if source.name.startswith((".", "/", "~")) and not Path(source.path).is_dir():
        raise UserError(
            "there is no such folder",
            where="model.name",
            seen=source.name,
            hint="give one with config.json and weights (adaptinf adapter import makes them of the"
            " authors' files), or a hub id",
        )
    odd = (KeyError, TypeError, AttributeError, StrictDataclassError)  # of a strange configuration
    try:
        yield
    except UnpicklingError as error:
        raise UserError(
            "the model's weights are a pickle that wants to run code, which is refused",
            where="model.name",
            seen=source.name,
            hint="take weights that are safetensors",
        ) from error
    except (OSError, ValueError, *odd) as error:
        raise UserError(
            f"the model cannot be loaded: {_first_line(error)}",
            where="model.name",
            seen=source.name,
            hint="give 'tiny', a folder with config.json and weights, or a hub id",
        ) from error
    except ImportError as error:
        # A model's processor may need a package that no other one does (SmolVLM: num2words).
        raise UserError(
            f"the model needs a package that is not installed: {_first_line(error)}",
            where="model.name",
            seen=source.name,
            hint="install it beside adaptinf, with pip",
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
