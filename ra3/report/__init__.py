"""The report: one offline HTML page made from a run folder. It only reads, and nothing that trains calls it."""

from ra3.report.page import write_report

__all__ = ["write_report"]
