"""From parts, layers and kinds of modules to the one pattern that PEFT is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import AuxiliaryTrainingWrapper
from torch import nn

from adaptinf.errors import UserError, suggestion
from adaptinf.models.parts import bare_model, connector, text_layers, vision_depth, vision_layers
from adaptinf.routes import LAYERS, PARTS, Placement

_FUSED = "qkv|query_key_value"
_KINDS = {
    "q": f"q_proj|query|{_FUSED}",
    "k": f"k_proj|key|{_FUSED}",
    "v": f"v_proj|value|{_FUSED}",
    "o": r"o_proj|out_proj|projection_layer|attn\.proj(ection)?|(cross)?attention\.output\.dense",
    "gate": "gate_proj",
    "up": r"up_proj|fc1|linear_fc1|intermediate(_query)?\.dense",
    "down": r"down_proj|fc2|linear_fc2|output_query\.dense|\d+\.output\.dense",
}
"""Ends of names. Where one module makes queries, keys and values, each of them means all of it."""


@dataclass(slots=True)
class Targets:
    """What PEFT is told: modules by patterns for whole names, and what is special about some.

    ``whole`` are modules that are trained themselves. ``rates`` are learning rates by module.
    """

    patterns: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)
    ranks: dict[str, int] = field(default_factory=dict)
    alphas: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)

    @property
    def pattern(self) -> str:
        """One pattern for all modules that get an adapter.

        Raises:
            UserError: there are none.
        """
        if not self.patterns:
            hint = "give one without r: full"
            raise _mistake("no entry puts an adapter anywhere", len(self.patterns), hint)
        return "|".join(self.patterns)


@dataclass(frozen=True, slots=True)
class _Found:
    """Linear modules and the pattern that fits their names and no other."""

    pattern: str
    names: tuple[str, ...]


def find_targets(model: nn.Module, places: Sequence[Placement]) -> Targets:
    """What the entries mean on this model, which may have an adapter already.

    Raises:
        UserError: an entry matches nothing, or what another one does.
    """
    targets = Targets()
    taken: set[str] = set()
    for place in places:
        if place.part not in PARTS:
            raise _mistake("unknown part of the model", place.part, suggestion(place.part, PARTS))
        if place.r == "full":
            own = _whole(model, place)
            targets.whole += own
            names = tuple(_below(model, own))
        else:
            found = _connector(model, place) if place.part == "connector" else _block(model, place)
            names = found.names
            targets.patterns.append(found.pattern)
            # PEFT takes a key for the end of a name unless it says where the name starts.
            if isinstance(place.r, int):
                targets.ranks[f"^{found.pattern}"] = place.r
            if place.alpha is not None:
                targets.alphas[f"^{found.pattern}"] = place.alpha
        if twice := sorted(taken.intersection(names)):
            raise _mistake("two entries take the same modules", twice[0], "let them be disjoint")
        taken.update(names)
        if place.learning_rate is not None:
            rated = own if place.r == "full" else names
            targets.rates.update(dict.fromkeys(rated, place.learning_rate))
    return targets


def connector_linears(model: nn.Module, leaves: str | Sequence[str] = "all") -> list[str]:
    """Names of the connector's linear modules, or of those of a kind."""
    names = list(_below(model, list(_named(model, connector(model)))))
    kinds = [leaves] if isinstance(leaves, str) else leaves
    return [name for name in names if any(_is(name, kind) for kind in kinds)]


def _connector(model: nn.Module, place: Placement) -> _Found:
    if place.layers != "all":
        raise _mistake("a connector has no layers to choose", place.layers, "leave layers out")
    names = tuple(_chosen(connector_linears(model), place))
    return _Found(f"({_either(names)})", names)


def _block(model: nn.Module, place: Placement) -> _Found:
    """Modules of the vision or text layers."""
    layers, root, numbers = _layers(model, place)
    inside = {number: list(_linears(layers[number])) for number in numbers}
    leaves = _chosen(sorted({name for names in inside.values() for name in names}), place)
    which = r"\d+" if len(numbers) == len(layers) else f"({_either(map(str, numbers))})"
    return _Found(
        rf"{re.escape(root)}\.{which}\.({_either(leaves)})",
        tuple(f"{root}.{n}.{leaf}" for n in numbers for leaf in leaves if leaf in inside[n]),
    )


