"""Shell scripts in place of java, mvn and go, and a repository of Maven in a folder."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

Program = Callable[[str, str], Path]
"""Creates a program of a name from a script."""

JAVA_17 = """echo 'openjdk version "17.0.15" 2025-04-15' >&2"""
MVN = """
echo "$@" >> "$0.log"
for word in "$@"; do case $word in
  -DoutputDirectory=*) folder=${word#*=} ;;
  -Dartifact=*) rest=${word#*:} ;;
esac; done
echo jar > "$folder/${rest/:/-}.jar"
"""
GO = 'echo "$@" >> "$0.log"; echo program > "$GOBIN/prism"'


def mvn_of(repository: Path) -> str:
    """Returns the script of a Maven that has the files of a folder, and fails for others."""
    return f"""
echo "$@" >> "$0.log"
repository={repository}
for word in "$@"; do case $word in
  -DoutputDirectory=*) folder=${{word#*=}} ;;
  -Dartifact=*) rest=${{word#*:}}; published=${{rest/:/-}}.jar ;;
esac; done
if [[ -n $published ]]; then
  names=("$published")
else
  [[ -e $repository/pom.xml ]] || {{ echo "no modules"; exit 1; }}
  names=($(<"$repository/pom.xml"))
fi
/bin/mkdir -p "$folder"
for name in "${{names[@]}}"; do
  [[ -e $repository/$name ]] || {{ echo "Could not find artifact $name"; exit 1; }}
  /bin/cp "$repository/$name" "$folder"
done
"""


def write_modules(repository: Path, modules: Path) -> None:
    """Writes two modules of a job server into a repository, and the files that name and pin them."""
    for folder in (repository, modules):
        folder.mkdir()
    pins = []
    for name in ("beam.jar", "flink.jar"):
        (repository / name).write_text(f"classes of {name}")
        pins.append(f"{sha256((repository / name).read_bytes()).hexdigest()}  {name}\n")
    (repository / "pom.xml").write_text("beam.jar flink.jar")
    (modules / "pom.xml").write_text("beam.jar flink.jar")
    (modules / "jars.sha256").write_text("".join(pins))
