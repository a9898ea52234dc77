"""Limits fitted to the harmless variants of the toy's reference, by the command line."""

from toy.workplace import Workplace

FIT = ("budget", "fit", "toy", "--seeds", "16", "--variants", "again,halves,turned batch")


def test_fitting_twice_writes_the_same_file_and_a_right_port_passes_it(place: Workplace) -> None:
    path = place.root / place.golden / "budgets.toml"
    before = path.read_text()
    said = place.done(*FIT).out
    assert path.read_text() == before
    assert "layer-bf16-chained-rel_l2" in said
    fitted = place.done(*FIT, "--write", "--json").json
    assert fitted["variants"] == ["again", "halves", "turned batch", "another seed"]
    rows = {rule["name"]: rule["rows"] for rule in fitted["rules"]}
    # Other seeds are drawn chained only: alone, a site has the peer's own inputs.
    assert {name.split("-")[2] for name in rows} == {"chained"}, "two layers alone are too few values for a limit"
    once = path.read_text()
    assert once != before
    place.done(*FIT, "--write")
    assert path.read_text() == once
    assert place.done("run", "toy", "--json").json["exit_code"] == 0
    used = {line["rule"]: line for line in place.done("budget", "ls", "latest", "--json").json}
    assert used["layer-bf16-chained-rel_l2"]["rows"] > 0
    assert used["f32-loss-rel_l2"]["rows"] == 0
    path.write_text(before)


def test_a_variant_that_there_is_none_of_is_refused(place: Workplace) -> None:
    refused = place.done("budget", "fit", "toy", "--variants", "halfs", code=2)
    assert "unknown variant: halfs" in refused.err
