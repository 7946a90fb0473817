"""Who the programs run as: own namespaces once per server, an unprivileged uid, no capability."""

import contextlib
import os

from . import kernel

NOBODY = 65534
SHOWN = kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS


class Refused(Exception):
    """The sandbox must not run any program here; the message says why."""


def leave_namespaces() -> str:
    """Enter fresh net, ipc and uts namespaces, as root directly, as anyone else inside a user namespace."""
    if os.geteuid() == 0:
        kernel.unshare(SHOWN)
        return "net ipc uts"
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(SHOWN | kernel.CLONE_NEWUSER)
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")
    return "net ipc uts user"


def _write(path, text):
    with open(path, "w") as file:
        file.write(text)


def drop_root(preferred: int) -> str:
    """Become ``preferred``, or nobody where that uid does not exist (user namespaces). Refused if still root."""
    if 0 not in (os.getuid(), os.geteuid()):
        return f"same as the caller ({os.getuid()})"
    for uid in (preferred, NOBODY):
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            break
    if 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()):
        raise Refused("started as root and unable to change to another user, so programs would run as root")
    return f"root changed to {os.getuid()}"


def hide():
    """No capability, no new privileges, no look into this process or its children, first to go when memory is short."""
    if not kernel.LINUX:
        return
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)


def offer_to_oom_killer():
    """Ask the kernel to end a program rather than the trainer when the host runs out of memory."""
    with contextlib.suppress(OSError):
        _write("/proc/self/oom_score_adj", "1000")
