from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adaptinf.errors import UserError
from adaptinf.routes import Placement
from config import Data, Recipe, Section, Select, Task, load_recipe, resolved_yaml

ROOT = Path(__file__).parent.parent
# Whatever is no recipe (DeepSpeed presets) is JSON.
PLAN = ROOT / "configs/study/plan.yaml"  # what the study lays over a recipe
SHIPPED = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path != PLAN)

LEAST = "output_dir: runs/mine\ntasks:\n  - {dataset: llava}\n"

FOUR_MISTAKES = """\
output_dir: runs/mine
tasks: [{dataset: llava}, {dataset: m3it}]
select:
  features: gradient
  budgett: 500
  clusters: many
adapter: {route: lora, r: 0}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes recipe.yaml and steps into its folder, so that errors name it as a user would."""
    monkeypatch.chdir(tmp_path)

    def to_file(text):
        Path("recipe.yaml").write_text(text)
        return "recipe.yaml"

    return to_file


@pytest.fixture
def mistakes(write):
    def of(text, *overrides):
        with pytest.raises(UserError) as caught:
            load_recipe(write(text), overrides)
        return list(caught.value.lines)

    return of


def sections():
    pending = [Recipe, Task]
    while pending:
        section = pending.pop()
        yield section
        kinds = [info.annotation for info in section.model_fields.values()]
        pending += [k for k in kinds if isinstance(k, type) and issubclass(k, Section)]


def test_four_mistakes_are_told_at_once(mistakes):
    assert mistakes(FOUR_MISTAKES) == [
        "recipe.yaml:4: select.features: not allowed (seen: 'gradient'); allowed: 'gradients', "
        "'embeddings' or 'both'; did you mean 'gradients'?",
        "recipe.yaml:5: select.budgett: unknown key; did you mean 'budget'?",
        "recipe.yaml:6: select.clusters: not allowed (seen: 'many'); allowed: 'auto', 'elbow', "
        "'silhouette' or a whole number >= 1",
        "recipe.yaml:7: adapter.r: not allowed (seen: 0); allowed: a whole number >= 1 and "
        "<= 65536",
    ]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipe_is_valid(path):
    assert load_recipe(path).recipe_dir == path.parent


def test_a_quickstart_is_shipped():
    assert ROOT / "configs" / "quickstart.yaml" in SHIPPED


def test_least_recipe_has_the_documented_defaults(write):
    recipe = load_recipe(write(LEAST))
    assert recipe.output_dir == Path("runs/mine")
    assert (recipe.model.name, recipe.adapter.r, recipe.train.learning_rate) == ("tiny", 16, 2e-4)
    assert (recipe.select.method, recipe.select.budget) == ("adapt-inf", 400)
    assert recipe.recipe_dir == Path.cwd()


