# shellcheck shell=bash disable=SC2154
# For bin/matrix: makes the chroots, as fresh Debian systems without any of what this project
# needs, so that bin/setup has to find it all. Reads cache and fresh, sets why. Sourced.
#
# Nothing is ever mounted here: that happens in enter, in a mount namespace that ends with it.

# remove_tree FOLDER: removes it, but nothing below a mount point.
remove_tree() {
    [ -e "$1" ] || return 0
    if awk -v under="$1/" 'index($5 "/", under) == 1 { found = 1 } END { exit !found }' \
        /proc/self/mountinfo; then
        why="something is mounted in $1: unmount it first"
        return 1
    fi
    rm -rf --one-file-system "$1"
}

# make_root SUITE: the chroot of this Debian release, made unless it is there.
make_root() {
    local suite=$1 target=$cache/roots/$1 mirror
    ! $fresh || remove_tree "$target" || return
    [ ! -e "$target/.complete" ] || return 0
    can_make_roots && remove_tree "$target" || return

    # Where apt gets its packages from, debootstrap gets its own, with the same proxy.
    mirror=${PY_MATRIX_MIRROR:-$(host_mirror)}
    local http_proxy=${http_proxy:-$(setting Acquire::http::Proxy)}
    local https_proxy=${https_proxy:-$(setting Acquire::https::Proxy)}
    export http_proxy https_proxy

    say "$suite: making its chroot from $mirror, log in $target.log"
    # The recipe is named because older versions of debootstrap do not know newer releases, and
    # those are all made as sid is. In a mount namespace, because debootstrap mounts /proc.
    if ! unshare --mount --pid --fork --kill-child --mount-proc \
        debootstrap --variant=minbase --include=ca-certificates \
        "$suite" "$target" "$mirror" /usr/share/debootstrap/scripts/sid \
        >"$target.log" 2>&1 9>&-; then
        tail -n 20 "$target.log" >&2
        why="debootstrap could not make the chroot of Debian $suite"
        return 1
    fi
    # No service is started in a chroot.
    printf '#!/bin/sh\nexit 101\n' >"$target/usr/sbin/policy-rc.d"
    chmod +x "$target/usr/sbin/policy-rc.d"
    # What this machine's apt needs to reach its mirror, that one needs too.
    apt-config dump Acquire | grep -E '^Acquire::(https?::|Check-)' \
        >"$target/etc/apt/apt.conf.d/99-machine" || true
    touch "$target/.complete"
}

can_make_roots() {
    if [ "$(id -u)" != 0 ]; then
        why='making and entering a chroot takes root'
    elif ! unshare --mount --pid --fork --kill-child --mount-proc true 2>/dev/null; then
        why='entering a chroot takes mount and process namespaces, which are not allowed here'
    elif ! command -v debootstrap >/dev/null 2>&1; then
        if command -v apt-get >/dev/null 2>&1; then
            apt-get install -y -q debootstrap debian-archive-keyring >"$cache/apt.log" 2>&1 ||
                { apt-get update -q && apt-get install -y -q debootstrap debian-archive-keyring; } \
                    >"$cache/apt.log" 2>&1 || why='apt-get could not install debootstrap'
        else
            why='making a chroot takes debootstrap, which is not installed'
        fi
    fi
    [ -z "$why" ]
}

host_mirror() {
    # The parentheses are apt's own syntax.
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        grep -m 1 -E '/debian/?$' || echo http://deb.debian.org/debian
}

setting() { apt-config dump --format '%v' "$1" 2>/dev/null || true; }
