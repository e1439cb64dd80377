"""What every server that speaks docs/http.md must do.

The test classes here know a server only by its base URL. They are collected
by tests/net/test_http.py, which says how a server is started.
"""
