"""A pytest plugin: with ``--cov``, the paths of the ini option ``full_coverage`` need 100 % branch coverage.

Each of these paths that has less is reported as one failed test, so that pytest's own summary and exit code tell it.
A run of chosen files or of ``-k`` is not judged.

What is measured takes twice its time. A test marked ``unmeasured`` is left out: one that computes for seconds and takes no
branch that no other test takes.
"""

import io
import sys
from pathlib import Path

import coverage
import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the ini option."""
    parser.addini("full_coverage", "files and folders that need full branch coverage", type="paths", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "unmeasured: computes for long; coverage does not watch it")


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> object:
    """Keep coverage from watching a test marked ``unmeasured``. pytest-cov's ``no_cover`` stops it in all threads, and those
    that Trio keeps for later would never be watched again; this is about the test's own thread alone."""
    if item.get_closest_marker("unmeasured") is None:
        return (yield)
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> object:
    """Judge after pytest-cov, whose wrapper is inside this one, has combined what the workers measured."""
    result = yield
    option = session.config.option
    is_worker = hasattr(session.config, "workerinput")
    is_whole = session.config.args_source is pytest.Config.ArgsSource.TESTPATHS and not option.keyword
    if option.cov_source and is_whole and not (option.no_cov or option.collectonly or is_worker):
        for path in session.config.getini("full_coverage"):
            if path.exists() and (missing := missing_coverage(path)):
                report_failure(session.config, path.relative_to(session.config.rootpath), missing)
    return result


def missing_coverage(path: Path) -> str:
    """Coverage's own report of the files at ``path`` that are not fully covered; empty when all are."""
    measured = coverage.Coverage()
    measured.load()
    text = io.StringIO()
    include = [str(path / "*") if path.is_dir() else str(path)]
    percent = measured.report(include=include, show_missing=True, skip_covered=True, file=text)
    return "" if percent == 100 else text.getvalue()


def report_failure(config: pytest.Config, path: Path, missing: str) -> None:
    """Have pytest count a failed test named after ``path``."""
    nodeid = f"full coverage of {path}"
    report = pytest.TestReport(nodeid, (nodeid, None, nodeid), {}, "failed", missing, "call")
    config.hook.pytest_runtest_logreport(report=report)
