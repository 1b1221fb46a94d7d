"""The commands. Everything heavy is imported inside a command, so that ``--help`` is fast."""

from __future__ import annotations

from stages.cli import adapter
from stages.cli.chat import chat
from stages.cli.check import check_rows
from stages.cli.compare import compare_two
from stages.cli.doctor import examine_machine
from stages.cli.download import download_datasets as download_command
from stages.cli.evaluate import evaluate_model
from stages.cli.export import export_selection
from stages.cli.gallery import show_selection
from stages.cli.guard import LEAVES_WHOLE, RESUMES, guarded, single, umbrella
from stages.cli.lifelong import run_lifelong as lifelong_command
from stages.cli.lmms import ask_tasks
from stages.cli.report import forgetting_report as report_command
from stages.cli.score import score_answers
from stages.cli.select import select_rows
from stages.cli.serving import check_server
from stages.cli.status import show_status
from stages.cli.verify import verify_files
from stages.cli.withdraw import withdraw_data


def run_lifelong() -> None:
    """Entry point of ``run-lifelong``."""
    single(lifelong_command, interrupted=RESUMES)()


def forgetting_report() -> None:
    """Entry point of ``forgetting-report``."""
    single(report_command, interrupted=LEAVES_WHOLE)()


def download_datasets() -> None:
    """Entry point of ``download-datasets``."""
    single(download_command, interrupted=RESUMES)()


def adaptinf() -> None:
    """Entry point of ``adaptinf``, the umbrella: one more command is one more line here."""
    app = umbrella("The parts of lifelong instruction tuning, each usable alone.")
    app.command("chat")(guarded(chat, LEAVES_WHOLE))
    app.command("select")(guarded(select_rows, LEAVES_WHOLE))
    app.command("check")(guarded(check_rows, LEAVES_WHOLE))
    app.command("doctor")(guarded(examine_machine, LEAVES_WHOLE))
    app.command("compare")(guarded(compare_two, LEAVES_WHOLE))
    app.command("evaluate")(guarded(evaluate_model, RESUMES))
    app.command("lmms")(guarded(ask_tasks, RESUMES))
    app.command("score")(guarded(score_answers, RESUMES))
    app.command("export")(guarded(export_selection, LEAVES_WHOLE))
    app.command("serve-check")(guarded(check_server, LEAVES_WHOLE))
    app.command("gallery")(guarded(show_selection, LEAVES_WHOLE))
    app.command("status")(guarded(show_status, LEAVES_WHOLE))
    app.command("verify")(guarded(verify_files, RESUMES))
    app.command("withdraw")(guarded(withdraw_data, RESUMES))
    below = umbrella("Look into an adapter's folder, and take it elsewhere.")
    for command in (adapter.inspect, adapter.merge, adapter.export):
        below.command(command.__name__)(guarded(command, LEAVES_WHOLE))
    below.command("import")(guarded(adapter.import_original, LEAVES_WHOLE))
    app.add_typer(below, name="adapter")
    app(prog_name="adaptinf")
