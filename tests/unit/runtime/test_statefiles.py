"""Engines that are read from their files: layouts as the real ones write them, and what a word means."""

from __future__ import annotations

import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wefted.errors import NotFound, UsageError
from wefted.runtime.containerd import ContainerdFiles, ContainerdRuntime
from wefted.runtime.lxc import LxcFiles, LxcRuntime
from wefted.runtime.nspawn import NspawnFiles, NspawnRuntime
from wefted.runtime.podman import PodmanFiles, PodmanRuntime
from wefted.runtime.statefiles import Entry, StateFilesRuntime, chosen_entry, pid_in

ME = os.getpid()
ID = "4bc48171aae24aedd1f076db7fb49f16542f60da0fd83fce64221ed65830f62f"
OTHER = "5" * 64


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def podman(tmp_path: Path) -> PodmanFiles:
    """What podman 4.3 with crun leaves: `pweb` runs, `gone` does not, and nobody has read their configuration."""
    graph, run = tmp_path / "graph", tmp_path / "run"
    settings = write(tmp_path / "storage.conf", f'[storage]\ndriver = "overlay"\ngraphroot = "{graph}"\nrunroot = "{run}"\n')
    listed = [
        {"id": ID, "names": ["pweb"], "image": "ad8c", "layer": "d68b", "created": "2026-11-21T06:01:56.539102862Z"},
        {"id": OTHER, "names": ["gone"], "image": "ad8c", "layer": "d68c", "created": "2026-11-20T06:01:56Z"},
    ]
    write(graph / "overlay-containers" / "containers.json", json.dumps(listed))
    for identifier in (ID, OTHER):
        write(run / "overlay-containers" / identifier / "userdata" / "pidfile", str(ME))
    (tmp_path / "crun" / ID).mkdir(parents=True)
    return PodmanFiles([str(tmp_path / "crun")], [str(tmp_path / "absent.conf"), str(settings)])


def test_podman_tells_what_runs(podman: PodmanFiles) -> None:
    assert list(podman.entries()) == [Entry(name="pweb", id=ID, pid=ME, order=("2026-11-21T06:01:56.539102862Z",))]
    assert [Path(directory).name for directory in podman.directories()] == ["overlay-containers", "crun"]


def test_a_container_that_is_being_made_has_no_process_yet(podman: PodmanFiles, tmp_path: Path) -> None:
    (tmp_path / "run" / "overlay-containers" / ID / "userdata" / "pidfile").unlink()
    assert [entry.pid for entry in podman.entries()] == [0]


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '[{"names": ["x"]}]', '[{"id": ""}]'])
def test_a_damaged_list_is_an_empty_one(podman: PodmanFiles, tmp_path: Path, text: str) -> None:
    write(tmp_path / "graph" / "overlay-containers" / "containers.json", text)
    assert list(podman.entries()) == []


async def test_a_container_in_the_hosts_namespace_is_refused_by_every_word(podman: PodmanFiles) -> None:
    runtime = PodmanRuntime(podman, "/nowhere")
    for word in ("pweb", ID, ID[:12]):
        with pytest.raises(UsageError, match="'podman:pweb' shares the host's network"):
            await runtime.find(word)
    assert await runtime.find("gone") is None


async def test_podmans_labels_need_its_service(podman: PodmanFiles, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="known to its service alone") as caught:
        await PodmanRuntime(podman, str(tmp_path / "podman.sock")).find("app=web")
    assert "podman.socket" in caught.value.hint


def test_containerd_tells_the_tasks_of_all_namespaces_but_dockers(tmp_path: Path) -> None:
    task = tmp_path / "k8s.io" / "web-0"
    write(task / "init.pid", str(ME))
    write(task / "config.json", json.dumps({"annotations": {"io.kubernetes.cri.sandbox-name": "web"}}))
    write(tmp_path / "default" / "plain" / "init.pid", "0")
    write(tmp_path / "moby" / ID / "init.pid", str(ME))
    files = ContainerdFiles(str(tmp_path))
    found = {entry.name: (entry.id, entry.pid, entry.labels) for entry in files.entries()}
    assert found == {
        "web-0": ("web-0", ME, {"io.kubernetes.cri.sandbox-name": "web"}),
        "plain": ("plain", 0, {}),
    }
    assert [Path(d).name for d in files.directories()] == [tmp_path.name, "default", "k8s.io"]


