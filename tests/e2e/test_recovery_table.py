"""The figures of faults as a table."""

from pathlib import Path

import pytest

from tests.e2e.recovery_table import Measured, main, to_line


def test_one_row_a_fault_with_median_and_worst(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [
        Measured("stopped", 2.0, 0.01),
        Measured("killed", None, 0.5),
        Measured("stopped", 3.0, 1.25),
        Measured("stopped", 2.5, 0.02),
    ]
    for number, part in enumerate((runs[:2], runs[2:])):
        (tmp_path / str(number)).write_text("".join(f"{to_line(run)}\n" for run in part))
    main([str(tmp_path / "0"), str(tmp_path / "1")])
    _, rule, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines())
    assert rule == ["---", "---:", "---:", "---:", "---:", "---:"]
    assert rows == [
        ["killed", "1", "", "", "500 ms", "500 ms"],
        ["stopped", "3", "2.50 s", "3.00 s", "20 ms", "1.25 s"],
    ]
