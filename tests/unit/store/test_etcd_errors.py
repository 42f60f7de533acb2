"""How etcd's and the network's refusals are sorted."""

from __future__ import annotations

import ssl

import pytest

from wefted.errors import UsageError, WeftedError
from wefted.store.etcd_errors import (
    Compacted,
    MemberFailed,
    Refused,
    TokenRejected,
    classify,
    classify_body,
    explain,
    network_failure,
)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (16, "etcdserver: invalid auth token", TokenRejected),
        (3, "etcdserver: revision of auth store is old", TokenRejected),
        (14, "etcdserver: leader changed", MemberFailed),
        (14, "etcdserver: request timed out, possibly due to previous leader failure", MemberFailed),
        (8, "etcdserver: too many requests", MemberFailed),
        (4, "context deadline exceeded", MemberFailed),
        (11, "etcdserver: mvcc: required revision has been compacted", Compacted),
        (5, "etcdserver: requested lease not found", Refused),
        (7, "etcdserver: permission denied", Refused),
        (8, "etcdserver: mvcc: database space exceeded", Refused),
    ],
)
def test_an_error_is_sorted_by_what_there_is_to_do(code, message, kind):
    assert type(classify(code, message)) is kind
    assert type(classify_body(503, {"error": message, "code": code, "message": message})) is kind
    assert type(classify_body(200, {"error": {"grpc_code": code, "http_code": 503, "message": message}})) is kind


def test_an_answer_is_no_error():
    assert classify_body(200, {"header": {"revision": "5"}}) is None


@pytest.mark.parametrize("body", [None, [], "text", 5])
def test_what_is_no_object_comes_from_something_else_than_etcd(body):
    assert str(classify_body(200, body)) == "HTTP 200, which is not etcd's JSON gateway (etcd 3.4 or later)"


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        (7, "etcdserver: permission denied", UsageError, "etcd at U: permission denied"),
        (3, "etcdserver: user name is empty", UsageError, "wants a user and a password"),
        (3, "etcdserver: authentication failed, invalid user ID or password", UsageError, "does not know this user"),
        (3, "etcdserver: too many operations in txn request", UsageError, "too large for etcd"),
        (8, "etcdserver: mvcc: database space exceeded", WeftedError, "etcd at U is full"),
        (9, "etcdserver: something new", WeftedError, "refuses: something new"),
    ],
)
def test_a_refusal_is_explained(code, message, kind, words):
    error = explain(Refused(code, message), "U")
    assert type(error) is kind
    assert words in error.message


def test_the_innermost_cause_of_a_network_failure_is_told():
    outer = OSError(111, "Cannot connect to host")
    outer.__cause__ = ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)")
    assert str(network_failure(outer)) == "connection refused"
    assert str(network_failure(TimeoutError())) == "no answer in time"
    assert str(network_failure(ValueError("strange"))) == "strange"


def test_a_tls_failure_is_marked_because_waiting_does_not_heal_it():
    failure = network_failure(ssl.SSLError(1, "TLSV13_ALERT_CERTIFICATE_REQUIRED"))
    assert failure.tls
    assert "tlsv13 alert certificate required" in str(failure)