def test_nspawn_tells_registered_containers(tmp_path: Path) -> None:
    """A registration as systemd-machined 252 writes it, beside its link, a virtual machine, and one being written."""
    text = (
        "# This is private data. Do not parse.\nNAME=web\nSCOPE=machine-web.scope\nSERVICE=systemd-nspawn\nROOT=/x\n"
        f"ID={OTHER[:32]}\nLEADER={ME}\nCLASS=container\nREALTIME=1795240916000000\nMONOTONIC=5\n"
    )
    write(tmp_path / "web", text)
    (tmp_path / "unit:machine-web.scope").symlink_to("web")
    write(tmp_path / "vm", text.replace("web", "vm").replace("CLASS=container", "CLASS=vm"))
    write(tmp_path / ".#web9a8b", text)
    write(tmp_path / "dead", text.replace("NAME=web", "NAME=dead").replace(f"LEADER={ME}", "LEADER=99999999"))
    found = {entry.name: entry.pid for entry in NspawnFiles(str(tmp_path), "/nowhere").entries()}
    assert found == {"web": ME, "dead": 0}


def process(proc: Path, pid: int, numbers: str, above: int = 1, comm: str = "x", title: str = "") -> None:
    write(proc / str(pid) / "status", f"Name:\t{comm}\nPPid:\t{above}\nNSpid:\t{numbers}\n")
    write(proc / str(pid) / "comm", f"{comm}\n")
    write(proc / str(pid) / "cmdline", title)


def a_machine(proc: Path, name: str, pid: int) -> None:
    """An nspawn 252, its stub init (measured: its parent is nspawn itself), and the mount that tells the name."""
    process(proc, pid, str(pid), comm="systemd-nspawn")
    process(proc, pid + 1, f"{pid + 1}\t1", above=pid)
    mounts = (
        "297 295 0:50 / / rw - ext4 /dev/vda rw\n"
        f"300 295 0:50 /systemd/nspawn/propagate/{name} /run/host/incoming rw,nosuid,nodev shared:10 - tmpfs tmpfs rw\n"
    )
    write(proc / str(pid + 1) / "mountinfo", mounts)


def test_nspawn_tells_what_is_not_registered_by_the_mount_that_each_machine_has(tmp_path: Path) -> None:
    proc, tunnels = tmp_path / "proc", tmp_path / "propagate"
    for name in ("web", "left-over"):
        (tunnels / name).mkdir(parents=True)
    a_machine(proc, "web", 70)
    files = NspawnFiles(str(tmp_path / "absent"), str(tunnels), str(proc))
    assert list(files.entries()) == [Entry(name="web", pid=71)]
    assert files.directories() == [str(tunnels)]


def test_a_machine_runs_on_when_its_nspawn_was_killed(tmp_path: Path) -> None:
    proc, tunnels = tmp_path / "proc", tmp_path / "propagate"
    (tunnels / "web").mkdir(parents=True)
    a_machine(proc, "web", 70)
    process(proc, 71, "71\t1", above=1)
    for file in (proc / "70").iterdir():
        file.unlink()
    files = NspawnFiles(str(tmp_path / "absent"), str(tunnels), str(proc))
    assert list(files.entries()) == [Entry(name="web", pid=71)]
    (proc / "71" / "comm").unlink()
    assert list(files.entries()) == []


@pytest.mark.parametrize("begun", [False, True])
def test_a_machine_whose_nspawn_is_not_ready_is_waited_for(tmp_path: Path, begun: bool) -> None:
    proc, tunnels = tmp_path / "proc", tmp_path / "propagate"
    (tunnels / "web").mkdir(parents=True)
    if begun:
        a_machine(proc, "web", 70)
        write(proc / "71" / "comm", "systemd-nspawn\n")
    else:
        process(proc, 70, "70", comm="systemd-nspawn")
    files = NspawnFiles(str(tmp_path / "absent"), str(tunnels), str(proc))
    assert list(files.entries()) == [Entry(name="web", pid=0)]


def test_a_registered_machine_is_told_once(tmp_path: Path) -> None:
    proc, tunnels = tmp_path / "proc", tmp_path / "propagate"
    (tunnels / "web").mkdir(parents=True)
    a_machine(proc, "web", 70)
    write(tmp_path / "machines" / "web", f"NAME=web\nLEADER={ME}\nCLASS=container\nREALTIME=5\n")
    files = NspawnFiles(str(tmp_path / "machines"), str(tunnels), str(proc))
    assert [(entry.name, entry.pid) for entry in files.entries()] == [("web", ME)]


def lxc_files(tmp_path: Path) -> LxcFiles:
    write(tmp_path / "proc" / "1" / "cgroup", "0::/init.scope\n")
    return LxcFiles([str(tmp_path / "cgroup")], str(tmp_path / "proc"))


def test_lxc_has_the_name_from_its_monitor(tmp_path: Path) -> None:
    """The first container's monitor was killed, so LXC 5.0 gave the second one the group `web-1` (version 2 of the groups)."""
    write(tmp_path / "cgroup" / "lxc.payload.web" / "cgroup.procs", "")
    write(tmp_path / "cgroup" / "lxc.payload.web-1" / "cgroup.procs", "85\n")
    write(tmp_path / "cgroup" / "lxc.monitor.web-1" / "cgroup.procs", "80\n")
    process(tmp_path / "proc", 80, "80", title="[lxc monitor] /var/lib/lxc web\0")
    process(tmp_path / "proc", 85, "85\t1", above=80)
    assert list(lxc_files(tmp_path).entries()) == [Entry(name="web", pid=85)]


