"""lmms-eval with an adapter on its model, for adapters that cannot be merged into weights.

``python -m stages.lmms.launcher --adapter FOLDER`` and the arguments of lmms-eval, in an
environment that has both: lmms-eval makes its model, the adapter is put on what is inside, and
lmms-eval's own functions ask the tasks and write the files, as its command does.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any


def main() -> None:
    """Ask one model several tasks."""
    order = _order()
    from lmms_eval import models
    from lmms_eval.evaluator import simple_evaluate
    from lmms_eval.loggers import EvaluationTracker
    from lmms_eval.tasks import TaskManager

    device = {"device": order.device} if order.device else {}
    asked = models.get_model(order.model).create_from_arg_string(
        order.model_args, {"batch_size": order.batch_size, **device}
    )
    put_on(asked, order.adapter)
    date = datetime.now().strftime("%Y%m%d_%H%M%S")
    results = simple_evaluate(
        model=asked,
        model_args=order.model_args,
        tasks=order.tasks.split(","),
        batch_size=order.batch_size,
        device=order.device,
        limit=order.limit,
        log_samples=True,
        # By its name the tasks know how to ask a model of this kind.
        task_manager=TaskManager("INFO", include_path=order.include_path, model_name=order.model),
        datetime_str=date,
    )
    if results is None:  # not the leader of several processes
        return
    samples = results.pop("samples")
    tracker = EvaluationTracker(output_path=order.output_path)
    tracker.general_config_tracker.log_experiment_args(
        model_source=order.model,
        model_args=order.model_args,
        system_instruction="",
        chat_template="",
        fewshot_as_multiturn=False,
    )
    tracker.save_results_aggregated(results=results, samples=samples, datetime_str=date)
    for name in results["configs"]:
        tracker.save_results_samples(task_name=name, samples=samples[name])


def put_on(asked: Any, adapter: Path) -> None:
    """The adapter on the model inside of an lmms-eval model.

    Raises:
        UserError: it keeps none where those of transformers do, or another one than the adapter's.
    """
    from transformers import PreTrainedModel

    from adaptinf.adapters import load_adapter
    from adaptinf.errors import UserError

    inner = getattr(asked, "_model", None)
    if not isinstance(inner, PreTrainedModel):
        raise UserError(
            "an adapter can only be put on a model of transformers",
            where="--model",
            seen=type(asked).__name__,
            hint="choose one that lmms-eval runs with transformers, such as llava_hf",
        )
    asked._model = load_adapter(inner, adapter).eval()


def _order() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--adapter", type=Path, required=True)
    for name in ("model", "model_args", "tasks", "output_path"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--batch_size", type=int, default=1)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--device")
    parser.add_argument("--include_path")
    parser.add_argument("--log_samples", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
