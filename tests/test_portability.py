"""Every call that Windows or macOS lacks, or that means another thing there, is on a list here, with what guards it."""

from __future__ import annotations

import re

from tests.syntax import PACKAGE, files

_OS = (
    "chown chroot confstr copy_file_range eventfd fchdir fchmod fchown fdatasync fork forkpty getegid geteuid getgid "
    "getgroups getloadavg getpgid getpgrp getpriority getresgid getresuid getsid getuid getxattr initgroups kill "
    "killpg lchown listxattr lockf login_tty memfd_create mkfifo mknod nice open openpty pathconf pidfd_open "
    "pipe2 posix_fadvise posix_fallocate posix_spawn posix_spawnp pread preadv pwrite pwritev readv register_at_fork "
    "removexattr rename sched_getaffinity sched_getparam sched_setaffinity sched_setscheduler sched_yield sendfile "
    "setegid seteuid setgid setgroups setpgid setpriority setsid setuid setxattr splice statvfs symlink sync sysconf "
    "tcgetpgrp tcsetpgrp ttyname uname unshare wait wait3 wait4 waitid waitpid WCOREDUMP WEXITSTATUS WIFEXITED "
    "WIFSIGNALED WNOHANG WTERMSIG writev EX_OK O_CLOEXEC O_DIRECT O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC O_TMPFILE"
)
_SIGNAL = "SIGALRM SIGBUS SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH "
_SIGNAL += "SIGXCPU SIGXFSZ alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigwait"
_MODULES = "crypt|fcntl|grp|msvcrt|nis|posix|pty|pwd|readline|resource|spwd|syslog|termios|tty|winreg|_winapi"
_WORDS = "CDLL(None) start_new_session= preexec_fn= pass_fds= add_signal_handler shell=True text=True"
_FOUND = re.compile(
    rf"""
    (?<![\w.]) (?: os\. (?: {_OS.replace(" ", "|")} ) \b
                | signal\. (?: {_SIGNAL.replace(" ", "|")} ) \b
                | mmap\. (?: (?:MAP|PROT|MADV)_\w+ | mmap (?=\() )
                | socket\. (?: AF_UNIX | SO_\w+ )
                | msvcrt\.\w+
                | from \s+ (?: os | signal | mmap ) \s+ import )
    | (?: import | from ) \s+ (?: {_MODULES} ) \b
    | "/(?: proc | sys | dev | tmp | etc | var )\b
    | {"|".join(map(re.escape, _WORDS.split()))}
    """,
    re.VERBOSE,
)
"""Names that are missing or differ on Windows or macOS. ``os.open`` opens text files on Windows without O_BINARY."""

