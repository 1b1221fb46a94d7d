"""Every setting there is: typed, documented, checked. A recipe is one YAML file of these sections.

Imports no torch and no numpy, so that ``--help`` answers, and a mistake is told, at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Strict,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from adaptinf.errors import UserError, suggestion
from adaptinf.recipe_file import NameIn, RecipeFile
from adaptinf.routes import LAYERS, LORA_ROUTES, OWNERS, UNMERGEABLE, Placement


def _number(value: object) -> object:
    """The number in a text such as ``2e-4``, which YAML 1.1 takes for text for want of a dot."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


NEWER = "newer than the first release"
"""Marks a setting whose default means what releases without it did: ``Annotated[Flag, NEWER]``.
So their runs still go on."""

Flag: TypeAlias = Annotated[bool, Strict()]
Natural: TypeAlias = Annotated[int, Strict(), Ge(0)]
Count: TypeAlias = Annotated[int, Strict(), Ge(1)]
Real: TypeAlias = Annotated[float, Strict(), Field(allow_inf_nan=False), BeforeValidator(_number)]
NonNegative: TypeAlias = Annotated[Real, Ge(0)]
Positive: TypeAlias = Annotated[Real, Gt(0)]
Share: TypeAlias = Annotated[Real, Ge(0), Le(1)]
Method: TypeAlias = Annotated[str, AfterValidator(NameIn("selection.names", "METHODS"))]
Score: TypeAlias = Annotated[str, AfterValidator(NameIn("selection.names", "SCORES"))]
Route: TypeAlias = Annotated[str, AfterValidator(NameIn("adaptinf.routes", "ROUTES"))]
Layer: TypeAlias = Literal["first", "middle", "last"] | Natural | Share
PlacementName: TypeAlias = Annotated[str, AfterValidator(NameIn("adaptinf.routes", "PLACEMENTS"))]
Scheduler: TypeAlias = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
    "warmup_stable_decay",
]


_Loc: TypeAlias = tuple[int | str, ...]


def _told(what: str) -> PydanticCustomError:
    """A mistake that is told in these words."""
    return PydanticCustomError("told", "{what}", {"what": what})


def _refuse(faults: Mapping[_Loc, str]) -> None:
    """Raise all of these mistakes, by their places below the setting that is checked."""
    if faults:
        details: list[InitErrorDetails] = [
            {"type": _told(what), "loc": loc, "input": None} for loc, what in faults.items()
        ]
        raise ValidationError.from_exception_data("recipe", details)


def _tag(value: object) -> str:
    """Which kind of value a setting has that is a name, a list or nothing."""
    return "list" if isinstance(value, list | tuple) else "none" if value is None else "name"


class Section(BaseModel):
    """A part of the recipe: never changes once made, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def lasting(self) -> dict[str, Any]:
        """The settings as JSON, as a stage's fingerprint tells them in every release.

        Those marked ``NEWER`` are left out where they have their default.
        """
        told = self.model_dump(mode="json")
        for name, field in type(self).model_fields.items():
            if NEWER in field.metadata and getattr(self, name) == field.default:
                del told[name]
        return told


class Data(Section):
    """Where the datasets lie and how their rows are read."""

    root: str | None = None
    """Folder of the datasets, relative to the working directory, or 'embedded' for the small world
    that is shipped; null: the environment variable ADAPTINF_DATA_ROOT, else 'embedded', or the
    recipe's own folder when every task is a file of one's own."""
    max_length: Count | None = None
    """Longest row in tokens, those of images included; null: what the model can read."""
    workers: Natural = 0
    """Processes that load rows; their number changes no result."""
    overlap: bool = True
    """Count what new rows share with the benchmarks and with earlier datasets."""
    strict: bool = False
    """Stop at the first row that cannot be used, instead of leaving it out and counting it."""
    licences: Annotated[Literal["any", "commercial"] | tuple[str, ...], NEWER] = "any"
    """Licences of rows that may be trained on: any, those that allow commercial use, or a list of
    SPDX names, among which unknown stands for rows of no licence."""
    withdrawn: Annotated[Path | None, NEWER] = None
    """File of uids, one a line, of rows that no step may hold; relative to the working
    directory."""

    @field_validator("licences")
    @classmethod
    def _some_licence_is_let_in(cls, licences: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not licences or not all(name.strip() for name in licences):
            raise _told("names no licence; give any, commercial or SPDX names such as CC-BY-4.0")
        return licences

    @property
    def folder(self) -> Path | None:
        """Folder of the datasets, or None for the embedded world."""
        root = self.root or os.environ.get("ADAPTINF_DATA_ROOT") or "embedded"
        return None if root == "embedded" else Path(root).expanduser()


class Model(Section):
    """The vision-language model that is adapted from task to task."""

    name: str = "tiny"
    """'tiny' (shipped), a hub id, or a folder of any Hugging Face image-text-to-text model."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number type of the frozen weights; auto: as they are stored."""
    attention: str | None = None
    """attn_implementation of Transformers; null: its own choice."""
    quantize: Literal["4bit", "8bit"] | None = None
    """Bits that the frozen weights of the text layers are kept in, by bitsandbytes: 4bit (NF4,
    computed in dtype), 8bit; null: as they are."""


