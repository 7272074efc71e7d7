"""What systemd does before it starts a service, as far as mounts, users and capabilities go, where no systemd runs.

    settings(text)                   the settings of a unit
    script(settings, package, body)  a shell script that installs the Debian package and does `body`; nothing of it is left

The script runs as root in namespaces of its own (`unshare --mount --net --pid --fork`): /usr, /etc and /var are overlays whose
changes are in memory. In `body` the command `restricted COMMAND` runs a command as the unit has it.
"""

import shlex

_SCRIPT = r"""
set -eu
python3=%(python)s
mount --make-rprivate /
"$python3" -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1))'  # lo is up
work=$(mktemp -d)
mount -t tmpfs tmpfs "$work"
cp %(package)s "$work/package.deb"
for folder in usr etc var; do
    mkdir -p "$work/$folder/upper" "$work/$folder/work"
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$work/$folder/upper,workdir=$work/$folder/work" "/$folder"
done
mount -t tmpfs tmpfs /run
export LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive
dpkg --install "$work/package.deb" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

# What the unit wants to have.
install -d -m %(state_mode)s -o %(user)s -g %(group)s /var/lib/%(state)s
install -d -m 755 -o %(user)s -g %(group)s /run/%(runtime)s

restrict() {
    mkdir -p "$work/dev"
    for device in null zero full random urandom tty; do
        touch "$work/dev/$device"
        mount --bind "/dev/$device" "$work/dev/$device"
    done
    mount --rbind "$work/dev" /dev                                      # PrivateDevices
    mount -t tmpfs tmpfs /tmp                                           # PrivateTmp
    mount -t tmpfs tmpfs /var/tmp
    for folder in /home /root /run/user; do
        [ ! -d "$folder" ] || mount -t tmpfs -o ro,mode=755 tmpfs "$folder"  # ProtectHome
    done
    mount --bind /var/lib/%(state)s /var/lib/%(state)s
    mount --bind /run/%(runtime)s /run/%(runtime)s
    for folder in / /usr /etc /var /run; do
        mount -o remount,ro,bind "$folder"                              # ProtectSystem=strict
    done
    mount -t proc -o hidepid=invisible,subset=pid proc /proc             # ProtectProc, ProcSubset
}

restricted() {
    ulimit -n %(files)s 2>/dev/null || true  # where that many may be had
    umask %(umask)s
    exec setpriv --reuid %(user)s --regid %(group)s --init-groups --no-new-privs \
        --bounding-set=%(bounding)s --inh-caps=%(ambient)s --ambient-caps=%(ambient)s \
        %(private)s "$@"
}
"""
_NEEDED = {
    "ProtectSystem": "strict", "ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "NoNewPrivileges": "yes",
    "ProtectProc": "invisible", "ProcSubset": "pid",
}  # fmt: skip


def settings(text):
    """The settings of a unit; the last one holds, but lists of capabilities and system calls add up unless one is empty."""
    found: "dict[str, str]" = {}
    for line in text.splitlines():
        name, mark, value = line.partition("=")
        if not mark or line.startswith("#"):
            continue
        if name in ("CapabilityBoundingSet", "AmbientCapabilities", "SystemCallFilter") and value and found.get(name):
            value = "%s %s" % (found[name], value)
        found[name] = value
    return found


def script(found, package, body):
    """The script. Raises AssertionError where the unit does not ask for what it does."""
    for name, value in _NEEDED.items():
        assert found[name] == value, name
    capabilities = [name.lower().removeprefix("cap_") for name in found["AmbientCapabilities"].split()]
    bounding = [name.lower().removeprefix("cap_") for name in found["CapabilityBoundingSet"].split()]
    values = {
        "python": "/usr/bin/python3", "package": shlex.quote(str(package)), "user": found["User"], "group": found["Group"],
        "state": found["StateDirectory"], "state_mode": found["StateDirectoryMode"], "runtime": found["RuntimeDirectory"],
        "umask": found["UMask"], "files": found["LimitNOFILE"],
        "bounding": ",".join(["-all", *("+" + name for name in bounding)]),
        "ambient": ",".join(["-all", *("+" + name for name in capabilities)]),
        "private": "unshare --user --map-current-user" if found["PrivateUsers"] == "yes" else "",
    }  # fmt: skip
    return _SCRIPT % values + body
