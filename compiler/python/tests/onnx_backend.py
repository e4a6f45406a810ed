"""Runs ONNX's own backend tests on `trine.backend`, and prints those that pass, one a line.

Cases for a device that there is none of are skipped. The runner keeps files of its own in the folder `ONNX_HOME`.
"""

import sys
import unittest

import onnx.backend.test
import trine.backend


class Passed(unittest.TextTestResult):
    """Keeps the names of those that pass."""

    def __init__(self, *arguments: object, **keywords: object) -> None:
        super().__init__(*arguments, **keywords)  # type: ignore[arg-type]
        self.passed: list[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed.append(test.id().split(".")[-1])


def main() -> None:
    runner = onnx.backend.test.BackendTest(trine.backend.TrineBackend, __name__)
    suite = unittest.TestSuite()
    loader = unittest.defaultTestLoader
    for case in runner.test_cases.values():
        suite.addTests(loader.loadTestsFromTestCase(case))
    ran = unittest.TextTestRunner(stream=sys.stderr, resultclass=Passed).run(suite)
    assert isinstance(ran, Passed)
    for name in sorted(ran.passed):
        print(name.removesuffix("_cpu"))
    print(f"{len(ran.passed)} of {ran.testsRun - len(ran.skipped)} pass, {len(ran.skipped)} are skipped", file=sys.stderr)


if __name__ == "__main__":
    main()
