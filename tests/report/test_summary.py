"""What a report says in short."""

from adaptlens.report.summary import Finding, few_units, of_claims


def test_what_no_number_could_decide_is_said_once():
    few = {"model": "m", "task": "t", "claim": "c", "state": "not decided"}
    lines = [f"+0.1; fewer than 5 bases decide nothing; p {n}" for n in range(4)]
    claims = [{**few, "line": line} for line in lines]
    claims += [{**few, "line": "+0.1, p(Holm) = 0.200"}]
    claims += [{**few, "line": "fewer than 3 tasks decide nothing"}]
    short, others = few_units(claims)
    assert short == {"fewer than 5 bases decide nothing": 4} and others == claims[4:]
    said = of_claims(claims)
    assert said[0] == Finding("m, t, c", "not decided", "; +0.1, p(Holm) = 0.200")
    assert said[-1].about == "4 claims" and len(said) == 3
    assert said[-1].line.startswith("; fewer than 5 bases decide nothing;")
