"""Tables of main effects and interactions."""

from ...statistics.effects import decimal_places
from ...statistics.factorial import Factorial, interaction_name, main_name
from ...statistics.judgement import Judgement, is_main_first
from ...text import decimals, p_value, seeds_text
from ..study_tables import estimate_column, holm_column, lost_columns, on_metric, seeds_column
from ..tables import Column, Table


def main_table(judgement: Judgement) -> Table:
    """Return the main effects of the factors' levels; in a factorial design with their verdicts."""
    places, factorial = decimal_places(judgement.metric), _factorial(judgement)
    columns = [
        Column("factor", main_name, "factor", numeric=False, keep=True, wrap=True),
        Column("level", lambda r: r["level"], "level", numeric=False, keep=True),
        seeds_column(keep=True),
        Column("mean", lambda r: decimals(r["mean"], places), "mean", keep=True),
        estimate_column("effect [95 % interval]", "effect", places=places),
        Column("p, unadjusted", lambda r: p_value(r["p"]), "p", keep=True),
    ]
    caption = f"Main effects{on_metric(judgement.metric)}: each level against the baseline's level, averaged over the "
    if not is_main_first(judgement):
        caption += "other factors. Exploratory."
    else:
        columns += [holm_column(), Column("verdict", lambda r: r["verdict"], "verdict", numeric=False, keep=True)]
        columns += lost_columns(factorial.main)
        columns.append(Column("seeds to decide", seeds_text, "seeds_needed"))
        columns.append(Column("family", lambda r: r["family"], "family", numeric=False))
        caption += f"settings of the other factors that the design has. {family_sentence(factorial)}"
    table = Table(name="main-effects", title="Main effects", caption=caption, frame=factorial.main, columns=columns)
    table.main = ("factor", "level", "n", "effect", "verdict") if is_main_first(judgement) else ()
    return table


def family_sentence(factorial: Factorial) -> str:
    """Describe the family of the main effects."""
    number, named = len(factorial.questions), int((factorial.questions["factors"] > 1).sum())
    with_named = f", {named} of them interactions that the study names" if named else ""
    if (factorial.questions["family"] == "main effects").all():
        return f"They are the study's family: Holm over {number} effects{with_named}."
    return f"Exploratory but for those of a claim: Holm over {number} effects{with_named}, or over the claims."


def interaction_table(judgement: Judgement) -> Table:
    """Return the interactions: the effect of two levels together minus the sum of their single effects."""
    columns = [
        Column("factors", interaction_name, "factors", numeric=False, keep=True),
        Column("levels", lambda r: r["levels"], "levels", numeric=False, keep=True),
        seeds_column(),
        estimate_column("interaction [95 % interval]", "effect", places=decimal_places(judgement.metric)),
        Column("p", lambda r: p_value(r["p"]), "p", keep=True),
        holm_column(),
    ]
    frame, over = _factorial(judgement).interactions, "Holm over this table."
    if "family" in frame:
        columns.append(Column("family", lambda r: r["family"], "family", numeric=False))
        over = "Those that the study names are of the family of the main effects; Holm over all others."
    caption = (
        f"Interactions{on_metric(judgement.metric)}: the effect of both levels together minus the sum of their single "
        f"effects, on each seed, with a t interval over seeds. {over}"
    )
    return Table(name="interactions", title="Interactions", caption=caption, frame=frame, columns=columns)


def _factorial(judgement: Judgement) -> Factorial:
    assert judgement.factorial is not None
    return judgement.factorial
