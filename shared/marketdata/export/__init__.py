"""Training sets: features and labels of any stored range as a file. See docs/training.md.

Needs the packages of ``requirements-research.lock``; importing it needs none of them, so that a missing one
can be named.
"""

from marketdata.errors import ExportError, RequestError
from marketdata.export.api import export
from marketdata.export.split import Fold, purged_folds, walk_forward

__all__ = ["ExportError", "Fold", "RequestError", "export", "purged_folds", "walk_forward"]
