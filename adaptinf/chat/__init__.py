"""Talk to a model as it was after any step: by terminal, in a browser, or by programs."""
