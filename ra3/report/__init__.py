"""The report: one offline HTML page made from a run folder. It only reads, and nothing that trains calls it.

`view` reads the folder, `plots` draws, `page` puts it into words and fills the templates, which other pages share.
"""

from ra3.report.page import write_report

__all__ = ["write_report"]
