"""The suite that all servers share, run against a FastAPI application."""

from suite.append import (  # noqa: F401
    TestAppendBody,
    TestAppendData,
    TestAppendNumbers,
    TestAppendType,
)
from suite.create import TestCreate  # noqa: F401
from suite.cursors import TestCursor, TestDiverged, TestGap, told  # noqa: F401
from suite.ending import TestDelete, TestEnd, TestStop  # noqa: F401
from suite.http_rules import (  # noqa: F401
    TestConnection,
    TestCors,
    TestMethods,
    TestRequestBody,
)
from suite.observe import TestHealth, TestMetrics  # noqa: F401
from suite.recover import TestList, TestPoll, TestRecover  # noqa: F401
from suite.subscribe import TestHeartbeat, TestSubscribe  # noqa: F401
