#!/usr/bin/python3
"""summary.py FOLDER: adds up the results of the steps that tests/run wrote to FOLDER.

    NAME.xml     a JUnit report, of ctest or of pytest
    NAME.failed  a step that failed, or was cut off; the file says how
    NAME.skipped a step that could not run; the file says why

A program of unit tests is one entry in ctest's report; how many tests it ran is read from cmocka's last lines in its
output. A step that failed although its report names no failure counts as one. The last line is the sum; exit status 1
when anything failed.
"""

import glob
import os
import re
import sys
import xml.etree.ElementTree as tree


def cmocka_counts(text):
    """(passed, failed, skipped) of all groups in a program's output, or None."""
    counts = [sum(int(number) for number in re.findall(r"\[  " + word + r" *\] (\d+) test\(s\)", text))
              for word in ("PASSED", "FAILED", "SKIPPED")]
    return tuple(counts) if sum(counts) else None


class Sum:
    def __init__(self):
        self.passed = 0
        self.failures, self.skips = [], []

    def add_case(self, step, case):
        name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
        if case.get("classname") == case.get("name"):
            name = case.get("name")
        skipped = case.find("skipped")
        failed = next((case.find(tag) for tag in ("failure", "error") if case.find(tag) is not None), None)
        counts = cmocka_counts(case.findtext("system-out") or "")
        if skipped is not None:
            self.skips.append(f"{step}: {name}: {skipped.get('message') or 'no reason given'}")
        elif counts:
            self.passed += counts[0]
            self.failures += [f"{step}: {name}"] * max(counts[1], failed is not None)
            self.skips += [f"{step}: {name}: a unit test skipped itself"] * counts[2]
        elif failed is not None:
            why = (failed.get("message") or "").splitlines()
            self.failures.append(f"{step}: {name}" + (f": {why[0][:160]}" if why and why[0] else ""))
        else:
            self.passed += 1

    def add_report(self, path):
        step = os.path.basename(path)[:-len(".xml")]
        try:
            for case in tree.parse(path).iter("testcase"):
                self.add_case(step, case)
        except (tree.ParseError, OSError) as error:
            self.failures.append(f"{step}: its report cannot be read: {error}")


def read(path):
    with open(path) as file:
        return file.read().strip()


def main():
    folder, total = sys.argv[1], Sum()
    for path in sorted(glob.glob(os.path.join(folder, "*.xml"))):
        total.add_report(path)
    for path in sorted(glob.glob(os.path.join(folder, "*.failed"))):
        step = os.path.basename(path)[:-len(".failed")]
        if not any(failure.startswith(step + ":") for failure in total.failures):
            total.failures.append(f"{step}: {read(path)}")
    for path in sorted(glob.glob(os.path.join(folder, "*.passed"))):
        total.passed += 1
    for path in sorted(glob.glob(os.path.join(folder, "*.skipped"))):
        total.skips.append(f"{os.path.basename(path)[:-len('.skipped')]}: {read(path)}")
    for heading, lines in (("SKIPPED", total.skips), ("FAILED", total.failures)):
        if lines:
            print(f"\n{heading}")
            for line in sorted(set(lines)):
                times = lines.count(line)
                print(f"  {line}" + (f" ({times} times)" if times > 1 else ""))
    print(f"\n{total.passed} passed, {len(total.failures)} failed, {len(total.skips)} skipped")
    return 1 if total.failures else 0


if __name__ == "__main__":
    sys.exit(main())
