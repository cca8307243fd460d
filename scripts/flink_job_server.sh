#!/usr/bin/env bash
# Prints the path of a job server for Flink 1.19. Maven gets it, once, so that mirrors and proxies of its
# settings count.
#
#     scripts/flink_job_server.sh
#
# Beam publishes a job server as one jar, which is taken where it can be had. Where a Maven repository lacks it
# but has the modules that it consists of, it is put together from these: flink_job_server/pom.xml names them,
# and each is compared with its pinned SHA-256.
set -euo pipefail
shopt -s inherit_errexit

here=$(cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
jars=${WHISPER_BEAM_CACHE:-$HOME/.cache/whisper-beam}/jars
parts=$here/flink_job_server
beam=$(sed -n 's/^apache-beam==//p' "$here/../constraints.txt")
published=beam-runners-flink-1.19-job-server
maven=(mvn -q -B -ntp -Dstyle.color=never --strict-checksums)

fetch_published() {
  local place output status=0
  place=$(mktemp -d "$jars/.partial.XXXXXX")
  output=$("${maven[@]}" dependency:copy "-Dartifact=org.apache.beam:$published:$beam" \
    "-DoutputDirectory=$place" 2>&1) || status=$?
  if ((status)); then
    echo "Maven cannot get $published $beam; putting it together from its modules" >&2
    echo "(Maven reported: $(grep -m 1 ERROR <<<"$output"))" >&2
  else
    mv "$place/$published-$beam.jar" "$jars"
  fi
  rm -r "$place"
  return "$status"
}

# A jar of nothing but a manifest that names the others, which lie beside it.
put_together() {
  local place=$1
  "${maven[@]}" -f "$parts/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$place/lib" >&2
  (cd "$place/lib" && sha256sum --check --quiet --strict "$parts/jars.sha256") >&2
  mkdir "$place/META-INF"
  {
    echo "Manifest-Version: 1.0"
    echo "Main-Class: org.apache.beam.runners.flink.FlinkJobServerDriver"
    # A line may have 72 bytes; a space at its beginning continues the one before.
    sed -e 's|^[^ ]*  |  lib/|' -e '1s|^ |Class-Path:|' "$parts/jars.sha256"
  } >"$place/META-INF/MANIFEST.MF"
  (cd "$place" && python3 -m zipfile -c job-server.jar META-INF/)
}

command -v mvn >/dev/null || {
  echo "there is no Maven (mvn) to get Flink's job server with" >&2
  exit 1
}
mkdir -p "$jars"
assembled=$jars/flink-1.19-job-server-$(sha256sum <"$parts/jars.sha256" | cut -c1-12)
if [[ ! -e $jars/$published-$beam.jar && ! -e $assembled ]] && ! fetch_published; then
  place=$(mktemp -d "$jars/.partial.XXXXXX")
  trap 'rm -rf "$place"' EXIT
  put_together "$place"
  mv -T "$place" "$assembled"
fi
if [[ -e $jars/$published-$beam.jar ]]; then
  echo "$jars/$published-$beam.jar"
else
  echo "$assembled/job-server.jar"
fi