_LINUX = 'sys.platform != "linux"'
_WINDOWS = 'sys.platform == "win32"'
GUARDED = {
    # The commands of the package.
    ("lab/server.py", "signal.SIGHUP"): 'hasattr(signal, "SIGHUP")',
    ("lab/server.py", "socket.SO_EXCLUSIVEADDRUSE"): _WINDOWS,
    ("lab/server.py", "socket.SO_REUSEADDR"): _WINDOWS,
    ("lab/trainings.py", "os.killpg"): _WINDOWS,
    ("lab/trainings.py", "start_new_session="): "start_new_session=True",  # Windows ignores it
    ("cli/streams.py", "os.open"): "os.devnull",
    ("distributed/launcher.py", "os.geteuid"): 'hasattr(os, "geteuid")',
    ("distributed/threads.py", "os.sched_getaffinity"): 'hasattr(os, "sched_getaffinity")',
    ("settings.py", "os.sched_getaffinity"): 'hasattr(os, "sched_getaffinity")',
    # Forks: the package forks on Linux alone.
    ("settings.py", "os.register_at_fork"): 'hasattr(os, "register_at_fork")',
    ("locks.py", "os.register_at_fork"): 'hasattr(os, "register_at_fork")',
    ("codegen/workers.py", "os.fork"): _LINUX,
    ("codegen/workers.py", "os.waitpid"): _LINUX,
    ("codegen/workers.py", "os.kill"): _LINUX,
    ("codegen/workers.py", "signal.SIGKILL"): _LINUX,
    # Memory
    ("runtime/arena.py", "mmap.mmap"): 'os.name == "nt"',
    ("runtime/arena.py", "mmap.MAP_PRIVATE"): 'os.name == "nt"',
    ("runtime/arena.py", "mmap.MAP_ANONYMOUS"): 'os.name == "nt"',
    ("runtime/arena.py", "mmap.MADV_HUGEPAGE"): 'hasattr(mmap, "MADV_HUGEPAGE")',
    ("codegen/jit.py", "mmap.mmap"): "mmap.mmap(-1, ",  # every system has anonymous memory
    ("codegen/idle.py", "mmap.MADV_DONTNEED"): 'hasattr(mmap, "MADV_DONTNEED")',
    ("codegen/idle.py", "CDLL(None)"): 'hasattr(mmap, "MADV_DONTNEED")',
    ("codegen/idle.py", '"/proc'): "except OSError",
    ("distributed/launcher.py", "text=True"): 'text=True, errors="replace"',
    ("native/linking.py", "text=True"): 'text=True, errors="replace"',
    ("data/decoding.py", "os.sysconf"): "except (AttributeError, ValueError, OSError)",
    # Files
    ("codegen/cache.py", "os.geteuid"): 'os.name == "posix"',
    ("data/tree.py", "os.pread"): 'sys.platform != "win32"',
    ("persistence/atomic.py", "os.open"): "except OSError",
    ("persistence/lock.py", "os.open"): _WINDOWS,  # for locking; what it contains is one line without an end
    ("persistence/lock.py", "os.O_NONBLOCK"): _WINDOWS,
    ("persistence/lock.py", "import msvcrt"): _WINDOWS,
    ("persistence/lock.py", "msvcrt.locking"): _WINDOWS,
    ("persistence/lock.py", "msvcrt.LK_NBLCK"): _WINDOWS,
    ("persistence/lock.py", "import fcntl"): _WINDOWS,
    ("train/record.py", "os.open"): "O_BINARY",
    ("train/run.py", "os.posix_fallocate"): 'sys.platform == "darwin"',
    # Facts about the system
    ("quota.py", '"/proc'): "except OSError",
    ("train/environment.py", '"/proc'): "except OSError",
}
"""Where such a call is (a file of the package), and a part of the condition or handler beside it that guards it."""

_TEXT_BY_LOCALE = re.compile(
    r"""\.(?:read|write)_text\((?![^\n]*(?:utf-8|encoding=))
    | \bopen\([^)\n]*["'][rwax]t?\+?["'](?![^\n]*encoding=)""",
    re.VERBOSE,
)
"""Text whose encoding would be that of the locale, which cannot hold every character on Windows."""

_IMPORTED = ["os", "signal", "mmap", "socket", "subprocess", "ctypes", "asyncio"]
_HINTS = [f"import {name}" for name in (*_IMPORTED, *_MODULES.split("|"))]
_HINTS += [
    "from os ",
    "from signal ",
    "from mmap ",
    '"/proc',
    '"/sys',
    '"/dev',
    '"/tmp',
    '"/etc',
    '"/var',
    "_text(",
    "open(",
]
"""A file without any of these has no such call; looking for them is much faster than the patterns."""


def test_every_call_of_one_system_is_guarded_and_every_text_has_an_encoding() -> None:
    found: set[tuple[str, str]] = set()
    for file in files():
        name, text = file.relative_to(PACKAGE).as_posix(), file.read_text(encoding="utf-8")
        if not any(hint in text for hint in _HINTS):
            continue
        for one in _FOUND.finditer(text):
            place = (name, " ".join(one[0].split()))
            line = text.count("\n", 0, one.start()) + 1
            assert place in GUARDED, f"{name}:{line}: guard {place[1]}, which not every system has; then list it here"
            assert GUARDED[place] in text, f"{name}:{line}: the guard of {place[1]} is gone: {GUARDED[place]}"
            found.add(place)
        by_locale = _TEXT_BY_LOCALE.search(text)
        assert by_locale is None, f"{name}: give the encoding at {by_locale[0]!r}"
    assert found == set(GUARDED), f"no longer there: {sorted(set(GUARDED) - found)}"
