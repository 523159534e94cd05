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

if [ -n "$packages" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "peers: installing$packages"
        export DEBIAN_FRONTEND=noninteractive
        # Services must not start by themselves: tests and demo start their own on free ports.
        apt-get update -qq || echo "peers: apt-get update failed; going on with the lists there are"
        for package in $packages; do
            RUNLEVEL=1 apt-get install -y -qq "$package" >/dev/null 2>&1 || echo "peers: could not install $package"
        done
    else
        echo "peers: not installed, done without:$packages (root and apt would be needed)"
    fi
fi

[ "$wanted" = everything ] || exit 0
.venv/bin/python -m deploy.ohif.fetch --cache .peers >/dev/null || echo "peers: the viewer test and the demo's viewer are left out"
.venv/bin/python -m deploy.peers.npm axe-core 4.14.1 --cache .peers >/dev/null || echo "peers: the browser test of the dashboard runs without axe-core"
exit 0