def test_every_setting_is_documented():
    found = list(sections())
    assert len(found) == 15
    for section in found:
        for name, info in section.model_fields.items():
            assert info.description, f"{section.__name__}.{name}"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed: -1", "seed: not allowed (seen: -1); allowed: a whole number >= 0"),
        ("seed: true", "seed: not allowed (seen: true); allowed: a whole number >= 0"),
        ("seed: 1.0", "seed: not allowed (seen: 1.0); allowed: a whole number >= 0"),
        ("data: {max_length: none}", "data.max_length: not allowed (seen: 'none'); allowed: a whole"
         " number >= 1 or null"),
        ("train: {bf16: 'yes'}", "train.bf16: not allowed (seen: 'yes'); allowed: true or false"),
        ("train: {epochs: .nan}", "train.epochs: not allowed (seen: nan); allowed: a number > 0"),
        ("train: {extra: [1]}", "train.extra: not allowed (seen: a list); allowed: a mapping"),
        ("adapter: {dropout: 1}", "adapter.dropout: not allowed (seen: 1); allowed: a number >= 0"
         " and < 1"),
        ("featurize: {layer: 1.5}", "featurize.layer: not allowed (seen: 1.5); allowed: 'first',"
         " 'middle', 'last', a whole number >= 0 or a number >= 0 and <= 1"),
        ("featurize: {grounding: black}", "featurize.grounding: not allowed (seen: 'black');"
         " allowed: 'blank', 'drop' or null; did you mean 'blank'?"),
        ("evaluate: {benchmarks: [1]}", "evaluate.benchmarks: not allowed (seen: 1); allowed: 'all'"
         " or a list of names"),
        ("evaluate: {rules: {pope: theirs}}", "evaluate.rules.pope: unknown rules 'theirs'; pope"
         " has llava and lmms"),
        ("evaluate: {probe: some}", "evaluate.probe: not allowed (seen: 'some'); allowed: 'auto', a"
         " whole number >= 1 or null"),
        ("evaluate: {rules: {popes: lmms}}", "evaluate.rules.popes: no published benchmark of that"
         " name; did you mean 'pope'?"),
        ("evaluate: {taught_by: {pope: [llava, mantiss]}}", "evaluate.taught_by.pope.1: no task or"
         " dataset; did you mean 'mantis'?"),
        ("model: {name: {a: 1}}", "model.name: not allowed (seen: a mapping); allowed: text"),
        ("prune:", "prune: not allowed (seen: null); allowed: a mapping of pool_budget"),
        ("yes: 1", "yes: unknown key; known: adapter, data, evaluate, featurize, model, on_failure,"
         " output_dir, prune, rehearse, seed, select, tasks, tracking, train, watch"),
    ],
)  # fmt: skip
def test_wrong_value_shows_what_was_seen_and_what_is_allowed(mistakes, line, message):
    assert mistakes(LEAST + line) == [f"recipe.yaml:4: {message}"]


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ("placement: conlor", "placement: not allowed (seen: 'conlor'); allowed: 'text', 'conlora',"
         " 'conlora-body', 'dora-llava', 'mixlora-llava', 'full', a list of mappings of part,"
         " leaves, layers, r, alpha, learning_rate or null; did you mean 'conlora'?"),
        ("placement: [{part: txt}]", "placement.0.part: not allowed (seen: 'txt'); allowed:"
         " 'vision', 'connector' or 'text'; did you mean 'text'?"),
        ("placement: [{part: text, leafs: q}]", "placement.0.leafs: unknown key; did you mean"
         " 'leaves'?"),
        ("placement: [{part: text, layers: upper}]", "placement.0.layers: 'upper' names no layers;"
         " give all, upper:0.64, lower:0.5 or 0-21"),
        ("route: dora, mode: replace", "mode: mode is of route 'adem', and this is 'dora';"
         " leave it out"),
        ("routers: frozen", "routers: routers is of route 'mixlora', and this is 'lora'; leave it"
         " out"),
        ("route: adem, alpha: 32", "alpha: adem adds alpha: 32 times its attention; give 0.1 or so,"
         " or null"),
        ("placement: [{part: connector, r: full}]", "placement: no place gets an adapter; give one"
         " without r: full"),
        ("placement: []", "placement: no place gets an adapter; give one without r: full"),
        ("route: mixlora, r: 16", "num_experts: of 16 factors r: 16 leaves none to choose; give a"
         " smaller r"),
    ],
)  # fmt: skip
def test_options_of_the_adapter_are_checked(mistakes, adapter, message):
    assert mistakes(f"{LEAST}adapter: {{{adapter}}}") == [f"recipe.yaml:4: adapter.{message}"]


def test_a_placement_is_a_name_or_a_list(write):
    assert load_recipe(write(LEAST)).adapter.options["placement"] is None
    named = load_recipe(write(f"{LEAST}adapter: {{placement: conlora}}"))
    assert named.adapter.options["placement"] == "conlora"
    places = "[{part: text, leaves: [q], layers: 0-21, r: 8}, {part: connector, r: full}]"
    listed = load_recipe(write(f"{LEAST}adapter: {{placement: {places}}}"))
    assert listed.adapter.options["placement"] == (
        Placement("text", ("q",), "0-21", r=8),
        Placement("connector", r="full"),
    )


