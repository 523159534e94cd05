#!/bin/sh
# Installs the programs the tests and the demo talk to, where that is possible: with apt as root (Debian, Ubuntu) and
# OHIF with npm (by the virtual environment's Python). What cannot be had is named; its tests are skipped by name, nothing fails here.
#
#   install.sh            everything the tests talk to
#   install.sh archive    what `make demo` sends results to: Orthanc with DICOMweb
set -u
cd "$(dirname "$0")/../.." || exit 1
wanted=${1:-everything}

packages=""
want() { # want PROGRAM PACKAGE...
    program=$1
    shift
    command -v "$program" >/dev/null 2>&1 || [ -x "$program" ] || packages="$packages $*"
}
want Orthanc orthanc orthanc-dicomweb
if [ "$wanted" = everything ]; then
    # By full path: a virtual environment may carry pynetdicom's programs of the same names.
    want /usr/bin/storescu dcmtk
    want dciodvfy dicom3tools
    want redis-server redis-server
    want chromium chromium
    ls -d /usr/lib/postgresql/*/bin >/dev/null 2>&1 || packages="$packages postgresql"
fi

# Debian asks this file before a package starts, stops or restarts a service; 101 forbids it. One that is there stays.
policy=/usr/sbin/policy-rc.d
mark="made by osteon's deploy/peers/install.sh while it installs; remove it if that does not run"
before=""
hold_services() {
    before=$(mktemp) || return 1
    trap release_services EXIT
    trap 'exit 130' HUP INT TERM
    if [ -e "$policy" ] || [ -L "$policy" ]; then return 0; fi
    printf '#!/bin/sh\n# %s\nexit 101\n' "$mark" >"$policy" && chmod 755 "$policy"
}
release_services() {
    [ -z "$before" ] || rm -f "$before"
    if grep -qsF "$mark" "$policy"; then rm -f "$policy"; fi
}
installed() { # names of all packages with files on this machine
    states=$(dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n') || return 1
    printf '%s\n' "$states" | sed -e '/^not-installed /d' -e '/^config-files /d' -e 's/^[^ ]* //'
}
disable_new_services() { # units of packages that were not there before; of no other
    command -v systemctl >/dev/null 2>&1 || return 0
    installed | grep -vxF -f "$before" | while read -r package; do
        dpkg -L "$package" | sed -n 's|^.*/lib/systemd/system/\([^/@]*\.[a-z]*\)$|\1|p' | while read -r unit; do
            case $unit in *.service | *.socket | *.timer | *.path) ;; *) continue ;; esac
            systemctl disable "$unit" </dev/null >/dev/null 2>&1 || echo "peers: could not disable $unit"
        done
    done
}

if [ -n "$packages" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "peers: installing$packages"
        export DEBIAN_FRONTEND=noninteractive
        # Services must not start by themselves, now or at the next boot: tests and demo start their own on free ports.
        apt-get update -qq || echo "peers: apt-get update failed; going on with the lists there are"
        if hold_services && installed >"$before"; then
            for package in $packages; do
                apt-get install -y -qq "$package" >/dev/null 2>&1 || echo "peers: could not install $package"
            done
            disable_new_services
        else
            echo "peers: services cannot be kept from starting ($policy); not installed, done without:$packages"
        fi
        release_services
    else
        echo "peers: not installed, done without:$packages (root and apt would be needed)"
    fi
fi

[ "$wanted" = everything ] || exit 0
.venv/bin/python -m deploy.ohif.fetch --cache .peers >/dev/null || echo "peers: the viewer test and the demo's viewer are left out"
.venv/bin/python -m deploy.peers.npm axe-core 4.14.1 --cache .peers >/dev/null || echo "peers: the browser test of the dashboard runs without axe-core"
exit 0