class Columns(Section):
    """Names that a table of one's own has for what a row consists of."""

    id: str | None = None
    """The row's own id; null: its number."""
    image: str | None = None
    """A path, a list of paths, or images inside the table; null: text only."""
    question: str | None = None
    """What is asked; images stand before it where it has no <image> marks."""
    answer: str | None = None
    """What is to be answered."""
    conversations: str | None = None
    """A list of turns, instead of question and answer."""
    task: str | None = None
    """A label of the row's task."""
    skill: str | None = None
    """A label of the row's skill."""
    licence: str | None = None
    """The row's own licence, by its SPDX name."""
    source: str | None = None
    """Where the row comes from."""

    @model_validator(mode="after")
    def _is_conversation(self) -> Self:
        asks = self.question is not None and self.answer is not None
        if asks == (self.conversations is not None):
            _refuse({(): "needs question and answer, or else conversations"})
        if not asks and (self.question or self.answer):
            _refuse({(): "question and answer go together, and not with conversations"})
        return self

    @property
    def given(self) -> dict[str, str]:
        """Those that are given: our name, its name."""
        return {ours: theirs for ours, theirs in self if theirs is not None}


class Task(Section):
    """One dataset of the stream. Tasks are learned in the order of the recipe, one per step."""

    dataset: str
    """A registered name such as llava, or a path relative to the recipe."""
    name: str | None = None
    """Name of the task; null: taken from the dataset."""
    format: str | None = None
    """Reader of the files; null: found by looking at them."""
    columns: Columns | None = None
    """Columns of a table of one's own; null: those of LLaVA."""
    images: Path | None = None
    """Folder that image paths start from; null: ADAPTINF_IMAGES_NAME for a task of that name (as in
    ADAPTINF_IMAGES_LLAVA), else beside the dataset."""
    licence: str | None = None
    """Licence of the rows that tell none of their own, by its SPDX name; null: what is known of the
    dataset."""
    limit: Count | None = None
    """Read only so many rows; null: all."""

    @property
    def image_folder(self) -> Path | None:
        """The folder of images that is given here or by the environment."""
        name = "ADAPTINF_IMAGES_" + re.sub(r"\W", "_", self.label).upper()
        return self.images or (Path(os.environ[name]) if os.environ.get(name) else None)

    @property
    def label(self) -> str:
        """Name of the task where it names files: letters, digits, ``_``, ``.`` and ``-`` only."""
        path = Path(self.dataset)
        stem = path.stem if path.suffix in {".json", ".jsonl", ".parquet"} else path.name
        return re.sub(r"[^A-Za-z0-9_.-]+", "-", self.name or stem).strip("-.")


class Embeddings(Section):
    """Mean states that stand for a row."""

    tokens: Literal["answer", "text", "image"] = "answer"
    """Tokens that are averaged over: those that predict the answer, all text, or the images'."""
    layer: Layer = "last"
    """Layer that gives the states; last: those that logits are made from."""


