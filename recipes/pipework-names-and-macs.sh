#!/bin/sh
# Names for both ends of the cable, several interfaces, a MAC that is told and one that is made from a name.
set -eu
ip netns add web
ip netns add db

pipework br1 -i eth2 -l webhost web 192.168.1.1/24 26:2e:71:98:60:8f
ip link show webhost
ip -n web link show eth2 | grep 26:2e:71:98:60:8f

# The same name has the same MAC on every host.
pipework br1 db 192.168.1.2/24 U:myhost.foo.com
ip -n db link show eth1 | grep 02:72:6c:cd:9b:8d

# One more interface on the same bridge, with two addresses.
pipework br1 -i eth3 web 10.1.0.1/16,fd00:1::1/64
pipework br1 -i eth3 db 10.1.0.2/16,fd00:1::2/64
ip netns exec web ping -c 1 -W 2 10.1.0.2
ip netns exec web ping -c 1 -W 2 fd00:1::2

# A call that is repeated changes nothing; another one for the same interface is refused.
pipework br1 db 192.168.1.2/24 U:myhost.foo.com
! pipework br1 db 192.168.1.99/24

pipework --detach br1 -i eth2 web
pipework --detach br1 -i eth3 web
pipework --detach br1 -i eth1 db
pipework --detach br1 -i eth3 db
ip netns del web
ip netns del db
