#!/bin/sh
# Routes, rules and traffic control inside a container that has no tools for them.
set -eu
ip netns add web
pipework br1 web 192.168.2.1/24

pipework route web add 10.5.6.0/24 via 192.168.2.254
pipework route web show 10.5.6.0/24 | grep 'via 192.168.2.254'
pipework rule web add from 192.168.2.1/32 table 1
pipework rule web show | grep 'lookup 1'
pipework tc web qdisc show dev eth1

pipework --detach br1 web
ip netns del web
