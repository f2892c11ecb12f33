"""One file for each noun of the wire."""

from typing import Final

from fastapi import APIRouter

from server.routes import (
    activelearning,
    audit,
    auth,
    batch,
    datastore,
    datastore_images,
    datastore_labels,
    exports,
    health,
    index,
    infer,
    info,
    login,
    logs,
    metrics,
    model,
    model_versions,
    ohif,
    proxy,
    quarantine,
    scoring,
    session,
    train,
)

ALL_ROUTERS: Final[tuple[APIRouter, ...]] = (
    info.router,
    activelearning.router,
    infer.router,
    batch.router,
    train.router,
    scoring.router,
    datastore.router,
    datastore_images.router,
    datastore_labels.router,
    session.router,
    model.router,
    model_versions.router,
    logs.router,
    quarantine.router,
    exports.router,
    health.router,
    metrics.router,
    audit.router,
    auth.router,
    login.router,
    ohif.router,
    proxy.router,
    index.router,
)
"""Routers in the order of the documentation."""