class Featurize(Section):
    """What is computed of the rows of the pool before some are selected."""

    layer: Layer = "middle"
    """Layer of the text model that gradients are taken from: a word, a number counted from 0, or a
    fraction of the depth such as 0.5."""
    dim: Count = 1024
    """Length of a projected gradient."""
    gradients: Literal["auto", "adapter", "weights", "zero-order", "none"] = "auto"
    """Of what they are: the layer's LoRA matrices (adapter), its own weights, or the first where
    there are such (auto); zero-order: estimates from losses alone, at 33 forward passes a row;
    none: no backward pass, for a selection by embeddings, or by a score other than grand."""
    grounding: Literal["blank", "drop"] | None = "blank"
    """How images are taken away for image grounding: blank pixels, or no image tokens; null: that
    score is not computed."""
    perplexity: Annotated[Literal["exp-mean", "mean-exp"], NEWER] = "exp-mean"
    """Of a row's answer tokens: exp of their mean loss, or the mean of exp(loss), which the rarest
    token decides; the second as in the method's released code, for comparison."""
    embeddings: Embeddings = Embeddings()
    """Mean states."""
    refresh: Literal["all", "new", "stale"] = "stale"
    """Rows scored anew at each step: all, only the new ones, or the new ones and the old rows of
    datasets that have drifted (stale)."""
    drift: NonNegative = 0.05
    """Old rows of a dataset are stale where the log-perplexity of its probe, as ``perplexity`` has
    it, has changed by more than this (mean of absolute changes)."""
    probe_rows: Count = 64
    """Rows in the probe of each dataset."""
    max_rows: Literal["auto"] | Count | None = "auto"
    """Score at most so many rows, which a first look at the whole pool chooses; auto: twice what a
    step selects, or what pruning leaves where that is more; null: all."""
    batch_tokens: Count = 8192
    """Tokens per batch, padding included."""


class OldShare(Section):
    """How much of what a step trains on may come from earlier steps."""

    least: Share = 0.0
    """Least share of rows from earlier steps."""
    most: Share = 1.0
    """Largest share of them."""

    @field_validator("most")
    @classmethod
    def _most_is_most(cls, most: float, info: ValidationInfo) -> float:
        if most < info.data.get("least", 0.0):
            raise _told(f"{most} is below least, {info.data['least']}")
        return most


class Select(Section):
    """Which rows of the pool are trained on."""

    method: Method = "adapt-inf"
    """How rows are selected."""
    features: Literal["gradients", "embeddings", "both"] = "gradients"
    """Features that rows are clustered by."""
    budget: Count = 400
    """Rows to train on at each step."""
    clusters: Literal["auto", "elbow", "silhouette"] | Count = "auto"
    """Number of clusters (pseudo-skills); auto: the square root of the budget; elbow, silhouette:
    the best of several by that rule."""
    centroids: Literal["new", "first"] = "new"
    """Clusters of a step: new ones, or those of the first step, so that a pseudo-skill keeps its
    number through the run."""
    scorer: Literal["max-entropy", "mean-rank", "raw-entropy"] | Score = "max-entropy"
    """Score that adapt-inf samples a cluster by: the one whose histogram has the largest entropy,
    the mean of the ranks by all of them, or one and the same everywhere; raw-entropy: as the
    method's released code chooses, which hangs on the scores' units, for comparison."""
    budgets: Literal["uniform", "size", "score-weighted"] = "uniform"
    """How the clusters of adapt-inf share the budget: equally, by size, or by their mean score."""
    sampling: Literal["coverage", "random", "top", "bottom", "middle"] = "coverage"
    """Rows that adapt-inf takes of a cluster: from all strata of the score, any, or those of the
    highest, lowest or middle scores."""
    floors: dict[str, Share] = {}
    """Least share of the selected rows by task, from the second step on, once the task has come."""
    ceilings: dict[str, Share] = {}
    """Largest share of the selected rows by task, likewise."""
    old: OldShare = OldShare()
    """Share of rows from earlier steps, instead of floors and ceilings; from the second step on."""
    skill_floor: Annotated[Share, NEWER] = 0.0
    """Least share of the selected rows of every skill, instead of all these; rows that name no
    skill count by task."""

    @field_validator("centroids")
    @classmethod
    def _method_has_centroids(cls, centroids: str, info: ValidationInfo) -> str:
        method, names = info.data.get("method"), import_module("selection.names")
        if centroids == "first" and method is not None and method not in names.CLUSTERED:
            clustered = ", ".join(names.CLUSTERED)
            raise _told(f"method {method!r} has no clusters; these have: {clustered}")
        return centroids

    @field_validator("scorer")
    @classmethod
    def _method_has_scores(cls, scorer: str, info: ValidationInfo) -> str:
        method, names = info.data.get("method"), import_module("selection.names")
        if method in names.FEATURELESS and scorer in names.SCORES:
            raise _told(f"method {method!r} looks at no scores")
        return scorer

    @field_validator("floors")
    @classmethod
    def _floors_fit(cls, floors: dict[str, float]) -> dict[str, float]:
        total = sum(Fraction(str(floor)) for floor in floors.values())
        if total > 1:
            raise _told(f"the floors add up to {float(total)}, more than all rows")
        return floors

    @field_validator("ceilings")
    @classmethod
    def _ceilings_are_above_floors(
        cls, ceilings: dict[str, float], info: ValidationInfo
    ) -> dict[str, float]:
        floors = info.data.get("floors", {})
        low = [name for name, share in ceilings.items() if share < floors.get(name, 0.0)]
        _refuse({(name,): f"{ceilings[name]} is below the floor, {floors[name]}" for name in low})
        return ceilings

    @field_validator("old")
    @classmethod
    def _old_stands_alone(cls, old: OldShare, info: ValidationInfo) -> OldShare:
        if old != OldShare() and (info.data.get("floors") or info.data.get("ceilings")):
            raise _told("cannot be combined with floors or ceilings")
        return old

    @field_validator("skill_floor")
    @classmethod
    def _skill_floor_stands_alone(cls, floor: float, info: ValidationInfo) -> float:
        others = ("floors", "ceilings", "old")
        if floor and any(
            info.data.get(name, OldShare()) not in ({}, OldShare()) for name in others
        ):
            raise _told("cannot be combined with floors, ceilings or old")
        return floor


