"""Processes: on which core they run, and what they use."""

import os
import pathlib
import subprocess
import sys
import time

PROXY_CORE = 0
LOAD_CORE = 1
BOTH = (PROXY_CORE, LOAD_CORE)
TICKS = os.sysconf("SC_CLK_TCK")


def say(text):
    """Tells how it gets on."""
    print(text, file=sys.stderr, flush=True)


def on_cores(cores, command):
    """The command, bound to these cores with all its threads and children."""
    cores = cores if isinstance(cores, tuple) else (cores,)
    return ["taskset", "-c", ",".join(map(str, cores)), *map(str, command)]


class Process:
    """A process with its children, stopped when it is left."""

    def __init__(self, command, cores, **more):
        more.setdefault("stdout", subprocess.DEVNULL)
        self.popen = subprocess.Popen(on_cores(cores, command), **more)
        self.pid = self.popen.pid

    def family(self):
        """Its id and those of its children and theirs."""
        parents = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                fields = stat(entry.name)
                if fields:
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
        family = [self.pid]
        for pid in family:
            family.extend(parents.get(pid, []))
        return family

    def cpu(self):
        """Seconds of CPU used so far by all of them: (user, kernel)."""
        used = [stat(pid) for pid in self.family()]
        ticks = [(int(fields[11]), int(fields[12])) for fields in used if fields]
        return sum(user for user, _ in ticks) / TICKS, sum(kernel for _, kernel in ticks) / TICKS

    def resident(self):
        """Bytes of memory: each shared page counted once for all of them together (Pss)."""
        return sum(proportional(pid) for pid in self.family())

    def stop(self, patience=10):
        """Asks it to end, and waits."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


def stat(pid):
    """The fields of /proc/PID/stat after the name, from the state on; nothing when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def proportional(pid):
    try:
        rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))


def until(what, happens, patience=30, pause=0.02):
    """Waits until it happens, or fails."""
    end = time.monotonic() + patience
    while not happens():
        if time.monotonic() > end:
            raise SystemExit(f"gave up waiting for {what}")
        time.sleep(pause)


def output(*command):
    """What a command prints, both streams."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
