"""A stand-in for lmms-eval 0.7.3: its command, the functions that it is made of, its files.

What is asked stands in ``include_path``: ``questions.jsonl`` (``text``, ``image``, ``answer``),
and in ``TASK.json`` of what kind a task is. Each call leaves its arguments in ``calls.jsonl``.
"""
