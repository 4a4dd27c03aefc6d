"""The database as Python: newest rows, ranges as data frames, a stream of new rows, predictions.

Thin over the SQL contract (docs/sql.md); the role ``mlreader`` is enough. Manual: docs/client.md.
"""

from marketdata.client.asynchronous import AsyncClient
from marketdata.client.models import Accuracy, FeatureName, FeatureRow, Written
from marketdata.client.predictions import Prediction
from marketdata.client.stream import Stream
from marketdata.client.subscription import Subscription
from marketdata.client.synchronous import Client
from marketdata.client.table import Labels, Table

__all__ = [
    "Accuracy",
    "AsyncClient",
    "Client",
    "FeatureName",
    "FeatureRow",
    "Labels",
    "Prediction",
    "Stream",
    "Subscription",
    "Table",
    "Written",
]
