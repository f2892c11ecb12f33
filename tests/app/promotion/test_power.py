from tests.app.promotion.power import promoted_share


def test_a_much_worse_version_seldom_gets_through() -> None:
    assert promoted_share(8, -0.2, trials=100) <= 0.05
    assert promoted_share(30, -0.1, trials=100) <= 0.05


def test_a_better_version_mostly_does() -> None:
    assert promoted_share(30, 0.05, trials=100) >= 0.75
