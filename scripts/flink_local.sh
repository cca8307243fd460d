#!/usr/bin/env bash
# A Flink cluster on this machine: a job manager and task managers of one slot each, as processes of their own.
# Each task manager starts a Python worker, which has a model of its own.
#
#     scripts/flink_local.sh start [N]    with N task managers, two by default; Flink comes from PyPI, once
#     scripts/flink_local.sh options      prints the options with which `whisper-beam transcribe` runs on it
#     scripts/flink_local.sh stop
#
# It needs Java (17 is best) and Maven. Flink's console is at http://localhost:8081; FLINK_PORT names another
# port (and the next one is taken, too), FLINK_FOLDER where logs and process ids are.
set -euo pipefail
shopt -s inherit_errexit

flink=1.19.0
flink_sha256=bb3115c1c63702f95c3f89d5d952e9d98e26fd35b980a265d139790a6ea2c2a2 # of the file at PyPI
here=$(cd -P -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")" && pwd)
python=$here/../.venv/bin/python
worker=$(dirname "$here")/.venv/bin/whisper-beam-worker
cache=${WHISPER_BEAM_CACHE:-$HOME/.cache/whisper-beam}
jars=$cache/flink-$flink
folder=${FLINK_FOLDER:-$cache/flink}
port=${FLINK_PORT:-8081}

# Options that Flink needs on Java 17; from the distribution's own configuration.
opened=()
for package in java.lang java.net java.io java.nio sun.nio.ch java.lang.reflect java.text java.time java.util \
  java.util.concurrent java.util.concurrent.atomic java.util.concurrent.locks; do
  opened+=("--add-opens=java.base/$package=ALL-UNNAMED")
done
opened+=(--add-exports=java.rmi/sun.rmi.registry=ALL-UNNAMED --add-exports=java.base/sun.net.util=ALL-UNNAMED)

fetch_flink() {
  local place
  [[ -d $jars ]] && return
  echo "Fetching Flink $flink, once (230 MB)" >&2
  mkdir -p "$cache"
  place=$(mktemp -d "$cache/.partial.XXXXXX")
  echo "apache-flink-libraries==$flink --hash=sha256:$flink_sha256" >"$place/requirement.txt"
  "$python" -m pip download -q --no-deps --no-binary :all: --require-hashes -r "$place/requirement.txt" -d "$place" >&2
  tar xzf "$place"/apache*.tar.gz -C "$place" --strip-components=2 --wildcards '*/deps/lib/*' '*/deps/bin/*'
  mkdir -p "$place/flink/lib"
  mv "$place"/lib/flink-dist-*.jar "$place"/lib/log4j-*.jar "$place/flink/lib"
  mv "$place/bin/bash-java-utils.jar" "$place/flink"
  mv -T "$place/flink" "$jars"
  rm -r "$place"
}

job_server() {
  "$python" -P -m pipelines.runners.flink_job_server
}

configure() {
  mkdir -p "$folder"
  cat >"$folder/config.yaml" <<CONFIG
jobmanager.rpc.address: localhost
jobmanager.rpc.port: $((port + 1))
jobmanager.memory.process.size: 1g
rest.address: localhost
rest.bind-address: localhost
rest.port: $port
taskmanager.host: localhost
taskmanager.memory.process.size: 1280m
taskmanager.memory.network.min: 192m
# A job has a dozen shuffles, each of which takes so many buffers of 32 KB.
taskmanager.network.sort-shuffle.min-buffers: 64
taskmanager.numberOfTaskSlots: 1
# A job goes on after a task manager or a worker was lost: what was committed is not done again.
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 3
restart-strategy.fixed-delay.delay: 5 s
heartbeat.interval: 2000
heartbeat.timeout: 10000
CONFIG
  cat >"$folder/log4j.properties" <<'CONFIG'
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %-5p %c{1} %m%n
CONFIG
}

# launch NAME COMMAND...: in a group of its own, whose number is kept, and again when it dies: what manages a
# real cluster does that, too.
launch() {
  local name=$1
  shift
  setsid bash -c 'while :; do "$@"; sleep 1; done' "$name" "$@" >"$folder/$name.log" 2>&1 </dev/null &
  echo $! >"$folder/$name.pid"
}

# As Flink's own scripts do, sizes of memory are asked of Flink.
memory() {
  java -cp "$jars/bash-java-utils.jar:$jars/lib/flink-dist-$flink.jar" \
    org.apache.flink.runtime.util.bash.BashJavaUtils "$1" --configDir "$folder" |
    sed -n 's/^BASH_JAVA_UTILS_EXEC_RESULT://p'
}

# launch_java NAME QUESTION CLASS
launch_java() {
  local lines flags parameters
  mapfile -t lines < <(memory "$2")
  read -ra flags <<<"${lines[0]}"
  read -ra parameters <<<"${lines[1]}"
  launch "$1" java "${flags[@]}" "${opened[@]}" "-Dlog4j.configurationFile=$folder/log4j.properties" \
    -cp "$jars/lib/*" "$3" --configDir "$folder" "${parameters[@]}"
}

n_task_managers() {
  "$python" - "$port" <<'PYTHON' 2>/dev/null
import json, sys, urllib.request
with urllib.request.urlopen(f"http://localhost:{sys.argv[1]}/overview", timeout=5) as answer:
    print(json.load(answer)["taskmanagers"])
PYTHON
}

start() {
  local wanted=$1 one
  ! compgen -G "$folder/*.pid" >/dev/null || {
    echo "there is a cluster already: scripts/flink_local.sh stop" >&2
    exit 1
  }
  "$here/setup.sh" local
  fetch_flink
  job_server >/dev/null
  configure
  launch_java jobmanager GET_JM_RESOURCE_PARAMS \
    org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint
  for ((one = 1; one <= wanted; one++)); do
    launch_java "taskmanager-$one" GET_TM_RESOURCE_PARAMS \
      org.apache.flink.runtime.taskexecutor.TaskManagerRunner
  done
  for ((one = 0; one < 60; one++)); do
    [[ $(n_task_managers) == "$wanted" ]] && break
    sleep 1
  done
  ((one < 60)) || {
    echo "Flink did not start within a minute; see $folder/*.log" >&2
    stop
    exit 1
  }
  echo "$wanted" >"$folder/parallelism"
  echo "Flink's console: http://localhost:$port; logs: $folder" >&2
}

options() {
  [[ -e $folder/parallelism ]] || {
    echo "there is no cluster: scripts/flink_local.sh start" >&2
    exit 1
  }
  echo "--runner FlinkRunner --flink_master localhost:$port --flink_version ${flink%.*}" \
    "--flink_job_server_jar $(job_server) --parallelism $(<"$folder/parallelism")" \
    "--environment_type PROCESS --environment_config {\"command\":\"$worker\"}"
}

stop() {
  local file
  for file in "$folder"/*.pid; do
    [[ -e $file ]] || continue
    kill -- "-$(<"$file")" 2>/dev/null || true # it may be gone
    rm "$file"
  done
  rm -f "$folder/parallelism"
}

case ${1:-} in
start) start "${2:-2}" ;;
options) options ;;
stop) stop ;;
*)
  sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 1
  ;;
esac