class Rehearse(Section):
    """Rows that the model makes itself: old questions about new images, answered as it does now."""

    rows: Natural = 0
    """Such rows that each step, from the second one on, trains on beside the selected ones."""
    max_new_tokens: Count = 128
    """Tokens of an answer; a row whose answer does not end by then is left out."""


class Prune(Section):
    """Which rows of the pool the next step starts from."""

    pool_budget: Count | None = None
    """Rows to keep; null: all, but with adapt-inf-lite 4 times select.budget."""


class Place(Section):
    """Linear modules of one part of the model that get an adapter."""

    part: Literal["vision", "connector", "text"]
    """Vision tower, what joins it to the text (a projector or Q-Former), or text layers."""
    leaves: Literal["all"] | tuple[str, ...] = "all"
    """all, or a list of kinds (q, k, v, o, gate, up, down) and ends of modules' names."""
    layers: str = "all"
    """all, a share of them such as upper:0.64 or lower:0.5, or first and last such as 0-21."""
    r: Literal["full"] | Count | None = None
    """Rank; null: adapter.r; full: layers or connector are trained themselves."""
    alpha: Positive | None = None
    """The update is scaled by alpha / r; null: adapter.alpha."""
    learning_rate: Positive | None = None
    """Highest learning rate; null: train.learning_rate."""

    @property
    def is_whole_text(self) -> bool:
        """Whether layers of the text are trained themselves."""
        return self.part == "text" and self.r == "full"

    @field_validator("layers")
    @classmethod
    def _layers_are_a_choice(cls, layers: str) -> str:
        if not re.fullmatch(LAYERS, layers):
            raise _told(f"{layers!r} names no layers; give all, upper:0.64, lower:0.5 or 0-21")
        return layers


