"""Counts what schemathesis reports: count.py REPORT.xml..."""

import sys
import xml.etree.ElementTree as xml

passed = failed = 0
for report in sys.argv[1:]:
    cases = list(xml.parse(report).getroot().iter("testcase"))
    bad = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    # A run that tested nothing has not passed.
    failed += len(bad) if cases else 1
    passed += len(cases) - len(bad)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
