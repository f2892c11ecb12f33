from pathlib import Path

from server.page_section import put_section, rewrite_around_section


def test_a_section_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\nfirst\n")
    put_section(page, "## Simulated\nold\n")
    put_section(page, "## Simulated\nnew\n")
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\nfirst\n\n<!--")
    assert text.count("## Simulated") == 1
    assert "new" in text
    assert "old" not in text


def test_what_follows_the_section_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    put_section(page, "one")
    page.write_text(page.read_text() + "\n## After\n")
    put_section(page, "two")
    assert page.read_text().endswith("end -->\n\n## After\n")


def test_a_page_that_is_written_anew_keeps_the_section(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Old\n")
    put_section(page, "measured")
    rewrite_around_section(page, "# New\n")
    assert page.read_text().startswith("# New\n\n<!--")
    assert "measured" in page.read_text()
    rewrite_around_section(tmp_path / "other.md", "# New\n")
    assert (tmp_path / "other.md").read_text() == "# New\n"
