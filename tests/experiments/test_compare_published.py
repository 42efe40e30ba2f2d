"""`python -m experiments compare --published`: the models of what the tests install anyway."""

import pytest

from experiments.__main__ import main
from experiments.compare import published
from experiments.compare.published_models import PUBLISHED, Published, jnp, normal

OURS = {"flax": "flax", "optax": "optax", "equinox": "equinox", "jax": "jax"}
FEW = ("jax.nn, all activations", "flax.linen, fp8 Dense", "optax.projections", "equinox, checkpointed loop")


@pytest.mark.sampled
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("model", [model for model in PUBLISHED if model.name in FEW],
                         ids=lambda model: model.name)
def test_rules_of_published_models(model):
    pytest.importorskip(OURS[model.package])
    report, why = published.compared(model)
    assert report is not None, why
    verdict, is_ok = published.verdict_on(model, report)
    assert is_ok, str(report)
    assert report.rules and report.compared
    assert {rule.name for rule in report.wrong} == set(model.known), verdict


def test_the_command(capsys, monkeypatch):
    def broken():
        raise RuntimeError("no such layer\nmore words")

    entries = (Published("missing", "jaxnn_is_not_there", broken),
               Published("broken", "jax", broken),
               Published("no rule", "jax", lambda: (jnp.sin, (normal(2),))))
    monkeypatch.setattr(published, "PUBLISHED", entries)
    assert main(["compare", "--published"]) == 0
    shown = capsys.readouterr().out
    assert "missing: not installed" in shown
    assert "broken: raised RuntimeError: no such layer," in shown
    assert "no rule: right: no rule inside, " in shown
    assert main(["compare", "--published", "keras"]) == 2
    assert "expects packages among jaxnn_is_not_there, jax; got 'keras'" in capsys.readouterr().err
