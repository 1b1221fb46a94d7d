import json
import re
from pathlib import Path


class GeneralConfigTracker:
    def log_experiment_args(
        self, model_source, model_args, system_instruction, chat_template, fewshot_as_multiturn
    ):
        name = re.search("pretrained=([^,]*)", model_args)[1]
        self.model_name_sanitized = "__".join(name.split("/")[-2:])


class EvaluationTracker:
    def __init__(self, output_path=None):
        self.general_config_tracker = GeneralConfigTracker()
        self.output_path = output_path

    def save_results_aggregated(self, results, samples, datetime_str):
        self.folder = Path(self.output_path) / self.general_config_tracker.model_name_sanitized
        self.folder.mkdir(parents=True, exist_ok=True)
        self.date = datetime_str
        (self.folder / f"{datetime_str}_results.json").write_text(json.dumps(results, indent=2))

    def save_results_samples(self, task_name, samples):
        with (self.folder / f"{self.date}_samples_{task_name}.jsonl").open("a") as file:
            file.writelines(json.dumps(sample) + "\n" for sample in samples)
