"""What the stages share: the recipe, the run folder, the model, the data's whereabouts."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from adaptinf.data.admission import Admission
from adaptinf.data.collator import Collator
from adaptinf.data.encoder import Encoder
from adaptinf.data.licences import let_in
from adaptinf.data.names import DATASETS
from adaptinf.data.source import Source, find_source, source_files
from adaptinf.distributed import Ranks
from adaptinf.errors import UserError
from adaptinf.evaluation.benchmarks import (
    Benchmark,
    Question,
    Shelf,
    find_benchmarks,
    require_images,
    require_names,
    taught,
)
from adaptinf.files import write_atomically
from adaptinf.models.loading import (
    ModelSource,
    load_config,
    load_processor,
    model_fingerprint,
)
from adaptinf.models.preprocessing import preprocessing
from config import Recipe, Task
from stages.record import digest_of, file_digest
from stages.resident import ResidentModel
from stages.withdrawn import Withdrawn, uids_in
from stages.work import derived_seed


@dataclass(frozen=True, slots=True)
class Step:
    """A task at its place in the sequence; step 0 is the untouched base model."""

    index: int
    label: str

    @property
    def name(self) -> str:
        """Folder and row name: ``base`` is ``0-base``."""
        return f"{self.index}-{self.label}"


BASE = Step(0, "base")


def step_number(name: str) -> int:
    """The index of the step of this name; -1 where no step is named so."""
    number = name.partition("-")[0]
    return int(number) if number.isdecimal() else -1


def encoder_of(source: ModelSource, max_length: int | None = None) -> Encoder:
    """A model's encoder; rows end at ``max_length`` or at what the model can read."""
    processor = load_processor(source)
    text = load_config(source).get_text_config()
    longest = min(text.max_position_embeddings, processor.tokenizer.model_max_length)
    return Encoder(processor, min(longest, max_length or longest))


