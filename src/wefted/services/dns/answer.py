"""From a query to its answer, or to the word that somebody else must answer it. Pure: bytes and a zone in, bytes out.

| asked for | answer |
|---|---|
| A, AAAA, SRV, PTR of something that there is | all of them, in random order, TTL 1, authoritative |
| another type of a name that exists | NOERROR, empty, with the SOA (RFC 2308) |
| a name below the domain that does not exist | NXDOMAIN, with the SOA |
| a bare name (one label) | as below the domain; other types than addresses of an unknown one go upstream (`com DS`) |
| PTR of an address that is not ours, any other name | upstream |

Who has another server for bare names is refused those that we do not know, and asks it.
Letters are compared without case. An answer that is too long for UDP (512 bytes, or what EDNS allows) is cut and has TC set.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.reversename
import dns.rrset

from wefted.model.objects import IPAddress

from .zone import Service, Zone, folded

TTL = 1
"""Seconds: a container that moves is found again at once."""
SMALLEST, LARGEST = 512, 4096
"""Bytes of an answer over UDP: what everybody takes (RFC 1035), and the most we send (RFC 6891)."""
HEADER = 12
ADDRESSES = {dns.rdatatype.A: 4, dns.rdatatype.AAAA: 6}


class Upstream:
    """The answer is not ours to give."""


UPSTREAM = Upstream()


def answer(zone: Zone, wire: bytes, *, stream: bool = False) -> bytes | Upstream | None:
    """Return the answer to a query (over TCP with `stream`), `UPSTREAM`, or None for what deserves no answer."""
    if len(wire) < HEADER or wire[2] & 0x80:  # an answer to an answer could go round for ever
        return None
    if (wire[2] >> 3) & 0xF != dns.opcode.QUERY:
        return refusal(wire, dns.rcode.NOTIMP)
    try:
        query = dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError):
        return refusal(wire, dns.rcode.FORMERR)
    if len(query.question) != 1:
        return refusal(wire, dns.rcode.FORMERR)
    return _answer(zone, query, stream)


def refusal(wire: bytes, code: int) -> bytes:
    """Return an answer to these bytes that has a header and nothing else."""
    flags = (wire[2] & 0x79) | 0x80  # our QR; their opcode and RD
    return wire[:2] + bytes((flags, 0x80 | code)) + bytes(8)


def deferring(wire: bytes, found: bytes) -> bytes:
    """Return our answer to a query, or, if it is that there is no such bare name, a refusal in its place.

    The C library goes on to the next server then; it takes no notice of a refusal that does not repeat the question.
    """
    end = HEADER + 1 + wire[HEADER]  # behind the first label, where a bare name has the root's
    if found[3] & 0xF != dns.rcode.NXDOMAIN or wire[end : end + 1] != b"\0":
        return found
    return found[:3] + bytes((found[3] & 0xF0 | dns.rcode.REFUSED,)) + found[4:]


def _answer(zone: Zone, query: dns.message.Message, stream: bool) -> bytes | Upstream:
    asked = query.question[0]
    if asked.rdclass != dns.rdataclass.IN:
        return _wire(query, _respond(query, dns.rcode.REFUSED), stream)
    if query.edns > 0:
        return _wire(query, _respond(query, dns.rcode.BADVERS), stream)
    name = folded(asked.name.to_text())
    known = _pointers(zone, asked) if asked.rdtype == dns.rdatatype.PTR else ()
    if known:
        return _wire(query, _found(query, known), stream)
    bare = len(asked.name.labels) == 2
    if not zone.inside(name):
        whole = f"{name}.{zone.domain}"
        if not bare or (asked.rdtype not in ADDRESSES and not zone.exists(whole)):
            return UPSTREAM
        name = whole
    return _wire(query, _local(zone, query, name), stream)


def _local(zone: Zone, query: dns.message.Message, name: str) -> dns.message.Message:
    """Return the answer about a whole name below the domain."""
    kind = query.question[0].rdtype
    records = [_record(a) for a in zone.addresses(name) if kind == dns.rdatatype.ANY or ADDRESSES.get(kind) == a.version]
    if kind in (dns.rdatatype.SRV, dns.rdatatype.ANY):
        services = zone.services(name)
        records += [_srv(service) for service in services]
        if services:
            return _with_addresses(zone, _found(query, records), services[0].target)
    if kind == dns.rdatatype.SOA and name == zone.domain:
        records.append(_soa(zone.domain))
    if records:
        return _found(query, records)
    response = _respond(query, dns.rcode.NOERROR if zone.exists(name) else dns.rcode.NXDOMAIN)
    response.authority.append(_set(dns.name.from_text(zone.domain), [_soa(zone.domain)]))
    return response


def _found(query: dns.message.Message, records: Iterable[dns.rdata.Rdata]) -> dns.message.Message:
    response = _respond(query, dns.rcode.NOERROR)
    by_type: dict[int, list[dns.rdata.Rdata]] = {}
    for record in records:
        by_type.setdefault(record.rdtype, []).append(record)
    response.answer.extend(_set(query.question[0].name, some) for some in by_type.values())
    return response


def _with_addresses(zone: Zone, response: dns.message.Message, target: str) -> dns.message.Message:
    """Add what the asker of SRV needs next."""
    owner = dns.name.from_text(target)
    for version in (4, 6):
        some = [_record(a) for a in zone.addresses(target) if a.version == version]
        if some:
            response.additional.append(_set(owner, some))
    return response


def _set(owner: dns.name.Name, records: list[dns.rdata.Rdata]) -> dns.rrset.RRset:
    random.shuffle(records)
    return dns.rrset.from_rdata_list(owner, TTL, records)


def _pointers(zone: Zone, asked: dns.rrset.RRset) -> list[dns.rdata.Rdata]:
    try:
        address = ip_address(dns.reversename.to_address(asked.name))
    except (dns.exception.DNSException, ValueError):
        return []
    return [_made("PTR", f"{name}.") for name in zone.names_of(address)]


def _respond(query: dns.message.Message, code: dns.rcode.Rcode) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True, our_payload=LARGEST)
    response.flags |= dns.flags.AA
    response.set_rcode(code)
    return response


def _wire(query: dns.message.Message, response: dns.message.Message, stream: bool) -> bytes:
    limit = 65535 if stream else min(max(query.payload, SMALLEST), LARGEST)
    wire: bytes = response.to_wire(max_size=limit, prefer_truncation=True)
    return wire


def _record(address: IPAddress) -> dns.rdata.Rdata:
    return _made("A" if address.version == 4 else "AAAA", str(address))


def _srv(service: Service) -> dns.rdata.Rdata:
    return _made("SRV", f"0 0 {service.port} {service.target}.")


def _soa(domain: str) -> dns.rdata.Rdata:
    """Return the SOA, whose last number is how long a "no" may be remembered."""
    return _made("SOA", f"ns.{domain}. hostmaster.{domain}. 1 3600 600 86400 {TTL}")


@lru_cache(65536)
def _made(kind: str, text: str) -> dns.rdata.Rdata:
    return dns.rdata.from_text("IN", kind, text)
