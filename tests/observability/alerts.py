"""Checks the alert rules with promtool, and that each of them has a test in which it fires.

Usage: alerts.py ALERTS.yml ALERTS_TEST.yml

The tests must pass with all rules, and fail without any one of them.
"""

import pathlib
import re
import subprocess
import sys
import tempfile

START = "      - alert: "


def promtool(*arguments):
    return subprocess.run(["promtool", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def without(rules, alert):
    """The rules as text, one of them left out."""
    head, *parts = rules.split(START)
    kept = [part for part in parts if part.split("\n", 1)[0] != alert]
    assert len(kept) == len(parts) - 1, alert
    return START.join([head, *kept])


def main():
    alerts, tests = map(pathlib.Path, sys.argv[1:])
    rules = alerts.read_text()
    checked = promtool("check", "rules", str(alerts))
    if checked.returncode:
        sys.exit(checked.stdout)
    names = re.findall(rf"^{START}(\w+)$", rules, re.MULTILINE)
    assert names and len(names) == len(set(names)), names
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        test, changed = folder / "test.yml", folder / "alerts.yml"
        text, count = re.subn(r"^  - \S*/alerts\.yml$", f"  - {changed}", tests.read_text(), flags=re.MULTILINE)
        assert count == 1, "the tests name the rules once"
        test.write_text(text)
        changed.write_text(rules)
        tested = promtool("test", "rules", str(test))
        if tested.returncode:
            sys.exit(tested.stdout)
        for name in names:
            changed.write_text(without(rules, name))
            if promtool("test", "rules", str(test)).returncode == 0:
                faults.append(f"{name}: there is no test in which it fires")
    print(f"{len(names)} alerts tested, {len(faults)} faults")
    print("\n".join(faults))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
