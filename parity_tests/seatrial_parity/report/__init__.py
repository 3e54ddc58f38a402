"""The report: what the receipts beside a bundle prove, as one HTML file and as Markdown, for people who decide on a release."""

from seatrial_parity.report.findings import Findings, gather
from seatrial_parity.report.markdown import write_markdown
from seatrial_parity.report.page import write_page

__all__ = ["Findings", "gather", "write_markdown", "write_page"]
