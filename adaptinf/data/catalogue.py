"""Where the known datasets come from: files on the hub, other servers, and what needs hands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Piece:
    """One file of a dataset.

    ``url``, or ``repo`` and ``path`` of a dataset on the hub. ``place``: its name in the dataset's
    folder; of an archive (``unpacked``) the folder whose content it becomes, "" for the dataset's
    own. ``lifted``: all of the archive is in one folder, which is left out.
    ``images``: the archive holds images of rows, of which a few may do.
    """

    place: str
    url: str | None = None
    repo: str | None = None
    path: str | None = None
    unpacked: bool = False
    lifted: bool = False
    images: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A dataset: its ``licence``, the ``page`` that tells more, and its pieces.

    ``subsets`` are folders on the hub, in ``repo``, each of tables ``train-*.parquet`` (or what
    ``tables`` says in place of ``train-``) and of ``train_images.zip``. ``needs`` names other
    entries that hold its images; ``links`` are names in its folder for theirs, below the root.
    ``by_hand`` says what only a person can do; ``brought`` are the archives that it puts into the
    dataset's folder, and ``proof`` is a pattern of files that are there once it is done.
    ``licences`` are the SPDX names of its rows' licences by part, "" for all other parts, where
    these are known and differ, or the hub states none; images have terms of their own.
    """

    licence: str
    page: str
    pieces: tuple[Piece, ...] = ()
    repo: str | None = None
    subsets: tuple[str, ...] = ()
    tables: str = "train-"
    needs: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    by_hand: str | None = None
    brought: tuple[Piece, ...] = ()
    proof: str | None = None
    licences: Mapping[str, str] = field(default_factory=dict)


_LLAVA = "liuhaotian/LLaVA-Instruct-150K"
_VISION_FLAN = "Vision-Flan/vision-flan_191-task_1k"
_COCO = "http://images.cocodataset.org"
_LAMM = "openlamm/LAMM_Dataset"
_LAMM_META = "2D_Instruct/meta_file/LAMM"
_SCIENCEQA = "https://raw.githubusercontent.com/lupantech/ScienceQA/main/data/scienceqa"
_VG = "https://cs.stanford.edu/people/rak248/VG_100K_2"

CATALOGUE: dict[str, Entry] = {
    "llava": Entry(
        licence="CC BY 4.0 (and OpenAI's terms); images under those of COCO, GQA, OCR-VQA, TextVQA"
        " and Visual Genome",
        page=f"https://huggingface.co/datasets/{_LLAVA}",
        pieces=(
            Piece("llava_v1_5_mix665k.json", repo=_LLAVA, path="llava_v1_5_mix665k.json"),
            Piece(
                "coco",
                url=f"{_COCO}/zips/train2017.zip",
                unpacked=True,
                images=True,
            ),
            Piece(
                "gqa",
                url="https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip",
                unpacked=True,
                images=True,
            ),
            Piece(
                "textvqa",
                url="https://dl.fbaipublicfiles.com/textvqa/images/train_val_images.zip",
                unpacked=True,
                images=True,
            ),
            Piece("vg", url=f"{_VG}/images.zip", unpacked=True, images=True),
            Piece("vg", url=f"{_VG}/images2.zip", unpacked=True, images=True),
            Piece(
                "ocr_vqa/images",
                repo="weizhiwang/llava_v15_instruction_images",
                path="ocr_vqa_images_llava_v15.zip",
                unpacked=True,
                lifted=True,
                images=True,
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
            Piece("", repo=_VISION_FLAN, path="image_191-task_1k.zip", unpacked=True, images=True),
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
        brought=(Piece("", path="cc_sbu_align.zip", unpacked=True, lifted=True),),
        proof="filter_cap.json",
    ),
    "m3it": Entry(
        licence="per source, see the card",
        page="https://huggingface.co/datasets/MMInstruction/M3IT",
        by_hand="M3IT comes with a script that datasets 4 and later do not run. In an environment"
        " of its own: python -m venv m3it && m3it/bin/pip install datasets==3.6.0 pillow &&"
        " m3it/bin/python scripts/convert_m3it.py --out {folder}/data",
        proof="data/*/*/train.jsonl",
    ),
    "lamm": Entry(
        licence="CC BY-NC 4.0 as its repository says (the hub says Apache 2.0)",
        page=f"https://huggingface.co/datasets/{_LAMM}",
        pieces=(
            Piece("LAMM_instruct_186k.json", repo=_LAMM, path=f"{_LAMM_META}_instruct_186k.json"),
            *(
                Piece(
                    name,
                    repo=_LAMM,
                    path=f"2D_Instruct/{name}.zip",
                    unpacked=True,
                    lifted=True,
                    images=True,
                )
                for name in ("coco_images", "bamboo_images", "locount_images", "textvqa_images")
            ),
        ),
    ),
    "scienceqa": Entry(
        licence="CC BY-NC-SA 4.0",
        page="https://scienceqa.github.io",
        pieces=(
            Piece("problems.json", url=f"{_SCIENCEQA}/problems.json"),
            Piece("pid_splits.json", url=f"{_SCIENCEQA}/pid_splits.json"),
            Piece(
                "images",
                url="https://scienceqa.s3.us-west-1.amazonaws.com/images/train.zip",
                unpacked=True,
                images=True,
            ),
        ),
    ),
    "coco2014": Entry(
        licence="CC BY 4.0 (annotations); images under Flickr's terms of use",
        page="https://cocodataset.org/#download",
        pieces=(
            Piece(
                "",
                url=f"{_COCO}/zips/train2014.zip",
                unpacked=True,
                images=True,
            ),
        ),
    ),
    "coco_captions": Entry(
        licence="CC BY 4.0",
        page="https://cocodataset.org/#download",
        pieces=(
            Piece(
                "",
                url=f"{_COCO}/annotations/annotations_trainval2014.zip",
                unpacked=True,
            ),
        ),
        needs=("coco2014",),
    ),
    "lavin": Entry(
        licence="CC BY-NC 4.0 (LLaVA-150k and Alpaca); see scienceqa for its share",
        page="https://github.com/luogen1996/LaVIN#data-preparation",
        needs=("coco2014", "scienceqa"),
        by_hand="Google Drive wants a browser: open the page above, follow its link to"
        " all_data.json, and save that as {folder}/all_data.json.",
        proof="all_data.json",
        licences={"sqa": "CC-BY-NC-SA-4.0", "": "CC-BY-NC-4.0"},
    ),
    "refcoco": Entry(
        licence="Apache 2.0 (RefCOCO); images under Flickr's terms of use",
        page="https://huggingface.co/datasets/jxu124/refcoco",
        repo="jxu124/refcoco",
        subsets=("data",),
        needs=("coco2014",),
        licences={"": "Apache-2.0"},
    ),
    "art": Entry(
        licence="for research, see the page",
        page="https://rrc.cvc.uab.es/?ch=14&com=downloads",
        by_hand="The page above wants an account: of Tasks 1 and 3, save the training images as"
        " {folder}/train_images.tar.gz and their labels as {folder}/train_labels.json, and give"
        " the same command again.",
        brought=(Piece("train_images", path="train_images.tar.gz", unpacked=True, lifted=True),),
        proof="train_images/*",
    ),
    "coco_text": Entry(
        licence="CC BY 4.0",
        page="https://bgshih.github.io/cocotext/",
        pieces=(
            Piece(
                "",
                url="https://github.com/bgshih/cocotext/releases/download/dl/cocotext.v2.zip",
                unpacked=True,
            ),
        ),
        needs=("coco2014",),
    ),
}
"""By the names that recipes use; coco2014 holds the images of several."""
