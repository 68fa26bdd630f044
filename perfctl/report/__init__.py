"""Reports on runs, from the database alone: values that `perfctl.render` turns into tables and files.

Store --comparison_report()--> ComparisonReport      one run: environments against the baseline
      --run_report()--> RunReport                    two runs: how that changed
      gate.gate_report     whether it may pass
      trend.trend_report   over all runs             health.health      the A/A rate, quarantine
      why.why_report       from a value back to its blocks, invocations and lines of output
"""

from perfctl.report.comparison import ComparisonReport, comparison_report
from perfctl.report.left_out import LeftOut
from perfctl.report.outliers import Outlier
from perfctl.report.two_runs import RunReport, run_report

__all__ = ["ComparisonReport", "LeftOut", "Outlier", "RunReport", "comparison_report", "run_report"]