@pytest.mark.parametrize(("monitors", "found"), [("", []), ("80\n", [Entry(name="web", pid=0)])])
def test_an_empty_group_of_lxc_is_waited_for_while_its_monitor_runs(tmp_path: Path, monitors: str, found: list[Entry]) -> None:
    write(tmp_path / "cgroup" / "lxc.payload.web" / "cgroup.procs", "")
    write(tmp_path / "cgroup" / "lxc.monitor.web" / "cgroup.procs", monitors)
    assert list(lxc_files(tmp_path).entries()) == found


@pytest.mark.parametrize("group", ["lxc.payload.web", "lxc/web", "init/lxc.payload.web"])
def test_lxc_tells_what_has_a_group_and_a_first_process(tmp_path: Path, group: str) -> None:
    """The container's init has made a group of its own below; a helper that entered later is no first process."""
    write(tmp_path / "cgroup" / group / "cgroup.procs", "11\n")
    write(tmp_path / "cgroup" / group / "init.scope" / "cgroup.procs", "12\n13\n")
    write(tmp_path / "cgroup" / "lxc.monitor.web" / "cgroup.procs", "10\n")
    write(tmp_path / "proc" / "1" / "cgroup", "8:pids:/init\n2:cpu:/init\n1:name=systemd:/init.scope\n0::/\n")
    for pid, numbers in ((10, "10"), (11, "11\t40"), (12, "12\t1"), (13, "13\t2")):
        write(tmp_path / "proc" / str(pid) / "status", f"Name:\tx\nNSpid:\t{numbers}\n")
    files = LxcFiles([str(tmp_path / "cgroup"), str(tmp_path / "absent")], str(tmp_path / "proc"))
    assert list(files.entries()) == [Entry(name="web", pid=12)]
    assert str(tmp_path / "cgroup") in files.directories()


def test_groups_of_lxc_may_come_and_go_while_somebody_looks(tmp_path: Path) -> None:
    deepest = tmp_path / "cgroup" / "lxc" / "web" / "init.scope" / "app.slice" / "one"
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            deepest.mkdir(parents=True, exist_ok=True)
            write(deepest.parent / "cgroup.procs", "12\n")
            shutil.rmtree(tmp_path / "cgroup" / "lxc")

    process(tmp_path / "proc", 12, "12\t1")
    files = lxc_files(tmp_path)
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(come_and_go)
        try:
            seen = {tuple(files.entries()) for _ in range(1000)}
        finally:
            ended.set()
    assert others.exception() is None
    assert len(seen) > 1, "it came and went"
    assert seen <= {(), (Entry(name="web", pid=12),), (Entry(name="web", pid=0),)}


@pytest.mark.parametrize("kind", ["podman", "containerd", "nspawn", "lxc"])
async def test_an_engine_that_is_not_here(tmp_path: Path, kind: str) -> None:
    settings = write(tmp_path / "storage.conf", '[storage]\ngraphroot = "/nowhere"\nrunroot = "/nowhere"\n')
    runtimes: list[StateFilesRuntime] = [
        PodmanRuntime(PodmanFiles(["/nowhere/crun"], [str(settings)])),
        ContainerdRuntime(ContainerdFiles("/nowhere")),
        NspawnRuntime(NspawnFiles("/nowhere", "/nowhere")),
        LxcRuntime(LxcFiles(["/nowhere"])),
    ]
    runtime = next(r for r in runtimes if r.kind == kind)
    with pytest.raises(NotFound, match=f"{runtime.kind} has no containers on this host"):
        await runtime.find("web")


def entries(*pairs: tuple[str, str], **labels: str) -> list[Entry]:
    return [Entry(name=name, id=identifier, pid=1, labels=labels) for name, identifier in pairs]


def test_a_name_goes_before_the_beginning_of_an_id() -> None:
    chosen = chosen_entry("podman", "ab", entries(("x", "ab12"), ("ab", "cd34")))
    assert chosen is not None
    assert chosen.id == "cd34"


def test_a_word_that_means_several_is_refused() -> None:
    with pytest.raises(UsageError, match="may be any of x, y"):
        chosen_entry("podman", "ab", entries(("x", "ab12"), ("y", "ab34")))
    with pytest.raises(UsageError, match="may be any of x, y"):
        chosen_entry("containerd", "app=web", entries(("x", "1"), ("y", "2"), app="web"))
    assert chosen_entry("containerd", "app=db", entries(("x", "1"), app="web")) is None


@pytest.mark.parametrize("text", ["", "x", "0", "-5", "99999999", "1 2"])
def test_what_is_no_process(tmp_path: Path, text: str) -> None:
    assert pid_in(write(tmp_path / "pid", text)) == 0
    assert pid_in(tmp_path / "absent") == 0
