"""ADEM as a PEFT tuner: images reach every text layer by attention that has no weights of its own.

Importing this package registers it with PEFT; from then on ``PeftModel.from_pretrained`` reads its
folders. Without that, PEFT stops at the unknown type with ``KeyError: 'ADEM'``; the file
``adapter_config.json`` says what to import (``load_with``).

Written from the formulas of ADEM-VL (Hao et al. 2024, arXiv 2410.17779).
"""

from adaptinf.adapters.adem.config import MODES, AdemConfig
from adaptinf.adapters.adem.families import ADD, REPLACE
from adaptinf.adapters.adem.tuner import AdemModel
from adaptinf.adapters.registration import register

__all__ = ["ADD", "MODES", "REPLACE", "AdemConfig", "AdemModel"]

register("adem", AdemConfig, AdemModel)