@pytest.mark.parametrize("kind", ["adapter", "zero-order"])
def test_gradients_of_loras_matrices_need_a_route_that_has_them(write, mistakes, kind):
    text = f"{LEAST}featurize: {{gradients: {kind}}}\nadapter: {{route: ROUTE, r: 4}}\n"
    assert load_recipe(write(text.replace("ROUTE", "dora"))).featurize.gradients == kind
    assert mistakes(text.replace("ROUTE", "mixlora")) == [
        f"recipe.yaml:5: adapter.route: featurize.gradients {kind!r} are of LoRA's matrices, which"
        " 'mixlora' has not; give weights or auto there"
    ]


def test_a_selection_that_reads_gradients_needs_them(write, mistakes):
    bare = f"{LEAST}featurize: {{gradients: none}}\n"
    assert mistakes(bare + "select: {scorer: grand}\n") == [
        "recipe.yaml:5: select.features: 'gradients' needs gradients, but featurize.gradients is"
        " none; give embeddings here, or auto there",
        "recipe.yaml:5: select.scorer: 'grand' needs gradients, but featurize.gradients is none;"
        " give auto",
    ]
    assert mistakes(bare + "select: {method: grand}\n") == [
        "recipe.yaml:5: select.method: 'grand' needs gradients, but featurize.gradients is none;"
        " give auto",
    ]
    for method in ("{features: embeddings}", "{method: el2n}", "{method: random}"):
        assert load_recipe(write(f"{bare}select: {method}\n")).featurize.gradients == "none"


def test_deepspeed_is_a_preset_or_a_file(write, mistakes):
    text = LEAST + "train: {deepspeed: zero-3}\n"
    where = "recipe.yaml:4: train.deepspeed: "
    told = "neither a preset nor a file: 'zero-3'; did you mean 'zero3'?"
    assert mistakes(text) == [where + told]
    Path("zero-3").write_text("{}")
    assert load_recipe(write(text)).train.deepspeed == "zero-3"
    told = "adapter.average 'ema' needs weights that are whole; give zero2"
    text = LEAST + "train: {deepspeed: zero3}\nadapter: {average: ema}\n"
    assert mistakes(text) == [where + told]


def test_image_grounding_that_is_not_computed_selects_nothing(mistakes):
    text = f"{LEAST}featurize: {{grounding: null}}\nselect: "
    what = "needs image grounding, but featurize.grounding is null; give blank or drop"
    assert mistakes(f"{text}{{method: image-grounding}}") == [
        f"recipe.yaml:5: select.method: 'image-grounding' {what}"
    ]
    assert mistakes(f"{text}{{scorer: image_grounding}}") == [
        f"recipe.yaml:5: select.scorer: 'image_grounding' {what}"
    ]


def test_a_recipe_is_checked_without_torch_and_numpy(write):
    path = write(f"{LEAST}adapter: {{route: mixlora, r: 4, placement: [{{part: text}}]}}\n")
    code = "import sys, config; config.load_recipe(sys.argv[1], ['select.method=random']);"
    code += "print(*({'torch', 'numpy', 'peft', 'transformers'} & sys.modules.keys()))"
    command = [sys.executable, "-c", code, str(Path(path).absolute())]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == ""


def test_names_of_methods_and_routes_are_checked(mistakes):
    method, route = mistakes(f"{LEAST}select: {{method: adaptinf}}\nadapter: {{route: lorra}}\n")
    assert method.startswith("recipe.yaml:4: select.method: not allowed (seen: 'adaptinf'); ")
    assert "'random'" in method
    assert method.endswith("did you mean 'adapt-inf'?")
    assert route.startswith("recipe.yaml:5: adapter.route: not allowed (seen: 'lorra'); allowed:")
    assert route.endswith("did you mean 'lora'?")


