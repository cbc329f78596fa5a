"""What the two Java servers share: the JDK, the jars, the compiled launchers and the CDS archive.

Class data sharing halves the CPU that a JVM needs to start (measured: Elasticsearch 2.0 s -> 1.1 s).
The archive is made by the way: the first server of its kind that starts without one writes it
when it is stopped, which takes it 3 s of CPU. A missing or unusable archive only makes the start
slower.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from instance import HERE, Instance, StackError

DEBIAN_JDK = "java-17-openjdk-*"
ARCHIVING_TIMEOUT_S = 60.0
STORE = "sun/nio/fs/LinuxFileStore.java"


def java_home() -> Path:
    """Debian's JDK 17, whatever other java is on PATH: Elasticsearch 8 does not run on every one."""
    for home in sorted(Path("/usr/lib/jvm").glob(DEBIAN_JDK)):
        if (home / "bin" / "javac").exists():
            return home
    raise StackError("no JDK 17 under /usr/lib/jvm: run ./dev deps")


def jars_dir(instance: Instance) -> Path:
    """Where ./dev deps put the checked jars: the name holds the hash of the list they fit."""
    listed = (HERE / "jars.sha256").read_bytes()
    path = instance.cache / f"jars-{hashlib.sha256(listed).hexdigest()[:12]}"
    if not path.is_dir():
        raise StackError(f"the servers' jars are not in {path}: run ./dev deps")
    return path


def class_path(instance: Instance, kind: str) -> str:
    jars = sorted(str(jar) for jar in (jars_dir(instance) / kind).glob("*.jar"))
    return ":".join([str(_launchers(instance) / "launchers.jar"), *jars])


def prepare(instance: Instance) -> None:
    """Compile the launchers once per cache. Called before servers start in parallel."""
    target = _launchers(instance)
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        source, jars = HERE / "java", jars_dir(instance)
        classes, result = Path(work, "classes"), Path(work, "result")
        class_path_all = f"{jars}/elasticsearch/*:{jars}/kafka/*"
        _compile("-d", classes, "-cp", class_path_all, *sorted(source.glob("*.java")))
        chroot = source / "chroot"
        _compile("-d", result / "chroot", "--patch-module", f"java.base={chroot}", chroot / STORE)
        jar = java_home() / "bin" / "jar"
        subprocess.run([jar, "cf", result / "launchers.jar", "-C", classes, "."], check=True)
        try:
            os.rename(result, target)
        except OSError:  # another stack was faster
            if not target.exists():
                raise


def _compile(*words) -> None:
    javac = subprocess.run(
        [java_home() / "bin" / "javac", *words], capture_output=True, text=True, check=False
    )
    if javac.returncode != 0:
        raise StackError(f"compiling tests/stack/java failed:\n{javac.stderr}")


def _root_is_mounted() -> bool:
    """False in a chroot into a plain directory: java/chroot says what that means for Java."""
    mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    return any(line.split(" ")[1] == "/" for line in mounts.splitlines())


def command(instance: Instance, kind: str, main: str, options: list, archive_to: Path = None) -> list:
    """argv of a JVM; with `archive_to`, it writes the archive there when it ends, if there is none."""
    archive = _launchers(instance) / f"{kind}.jsa"
    if not _root_is_mounted():
        sharing = [f"--patch-module=java.base={archive.parent / 'chroot'}"]  # excludes an archive
    elif archive.exists():
        sharing = [f"-XX:SharedArchiveFile={archive}", "-Xshare:auto"]
    elif archive_to:
        sharing = [f"-XX:ArchiveClassesAtExit={archive_to}", "-Xlog:cds=off,cds+dynamic=off"]
    else:
        sharing = []
    return [
        str(java_home() / "bin" / "java"),
        # The quick compiler only. Measured with four nodes on two cores: the first 100,000 documents
        # into each take 11 s instead of 21 s, the fifth 100,000 no longer, and memory is less.
        "-XX:TieredStopAtLevel=1",
        *("-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true"),
        *sharing,
        *options,
        *("-cp", class_path(instance, kind), main),
    ]


def keep_archive(instance: Instance, kind: str, made: Path) -> None:
    """Called once the JVM that was to write `made` has ended in order."""
    if not made.exists():
        return
    archive = _launchers(instance) / f"{kind}.jsa"
    if not archive.exists() and archive.parent.is_dir():
        part = archive.with_name(f".{archive.name}.{os.getpid()}")
        shutil.copyfile(made, part)
        os.replace(part, archive)
    made.unlink()


def _launchers(instance: Instance) -> Path:
    """Keyed by all that the launchers and the archives depend on."""
    digest = hashlib.sha256((HERE / "jars.sha256").read_bytes())
    digest.update((java_home() / "release").read_bytes())
    digest.update(str(instance.cache).encode())
    for source in sorted((HERE / "java").rglob("*.java")):
        digest.update(source.read_bytes())
    return instance.cache / "java" / digest.hexdigest()[:12]
