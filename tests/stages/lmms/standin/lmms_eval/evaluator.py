import json
import sys
from pathlib import Path

from lmms_eval import models


def simple_evaluate(
    model,
    model_args=None,
    tasks=None,
    batch_size=None,
    device=None,
    limit=None,
    log_samples=True,
    task_manager=None,
    datetime_str=None,
):
    if isinstance(model, str):
        extra = {"batch_size": batch_size, **({"device": device} if device else {})}
        model = models.get_model(model).create_from_arg_string(model_args, extra)
    folder = Path(task_manager.include_path)
    found = {"results": {}, "group_subtasks": {}, "configs": {}, "higher_is_better": {}}
    found |= {"n-samples": {}, "samples": {}}
    for task in tasks:
        file = folder / f"{task}.json"
        if not file.is_file():
            raise ValueError(f"Tasks not found: {task}.")
        ask(model, task, json.loads(file.read_text()), folder, limit, found)
    return found


def ask(model, task, kind, folder, limit, found):
    if "status" in kind:
        print("as bad as it gets", file=sys.stderr)
        sys.exit(kind["status"])
    if "group" in kind:
        found["results"][task] = {" ": " ", "alias": task}
        found["group_subtasks"][task] = kind["group"]
        for name in kind["group"]:
            ask(
                model, name, json.loads((folder / f"{name}.json").read_text()), folder, limit, found
            )
        return
    lines = (folder / "questions.jsonl").read_text().splitlines()
    questions = [json.loads(line) for line in lines][: int(limit) if limit else None]
    texts = [kind.get("says", model.answer(question)) for question in questions]
    scores = [float(t == q["answer"]) for t, q in zip(texts, questions, strict=True)]
    total = kind["factor"] * sum(scores) / (len(scores) if kind["mean"] else 1)
    metric = kind.get("metric", "right")
    found["results"][task] = {
        "alias": task,
        f"{metric},none": kind.get("value", total),
        f"{metric}_stderr,none": "N/A",
    }
    found["group_subtasks"][task] = []
    found["configs"][task] = {"task": task, "metric_list": [{"metric": metric}]}
    found["higher_is_better"][task] = {metric: True}
    found["n-samples"][task] = {"original": len(lines), "effective": len(questions)}
    found["samples"][task] = [
        {
            "doc_id": number,
            "target": question["answer"],
            "filtered_resps": text,
            "doc_hash": "0",
            metric: {"score": score},
            "input": question["text"],
        }
        for number, (question, text, score) in enumerate(zip(questions, texts, scores, strict=True))
    ]
