"""Where the known datasets come from: files on the hub, other servers, and what needs hands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a dataset.

    ``url``, or ``repo`` and ``path`` of a dataset on the hub. ``place``: its name in the dataset's
    folder; of an archive (``unpacked``) the folder whose content it becomes, "" for the dataset's
    own. ``lifted``: all of the archive is in one folder, which is left out.
    """

    place: str
    url: str | None = None
    repo: str | None = None
    path: str | None = None
    unpacked: bool = False
    lifted: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A dataset: its ``licence``, the ``page`` that tells more, and its pieces.

    ``subsets`` are folders on the hub, in ``repo``, each of tables ``train-*.parquet`` and of
    ``train_images.zip``. ``by_hand`` says what only a person can do; ``brought`` is the archive
    that it puts into the dataset's folder.
    """

    licence: str
    page: str
    pieces: tuple[Piece, ...] = ()
    repo: str | None = None
    subsets: tuple[str, ...] = ()
    by_hand: str | None = None
    brought: Piece | None = None


_LLAVA = "liuhaotian/LLaVA-Instruct-150K"
_VISION_FLAN = "Vision-Flan/vision-flan_191-task_1k"
_VG = "https://cs.stanford.edu/people/rak248/VG_100K_2"

CATALOGUE: dict[str, Entry] = {
    "llava": Entry(
        licence="CC BY 4.0 (and OpenAI's terms); images under those of COCO, GQA, OCR-VQA, TextVQA"
        " and Visual Genome",
        page=f"https://huggingface.co/datasets/{_LLAVA}",
        pieces=(
            Piece("llava_v1_5_mix665k.json", repo=_LLAVA, path="llava_v1_5_mix665k.json"),
            Piece("coco", url="http://images.cocodataset.org/zips/train2017.zip", unpacked=True),
            Piece(
                "gqa",
                url="https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip",
                unpacked=True,
            ),
            Piece(
                "textvqa",
                url="https://dl.fbaipublicfiles.com/textvqa/images/train_val_images.zip",
                unpacked=True,
            ),
            Piece("vg", url=f"{_VG}/images.zip", unpacked=True),
            Piece("vg", url=f"{_VG}/images2.zip", unpacked=True),
            Piece(
                "ocr_vqa/images",
                repo="weizhiwang/llava_v15_instruction_images",
                path="ocr_vqa_images_llava_v15.zip",
                unpacked=True,
                lifted=True,
            ),
        ),
    ),
    "vision_flan": Entry(
        licence="per source task, see https://vision-flan.github.io/tasks.html",
        page=f"https://huggingface.co/datasets/{_VISION_FLAN}",
        pieces=(
            Piece(
                "annotation_191-task_1k.json",
                repo=_VISION_FLAN,
                path="annotation_191-task_1k.json",
            ),
            Piece("", repo=_VISION_FLAN, path="image_191-task_1k.zip", unpacked=True),
        ),
    ),
    "mantis": Entry(
        licence="Apache 2.0; images under those of their sources",
        page="https://huggingface.co/datasets/TIGER-Lab/Mantis-Instruct",
        repo="TIGER-Lab/Mantis-Instruct",
        # Those of Adapt-infinity's sequence; llava_665k_multi repeats LLaVA's rows.
        subsets=("chartqa", "docvqa", "dvqa", "iconqa", "lrv_multi", "spot-the-diff"),
    ),
    "minigpt4": Entry(
        licence="BSD 3-Clause (code); images under the terms of Conceptual Captions and SBU",
        page="https://github.com/Vision-CAIR/MiniGPT-4/blob/main/dataset/README_2_STAGE.md",
        by_hand="Google Drive wants a browser: open "
        "https://drive.google.com/file/d/1nJXhoEcy3KTExr17I7BXqY5Y9Lx_-n-9/view, download the"
        " archive, save it as {folder}/cc_sbu_align.zip, and give the same command again.",
        brought=Piece("", path="cc_sbu_align.zip", unpacked=True, lifted=True),
    ),
    "m3it": Entry(
        licence="per source, see the card",
        page="https://huggingface.co/datasets/MMInstruction/M3IT",
        by_hand="M3IT comes with a script that datasets 4 and later do not run. In an environment"
        " of its own (datasets 3.6.0, trust_remote_code=True) write the rows of each subset as"
        " {folder}/data/TASK/SUBSET/train.jsonl, one JSON object a line with the keys instruction,"
        " inputs, outputs and image_base64_str.",
    ),
}
"""By the names that recipes use."""
