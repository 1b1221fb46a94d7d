"""Make a tuner from outside of PEFT known to it."""

from __future__ import annotations

from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import PeftType, register_peft_method


def register(name: str, config: type[PeftConfig], tuner: type[BaseTuner]) -> None:
    """PEFT's type ``NAME`` stands for these classes from now on; done once, however often called.

    PEFT has no door for methods from outside: its own registration wants the name in the enum
    ``PeftType``, so that is extended first. A plain string in its tables would load and save too,
    but Transformers asks for ``peft_type.value``.
    """
    member = _peft_type(name.upper())
    if member not in PEFT_TYPE_TO_CONFIG_MAPPING:
        register_peft_method(name=name, config_cls=config, model_cls=tuner, prefix=tuner.prefix)


def _peft_type(value: str) -> PeftType:
    """The member of ``PeftType`` with this name and value, added if there is none."""
    if value not in PeftType.__members__:
        member = str.__new__(PeftType, value)
        member._name_ = member._value_ = value
        # As an attribute first: an enum refuses to have a name that it knows assigned again.
        setattr(PeftType, value, member)
        PeftType._member_map_[value] = member
        PeftType._member_names_.append(value)
        PeftType._value2member_map_[value] = member
    return PeftType(value)
