"""Results of model versions, as a test wants them."""

from app.promotion.results import CaseResult, Results, Volumes


def case(
    image_id: str,
    *,
    patient: str = "",
    volumes: Volumes = (10.0, 0.0, 0.0),
    wanted: tuple[float, ...] = (0.0, 50.0, 0.0, 0.0),
    predicted: tuple[float, ...] | None = None,
    samples: tuple[float, ...] = (),
) -> CaseResult:
    """Return one image; without a wish it is predicted exactly."""
    found = wanted if predicted is None else predicted
    return CaseResult(image_id, patient or image_id, volumes, wanted, found, samples)


def results(*cases: CaseResult) -> Results:
    return Results(cases)


def alike(count: int, volumes: Volumes = (10.0, 0.0, 0.0)) -> Results:
    """Return as many patients with one image each, all the same."""
    return Results(tuple(case(f"image-{number}", volumes=volumes) for number in range(count)))
