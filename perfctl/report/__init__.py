"""What a user asks of a run that is over: values only, read from the database and nothing else.

    Store --comparison_report()--> ComparisonReport      one run: environments against the baseline
          --run_report()--> RunReport                    two runs: what became of that
          gate.gate_report     may it pass?
          trend.trend_report   over all runs             health.health      the A/A rate, quarantine
          why.why_report       from a value back to its blocks, invocations and lines of output

`perfctl.render` turns them into tables and files.
"""

from perfctl.report.comparison import ComparisonReport, comparison_report
from perfctl.report.left_out import LeftOut
from perfctl.report.outliers import Outlier
from perfctl.report.two_runs import RunReport, run_report

__all__ = ["ComparisonReport", "LeftOut", "Outlier", "RunReport", "comparison_report", "run_report"]
