"""Which verdicts an evaluation wants of a judge, what they take, and getting them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass

from adaptinf.data.completions import HaltedError
from adaptinf.errors import UserError
from adaptinf.scoring.files import Answers
from adaptinf.scoring.items import Benchmark, Item, Prompt, Replies
from adaptinf.scoring.judging.client import Judge
from adaptinf.scoring.judging.verdicts import Ruling, VerdictFile, key_of

IN_FLIGHT = 4
"""Requests that a judge is sent at one time."""

_CHARACTERS = 4
"""Of English text, about so many are a token."""


@dataclass(frozen=True, slots=True)
class Case:
    """An answer to be judged, and what its verdict goes by."""

    item: Item
    prompt: Prompt
    key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The cases of a benchmark before a judge; missing answers are none."""

    benchmark: Benchmark
    judge: str
    cases: Sequence[Case]
    file: VerdictFile

    @classmethod
    def of(
        cls,
        benchmark: Benchmark,
        items: Sequence[Item],
        answers: Answers,
        judge: str,
        file: VerdictFile,
    ) -> Plan:
        """All answers to these items."""
        assert benchmark.by_judge is not None
        cases = []
        for item in items:
            text = answers.texts.get(item.question_id)
            if text is not None:
                prompt = benchmark.by_judge.prompt(item, text)
                cases.append(Case(item, prompt, key_of(judge, prompt)))
        return cls(benchmark, judge, cases, file)

    @property
    def open(self) -> list[Case]:
        """Those without a verdict; of cases that are all alike, one."""
        first = {case.key: case for case in reversed(self.cases)}
        return [
            case
            for case in self.cases
            if case is first[case.key] and case.key not in self.file.rulings
        ]

    def tokens(self) -> tuple[int, int]:
        """About how many will be sent for the open ones, and at most how many will come back."""
        sent = (len(m["content"]) for case in self.open for m in case.prompt.messages())
        return math.ceil(sum(sent) / _CHARACTERS), sum(case.prompt.tokens for case in self.open)

    def hear(self, judge: Judge, advance: Callable[[int], None]) -> None:
        """Have the open cases judged, a few at a time; each verdict is kept as it comes.

        ``advance`` is told of each. Whatever ends it, verdicts that were under way are kept too.

        Raises:
            UserError: the judge cannot be asked.
        """
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            waiting = [pool.submit(self._rule, judge, case) for case in self.open]
            try:
                for heard in as_completed(waiting):
                    with suppress(HaltedError):  # one that failed tells why
                        heard.result()
                        advance(1)
            except BaseException:
                judge.halted.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _rule(self, judge: Judge, case: Case) -> None:
        """Keep a verdict; what fails halts the judge for all."""
        try:
            self.file.add(self._ruling(judge, case))
        except UserError:
            judge.halted.set()
            raise

    def _ruling(self, judge: Judge, case: Case) -> Ruling:
        """Ask once, and, where the reply cannot be read, once more with what was forgotten."""
        requests = 1
        reply = judge.reply(case.prompt.messages(), case.prompt.tokens)
        if not self._readable(case.item, reply.text):
            requests = 2
            reply = judge.reply(case.prompt.messages(reminded=True), case.prompt.tokens)
        return Ruling(
            key=case.key,
            benchmark=self.benchmark.name,
            question_id=case.item.question_id,
            judge=self.judge,
            answered_by=reply.answered_by,
            requests=requests,
            reply=reply.text,
        )

    def _readable(self, item: Item, reply: str) -> bool:
        return self.benchmark.judge(item, reply, self.benchmark.rules[0]).said is not None

    def replies(self) -> Replies:
        """All of them, out of the file.

        Raises:
            UserError: some are still wanting.
        """
        missing = self.open
        if missing:
            raise UserError(f"{len(missing)} verdicts are wanting", where=str(self.file.path))
        rulings = {case.item.question_id: self.file.rulings[case.key] for case in self.cases}
        names = {ruling.answered_by for ruling in rulings.values()} - {""}
        return Replies(
            judge=self.judge,
            texts={ident: ruling.reply for ident, ruling in rulings.items()},
            answered_by=tuple(sorted(names)),
            prompts=tuple(sorted({case.prompt.origin for case in self.cases})),
        )
