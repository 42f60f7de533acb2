"""Benchmarks: what an attach and a packet cost here, beside the other tools of this machine, on one virtual machine each."""
