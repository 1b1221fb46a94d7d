"""BLEU, CIDEr-D and ROUGE-L of captions, over tokens that others have made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Tokens = Sequence[str]
Ngrams = Counter[tuple[str, ...]]

_TINY, _SMALL = 1e-15, 1e-9
_SIGMA = 6.0
_BETA = 1.2


def ngrams(tokens: Tokens, most: int = 4) -> Ngrams:
    """How often each run of one to ``most`` tokens occurs."""
    return Counter(
        tuple(tokens[start : start + size])
        for size in range(1, most + 1)
        for start in range(len(tokens) - size + 1)
    )


def bleu(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """BLEU-1 to BLEU-4 of a corpus, as COCO's evaluation has them (Papineni et al. 2002).

    Counts are clipped by the largest of the references and summed over the corpus; an image's
    reference length is the closest one, the shorter of two. In [0, 1].
    """
    right, said = [0] * 4, [0] * 4
    length = wanted = 0
    for caption, others in zip(captions, references, strict=True):
        most: Ngrams = Counter()
        for other in others:
            most |= ngrams(other)
        length += len(caption)
        wanted += min((abs(len(other) - len(caption)), len(other)) for other in others)[1]
        for size in range(4):
            said[size] += max(0, len(caption) - size)
        for gram, count in ngrams(caption).items():
            right[len(gram) - 1] += min(count, most[gram])
    scores, product = [], 1.0
    ratio = (length + _TINY) / (wanted + _SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    for size in range(4):
        product *= (right[size] + _TINY) / (said[size] + _SMALL)
        scores.append(brevity * product ** (1 / (size + 1)))
    return scores


def cider(captions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """CIDEr-D of each image (Vedantam et al. 2015), ten times the similarity; tools print the mean.

    Document frequencies are those of the references given, so that scores of a part of a benchmark
    are not those of the whole; of one image they are all 0.
    """
    counted = [[ngrams(other) for other in others] for others in references]
    documents: Counter[tuple[str, ...]] = Counter()
    for others in counted:
        documents.update(set().union(*others))
    total = math.log(float(len(counted))) if counted else 0.0

    def weighed(grams: Ngrams) -> tuple[list[dict[tuple[str, ...], float]], list[float]]:
        """Weights by length, and their norms."""
        weights: list[dict[tuple[str, ...], float]] = [{}, {}, {}, {}]
        for gram, count in grams.items():
            rarity = total - math.log(max(1.0, documents[gram]))
            weights[len(gram) - 1][gram] = count * rarity
        return weights, [math.sqrt(sum(w * w for w in one.values())) for one in weights]

    scores = []
    for caption, others in zip(captions, counted, strict=True):
        mine = ngrams(caption)
        weights, norms = weighed(mine)
        pairs = sum(count for gram, count in mine.items() if len(gram) == 2)
        each = 0.0
        for other in others:
            theirs, their_norms = weighed(other)
            apart = pairs - sum(count for gram, count in other.items() if len(gram) == 2)
            alike = 0.0
            for size in range(4):
                both = sum(
                    min(weight, theirs[size].get(gram, 0.0)) * theirs[size].get(gram, 0.0)
                    for gram, weight in weights[size].items()
                )
                if norms[size] and their_norms[size]:
                    alike += both / (norms[size] * their_norms[size])
            each += alike / 4 * math.exp(-(apart**2) / (2 * _SIGMA**2))
        scores.append(10.0 * each / len(others))
    return scores


def rouge_l(caption: Tokens, references: Sequence[Tokens]) -> float:
    """ROUGE-L of one image: F of the best precision and the best recall of common subsequences."""
    common = [_common_length(caption, other) for other in references]
    precision = max(n / max(1, len(caption)) for n in common)
    recall = max(n / max(1, len(o)) for n, o in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def character_bleu(caption: str, reference: str) -> float:
    """Sentence BLEU-4 over characters, spaces among them, smoothed by nltk's method 4.

    So Adapt-infinity scores Chinese captions.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    if not caption:
        return 0.0
    smooth = SmoothingFunction().method4
    return float(sentence_bleu([reference], caption, smoothing_function=smooth))


def _common_length(one: Tokens, other: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for token in one:
        corner = 0
        for place, wanted in enumerate(other, 1):
            corner, row[place] = (
                row[place],
                corner + 1 if token == wanted else max(row[place], row[place - 1]),
            )
    return row[-1]
