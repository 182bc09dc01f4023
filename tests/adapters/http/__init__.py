"""Tests of `sagalog_http`, over real sockets."""
