# What holds for every image of ours with a shell: nothing is left of its build, nothing has more rights than it needs.
fail() { echo "smoke test: $*" >&2; exit 1; }
none() { # WHAT FIND-ARGUMENTS...: nothing in the image's own file system matches
    what=$1; shift
    found=$(find / -xdev "$@" 2>/dev/null | head -5)
    [ -z "$found" ] || fail "$what: $found"
}

[ "$(id -u)" != 0 ] || fail "this is root"
none "set-user-id or set-group-id files" -perm /6000 -type f
none "files that anybody may write" -perm /0002 -type f
none "caches of pip, npm or apt" \( -path '*/.cache/*' -o -path '*/_cacache/*' -o -path '/var/lib/apt/lists/*Packages*' \
    -o -path '/var/cache/apt/*.deb' -o -path '/root/.npm/*' \) -type f
if touch /opt/x 2>/dev/null; then fail "the root file system is not read-only"; fi
touch /tmp/x || fail "/tmp can't be written"
tr '\0' ' ' < /proc/1/cmdline | grep -q '^tini ' || fail "process 1 is not tini"
