import argparse
import json
import sys
import traceback
from pathlib import Path

from lmms_eval import evaluator
from lmms_eval.loggers import EvaluationTracker
from lmms_eval.tasks import TaskManager


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("model", "model_args", "tasks", "output_path", "include_path", "device"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--batch_size", default=1)
    parser.add_argument("--limit", type=float)
    parser.add_argument("--log_samples", action="store_true")
    order = parser.parse_args()
    with (Path(order.include_path) / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(sys.argv[1:]) + "\n")
    try:
        evaluate(order)
    except Exception as error:
        # As there: what fails is said, and the status is 0.
        traceback.print_exc()
        print(f"\x1b[31mError during evaluation: {error}\x1b[0m")


def evaluate(order):
    results = evaluator.simple_evaluate(
        model=order.model,
        model_args=order.model_args,
        tasks=order.tasks.split(","),
        batch_size=order.batch_size,
        device=order.device,
        limit=order.limit,
        task_manager=TaskManager("INFO", include_path=order.include_path, model_name=order.model),
    )
    tracker = EvaluationTracker(output_path=order.output_path)
    tracker.general_config_tracker.log_experiment_args(order.model, order.model_args, "", "", False)
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples, datetime_str="20260101_1200")
    for name in results["configs"]:
        tracker.save_results_samples(task_name=name, samples=samples[name])


if __name__ == "__main__":
    main()