class Context:
    """Everything a stage may ask for. Heavy things are made when first asked for."""

    def __init__(
        self,
        recipe: Recipe,
        data_root: Path,
        scratch: Path | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        """Extracted images and remembered digests go into ``scratch``, if not the run folder.

        ``image_keys`` are what benchmarks' images are known again by, each read once in all steps.
        """
        self.recipe = recipe
        self.run = recipe.output_dir
        self.scratch = scratch or recipe.output_dir
        self.data_root = data_root
        self.ranks = ranks or Ranks()
        self.image_keys: dict[Path, int] = {}
        self._questions: dict[str, list[Question]] = {}
        self._asked_digests: dict[str, str] = {}
        self.model_source = ModelSource.of(recipe.model)

    @cached_property
    def steps(self) -> list[Step]:
        """One step per task of the recipe, numbered from 1."""
        return [Step(i, task.label) for i, task in enumerate(self.recipe.tasks, 1)]

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Where each task's rows and images are, by task label."""
        return {task.label: self._source(task) for task in self.recipe.tasks}

    def _source(self, task: Task) -> Source:
        source = find_source(
            task.dataset,
            root=self.data_root,
            media=self.media(task.label),
            recipe_dir=self.recipe.recipe_dir,
            name=task.label,
            format=task.format,
            images=task.image_folder,
            licence=task.licence,
            columns=task.columns.given if task.columns else None,
            limit=task.limit,
        )
        if self.recipe.data.folder is None and task.dataset in DATASETS:
            return replace(source, origin=f"embedded/{task.dataset}")  # it has only the form
        return source

    def admission(self, label: str) -> Admission:
        """Which rows of a task may be trained on at all.

        Raises:
            UserError: what says so cannot be read.
        """
        whose = f"{label}:"
        gone = frozenset(uid for uid in self._withdrawn if uid.startswith(whose))
        return Admission(let_in(self.recipe.data.licences), gone)

    @cached_property
    def _withdrawn(self) -> list[str]:
        """Uids that the run folder and the recipe withdraw."""
        file = self.recipe.data.withdrawn
        listed = uids_in(file.expanduser()) if file else []
        return [*Withdrawn.read(self.run).rows, *listed]

    @cached_property
    def benchmarks(self) -> list[Benchmark]:
        """The benchmarks that the recipe asks for."""
        settings = self.recipe.evaluate
        folder = self.data_root / "benchmarks"
        shelf = Shelf(settings.folder, self.scratch / "pictures", settings.rules)
        found = find_benchmarks(folder, settings.benchmarks, self.recipe.recipe_dir, shelf)
        published = [benchmark.name for benchmark in found if benchmark.rules]
        require_names(published, settings.rules, "evaluate.rules")
        return taught(found, settings.skills, settings.taught_by)

    def questions(self, benchmark: Benchmark) -> list[Question]:
        """A benchmark's questions up to ``evaluate.limit``, read once.

        Raises:
            UserError: their answers cannot be scored here.
        """
        if benchmark.name not in self._questions:
            questions = benchmark.items(self.recipe.evaluate.limit)
            if why := benchmark.unscored(questions):
                raise UserError(
                    f"a run measures what it can score ({why})",
                    where=f"evaluate.benchmarks: {benchmark.name}",
                    hint="leave it out; adaptinf evaluate answers it with any step's adapter",
                )
            self._questions[benchmark.name] = questions
        return self._questions[benchmark.name]

    @cached_property
    def question_count(self) -> int:
        """Questions of all benchmarks together."""
        return sum(len(self.questions(benchmark)) for benchmark in self.benchmarks)

    def benchmark_inputs(self, benchmark: Benchmark) -> dict[str, str]:
        """Fingerprints of what is asked, what is right, and a metric of one's own."""
        if benchmark.files:
            return {name: self.file_digest(file) for name, file in benchmark.files.items()}
        if benchmark.name not in self._asked_digests:
            asked = [asdict(q.item) for q in self.questions(benchmark) if q.item is not None]
            self._asked_digests[benchmark.name] = digest_of(asked)
        return {"questions": self._asked_digests[benchmark.name]}

    def ready_benchmarks(self, names: Collection[str]) -> None:
        """Have the images of these benchmarks where they are looked for.

        Raises:
            UserError: some are missing.
        """
        for benchmark in self.benchmarks:
            if benchmark.name in names:
                benchmark.prepare()
                require_images(benchmark, self.questions(benchmark))

    @cached_property
    def model_fingerprint(self) -> str:
        """Names weights, dtype, attention kernel and bits of the base model."""
        return model_fingerprint(self.model_source)

    @cached_property
    def encoder(self) -> Encoder:
        """The model's processor; rows end at ``data.max_length`` or at what the model can read."""
        return encoder_of(self.model_source, self.recipe.data.max_length)

    @cached_property
    def preprocessing(self) -> dict[str, Any]:
        """What texts and images become before the model sees them."""
        return preprocessing(self.encoder.processor)

    @cached_property
    def collator(self) -> Collator:
        """Pool rows to batches of the model."""
        return Collator(self.encoder, self.image_root)

    @cached_property
    def model(self) -> ResidentModel:
        """The model in memory, with an adapter or without."""
        return ResidentModel(
            self.model_source,
            lambda: self.preprocessing,
            self.recipe.adapter,
            derived_seed(self.recipe.seed, "adapter"),
            self.ranks,
        )

    def media(self, label: str) -> Path:
        """Where images that come inside a task's annotations are put."""
        return self.scratch / "media" / label

    def image_root(self, dataset: str) -> Path:
        """Folder that the image paths of a dataset's rows start from."""
        return self.sources[dataset].images

    def file_digest(self, path: Path) -> str:
        """SHA-256 of a data file, remembered with its size and time in ``source_hashes.json``."""
        stat = path.stat()
        key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        if key not in self._known_digests:
            self._known_digests[key] = file_digest(path)
            if self.scratch.is_dir():
                text = json.dumps(self._known_digests, indent=1)
                write_atomically(self.scratch / "source_hashes.json", text)
        return self._known_digests[key]

    @cached_property
    def _known_digests(self) -> dict[str, str]:
        file = self.run / "source_hashes.json"
        try:
            return dict(json.loads(file.read_bytes()))
        except (OSError, ValueError, TypeError):
            return {}  # they are only remembered

    def source_digests(self, label: str) -> list[str]:
        """Digests of a task's annotation files, in reading order."""
        return [self.file_digest(file) for file in source_files(self.sources[label])]