SELECT = "output_dir: runs/mine\ntasks: [{dataset: llava}, {dataset: mantis}]\n"


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("{scorer: eln2}", "scorer: not allowed (seen: 'eln2'); allowed: 'max-entropy',"
         " 'mean-rank', 'raw-entropy', 'perplexity', 'el2n', 'entropy', 'grand' or"
         " 'image_grounding'; did you mean 'el2n'?"),
        ("{budgets: sizes}", "budgets: not allowed (seen: 'sizes'); allowed: 'uniform', 'size' or"
         " 'score-weighted'; did you mean 'size'?"),
        ("{sampling: botom}", "sampling: not allowed (seen: 'botom'); allowed: 'coverage',"
         " 'random', 'top', 'bottom' or 'middle'; did you mean 'bottom'?"),
        ("{centroids: old}", "centroids: not allowed (seen: 'old'); allowed: 'new' or 'first'"),
        ("{clusters: elbows}", "clusters: not allowed (seen: 'elbows'); allowed: 'auto', 'elbow',"
         " 'silhouette' or a whole number >= 1; did you mean 'elbow'?"),
        ("{floors: {lava: 0.1}}", "floors.lava: no task of that name; did you mean 'llava'?"),
        ("{ceilings: {llava: 2}}", "ceilings.llava: not allowed (seen: 2); allowed: a number >= 0"
         " and <= 1"),
        ("{floors: [llava]}", "floors: not allowed (seen: a list); allowed: a mapping"),
        ("{old: {leest: 0.1}}", "old.leest: unknown key; did you mean 'least'?"),
        ("{old: 0.5}", "old: not allowed (seen: 0.5); allowed: a mapping of least, most"),
    ],
)  # fmt: skip
def test_options_of_the_selection_are_checked(mistakes, select, message):
    assert mistakes(f"{SELECT}select: {select}\n") == [f"recipe.yaml:3: select.{message}"]


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("{method: d2, centroids: first}", "centroids: method 'd2' has no clusters; these have:"
         " adapt-inf, adapt-inf-lite, semdedup, dbp, coincide"),
        ("{method: random, scorer: el2n}", "scorer: method 'random' looks at no scores"),
        ("{old: {least: 0.6, most: 0.5}}", "old.most: 0.5 is below least, 0.6"),
        ("{old: {least: 0.5}, floors: {llava: 0.1}}", "old: cannot be combined with floors or"
         " ceilings"),
        ("{old: {most: 0.5}, ceilings: {llava: 0.1}}", "old: cannot be combined with floors or"
         " ceilings"),
        ("{old: {most: 0.5}, skill_floor: 0.1}", "skill_floor: cannot be combined with floors,"
         " ceilings or old"),
        ("{floors: {llava: 0.1}, skill_floor: 0.1}", "skill_floor: cannot be combined with floors,"
         " ceilings or old"),
        ("{floors: {llava: 0.6, mantis: 0.5}}", "floors: the floors add up to 1.1, more than all"
         " rows"),
        ("{floors: {llava: 0.6}, ceilings: {llava: 0.5}}", "ceilings.llava: 0.5 is below the floor,"
         " 0.6"),
        ("{ceilings: {llava: 0.5, mantis: 0.4}}", "ceilings: those of the first 2 tasks add up to"
         " 0.9, not to all rows"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together(mistakes, select, message):
    assert mistakes(f"{SELECT}select: {select}\n") == [f"recipe.yaml:3: select.{message}"]


def test_every_share_of_an_unknown_task_is_told(mistakes):
    text = SELECT + "select:\n  floors: {lava: 0.1}\n  ceilings: {llava: 0.5, x: 1}\n"
    assert mistakes(text) == [
        "recipe.yaml:4: select.floors.lava: no task of that name; did you mean 'llava'?",
        "recipe.yaml:5: select.ceilings.x: no task of that name; known: llava, mantis",
    ]


def test_shares_of_a_recipe(write):
    text = SELECT + "select: {floors: {llava: 0.1, mantis: 0.2}, ceilings: {llava: 0.5}}\n"
    select = load_recipe(write(text), ["select.floors.llava=3e-1"]).select
    assert select.floors == {"llava": 0.3, "mantis": 0.2}
    assert select.ceilings == {"llava": 0.5}
    old = load_recipe(write(SELECT), ["select.old.most=0.5", "select.method=random"]).select.old
    assert (old.least, old.most) == (0.0, 0.5)
    plain, bound = (load_recipe(write(SELECT), more) for more in ([], ["select.skill_floor=0.03"]))
    assert bound.select.skill_floor == 0.03
    assert "skill_floor" not in plain.select.lasting()
    assert bound.select.lasting() == plain.select.lasting() | {"skill_floor": 0.03}


def test_the_perplexity_is_told_only_where_it_is_not_the_usual_one(write):
    """Fingerprints of runs that were made before there was a choice stay as they were."""
    usual = load_recipe(write(LEAST), ["featurize.perplexity=exp-mean"]).featurize
    assert usual.lasting() == load_recipe(write(LEAST), []).featurize.lasting()
    assert "perplexity" not in usual.lasting()
    other = load_recipe(write(LEAST), ["featurize.perplexity=mean-exp"]).featurize
    assert other.lasting() == {**usual.lasting(), "perplexity": "mean-exp"}


def test_options_are_those_of_the_library(write):
    """Each word of the recipe is accepted, and the library knows no other."""
    from selection.allotment import BUDGETS
    from selection.names import CLUSTERED, CLUSTERS, FEATURELESS, METHODS, SCORES
    from selection.sampling import SAMPLING
    from selection.scorer import RULES

    words = {
        "clusters": CLUSTERS,
        "scorer": (*RULES, *SCORES),
        "budgets": BUDGETS,
        "sampling": tuple(SAMPLING),
    }
    allowed = {name: _words(Select.model_fields[name].annotation) for name in words}
    assert allowed == {**words, "scorer": RULES}
    for name, known in words.items():
        for word in known:
            select = load_recipe(write(LEAST), [f"select.{name}={word}"]).select
            assert getattr(select, name) == word
    assert set(CLUSTERED) | set(FEATURELESS) < set(METHODS)


def _words(kind):
    """Words of the choice that is the kind, or a part of it."""
    parts = [kind, *get_args(kind)]
    return next(get_args(part) for part in parts if get_origin(part) is Literal)


def test_missing_keys(mistakes):
    assert mistakes("seed: 1") == [
        "recipe.yaml:1: output_dir: missing; needs a path",
        "recipe.yaml:1: tasks: missing; needs a list of tasks",
    ]
    assert mistakes("output_dir: x\ntasks:\n- {dataset: a}\n- {name: b}") == [
        "recipe.yaml:4: tasks.1.dataset: missing; needs text"
    ]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("", "tasks: not allowed (seen: null); allowed: a list of tasks"),
        ("[llava]", "tasks.0: not allowed (seen: 'llava'); allowed: a mapping of dataset, name, "
         "format, columns, images, licence, limit"),
        ("[{dataset: '..'}]", "tasks.0: nothing to name its folders by; give `name:`"),
    ],
)  # fmt: skip
def test_unusable_tasks(mistakes, tasks, message):
    assert mistakes(f"output_dir: x\ntasks: {tasks}\n") == [f"recipe.yaml:2: {message}"]