def _layers(model: nn.Module, place: Placement) -> tuple[nn.ModuleList, str, range]:
    """The part's layers, their name, and which are chosen: of the vision's, of those with a say."""
    seeing = place.part == "vision"
    layers = vision_layers(model) if seeing else text_layers(model)
    root = next(iter(_named(model, [layers])))
    return layers, root, _numbers(place, vision_depth(model) if seeing else len(layers))


def _whole(model: nn.Module, place: Placement) -> list[str]:
    """Modules that are trained themselves: a connector's, or whole layers."""
    if place.leaves != "all":
        raise _mistake("layers are trained themselves as a whole", place.leaves, "leave leaves out")
    if place.part == "connector":
        if place.layers != "all":
            raise _mistake("a connector has no layers to choose", place.layers, "leave layers out")
        return list(_named(model, connector(model)))
    _, root, numbers = _layers(model, place)
    return [f"{root}.{number}" for number in numbers]


def _below(model: nn.Module, roots: Sequence[str]) -> Iterator[str]:
    """Names of the linear modules in the modules of these names."""
    modules = dict(bare_model(model).named_modules())
    for root in roots:
        for name in _linears(modules[root]):
            yield f"{root}.{name}".rstrip(".")


def _chosen(names: Sequence[str], place: Placement) -> list[str]:
    """Those of the names that are of the kinds that the entry gives."""
    kinds = [place.leaves] if isinstance(place.leaves, str) else place.leaves
    for kind in kinds:
        if not any(_is(name, kind) for name in names):
            ends = sorted({".".join(re.split(r"\.\d+\.", name)[-1:]) for name in names})
            raise _mistake(
                f"no linear module of the {place.part} is called that",
                kind,
                f"there are: {', '.join(ends) or 'none'}",
            )
    return [name for name in names if any(_is(name, kind) for kind in kinds)]


def _is(name: str, kind: str) -> bool:
    ends = _KINDS.get(kind) or re.escape(kind)
    return kind == "all" or re.fullmatch(rf"(.*\.)?({ends})", name) is not None


def _numbers(place: Placement, count: int) -> range:
    """The layers that the entry gives, of ``count``."""
    given = place.layers
    if not re.fullmatch(LAYERS, given):
        raise _mistake("not a choice of layers", given, "give all, upper:0.5, lower:0.5 or 0-21")
    if given == "all":
        return range(count)
    end, _, share = given.partition(":")
    if share:
        number = max(1, round(float(share) * count))
        return range(count - number, count) if end == "upper" else range(number)
    first, last = map(int, given.split("-"))
    if not first <= last < count:
        hint = f"give 0-{count - 1} or less"
        raise _mistake(f"the {place.part} part has no such layers", given, hint)
    return range(first, last + 1)


def _named(model: nn.Module, modules: Sequence[nn.Module]) -> dict[str, nn.Module]:
    """Modules by their names in the model without adapter."""
    found = {id(module): module for module in modules}
    named = bare_model(model).named_modules()
    return {name: module for name, module in named if id(module) in found}


def _linears(module: nn.Module) -> Iterator[str]:
    """Names, from ``module`` on, of the linear modules that the model came with."""
    if isinstance(module, AuxiliaryTrainingWrapper):
        module = module.original_module
    if isinstance(module, BaseTunerLayer):
        module = module.get_base_layer()
    if isinstance(module, nn.Linear):
        yield ""
        return
    for name, child in module.named_children():
        for below in _linears(child):
            yield f"{name}.{below}".rstrip(".")


def _either(names: Iterator[str] | Sequence[str]) -> str:
    return "|".join(re.escape(name) for name in names)


def _mistake(what: str, seen: object, hint: str) -> UserError:
    return UserError(what, where="adapter.placement", seen=seen, hint=hint)
