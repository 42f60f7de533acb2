"""DHCPv4 for endpoints (RFC 2131): messages, frames, the client's state machine, and what drives it."""
