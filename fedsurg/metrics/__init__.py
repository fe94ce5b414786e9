"""How good a segmentation is: per frame (`frames`), then per case, per site and per federation (`summary`),
and how sure that is (`statistics`).

Every overlap score exists in two conventions, and both are reported:

* *presence-aware*: a class absent from prediction and truth is left out (NaN, skipped by every mean); a
  class in only one of them scores 0;
* *lineage*: a class absent from both scores 1, as in the public code that FedST descends from.
"""
