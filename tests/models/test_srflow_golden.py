"""SRFlow agrees with recorded numbers of the published code.

Run with ``-s`` for the table of differences; with ``FLOWSR_REFERENCE`` set, the whole
reference is compared as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import srflow_golden as golden

# What each recorded case must at least have compared, so that none passes vacuously.
EXPECTED = {
    "srflow_tiny_x4": {
        "enc_eps_0", "enc_eps_1", "enc_logdet", "enc_nll", "encn_eps_0", "encn_eps_1",
        "encn_logdet", "encn_nll", "dec_t0", "dec_t0.5", "dec_t0.9", "dec_t1",
        "dec_logdet_t0", "dec_logdet_t0.5", "dec_logdet_t0.9", "dec_logdet_t1",
        "seeded_h0.8_s7", "seeded_h0_s7", "fea_up0", "fea_up1", "fea_up2_crop",
        "fea_up4_crop", "rrdb_out", "pipe_lr_padded_u8", "pipe_sr", "pipe_sr_u8",
    },
    "srflow_tiny_x8": {
        "enc_eps_0", "enc_eps_1", "enc_eps_2", "enc_logdet", "enc_nll", "dec_t0",
        "dec_logdet_t0", "seeded_h0.8_s9", "fea_up0", "fea_up1", "fea_up2_crop",
        "fea_up4_crop", "fea_up8_crop", "rrdb_out",
    },
}  # fmt: skip


def _check(rows: list[golden.Row]) -> None:
    print("\n" + golden.table(rows))  # noqa: T201 - the table is for `pytest -s`
    wrong = [row for row in rows if not row.difference <= row.tolerance]
    assert not wrong, golden.table(wrong)


@pytest.mark.parametrize("network", golden.NETWORKS)
def test_recorded_numbers_in_the_repository(network: str) -> None:
    rows = [row for case in golden.small_cases(network) for row in golden.compare(case)]
    assert {row.array for row in rows} == EXPECTED[network]
    _check(rows)


@pytest.mark.parametrize("case", golden.CASES)
@pytest.mark.parametrize("network", golden.NETWORKS)
def test_recorded_numbers_in_full(network: str, case: str, reference: Path) -> None:
    loaded = golden.full_case(reference / "reference" / "golden", network, case)
    rows = golden.compare(loaded)
    compared = {row.array for row in rows}
    inputs = {name for name in loaded.arrays if "u_eps" in name}
    inputs |= {"hr_u8", "lr_u8", "noise_u", "pipe_lr_u8", "trace_enc", "trace_dec"}
    assert set(loaded.arrays) - inputs == compared
    _check(rows)


def test_a_wrong_network_is_noticed() -> None:
    """The comparison can fail: one stacked block replaced by another."""
    case = next(iter(golden.small_cases("srflow_tiny_x4")))
    case.blocks[:] = [0, 1]
    assert any(row.difference > 100 * row.tolerance for row in golden.compare(case))
