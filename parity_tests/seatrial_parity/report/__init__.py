"""The report: the proof in the receipts beside a bundle, for people who decide on a release.

The report is one HTML file, or Markdown.
"""

from seatrial_parity.report.findings import Findings, gather
from seatrial_parity.report.markdown import write_markdown
from seatrial_parity.report.page import write_page

__all__ = ["Findings", "gather", "write_markdown", "write_page"]
