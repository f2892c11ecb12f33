"""Choose images by their utilities: shared by every strategy, so ties are broken once."""

import numpy as np
from numpy.typing import NDArray


def select_top(
    utilities: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
    *,
    patient: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """Choose the images of highest utility, best first, equal utilities in random order.

    Args:
        utilities: Shape (N,), finite, higher = label sooner.
        count: Number of images wanted, >= 0.
        rng: Source of the order of equal utilities.
        patient: Group numbers, shape (N,). When given, only the best image of each patient
            is chosen: two scans of one heart teach little more than one.

    Returns:
        Indices into ``utilities``, fewer than ``count`` when the images (or patients) run out.

    Raises:
        ValueError: If a utility is not finite, ``count`` is negative or shapes differ.
    """
    _check_selection(utilities, count, patient)
    # The permutation decides between equal utilities; array order would favor early uploads.
    order: NDArray[np.int64] = np.lexsort((rng.permutation(utilities.size), -utilities))
    if patient is not None:
        _, first_places = np.unique(patient[order], return_index=True)
        order = order[np.sort(first_places)]
    return order[:count]


def utilities_from_order(order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Turn an order, best first, into utilities: 1 for the first of N, down to 1/N.

    Args:
        order: A permutation of 0..N-1, shape (N,).

    Returns:
        Utilities, shape (N,), all different, in (0, 1].
    """
    utilities = np.empty(order.size, dtype=np.float64)
    utilities[order] = np.arange(order.size, 0, -1) / max(order.size, 1)
    return utilities


def _check_selection(
    utilities: NDArray[np.float64], count: int, patient: NDArray[np.int64] | None
) -> None:
    if utilities.ndim != 1:
        raise ValueError(f"expected utilities of shape (N,), got {utilities.shape}")
    if not np.isfinite(utilities).all():
        raise ValueError("expected finite utilities, got NaN or infinity")
    if count < 0:
        raise ValueError(f"expected a count >= 0, got {count}")
    if patient is not None and patient.shape != utilities.shape:
        raise ValueError(f"expected patient of shape {utilities.shape}, got {patient.shape}")