class Adapter(Section):
    """The adapter that is trained."""

    route: Route = "lora"
    """Kind of adapter."""
    r: Annotated[Count, Le(65_536)] = 16
    """Rank of the update; mixlora: factors that a row uses."""
    alpha: Positive | None = None
    """The update is scaled by alpha / r; null: 32; the authors of mixlora take twice num_experts.
    adem: weight of the attention itself; null: 0.1."""
    dropout: Annotated[Real, Ge(0), Lt(1)] = 0.05
    """Dropout on the adapter's input."""
    placement: Annotated[
        Annotated[PlacementName, Tag("name")]
        | Annotated[tuple[Place, ...], Tag("list")]
        | Annotated[None, Tag("none")],
        Discriminator(_tag),
    ] = None
    """Where it goes: a name, or a list of places; null: conlora and full for these routes, else
    text. adem has a place of its own."""
    num_experts: Count = Field(default=16, validate_default=True)
    """mixlora: factors in each pool of a module."""
    routing: Literal["input", "input_lora_a_param"] = "input"
    """mixlora: what B's factors are chosen by, the prompt or also A's factors."""
    routers: Literal["learned", "frozen"] = "learned"
    """mixlora: routers learn, or stay as they are drawn, as in the authors' code."""
    mode: Literal["add", "replace"] = "add"
    """adem: image tokens stay in the sequence (add), or leave it, as in the paper (replace)."""
    beta: Positive = 0.01
    """adem: weight of the projected image in keys and values."""
    drop_ratio: Annotated[Real, Ge(0), Lt(1)] = 0.1
    """adem: share of a token's lowest attention scores that are set to zero."""
    down_sample_num: tuple[Count, ...] = (256, 64)
    """adem: keys that each scale of an image gives, square numbers."""
    hidden_proj: Count = 128
    """adem: width of the hidden layer from the vision tower's features to the text's."""
    adapter_dim: Annotated[int, Ge(0)] | None = None
    """adem: width of bottlenecks in the vision tower; null: 0 for add, 12 for replace."""
    across_steps: Literal["continue", "new_per_task", "merge_and_new"] = "continue"
    """continue: one adapter is trained further at every step; new_per_task: every step trains a
    fresh one on the base model, and is measured with it; merge_and_new: those of earlier steps go
    into the weights, and every step trains a fresh one on top of them."""
    average: Literal["none", "ema", "interpolate"] = "none"
    """What is kept of a step's training: the last weights (none), their moving average from the
    step's beginning on (ema), or the best mean of first and last weights on rows that are held back
    from the training (interpolate)."""
    ema_decay: Annotated[Real, Ge(0), Lt(1)] = 0.99
    """ema: weight of the average so far, at every step of the optimiser."""
    held_back: Annotated[Real, Gt(0), Lt(1)] = 0.1
    """interpolate: share of the selected rows that are held back."""

    @field_validator("placement")
    @classmethod
    def _placement_has_an_adapter(
        cls, placement: str | tuple[Place, ...] | None, info: ValidationInfo
    ) -> str | tuple[Place, ...] | None:
        own = info.data.get("route") in ("adem", "full")
        if isinstance(placement, tuple) and not own and all(p.r == "full" for p in placement):
            raise _told("no place gets an adapter; give one without r: full")
        return placement

    @field_validator("alpha")
    @classmethod
    def _attention_stays_small(cls, alpha: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("route") == "adem" and alpha is not None and alpha > 1:
            raise _told(f"adem adds alpha: {alpha:g} times its attention; give 0.1 or so, or null")
        return alpha

    @field_validator("across_steps")
    @classmethod
    def _adapter_can_be_merged(cls, across_steps: str, info: ValidationInfo) -> str:
        route = info.data.get("route")
        if across_steps == "merge_and_new" and route in UNMERGEABLE:
            raise _told(f"an adapter of route {route!r} cannot be merged; give continue")
        return across_steps

    @field_validator(*OWNERS)
    @classmethod
    def _setting_is_of_the_route(cls, value: Any, info: ValidationInfo) -> Any:
        name, route = str(info.field_name), info.data.get("route")
        if route not in (None, OWNERS[name]) and value != cls.model_fields[name].default:
            raise _told(f"{name} is of route {OWNERS[name]!r}, and this is {route!r}; leave it out")
        return value

    @field_validator("num_experts")
    @classmethod
    def _factors_are_chosen(cls, experts: int, info: ValidationInfo) -> int:
        rank = info.data.get("r", 0)
        if info.data.get("route") == "mixlora" and rank >= experts:
            raise _told(f"of {experts} factors r: {rank} leaves none to choose; give a smaller r")
        return experts

    @property
    def options(self) -> dict[str, Any]:
        """The adapter as ``adaptinf.adapters.attach`` takes it."""
        ours = {"across_steps", "average", "ema_decay", "held_back"}
        options: dict[str, Any] = self.model_dump(exclude=ours)
        if isinstance(self.placement, tuple):
            options["placement"] = tuple(Placement(**entry) for entry in options["placement"])
        return options


class Train(Section):
    """How the adapter is trained at each step."""

    learning_rate: Positive = 2e-4
    """Highest learning rate."""
    epochs: Positive = 1.0
    """Passes over the selected rows."""
    batch_size: Count = 16
    """Rows in one forward pass, of all devices together."""
    accumulate: Count = 1
    """Forward passes per optimiser step; more, of fewer rows, where one does not fit the memory."""
    group_by_length: Annotated[Flag, NEWER] = False
    """Rows of like lengths share a batch, so that less of it is padding; else they are mixed."""
    scheduler: Scheduler = "cosine"
    """Course of the learning rate."""
    warmup: Share = 0.03
    """Share of the optimiser steps that warm up."""
    weight_decay: NonNegative = 0.0
    """Weight decay of AdamW."""
    max_grad_norm: NonNegative = 1.0
    """Gradients are clipped to this norm; 0: never."""
    bf16: Flag = False
    """Compute in bfloat16 mixed precision."""
    gradient_checkpointing: Flag = False
    """Spend time to save memory."""
    save_steps: Count | None = None
    """Optimiser steps between the checkpoints that training resumes from; null: each epoch."""
    keep_checkpoints: Annotated[Count, Ge(2)] = 2
    """Newest checkpoints that are kept while a step trains; the last one may be half written."""
    deepspeed: str | None = None
    """zero2, zero2_offload, zero3, zero3_offload, or DeepSpeed's own JSON file."""
    extra: dict[str, Any] = {}
    """More arguments for transformers.TrainingArguments."""

    @field_validator("deepspeed")
    @classmethod
    def _deepspeed_is_known(cls, given: str | None) -> str | None:
        presets = import_module("adaptinf.training.presets").PRESETS
        if given is not None and given not in presets and not Path(given).is_file():
            raise _told(f"neither a preset nor a file: {given!r}; {suggestion(given, presets)}")
        return given


class Evaluate(Section):
    """What is measured, of the base model and after every step."""

    benchmarks: Literal["all"] | tuple[str, ...] = "all"
    """all of one's own that lie in the folder benchmarks of the data root, or a list: their names,
    paths of YAML files, and names of published benchmarks such as pope, or of a part of one's
    folder such as targets-vsr."""
    root: str | None = None
    """Folder that holds a folder for each published benchmark, relative to the working directory;
    null: the environment variable ADAPTINF_BENCHMARKS_ROOT, else 'benchmarks'."""
    rules: dict[str, str] = {}
    """Rules by published benchmark, where it has several, as in pope: lmms."""
    skills: dict[str, str] = {}
    """Skill by benchmark; else that of its file, or the name of a published one."""
    taught_by: dict[str, tuple[str, ...]] = {}
    """Tasks or datasets that teach a benchmark's skill, by benchmark; else those of its file, or
    those known to hold its training questions. A benchmark of none is only watched."""
    limit: Count | None = None
    """Rows per benchmark; null: all."""
    probe: Literal["auto"] | Count | None = "auto"
    """Questions of a benchmark that are asked between steps, where it has more; the base model and
    the last step are asked all. auto: 500 where a benchmark has more than 2,000; null: all."""
    batch_size: Count = 64
    """Rows per batch of generation."""

    @field_validator("rules")
    @classmethod
    def _rules_are_known(cls, rules: dict[str, str]) -> dict[str, str]:
        faults: dict[_Loc, str] = {}
        known = import_module("adaptinf.scoring.benchmarks").BENCHMARKS if rules else {}
        for name, chosen in rules.items():
            kind = name.partition("-")[0]  # a part, as targets-vsr, goes by the rules of the whole
            if kind not in known:
                faults[name,] = f"no published benchmark of that name; {suggestion(name, known)}"
            elif chosen not in known[kind].rules:
                has = " and ".join(known[kind].rules)
                faults[name,] = f"unknown rules {chosen!r}; {name} has {has}"
        _refuse(faults)
        return rules

    @property
    def folder(self) -> Path:
        """Folder of the published benchmarks."""
        root = self.root or os.environ.get("ADAPTINF_BENCHMARKS_ROOT") or "benchmarks"
        return Path(root).expanduser()


class Tracking(Section):
    """Experiment trackers, besides the run's own files."""

    report_to: str | tuple[str, ...] = "none"
    """none, or one or more trackers that Transformers knows, such as tensorboard or wandb."""


class Watch(Section):
    """When a run that comes no further is ended."""

    stall_after: Positive | None = 1800.0
    """Seconds in which a process does not finish a batch, load a model or come to a meeting point;
    the run then ends with exit status 3 and names it. null: it is left to hang."""


class Recipe(Section):
    """All settings of one lifelong run, checked, with every default filled in."""

    output_dir: Path
    """The run folder itself, relative to the working directory."""
    seed: Natural = 0
    """Seed of every random draw."""
    data: Data = Data()
    """Where the datasets lie."""
    model: Model = Model()
    """The model that is adapted."""
    tasks: tuple[Task, ...]
    """The datasets, in the order in which they come; of an empty list the base model is measured
    and nothing trained, until a task is added."""
    featurize: Featurize = Featurize()
    """Features and scores of rows."""
    select: Select = Select()
    """Rows to train on."""
    rehearse: Rehearse = Rehearse()
    """Rows that keep old answers without old images."""
    prune: Prune = Prune()
    """Rows to keep."""
    adapter: Adapter = Adapter()
    """Kind and size of the adapter."""
    train: Train = Train()
    """How it is trained."""
    evaluate: Evaluate = Evaluate()
    """What is measured."""
    tracking: Tracking = Tracking()
    """Where else it is logged."""
    watch: Watch = Watch()
    """When it is given up."""
    on_failure: str | None = None
    """Command that a shell runs once when the run ends with an error; ADAPTINF_RUN is the run
    folder, ADAPTINF_MESSAGE the error, ADAPTINF_STATUS the exit status."""
    _recipe_dir: Path = PrivateAttr(default_factory=Path)

    @field_validator("tasks")
    @classmethod
    def _labels_are_unique(cls, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        """Step folders and matrix rows go by the label, so no two tasks may share one."""
        first: dict[str, int] = {}
        faults: dict[_Loc, str] = {}
        for index, task in enumerate(tasks):
            if not task.label:
                faults[index,] = "nothing to name its folders by; give `name:`"
            elif (other := first.setdefault(task.label, index)) != index:
                faults[index,] = f"{task.label!r} is also the name of tasks.{other}; give `name:`"
        _refuse(faults)
        return tasks

    @field_validator("select")
    @classmethod
    def _grounding_is_computed(cls, select: Select, info: ValidationInfo) -> Select:
        chosen = {"method": select.method, "scorer": select.scorer}
        if info.data.get("featurize", Featurize()).grounding is None:
            what = "needs image grounding, but featurize.grounding is null; give blank or drop"
            named = ("image-grounding", "image_grounding")
            _refuse({(key,): f"{name!r} {what}" for key, name in chosen.items() if name in named})
        return select

    @field_validator("select")
    @classmethod
    def _gradients_are_computed(cls, select: Select, info: ValidationInfo) -> Select:
        """Without gradients rows are clustered by embeddings, and grand is not known."""
        if info.data.get("featurize", Featurize()).gradients != "none":
            return select
        what = "needs gradients, but featurize.gradients is none"
        chosen = {"method": select.method, "scorer": select.scorer}
        faults: dict[_Loc, str] = {
            (key,): f"'grand' {what}; give auto" for key, name in chosen.items() if name == "grand"
        }
        if select.features != "embeddings" and select.method in (
            *import_module("selection.names").CLUSTERED,
            "d2",
        ):
            faults["features",] = f"{select.features!r} {what}; give embeddings here, or auto there"
        _refuse(faults)
        return select

    @field_validator("select")
    @classmethod
    def _shares_are_of_tasks(cls, select: Select, info: ValidationInfo) -> Select:
        """Shares name tasks of this recipe, and leave room for the rows of every step."""
        labels = [task.label for task in info.data.get("tasks", ())]
        shares = [("floors", name) for name in select.floors]
        shares += [("ceilings", name) for name in select.ceilings]
        unknown = [loc for loc in shares if labels and loc[1] not in labels]
        _refuse({loc: f"no task of that name; {suggestion(loc[1], labels)}" for loc in unknown})
        for number in range(2, len(labels) + 1):
            most = sum(Fraction(str(select.ceilings.get(name, 1))) for name in labels[:number])
            if most < 1:
                what = f"those of the first {number} tasks add up to {float(most)}, not to all rows"
                _refuse({("ceilings",): what})
        return select

    @field_validator("evaluate")
    @classmethod
    def _teachers_are_known(cls, evaluate: Evaluate, info: ValidationInfo) -> Evaluate:
        """Those who teach are tasks of this recipe, or datasets that may still come."""
        tasks = info.data.get("tasks", ())
        known = {name for task in tasks for name in (task.label, task.dataset)}
        known |= set(import_module("adaptinf.data.names").DATASETS)
        _refuse(
            {
                ("taught_by", name, place): f"no task or dataset; {suggestion(teacher, known)}"
                for name, teachers in evaluate.taught_by.items()
                for place, teacher in enumerate(teachers)
                if tasks and teacher not in known
            }
        )
        return evaluate

    @field_validator("adapter")
    @classmethod
    def _adapter_has_those_gradients(cls, adapter: Adapter, info: ValidationInfo) -> Adapter:
        """Some kinds of gradients are those of LoRA's matrices, which not every route has."""
        kind = info.data.get("featurize", Featurize()).gradients
        if kind in ("adapter", "zero-order") and adapter.route not in LORA_ROUTES:
            what = f"featurize.gradients {kind!r} are of LoRA's matrices, which {adapter.route!r}"
            _refuse({("route",): f"{what} has not; give weights or auto there"})
        return adapter

    @field_validator("adapter")
    @classmethod
    def _weights_can_be_changed(cls, adapter: Adapter, info: ValidationInfo) -> Adapter:
        """What goes into the text's weights, or trains them, needs them whole."""
        bits = info.data.get("model", Model()).quantize
        if bits is None:
            return adapter
        faults: dict[_Loc, str] = {}
        if adapter.across_steps == "merge_and_new":
            what = f"no adapter can be merged into weights of model.quantize: {bits}"
            faults["across_steps",] = f"{what}; give continue or new_per_task"
        places = adapter.placement if isinstance(adapter.placement, tuple) else ()
        trained: list[_Loc] = [("placement", i) for i, p in enumerate(places) if p.is_whole_text]
        trained += [("route",)] if adapter.route == "full" else []
        trained += [("placement",)] if adapter.placement == "full" else []
        what = f"weights of model.quantize: {bits} cannot be trained themselves"
        faults |= dict.fromkeys(trained, f"{what}; train lora on them, or leave model.quantize out")
        if adapter.route == "dora" and bits == "8bit":
            faults["route",] = "dora is not computed on model.quantize: 8bit; give 4bit there"
        _refuse(faults)
        return adapter

    @field_validator("train")
    @classmethod
    def _weights_can_be_in_parts(cls, train: Train, info: ValidationInfo) -> Train:
        """What ZeRO-3 divides is neither averaged nor of fewer bits."""
        average = info.data.get("adapter", Adapter()).average
        bits = info.data.get("model", Model()).quantize
        if not (train.deepspeed or "").startswith("zero3"):
            return train
        if bits is not None:
            what = f"{train.deepspeed} cannot divide weights of model.quantize: {bits}"
            _refuse({("deepspeed",): f"{what}; give zero2, or leave model.quantize out"})
        if average != "none":
            what = f"adapter.average {average!r} needs weights that are whole; give zero2"
            _refuse({("deepspeed",): what})
        return train

    @property
    def recipe_dir(self) -> Path:
        """Folder of the recipe's file, which relative dataset paths start from."""
        return self._recipe_dir

    @property
    def pool_budget(self) -> int | None:
        """Rows that the pool keeps after a step, None for all."""
        lite = 4 * self.select.budget if self.select.method == "adapt-inf-lite" else None
        return self.prune.pool_budget or lite

    @property
    def most_scored(self) -> int | None:
        """Rows that features are computed of at each step, None for all."""
        if self.featurize.max_rows == "auto":
            return max(2 * self.select.budget, self.pool_budget or 0)
        return self.featurize.max_rows


_WORDS: Mapping[Any, str] = {
    tuple[Task, ...]: "a list of tasks",
    tuple[Place, ...]: "a list of mappings of part, leaves, layers, r, alpha, learning_rate",
}


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, with ``key.sub=value`` overrides laid over it.

    List items count from 0 (``tasks.2.limit=5``), values are read as YAML. Raises one UserError
    that tells every mistake: those of the file by line, then those of the command line.
    """
    source = RecipeFile(str(path), Recipe, _WORDS)
    source.read()
    for text in overrides:
        source.override(text)
    try:
        recipe = Recipe.model_validate(source.data)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            source.complain(detail)
    if source.faults:
        raise UserError.group([source.faults[fault] for fault in sorted(source.faults)])
    recipe._recipe_dir = Path(path).absolute().parent
    return recipe


def resolved_yaml(recipe: Recipe) -> str:
    """The recipe as YAML with all defaults written out, keys in the order declared here."""
    settings = recipe.model_dump(mode="json")
    return yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=100)
