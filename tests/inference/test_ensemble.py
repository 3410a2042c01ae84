from __future__ import annotations

import numpy as np
import pytest

from napari_flowsr.errors import OptionError
from napari_flowsr.inference.ensemble import Statistics, check_quantiles


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_statistics_equal_numpy(n) -> None:
    samples = np.random.default_rng(0).normal(3, 2, (n, 1, 6, 5)).astype(np.float32)
    statistics = Statistics((1, 6, 5), n, keep=True)
    for sample in samples:
        statistics.add(sample)
    exact = samples.astype(np.float64)
    np.testing.assert_allclose(statistics.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.std, exact.std(0), atol=1e-12)
    for q in (0.0, 0.05, 0.5, 0.77, 1.0):
        np.testing.assert_allclose(
            statistics.quantile(q), np.quantile(exact, q, axis=0), atol=1e-12
        )


@pytest.mark.parametrize("given", [(1.5,), (-0.1,), ("a",), (float("nan"),), 3])
def test_bad_quantiles(given) -> None:
    with pytest.raises(OptionError, match="0 to 1"):
        check_quantiles(given)
