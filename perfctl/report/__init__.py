"""What a user asks of a run that is over: values only, read from the database and nothing else.

    Store --comparison_report()--> ComparisonReport

The command line turns them into tables.
"""

from perfctl.report.comparison import ComparisonReport, comparison_report

__all__ = ["ComparisonReport", "comparison_report"]
