"""The forgetting report: one HTML file out of what a run folder holds."""

from adaptinf.report.page import build_report, write_report

__all__ = ["build_report", "write_report"]
