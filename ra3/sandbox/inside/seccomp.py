"""System-call filters for Linux on x86-64 and arm64: a list of refused calls, the rest is allowed.

The long list binds the server once, and all its children with it; what a server needs (fork, kill) is refused by a
short second filter that each child puts on: the kernel's cost of a filter grows with its length.

Refused calls fail with EPERM, so a program sees a PermissionError. Calls newer than the table, and ``clone3`` and
``openat2`` whose arguments a filter cannot read, fail with ENOSYS: libraries then fall back to the older call, which
is checked. Threads stay possible (``clone`` with CLONE_THREAD); processes do not. Another architecture's calls kill.
"""

import ctypes
import struct
from collections.abc import Callable
from functools import partial

from . import kernel

# name: (number on x86-64, number on arm64); None where the architecture has no such call
REFUSED = {
    # processes and signals
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "kcmp": (312, 272), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "personality": (135, 92),
    # priorities and affinities of other processes
    "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setattr": (314, 274), "setpriority": (141, 140), "ioprio_set": (251, 30), "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # network
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242),
    # kernel surface
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430), "fsconfig": (431, 431),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "syslog": (103, 116), "acct": (163, 89), "quotactl": (179, 60), "quotactl_fd": (443, 443), "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "clock_settime": (227, 112), "settimeofday": (164, 170), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "sethostname": (170, 161), "setdomainname": (171, 162), "vhangup": (153, 58), "uselib": (134, None),
    "ustat": (136, None), "sysfs": (139, None), "_sysctl": (156, None),
    # identity
    "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143), "setresuid": (117, 147),
    "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152), "setgroups": (116, 159),
    "capset": (126, 91),
    # memory and queues shared with other processes
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "msgget": (68, 186), "msgsnd": (69, 189),
    "msgrcv": (70, 188), "msgctl": (71, 187), "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191),
    "semtimedop": (220, 192), "mq_open": (240, 180), "mq_unlink": (241, 181), "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    # changes to files; Landlock says nothing about modes, owners, times and attributes
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263), "inotify_init": (253, None), "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "truncate": (76, 45), "creat": (85, None), "mkdir": (83, None), "mkdirat": (258, 34), "mknod": (133, None),
    "mknodat": (259, 33), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None),
    "renameat": (264, 38), "renameat2": (316, 276), "link": (86, None), "linkat": (265, 37), "symlink": (88, None),
    "symlinkat": (266, 36), "flock": (73, 32),
}  # fmt: skip
# what the server itself still needs, so that only its children are refused it
REFUSED_TO_CHILDREN = {
    "fork": (57, None), "vfork": (58, None), "kill": (62, 129), "setpgid": (109, 154), "setsid": (112, 157),
    "seccomp": (317, 277),
}  # fmt: skip
UNREADABLE = {"clone3": (435, 435), "openat2": (437, 437)}
CHECKED = {
    "clone": (56, 220), "prctl": (157, 167), "prlimit64": (302, 261), "fcntl": (72, 25), "ioctl": (16, 29),
    "open": (2, None), "openat": (257, 56),
}  # fmt: skip
LAST_KNOWN = 451
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7), "arm64": (1, 0xC00000B7)}

LOAD, JUMP, RETURN, EQUAL, ABOVE, ANY_BIT = 0x20, 0x05, 0x06, 0x15, 0x25, 0x45
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
CLONE_THREAD = 0x10000
WRITING = 0o3 | 0o100 | 0o1000 | 0o20000000
SET_PARENT_SIGNAL_OR_DUMPABLE = (1, 4)
SET_SIGNAL_OWNER = (8, 10, 15)
SOCKET_OWNER = (0x8901, 0x8902)


def for_server(machine: str, writable: bool) -> bytes:
    """The long filter for a machine; ``writable=False`` also refuses to open any file for writing.

    KeyError for a machine without a table.
    """
    column, audit = ARCHITECTURES[machine]
    program = [_op(LOAD, ARCHITECTURE), _op(EQUAL, audit, 1, 0), _op(RETURN, KILL)]
    program += [_op(LOAD, NUMBER), _op(ABOVE, LAST_KNOWN, 0, 1), _op(RETURN, ENOSYS)]
    program += _when(CHECKED["prlimit64"][column], 0, [_op(EQUAL, 0, 1, 0), _op(RETURN, EPERM)])
    program += _when(CHECKED["fcntl"][column], 1, _refuse_values(SET_SIGNAL_OWNER))
    program += _when(CHECKED["ioctl"][column], 1, _refuse_values(SOCKET_OWNER))
    if not writable:
        refuse_writing = [_op(ANY_BIT, WRITING, 0, 1), _op(RETURN, EPERM)]
        program += _when(CHECKED["openat"][column], 2, refuse_writing)
        program += _when(CHECKED["open"][column], 1, refuse_writing)
    program += _refuse_values(_numbers(UNREADABLE, column), ENOSYS)
    program += _refuse_values(_numbers(REFUSED, column))
    return b"".join([*program, _op(RETURN, ALLOW)])


def for_child(machine: str) -> bytes:
    """The short filter that a child adds: no process, no signal to another."""
    column, _ = ARCHITECTURES[machine]
    program = [_op(LOAD, NUMBER)]
    program += _when(CHECKED["clone"][column], 0, [_op(ANY_BIT, CLONE_THREAD, 1, 0), _op(RETURN, EPERM)])
    program += _when(CHECKED["prctl"][column], 0, _refuse_values(SET_PARENT_SIGNAL_OR_DUMPABLE))
    program += _refuse_values(_numbers(REFUSED_TO_CHILDREN, column))
    return b"".join([*program, _op(RETURN, ALLOW)])


def _numbers(table, column) -> list[int]:
    return [row[column] for row in table.values() if row[column] is not None]


def _op(code, value, if_true=0, if_false=0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def _when(number, argument, block) -> list[bytes]:
    """Run a block on the low half of one argument if the call has this number; then the number is loaded again."""
    if number is None:
        return []
    low_half = ARGUMENTS + 8 * argument
    body = [_op(LOAD, low_half), *block, _op(LOAD, NUMBER)]
    return [_op(EQUAL, number, 0, len(body)), *body]


def _refuse_values(values, verdict=EPERM) -> list[bytes]:
    """Return the verdict if the loaded word is one of the values."""
    tests = [_op(EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
    # a match jumps to the RETURN; without one the step before it is reached, which passes over it
    return [*tests, _op(JUMP, 1), _op(RETURN, verdict)]


def make_filter(code: bytes) -> Callable[[], int]:
    """Return what binds the calling process, and all it starts, to a filter for good; it gives 0 unless the kernel
    declines. Needs NO_NEW_PRIVS."""
    program = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("@HP", len(code) // 8, ctypes.addressof(program))
    header = ctypes.create_string_buffer(header, len(header))
    mode, address = kernel.SECCOMP_MODE_FILTER, ctypes.addressof(header)
    put_on = partial(kernel.raw_prctl, kernel.PR_SET_SECCOMP, mode, address, 0, 0)
    put_on.buffers = program, header  # type: ignore[attr-defined]  # the kernel reads them at every call
    return put_on
