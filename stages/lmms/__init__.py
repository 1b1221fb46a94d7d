"""The bridge to lmms-eval: models handed over, results read back."""
