"""The report: one offline HTML page made from a run folder. It only reads, and nothing that trains calls it.

`view` reads the folder, `headline`, `plots` and `rollouts` say what of it is shown, `page` fills the templates, which
other pages share.
"""

from ra3.report.page import write_report

__all__ = ["write_report"]