def test_tasks_of_one_name_are_all_told(mistakes):
    text = "output_dir: x\ntasks:\n- {dataset: a}\n- {dataset: d/a.json}\n- {dataset: b, name: a}\n"
    assert mistakes(text) == [
        "recipe.yaml:4: tasks.1: 'a' is also the name of tasks.0; give `name:`",
        "recipe.yaml:5: tasks.2: 'a' is also the name of tasks.0; give `name:`",
    ]


@pytest.mark.parametrize(
    ("dataset", "name", "label"),
    [
        ("llava", None, "llava"),
        ("data/my set.jsonl", None, "my-set"),
        ("folder/llava-1.5", None, "llava-1.5"),
        ("org/name/", None, "name"),
        ("llava", "../sneaky", "sneaky"),
        ("llava", "Ä/b_c", "b_c"),
    ],
)
def test_label(dataset, name, label):
    assert Task(dataset=dataset, name=name).label == label


@given(st.text(), st.none() | st.text())
def test_label_is_a_safe_folder_name(dataset, name):
    label = Task(dataset=dataset, name=name).label
    assert not label.startswith(".")
    assert all(c.isascii() and (c.isalnum() or c in "_.-") for c in label)


def test_keys_given_twice_are_mistakes(mistakes):
    text = LEAST + "select:\n  budget: 1\n  method: random\n  budget: 2\nseed: 1\nseed: 2\n"
    assert mistakes(text) == [
        "recipe.yaml:7: select.budget: given twice; first on line 5",
        "recipe.yaml:9: seed: given twice; first on line 8",
    ]


