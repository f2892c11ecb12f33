"""The body of ``/info/``: the catalog, the state of the pool and of the training."""

from importlib.metadata import version

from sqlalchemy.orm import Session

from app import datastore, model_versions
from app.calcium.labels import CALCIUM_LABELS, LABELS
from app.sampling import progress
from app.settings import Settings
from server.wire import catalog
from server.wire.finite import finite
from server.wire.options import Options
from server.wire.schemas import CoverageOut, DescriptionOut, InfoOut, ModelOut, StatsOut
from server.wire.strategies import strategy_options
from strategies.registry import get_strategy, strategy_names


def information(session: Session, settings: Settings) -> InfoOut:
    """Describe this server.

    There must be no key ``config`` at the top: 3D Slicer takes it for an old server.
    """
    stats = finite(model_versions.train_stats(session))
    return InfoOut(
        name="caclabel",
        description="Active-learning annotation of coronary calcium CT (research use only)",
        version=version("caclabel"),
        # A list: OHIF appends to it.
        labels=list(LABELS),
        models=_models(session),
        trainers={
            catalog.MODEL: _described(catalog.TRAINER_DESCRIPTION, catalog.train_options(settings))
        },
        strategies={
            name: _described(get_strategy(name).description, strategy_options(name))
            for name in strategy_names()
        },
        scoring={name: _described(text) for name, text in catalog.SCORING_METHODS.items()},
        train_stats={catalog.MODEL: stats},
        datastore=StatsOut.model_validate(datastore.stats(session)),
        coverage=CoverageOut.model_validate(progress.coverage(session, settings)),
    )


def _models(session: Session) -> dict[str, ModelOut]:
    """Offer the click tools, and once there is a network, its model before them.

    On every next sample 3D Slicer runs the first model that has a label of the server, of
    whatever type. A network must come first there; while there is none, no model may name a
    label, or each sample would begin with an error. OHIF shows every label of the server
    where a model has none.
    """
    has_network = model_versions.active(session) is not None
    click = ModelOut(
        type="deepgrow",
        description=catalog.LESION_CLICK_DESCRIPTION,
        labels=CALCIUM_LABELS if has_network else {},
        config=dict(catalog.CLICK_OPTIONS) if has_network else None,
    )
    if not has_network:
        return {catalog.LESION_CLICK: click}
    described = _described(catalog.MODEL_DESCRIPTION, catalog.INFER_OPTIONS)
    # Of this type 3D Slicer and OHIF take several labels from one answer.
    assign = ModelOut(
        type="deepedit", description=catalog.LESION_ASSIGN_DESCRIPTION, labels=CALCIUM_LABELS
    )
    return {
        catalog.MODEL: ModelOut(**described.model_dump(), labels=LABELS),
        catalog.LESION_CLICK: click,
        catalog.LESION_ASSIGN: assign,
    }


def _described(description: str, options: Options | None = None) -> DescriptionOut:
    return DescriptionOut(description=description, config=dict(options) if options else None)
