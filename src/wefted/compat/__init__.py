"""The classics' own command lines, on our engine. One file or a few for each; `install` puts them under their own names.

A classic is one short process, so what it imports is most of what it costs: see "Classic commands" in docs/adr.
"""

CLASSICS = {"pipework": "pipework", "flanneld": "flanneld", "mk-docker-opts.sh": "mk_docker_opts"}
"""The name of a classic -> the module of this room whose `main(words, ask)` is the program; a new one is one line here."""

DOORS = frozenset({"pipework"})
"""Those that the agent can do as a whole: `doors`."""
