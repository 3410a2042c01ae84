"""Every family agrees with recorded numbers of the published programs.

Run with ``-s`` for the table of differences; with ``FLOWSR_REFERENCE`` set, the whole
reference is compared as well.
"""

from __future__ import annotations

import sys
from pathlib import Path

import golden_numbers as golden
import pytest
from golden_hcflow import HCFlowNumbers, HCFlowRescaleNumbers
from golden_learned_prior import LINFPriorNumbers, SRFlowPriorNumbers
from golden_linf import LINFNumbers
from golden_srflow import SRFlowNumbers

ALL: tuple[golden.Numbers, ...] = (
    SRFlowNumbers(),
    HCFlowNumbers(),
    HCFlowRescaleNumbers(),
    LINFNumbers(),
    SRFlowPriorNumbers(),
    LINFPriorNumbers(),
)

BY_NETWORK = {network: numbers for numbers in ALL for network in numbers.cases}
IN_REPOSITORY = [network for numbers in ALL for network in numbers.expected]
LARGEST_FOLDER = 2_000_000  # bytes of all small files together


def _check(rows: list[golden.Row]) -> None:
    print("\n" + golden.table(rows))  # noqa: T201 - the table is for `pytest -s`
    wrong = [row for row in rows if not row.difference <= row.tolerance]
    assert not wrong, golden.table(wrong)


def _small(network: str) -> list[golden.Row]:
    numbers = BY_NETWORK[network]
    cases = golden.small_cases(network)
    return [row for case in cases for row in golden.compare(numbers, case)]


@pytest.mark.parametrize("network", IN_REPOSITORY)
def test_recorded_numbers_in_the_repository(network: str) -> None:
    rows = _small(network)
    assert {row.array for row in rows} == BY_NETWORK[network].expected[network]
    _check(rows)


@pytest.mark.parametrize(
    ("network", "case"), [(n, c) for n in BY_NETWORK for c in BY_NETWORK[n].cases[n]]
)
def test_recorded_numbers_in_full(network: str, case: str, reference: Path) -> None:
    numbers = BY_NETWORK[network]
    folder = reference / "reference" / "golden"
    loaded = golden.full_case(numbers, folder, network, case)
    rows = golden.compare(numbers, loaded)
    outputs = {name for name in loaded.arrays if not numbers.is_input(name)}
    assert {row.array for row in rows} == outputs
    _check(rows)


@pytest.mark.parametrize("network", IN_REPOSITORY)
def test_a_wrong_network_is_noticed(network: str) -> None:
    """The comparison can fail."""
    numbers = BY_NETWORK[network]
    case = numbers.wrong(next(iter(golden.small_cases(network))))
    rows = golden.compare(numbers, case)
    assert any(row.difference > 10 * row.tolerance for row in rows)


def test_small_files_are_small() -> None:
    paths = [golden.GOLDEN / f"{network}.npz" for network in IN_REPOSITORY]
    sizes = [path.stat().st_size for path in paths]
    assert sum(sizes) < LARGEST_FOLDER


def _main(arguments: list[str]) -> None:
    full = golden.reference_folder()
    if arguments[:1] == ["shrink"] and full is not None:
        for network in arguments[1:]:
            path = golden.shrink(BY_NETWORK[network], full, network)
            sys.stdout.write(f"{path.name}: {path.stat().st_size} bytes\n")
    rows = [row for network in IN_REPOSITORY for row in _small(network)]
    for network, numbers in BY_NETWORK.items() if full is not None else ():
        for name in numbers.cases[network]:
            case = golden.full_case(numbers, full, network, name)
            rows += golden.compare(numbers, case)
    sys.stdout.write(golden.table(rows) + "\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
