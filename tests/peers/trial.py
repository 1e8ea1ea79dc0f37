"""The frame of each script of tests/peers: its flags, which programs it has, and the facts that it finds.

A fact is one that holds on a busy machine too: counts, exit codes, answers; never a time."""

import argparse
import pathlib
import sys
import tempfile
import traceback

from peers import programs
from torturing import processes

EXIT_CODES = "exit codes: 0 all facts hold, or there was nothing to check; 1 a fact does not hold; 2 bad flags"


class Trial:
    """What one script has at hand: the programs that are there, a folder of its own, and the facts found so far."""

    def __init__(self, options, folder):
        self.short, self.is_required = options.short, options.required
        self.executables, self.folder = options.executables, pathlib.Path(folder)
        self.facts, self.faults, self.missing = 0, [], []

    def program(self, name):
        """The path of a program, or None: then a line has where it is to be had, and with --required it is a fault, in
        the short form only where .ci/run installs it."""
        if found := programs.find(name):
            return found
        program = programs.ALL[name]
        if name not in self.missing:
            self.missing.append(name)
            print(f"SKIPPED: {name} is not here: {program.source()}", flush=True)
            if self.is_required and (program.is_in_ci or not self.short):
                self.faults.append(f"{name} is required")
        return None

    def holds(self, fact, is_so, seen=""):
        """Records a fact, with what was seen where it does not hold."""
        self.facts += 1
        if not is_so:
            self.faults.append(fact)
            print(f"FAULT: {fact}: {str(seen)[:2000]}", flush=True)

    def equal(self, fact, seen, wanted):
        """Records that what was seen is what must be."""
        self.holds(fact, seen == wanted, f"{seen!r}, where it must be {wanted!r}")


def run(document, body):
    """Parses the flags of a script, runs its body and returns its exit code."""
    form = argparse.RawDescriptionHelpFormatter
    name = pathlib.Path(sys.argv[0]).name
    parser = argparse.ArgumentParser(prog=f"tests/peers/{name}", description=document, epilog=EXIT_CODES, formatter_class=form)
    flag = parser.add_argument
    flag("--short", action="store_true", help="the form of .ci/run: less of everything")
    flag("--required", action="store_true", help="a program that is not there is a fault; in the short form, one that .ci/run installs")
    flag("--executables", type=lambda text: pathlib.Path(text).resolve(), default=processes.built(programs.ROOT), metavar="FOLDER",
         help="folder of the three executables (default: the build folder's release)")
    options = parser.parse_args()
    processes.expect_executables(parser, options.executables)
    with tempfile.TemporaryDirectory(prefix="metronome-peers-", ignore_cleanup_errors=True) as folder:
        trial = Trial(options, folder)
        try:
            body(trial)
        except SystemExit as error:
            trial.faults.append(f"it could not be finished: {error}")
        except Exception as error:
            traceback.print_exc()
            trial.faults.append(f"it could not be finished: {error!r}")
    result = f"{len(trial.faults)} faults: {'; '.join(trial.faults)}" if trial.faults else "no faults"
    print(f"{name}: {trial.facts} facts, {result}", flush=True)
    return 1 if trial.faults else 0
