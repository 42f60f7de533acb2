#!/usr/bin/env bash
# Prepare everything that wefted needs: system packages, then the Python environment in .venv.
#
# It looks before it does: with everything in place it changes nothing and needs neither root nor network.
# With --engines it also installs the container engines and firewalls that tests want; without them those tests are skipped.
# PYTHON=... chooses the interpreter. Exit 2: something is missing that it cannot install; it says what.
set -euo pipefail
cd "$(dirname "$0")/../.."
# Without our own environment, should it be active: it cannot be what it is made from.
PATH=":$PATH:/usr/sbin:/sbin:"
PATH="${PATH//":$PWD/.venv/bin:"/:}"
PATH="${PATH#:}"
export PATH="${PATH%:}" PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'env: %s\n' "$*"; }

stop() {
  printf 'env: %s\n' "$@" >&2
  exit 2
}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python3.14}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# One line for each Debian package whose part is not on this machine, wherever that part came from.
missing_packages() {
  command -v ip >/dev/null || echo iproute2
  command -v arping >/dev/null || echo iputils-arping
  command -v nft >/dev/null || echo nftables
  ldconfig -p | grep -F libnftables.so.1 >/dev/null || echo libnftables1
  command -v ping >/dev/null || echo iputils-ping
  command -v ps >/dev/null || echo procps
  command -v etcd >/dev/null || echo etcd-server
  command -v dnsmasq >/dev/null || echo dnsmasq-base
  command -v udhcpc >/dev/null || command -v busybox >/dev/null || echo busybox-static
  command -v dhclient >/dev/null || echo isc-dhcp-client
  [ -x /usr/lib/cni/bridge ] || [ -x /opt/cni/bin/bridge ] || echo containernetworking-plugins
  local python
  python=$(find_python)
  if [ -z "$python" ]; then
    printf '%s\n' python3 python3-venv
  elif ! has_venv "$python"; then
    "$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
  fi
}

missing_engines() {
  command -v gcc >/dev/null || command -v clang >/dev/null || printf '%s\n' gcc libc6-dev
  command -v clang >/dev/null || printf '%s\n' clang linux-libc-dev
  command -v udhcpc >/dev/null || echo udhcpc
  command -v dockerd >/dev/null || echo docker.io
  command -v docker-compose >/dev/null || echo docker-compose
  command -v podman >/dev/null || printf '%s\n' podman crun netavark aardvark-dns
  command -v iptables >/dev/null || echo iptables
  command -v lxc-start >/dev/null || echo lxc
  command -v systemd-nspawn >/dev/null || echo systemd-container
  [ -x /bin/busybox ] || echo busybox-static
  command -v ufw >/dev/null || echo ufw
  command -v firewalld >/dev/null || echo firewalld
  command -v dbus-daemon >/dev/null || echo dbus
  command -v wireguard-go >/dev/null || echo wireguard-go
  command -v wg >/dev/null || echo wireguard-tools
}

# The units that come with a package: Debian enables them, and the next boot would start them.
units_of() {
  case $1 in
    etcd-server) echo etcd.service ;;
    ufw) echo ufw.service ;;
    firewalld) echo firewalld.service ;;
    lxc) echo lxc.service lxc-net.service ;;
    systemd-container) echo machines.target ;;
    docker.io) echo docker.service docker.socket containerd.service ;;
    podman) echo podman.service podman.socket podman-restart.service podman-auto-update.service podman-auto-update.timer ;;
  esac
}

# Debian starts a service as soon as it is installed. A service of this host is not what was asked for.
install_without_services() {
  local policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    # shellcheck disable=SC2064  # the path must be in the trap: it runs when this function's variables are gone
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  apt-get update -qq || return
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null || return
  local package
  if command -v systemctl >/dev/null; then
    for package in "$@"; do
      # shellcheck disable=SC2046  # one word for each unit
      systemctl --quiet disable $(units_of "$package") 2>/dev/null || true
    done
  fi
}

system_packages() {
  local packages
  mapfile -t packages < <("$1")
  [ ${#packages[@]} -gt 0 ] || return 0
  say "missing on this system: ${packages[*]}"
  command -v apt-get >/dev/null ||
    stop "there is no apt-get here; install what these Debian packages contain, then run it again"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || stop "run as root: apt-get install ${packages[*]}"
    say "installing them with sudo apt-get; services that come with them stay stopped"
    sudo bash "$PWD/packaging/env/prepare.sh" --packages "${packages[@]}"
  else
    say "installing them with apt-get; services that come with them stay stopped"
    install_without_services "${packages[@]}"
  fi
}

# What the environment was made from; a change of any of it, or of the folder's place, makes it anew. Which of several
# interpreters comes first on the PATH (of root, of a user, of a script) is not part of it, unless PYTHON says so.
wanted_stamp() {
  {
    cat uv.lock pyproject.toml src/wefted/__init__.py packaging/env/prepare.sh
    printf '%s\n' "$PWD" "${PYTHON:-}"
  } | sha256sum
}

# uv.lock names versions and hashes, not hosts: pip takes the files from whatever index this machine is set up for.
pinned_uv() {
  awk '/^name = / { on = ($3 == "\"uv\"") }
       on && /^version = / { gsub(/"/, "", $3); line = "uv==" $3 }
       on && match($0, /sha256:[0-9a-f]+/) { line = line " --hash=" substr($0, RSTART, RLENGTH) }
       END { print line }' uv.lock
}

install_locked() {
  .venv/bin/python -m pip install --quiet --quiet --no-input --no-deps --require-hashes --requirement "$1"
}

python_environment() {
  local python stamp
  python=$(find_python)
  [ -n "$python" ] || stop "Python 3.11 or later is not there; set PYTHON=/path/to/python3"
  has_venv "$python" || stop "$python has no venv module; install it, or set PYTHON=/path/to/another/python3"
  stamp=$(wanted_stamp)
  if [ -x .venv/bin/wefted ] && .venv/bin/python -c pass 2>/dev/null && [ "$stamp" = "$(cat .venv/wefted.stamp 2>/dev/null)" ]; then
    return 0
  fi
  say "preparing .venv with $("$python" --version): what uv.lock lists"
  if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear .venv
  fi
  rm -f .venv/wefted.stamp
  install_locked <(pinned_uv)
  .venv/bin/uv export --quiet --offline --frozen --no-emit-project --python .venv/bin/python >.venv/requirements.txt
  install_locked .venv/requirements.txt
  .venv/bin/python -m pip install --quiet --quiet --no-input --no-deps --no-build-isolation --editable .
  printf '%s\n' "$stamp" >.venv/wefted.stamp
}

# The CNI plugin and the eBPF programs are in C. There is a way without either, so a machine without the compilers gets them
# with the engines only.
native_programs() {
  .venv/bin/python packaging/native/build.py || stop "what is in C cannot be compiled; see above"
}

if [ "${1:-}" = --packages ]; then
  shift
  install_without_services "$@"
elif [ "${1:-}" = --engines ]; then
  (system_packages missing_engines) || say "the tests that need them will be skipped"
  native_programs
else
  system_packages missing_packages
  python_environment
  native_programs
  say "ready; the command is .venv/bin/wefted"
fi
