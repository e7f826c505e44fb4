"""Logs as one JSON object a line, on stderr."""

from __future__ import annotations

import json
import logging
import logging.config
import time
from typing import Any

LOGGER = "tsresformer.serve"


class JsonFormatter(logging.Formatter):
    """A record as JSON: time, level, message, the fields given in `extra`, and a traceback.

    Fields travel as ``extra={"fields": {...}}``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        value: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            value["traceback"] = self.formatException(record.exc_info)
        return json.dumps(value, ensure_ascii=True, default=str)


def configuration(level: str) -> dict[str, Any]:
    """Configure all loggers of the service for `logging.config.dictConfig`.

    uvicorn's log of requests is off, because the service writes its own with the request's id.
    """
    ours = {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "loggers": {
            LOGGER: ours,
            "uvicorn": ours,
            "uvicorn.access": {"handlers": [], "level": "CRITICAL", "propagate": False},
        },
    }
