"""The conductor: one file per stage, the manager that runs them, the run folder they write."""
