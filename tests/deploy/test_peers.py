"""`install.sh` with apt, dpkg and systemctl played by small scripts: no service starts, none of the host's is touched.

Not covered: real packages on a host that booted with systemd.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "peers" / "install.sh"
POLICY = "/usr/sbin/policy-rc.d"
TOOLS = ("sh", "dirname", "grep", "sed", "mktemp", "rm", "chmod", "cat")

PLAYED = {
    "id": "echo 0",
    # What apt does to a service is decided while it runs; a package that comes along brings one as well.
    "apt-get": """[ "$1" = install ] || exit 0
"$POLICY" orthanc start; echo "$?" >>"$HERE/answers"
printf 'installed orthanc\\ninstalled avahi-daemon\\n' >>"$HERE/packages" """,
    "dpkg-query": 'cat "$HERE/packages"',
    "dpkg": 'printf "/lib/systemd/system/%s.service\\n/usr/lib/systemd/system/%s@.service\\n/etc/x.conf\\n" "$2" "$2"',
    "systemctl": 'echo "$*" >>"$HERE/told"',
}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder that holds the script, its policy file's place, and every program that it may call."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found
        (programs / tool).symlink_to(found)
    for name, body in PLAYED.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    script = tmp_path / "deploy" / "peers" / "install.sh"
    script.parent.mkdir(parents=True)
    text = SCRIPT.read_text()
    assert POLICY in text
    script.write_text(text.replace(POLICY, str(tmp_path / "policy-rc.d")))
    (tmp_path / "packages").write_text("installed redis-server\ntriggers-pending cups\nconfig-files avahi-daemon\n")
    return tmp_path


def install(host: Path) -> str:
    """Run `install.sh archive` on the host; what it said."""
    environment = {"PATH": str(host / "bin"), "HERE": str(host), "POLICY": str(host / "policy-rc.d")}
    command = [str(host / "bin" / "sh"), str(host / "deploy" / "peers" / "install.sh"), "archive"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_services_may_not_start_while_packages_are_installed_and_the_ban_ends_with_it(host: Path) -> None:
    install(host)
    assert set((host / "answers").read_text().split()) == {"101"}
    assert not (host / "policy-rc.d").exists()


def test_only_services_of_new_packages_are_kept_from_the_next_boot(host: Path) -> None:
    install(host)
    assert set((host / "told").read_text().splitlines()) == {"disable orthanc.service", "disable avahi-daemon.service"}


def test_a_policy_that_the_host_has_stays_as_it_is(host: Path) -> None:
    policy = host / "policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 104\n")
    policy.chmod(0o755)
    install(host)
    assert (host / "answers").read_text().split()[0] == "104"
    assert policy.read_text() == "#!/bin/sh\nexit 104\n"


def test_nothing_is_installed_where_the_packages_that_are_there_cannot_be_listed(host: Path) -> None:
    (host / "bin" / "dpkg-query").write_text("#!/bin/sh\nexit 2\n")
    assert "not installed, done without: orthanc" in install(host)
    assert not any((host / name).exists() for name in ("answers", "told", "policy-rc.d"))
