from __future__ import annotations

from pathlib import Path

import pytest

from config import load_recipe, resolved_yaml
from stages.run_recipe import for_its_run


@pytest.mark.parametrize(
    ("begun", "told", "stands"),
    [
        (["max_rows=null"], [], None),  # by the default of before
        (["max_rows=null"], ["max_rows=auto"], "auto"),
        (["max_rows=null"], ["max_rows=7"], 7),
        ([], [], "auto"),
        (["max_rows=7"], [], "auto"),  # a line of the recipe that is gone, which is told as such
    ],
)
def test_a_run_keeps_the_defaults_that_it_began_with(
    begun: list[str], told: list[str], stands: object, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", tmp_path / "recipe.yaml"
    file.write_text(f"output_dir: {run}\ntasks: [{{dataset: llava}}]\nselect: {{budget: 5}}\n")

    def recipe(settings: list[str]):
        return load_recipe(file, [f"featurize.{setting}" for setting in settings])

    assert for_its_run(recipe(told)).featurize.max_rows == recipe(told).featurize.max_rows
    run.mkdir()
    (run / "config.resolved.yaml").write_text(resolved_yaml(recipe(begun)))
    assert for_its_run(recipe(told)).featurize.max_rows == stands
    assert for_its_run(recipe(told)).recipe_dir == tmp_path
    assert for_its_run(recipe(told), fresh=True) == recipe(told)
