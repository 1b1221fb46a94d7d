"""Names of the adapter routes; imports no torch so that a recipe can be checked fast."""

ROUTES = ("lora",)
