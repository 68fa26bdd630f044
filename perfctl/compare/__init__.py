"""From observations to comparisons with the baseline, and the words for them (docs/comparison.md).

Observation ...  --compare()-->  Comparison ...  --words()-->  '1.34x faster (-25%) [1.31-1.37x] ...'
"""

from perfctl.compare.pairing import compare
from perfctl.compare.wording import EMULATED, describe, words

__all__ = ["EMULATED", "compare", "describe", "words"]