def test_yaml_merge_keys_and_aliases_work(write):
    text = "output_dir: x\ntasks:\n- &a {dataset: a, limit: 3}\n- {<<: *a, dataset: b}\n"
    assert [(t.dataset, t.limit) for t in load_recipe(write(text)).tasks] == [("a", 3), ("b", 3)]


def test_ring_of_aliases_ends(mistakes):
    assert mistakes("output_dir: x\ntasks: &ring [*ring]\n")[0].startswith("recipe.yaml:2: tasks.0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "recipe.yaml:1: a recipe is a mapping of keys such as `output_dir: runs/mine`"),
        ("- a", "recipe.yaml:1: a recipe is a mapping of keys such as `output_dir: runs/mine`"),
        ("a: 1\nb: [1", "recipe.yaml:2: not valid YAML: expected ',' or ']', but got"
         " '<stream end>'"),
        ("a: 1\n? [x]\n: 2", "recipe.yaml:2: not valid YAML: expected a scalar node, but found"
         " sequence"),
        ("a: 2020-13-45", "recipe.yaml: not valid YAML: month must be in 1..12"),
        ("a: !!python/name:os.system 1", "recipe.yaml:1: not valid YAML: could not determine a"
         " constructor for the tag 'tag:yaml.org,2002:python/name:os.system'"),
    ],
)  # fmt: skip
def test_what_is_no_recipe(mistakes, text, message):
    assert mistakes(text) == [message]


def test_unreadable_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read: No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_overrides(write):
    text = LEAST + "  - {dataset: m3it}\nselect: {budget: 3}\nprune:\n"
    recipe = load_recipe(
        write(text),
        [
            "select.budget=5000",
            "tasks.1.limit=5",
            "train.learning_rate=1e-3",
            "train.extra.optim=adafactor",
            "evaluate.benchmarks=[vqa, ocr]",
            "prune.pool_budget=",
            "featurize.layer=0.5",
        ],
    )
    assert recipe.select.budget == 5000
    assert [task.limit for task in recipe.tasks] == [None, 5]
    assert recipe.train.learning_rate == 1e-3
    assert recipe.train.extra == {"optim": "adafactor"}
    assert recipe.evaluate.benchmarks == ("vqa", "ocr")
    assert recipe.prune.pool_budget is None
    assert recipe.featurize.layer == 0.5


def test_mistakes_of_the_command_line_come_after_those_of_the_file(mistakes):
    told = mistakes(
        LEAST + "select: {budget: 0}\n",
        "selectt.budget=4",
        "adapter.r=big",
        "foo",
        "tasks.7.limit=1",
        "tasks.-1.limit=1",
        "output_dir.x=1",
        "seed=[1",
    )
    assert told == [
        "recipe.yaml:4: select.budget: not allowed (seen: 0); allowed: a whole number >= 1",
        "command line: adapter.r: not allowed (seen: 'big'); allowed: a whole number >= 1 and "
        "<= 65536",
        "command line: foo: no value; write key.sub=value",
        "command line: output_dir.x: unknown key; what it is part of is a value",
        "command line: seed: not a YAML value (seen: '[1')",
        "command line: selectt: unknown key; did you mean 'select'?",
        "command line: tasks.-1.limit: there is no item '-1'; items are 0 to 0",
        "command line: tasks.7.limit: there is no item '7'; items are 0 to 0",
    ]


