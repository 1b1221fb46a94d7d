"""The hub: what is in its cache here, and whether it would give the rest; no weights move."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adaptinf.errors import UserError
from adaptinf.models.loading import TINY, ModelSource
from stages.doctor.finding import first_line

TIMEOUT = 10.0
"""Seconds that the hub may take to answer."""


def is_offline() -> bool:
    """Whether the user wants nothing asked of the hub."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@contextmanager
def offline() -> Iterator[None]:
    """Inside, nothing is asked of the hub."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def cache() -> Path:
    """The folder that models of the hub come into."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def cached_folder(source: ModelSource) -> Path | None:
    """The folder in the cache that a model is in, if its configuration is.

    Raises:
        UserError: it has not the form of a name of the hub.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source.name, "config.json", revision=source.revision)
    except HFValidationError as error:
        raise UserError(
            "neither a folder that is there nor a name of the hub",
            where="model.name",
            seen=source.name,
            hint=f"give {TINY!r}, a folder with config.json and weights, or a hub id",
        ) from error
    return Path(found).parent if isinstance(found, str) else None


def refusal(source: ModelSource) -> tuple[str, str] | None:
    """Why the hub would not give a model, and what to do; asks for the head of one small file."""
    from huggingface_hub import errors, get_hf_file_metadata, get_token, hf_hub_url

    url = hf_hub_url(source.name, "config.json", revision=source.revision)
    try:
        get_hf_file_metadata(url, token=get_token(), timeout=TIMEOUT)
    except errors.GatedRepoError:
        return "the hub asks for consent first", "agree on its page, and set HF_TOKEN"
    except errors.RevisionNotFoundError:
        return f"the hub has no revision {source.revision!r}", "give another model.revision"
    except errors.RepositoryNotFoundError:
        return "the hub has no such model, or it is private", "look at the name; set HF_TOKEN"
    except errors.EntryNotFoundError:
        return "the hub has it without config.json", "choose a model in Transformers' format"
    except Exception as error:  # whatever a network, a proxy or a certificate may raise
        seen = f"the hub does not answer: {type(error).__name__}: {first_line(error)}"
        return seen, "look at the network and its proxy, or give the folder of the model"
    return None
