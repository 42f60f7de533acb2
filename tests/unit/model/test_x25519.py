"""Public keys of X25519: the vectors of RFC 7748, what `cryptography` says, and what is no key."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from wefted.model.x25519 import clamped, decoded, encoded, multiply, public_key

KEYS = st.binary(min_size=32, max_size=32)


@pytest.mark.parametrize(
    ("scalar", "point", "result"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ],
)
def test_the_vectors_of_section_5(scalar: str, point: str, result: str) -> None:
    assert multiply(bytes.fromhex(scalar), bytes.fromhex(point)).hex() == result


@pytest.mark.parametrize(
    ("rounds", "result"),
    [
        (1, "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"),
        (1000, "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51"),
    ],
)
def test_the_iterated_vectors(rounds: int, result: str) -> None:
    k = u = (9).to_bytes(32, "little")
    for _ in range(rounds):
        k, u = multiply(k, u), k
    assert k.hex() == result


@pytest.mark.parametrize(
    ("private", "public"),
    [
        (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        ),
        (
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        ),
    ],
)
def test_the_keys_of_section_6_1(private: str, public: str) -> None:
    assert public_key(bytes.fromhex(private)).hex() == public


@given(KEYS)
def test_it_says_what_cryptography_says(private: bytes) -> None:
    expected = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    assert public_key(private) == expected == public_key(clamped(private))


@given(KEYS)
def test_a_key_is_read_as_it_was_written(key: bytes) -> None:
    assert decoded(encoded(key)) == key


@pytest.mark.parametrize(
    "text", ["", "x", "AAAA", "A" * 43, "A" * 44, "A" * 42 + "B=", " " + "A" * 43 + "=", "A" * 43 + "=\n", "ä" * 44]
)
def test_what_is_no_key(text: str) -> None:
    assert decoded(text) is None
