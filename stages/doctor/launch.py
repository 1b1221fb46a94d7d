"""How processes are launched: what a launcher has set, the port they meet at, how they talk."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from adaptinf.distributed import Ranks
from config import Recipe
from stages.doctor.finding import Finding

_HERE = ("localhost", "127.0.0.1", "::1", socket.gethostname())
_TOLD = "start with torchrun, accelerate launch or deepspeed, or unset all of these variables"


def launch(recipe: Recipe | None = None) -> Iterator[Finding]:
    """Whether the environment is that of a whole launch, or of none."""
    try:
        ranks = Ranks.of_launch()
    except ValueError as error:
        yield Finding("launch", "fail", f"RANK or WORLD_SIZE is no number: {error}", _TOLD)
        return
    if ranks.size == 1:
        yield _alone()
        return
    if not 0 <= ranks.rank < ranks.size:
        seen = f"RANK is {ranks.rank}, and WORLD_SIZE {ranks.size}"
        yield Finding("launch", "fail", seen, _TOLD)
        return
    yield Finding("launch", "ok", f"rank {ranks.rank} of {ranks.size}")
    yield from _meeting(ranks)
    yield _backend()
    if recipe is not None and recipe.train.batch_size % ranks.size:
        seen = f"train.batch_size {recipe.train.batch_size} cannot be divided among {ranks.size}"
        todo = f"give a multiple of {ranks.size}"
        yield Finding("launch", "fail", seen, todo, ("train",))


def _alone() -> Finding:
    """A rank without the number of ranks: a launcher's variables that were set by half."""
    left = [name for name in ("RANK", "LOCAL_RANK") if os.environ.get(name, "0") != "0"]
    if left:
        seen = f"{left[0]} is {os.environ[left[0]]}, but there is no WORLD_SIZE above 1"
        return Finding("launch", "fail", seen, _TOLD)
    return Finding("launch", "ok", "one process")


def _meeting(ranks: Ranks) -> Iterator[Finding]:
    """Whether the leader can open the port where the others look for it.

    A launcher with a store of its own has it open already.
    """
    address, text = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    if not text.isdigit() or not 0 < int(text) < 65536:
        yield Finding("launch", "fail", f"MASTER_PORT is {text!r}", "give a free port, as 29500")
        return
    if not ranks.leads or address not in _HERE:
        return
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        return
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("", int(text)))
        except OSError as error:
            seen = f"port {text} cannot be opened: {error.strerror}"
            yield Finding("launch", "fail", seen, "set MASTER_PORT to a free port")


def _backend() -> Finding:
    import torch
    from torch import distributed

    if not distributed.is_available():
        return Finding("launch", "fail", "this build of torch has no distributed training")
    if torch.cuda.is_available():
        name, there = "nccl", distributed.is_nccl_available()
        cards, local = torch.cuda.device_count(), int(os.environ.get("LOCAL_RANK", "0"))
        if local >= cards:
            seen = f"LOCAL_RANK is {local}, and there are {cards} GPUs"
            return Finding("launch", "fail", seen, "start as many processes as there are GPUs")
    else:
        name, there = "gloo", distributed.is_gloo_available()
    if not there:
        return Finding("launch", "fail", f"this build of torch has no {name}")
    return Finding("launch", "ok", f"{name} between ranks")