def test_an_override_mends_the_file(write):
    assert load_recipe(write(LEAST + "seed: x\n"), ["seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("layer", "expected"),
    [("middle", "middle"), ("1", 1), ("1.0", 1.0), ("0", 0), ("0.25", 0.25)],
)
def test_layer_keeps_whole_numbers_and_fractions_apart(write, layer, expected):
    seen = load_recipe(write(f"{LEAST}featurize: {{layer: {layer}}}\n")).featurize.layer
    assert (seen, type(seen)) == (expected, type(expected))


def test_resolved_yaml_says_everything_and_reads_back(write):
    recipe = load_recipe(write(LEAST + "train: {learning_rate: 2e-4}\nselect: {budget: 7}\n"))
    text = resolved_yaml(recipe)
    settings = yaml.safe_load(text)
    assert list(settings) == list(Recipe.model_fields)
    assert settings["output_dir"] == "runs/mine"
    assert settings["train"]["learning_rate"] == 2e-4
    assert settings["tasks"][0] == {
            "dataset": "llava", "name": None, "format": None, "columns": None, "images": None,
            "licence": None, "limit": None,
        }  # fmt: skip
    again = load_recipe(write(text))
    assert again == recipe
    assert resolved_yaml(again) == text


@pytest.mark.parametrize(
    ("bits", "setting", "told"),
    [
        ("4bit", "adapter.across_steps=merge_and_new", "give continue or new_per_task"),
        ("8bit", "adapter.route=full", "train lora on them"),
        ("4bit", "adapter.placement=full", "train lora on them"),
        ("4bit", "adapter.placement=[{part: text}, {part: text, r: full}]", "train lora on them"),
        ("8bit", "adapter.route=dora", "give 4bit there"),
        ("4bit", "train.deepspeed=zero3", "give zero2"),
    ],
)
def test_what_needs_whole_weights_is_refused_on_fewer_bits(mistakes, bits, setting, told):
    (line,) = mistakes(LEAST, f"model.quantize={bits}", setting)
    assert line.startswith(f"command line: {setting.split('=')[0]}")
    assert f"model.quantize: {bits}" in line and told in line


def test_fewer_bits_go_with_adapters_and_a_trained_connector(write):
    placement = "adapter.placement=[{part: text}, {part: connector, r: full}]"
    settings = ["model.quantize=4bit", "adapter.route=dora", placement, "train.deepspeed=zero2"]
    assert load_recipe(write(LEAST), settings).model.quantize == "4bit"


@pytest.mark.parametrize(
    ("method", "pool_budget", "expected"),
    [("adapt-inf", None, None), ("adapt-inf-lite", None, 40), ("adapt-inf-lite", 12, 12)],
)
def test_pool_budget(write, method, pool_budget, expected):
    overrides = [f"select.method={method}", "select.budget=10"]
    overrides += [f"prune.pool_budget={pool_budget}"] if pool_budget else []
    assert load_recipe(write(LEAST), overrides).pool_budget == expected


def test_data_folder_from_recipe_or_environment(monkeypatch):
    monkeypatch.delenv("ADAPTINF_DATA_ROOT", raising=False)
    assert Data().folder is None
    monkeypatch.setenv("ADAPTINF_DATA_ROOT", "/big/disk")
    assert Data().folder == Path("/big/disk")
    assert Data(root="here").folder == Path("here")
    assert Data(root="embedded").folder is None


def test_import_and_load_need_no_heavy_package(write):
    code = (
        "import sys, config; config.load_recipe(sys.argv[1])\n"
        "print(sorted({'torch', 'transformers', 'numpy', 'faiss'} & set(sys.modules)))"
    )
    path = Path(write(LEAST)).absolute()
    run = subprocess.run(
        [sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"
