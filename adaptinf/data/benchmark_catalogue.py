"""Where the published benchmarks come from, laid out as ``adaptinf evaluate`` wants them."""

from __future__ import annotations

from adaptinf.data.catalogue import Entry, Piece

_COCO = "http://images.cocodataset.org"
_VQA = "https://s3.amazonaws.com/cvmlp/vqa/mscoco/vqa"
_OKVQA = "https://okvqa.allenai.org/static/data"
_VIZWIZ = "https://vizwiz.cs.colorado.edu/VizWiz_final"
_POPE = (
    "https://raw.githubusercontent.com/AoiDragon/POPE/"
    "e3e39262c85a6a83f26cf5094022a782cb0df58d/output/coco"
)
_SCIENCEQA = "https://raw.githubusercontent.com/lupantech/ScienceQA/main/data/scienceqa"
_LLAVA_BENCH = "liuhaotian/llava-bench-in-the-wild"
_VAL2014 = (("images", "coco_val2014/val2014"),)

BENCHMARK_CATALOGUE: dict[str, Entry] = {
    "coco_val2014": Entry(
        licence="images under Flickr's terms of use",
        page="https://cocodataset.org/#download",
        pieces=(Piece("", url=f"{_COCO}/zips/val2014.zip", unpacked=True),),
    ),
    "coco_train2014": Entry(
        licence="images under Flickr's terms of use",
        page="https://cocodataset.org/#download",
        pieces=(Piece("", url=f"{_COCO}/zips/train2014.zip", unpacked=True),),
    ),
    "vqav2": Entry(
        licence="CC BY 4.0",
        page="https://visualqa.org/download.html",
        pieces=(
            Piece("", url=f"{_VQA}/v2_Annotations_Val_mscoco.zip", unpacked=True),
            Piece("", url=f"{_VQA}/v2_Questions_Val_mscoco.zip", unpacked=True),
        ),
        needs=("coco_val2014",),
        links=_VAL2014,
    ),
    "okvqa": Entry(
        licence="CC BY 4.0",
        page="https://okvqa.allenai.org",
        pieces=(
            Piece("", url=f"{_OKVQA}/mscoco_val2014_annotations.json.zip", unpacked=True),
            Piece("", url=f"{_OKVQA}/OpenEnded_mscoco_val2014_questions.json.zip", unpacked=True),
        ),
        needs=("coco_val2014",),
        links=_VAL2014,
    ),
    "vizwiz": Entry(
        licence="CC BY 4.0",
        page="https://vizwiz.org/tasks-and-datasets/vqa/",
        pieces=(
            Piece("", url=f"{_VIZWIZ}/vqa_data/Annotations.zip", unpacked=True, lifted=True),
            Piece("images", url=f"{_VIZWIZ}/images/val.zip", unpacked=True, lifted=True),
        ),
    ),
    "textvqa": Entry(
        licence="CC BY 4.0",
        page="https://textvqa.org/dataset/",
        pieces=(
            Piece(
                "TextVQA_0.5.1_val.json",
                url="https://dl.fbaipublicfiles.com/textvqa/data/TextVQA_0.5.1_val.json",
            ),
            Piece(
                "images",
                url="https://dl.fbaipublicfiles.com/textvqa/images/train_val_images.zip",
                unpacked=True,
                lifted=True,
            ),
        ),
    ),
    "gqa": Entry(
        licence="CC BY 4.0",
        page="https://cs.stanford.edu/people/dorarad/gqa/download.html",
        pieces=(
            Piece(
                "",
                url="https://downloads.cs.stanford.edu/nlp/data/gqa/questions1.2.zip",
                unpacked=True,
            ),
            Piece(
                "", url="https://downloads.cs.stanford.edu/nlp/data/gqa/images.zip", unpacked=True
            ),
        ),
    ),
    "pope": Entry(
        licence="MIT",
        page="https://github.com/AoiDragon/POPE",
        pieces=tuple(
            Piece(f"coco_pope_{kind}.json", url=f"{_POPE}/coco_pope_{kind}.json")
            for kind in ("random", "popular", "adversarial")
        ),
        needs=("coco_val2014",),
        links=_VAL2014,
    ),
    "scienceqa": Entry(
        licence="CC BY-NC-SA 4.0",
        page="https://scienceqa.github.io",
        pieces=(
            Piece("problems.json", url=f"{_SCIENCEQA}/problems.json"),
            Piece("pid_splits.json", url=f"{_SCIENCEQA}/pid_splits.json"),
            Piece(
                "images",
                url="https://scienceqa.s3.us-west-1.amazonaws.com/images/test.zip",
                unpacked=True,
            ),
        ),
    ),
    "mmbench": Entry(
        licence="Apache 2.0",
        page="https://github.com/open-compass/MMBench",
        pieces=(
            Piece(
                "mmbench_dev_20230712.tsv",
                url="https://download.openmmlab.com/mmclassification/datasets/mmbench/"
                "mmbench_dev_20230712.tsv",
            ),
        ),
    ),
    "seed": Entry(
        licence="CC BY-NC 4.0",
        page="https://huggingface.co/datasets/AILab-CVC/SEED-Bench",
        pieces=(
            Piece("SEED-Bench.json", repo="AILab-CVC/SEED-Bench", path="SEED-Bench.json"),
            Piece(
                "images",
                repo="AILab-CVC/SEED-Bench",
                path="SEED-Bench-image.zip",
                unpacked=True,
                lifted=True,
            ),
        ),
    ),
    "mmmu": Entry(
        licence="Apache 2.0",
        page="https://huggingface.co/datasets/MMMU/MMMU",
        repo="MMMU/MMMU",
        subsets=(
            *("Accounting", "Agriculture", "Architecture_and_Engineering", "Art", "Art_Theory"),
            *("Basic_Medical_Science", "Biology", "Chemistry", "Clinical_Medicine"),
            *("Computer_Science", "Design", "Diagnostics_and_Laboratory_Medicine", "Economics"),
            *("Electronics", "Energy_and_Power", "Finance", "Geography", "History", "Literature"),
            *("Manage", "Marketing", "Materials", "Math", "Mechanical_Engineering", "Music"),
            *("Pharmacy", "Physics", "Psychology", "Public_Health", "Sociology"),
        ),
        tables="validation-",
    ),
    "mmlu": Entry(
        licence="MIT",
        page="https://huggingface.co/datasets/cais/mmlu",
        repo="cais/mmlu",
        subsets=("all",),
        tables="validation-",
    ),
    "aokvqa": Entry(
        licence="Apache 2.0",
        page="https://allenai.org/project/a-okvqa/home",
        pieces=(
            Piece(
                "",
                url="https://prior-datasets.s3.us-east-2.amazonaws.com/aokvqa/aokvqa_v1p0.tar.gz",
                unpacked=True,
            ),
            Piece("images", url=f"{_COCO}/zips/val2017.zip", unpacked=True, lifted=True),
        ),
    ),
    "refcoco": Entry(
        licence="Apache 2.0 (RefCOCO); images under Flickr's terms of use",
        page="https://huggingface.co/datasets/jxu124/refcoco",
        repo="jxu124/refcoco",
        subsets=("data",),
        tables="testA-",
        needs=("coco_train2014",),
        links=(("images", "coco_train2014"),),
    ),
    "coco_captions": Entry(
        licence="CC BY 4.0",
        page="https://cocodataset.org/#download",
        pieces=(Piece("", url=f"{_COCO}/annotations/annotations_trainval2014.zip", unpacked=True),),
        needs=("coco_val2014",),
        links=_VAL2014,
    ),
    "llava_bench": Entry(
        licence="Apache 2.0 (LLaVA); images and answers of GPT-4 under their own terms",
        page=f"https://huggingface.co/datasets/{_LLAVA_BENCH}",
        pieces=(
            *(
                Piece(name, repo=_LLAVA_BENCH, path=name)
                for name in (
                    "questions.jsonl",
                    "context.jsonl",
                    "answers_gpt4.jsonl",
                    *(f"images/{number:03}.jpg" for number in range(1, 25)),
                )
            ),
            Piece(
                "rule.json",
                url="https://raw.githubusercontent.com/haotian-liu/LLaVA/"
                "181a2f811f1eb0b794c25e87204491d812c05f8d/llava/eval/table/rule.json",
            ),
        ),
    ),
    "mmvet": Entry(
        licence="for research, not commercial: see the page",
        page="https://github.com/yuweihao/MM-Vet",
        pieces=(
            Piece(
                "",
                url="https://github.com/yuweihao/MM-Vet/releases/download/v1/mm-vet.zip",
                unpacked=True,
                lifted=True,
            ),
            Piece(
                "mm-vet_evaluator.py",
                url="https://raw.githubusercontent.com/yuweihao/MM-Vet/"
                "c7ff270d86fb79c42346214366f4192c0e08b042/mm-vet_evaluator.py",
            ),
        ),
    ),
    "mme": Entry(
        licence="for research, see the page",
        page="https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models/tree/Evaluation",
        by_hand="MME is given out on request: follow the page above, and unpack its folders of"
        " subtasks (existence, count, ...) into {folder}.",
        proof="existence/*",
    ),
}
"""By the names of ``adaptinf score``; two entries hold the images of several."""
