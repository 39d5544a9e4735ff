"""Matrices with exact inverses, and what becomes of them in anybody's hands: the audit set.

=====================  ==================================================================================
:func:`audit_names`    the names of the cases
:func:`audit`          one case: a stack, its exact inverses as pairs of floats, which members are singular
:func:`judge`          run any function on the set: right, wrong and said so, wrong and silent
=====================  ==================================================================================

``skdmi.datasets.families.FAMILIES`` says what each family is. On the command line: ``skdmi audit``.
"""

from skdmi.datasets.cases import AuditCase, audit, audit_names
from skdmi.datasets.verdicts import AuditReport, CaseVerdict, judge

__all__ = ["AuditCase", "AuditReport", "CaseVerdict", "audit", "audit_names", "judge"]
