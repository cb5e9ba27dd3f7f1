#!/usr/bin/env bash
# Starts a real Apache Kafka (KRaft, no ZooKeeper) on loopback for tests and benches.
#
#   scripts/kafka.sh start    [--nodes 1|3] [--security sasl-tls] [--data FOLDER]   prints one line: the bootstrap addresses
#   scripts/kafka.sh status   [options]   a line a node; fails unless all of them run
#   scripts/kafka.sh stop     [options]   ends the cluster and removes everything it wrote
#   scripts/kafka.sh security --security sasl-tls    prints how to reach the secured listener, as NAME=VALUE lines
#   scripts/kafka.sh kill|pause|resume|restart N [options]   faults: SIGKILL, SIGSTOP, SIGCONT; `restart` ends node N
#                                         in good order if it runs and starts it again with the same data
#
# With --data a cluster of one node begins with a copy of what another one wrote, its `data` folder, instead of with nothing.
#
# `start` may be called again and by many at once: it waits until every node runs, and starts those which do not.
# Each combination of options is a cluster of its own, at ports of its own, which all callers of one user share:
# from 19092 on with one node, 19192 with three, 200 more with security. Whoever kills nodes takes his own cluster, by
#   KAFKA_PORT       first port; N nodes listen at it and the N-1 above, controllers 20 above, secured listeners 10 above
# Other settings:
#   KAFKA_BOOTSTRAP  use that cluster instead: nothing is started or stopped
#   AISLE_CACHE      folder for artifacts (~/.cache/aisle)
#   AISLE_RUNS       folder for what runs (/tmp/aisle-UID)
# shellcheck source=component.sh source-path=SCRIPTDIR
. "$(dirname "$0")/component.sh"

version=4.3.1
artifacts=$cache/kafka-$version
user=aisle
password=aisle-test-only

command=${1:-}
[ $# -gt 0 ] && shift
nodes=1 security=none node= data=
while [ $# -gt 0 ]; do
  case $1 in
    --nodes) nodes=${2:-}; shift ;;
    --security) security=${2:-}; shift ;;
    --data) data=${2:-}; shift ;;
    [1-9]) node=$1 ;;
    *) fail "does not know \"$1\"; see the head of the script" ;;
  esac
  shift || fail "the last option needs a value"
done
case $nodes in 1 | 3) ;; *) fail "--nodes is 1 or 3" ;; esac
[ -z "$data" ] || [ "$nodes" = 1 ] || fail "--data is for one node"
case $security in none | sasl-tls) ;; *) fail "--security is sasl-tls or left out" ;; esac

default_port=$((19092 + (nodes == 3 ? 100 : 0)))
[ "$security" = none ] || default_port=$((default_port + 200))
port=${KAFKA_PORT:-$default_port}
[[ $port =~ ^[0-9]+$ ]] || fail "KAFKA_PORT is a port's number"
run=$runs/kafka-$port

secured_port() { echo $((port + 10 + $1 - 1)); }
controller_port() { echo $((port + 20 + $1 - 1)); }
folder_of() { echo "$run/node-$1"; }
addresses() { # first port
  local list="127.0.0.1:$1" i
  for ((i = 1; i < nodes; i++)); do list+=",127.0.0.1:$(($1 + i))"; done
  echo "$list"
}

# Resolves the broker's jars by Maven, once; they appear in the cache all at once or not at all.
fetch_artifacts() {
  need java default-jre-headless
  [ -d "$artifacts/lib" ] && return
  need mvn maven
  # Clusters at several ports share the artifacts.
  exec 8>"$cache/kafka.lock"
  flock 8
  if [ -d "$artifacts/lib" ]; then exec 8>&-; return; fi
  echo "$script: fetching Apache Kafka $version into $artifacts" >&2
  local making
  making=$(mktemp -d "$cache/kafka.XXXXXX")
  # log4j-1.2-api: some of the tools still log through it.
  cat >"$making/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>aisle</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>2.24.3</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.24.3</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-1.2-api</artifactId><version>2.24.3</version></dependency>
  </dependencies>
</project>
POM
  (cd "$making" && mvn -q -B -Dstyle.color=never dependency:copy-dependencies -DoutputDirectory=lib -DincludeScope=runtime) >&2 8>&- 9>&- ||
    { rm -rf "$making"; fail "Maven could not resolve Apache Kafka $version; its answer is above"; }
  rm -rf "$artifacts"
  mv "$making" "$artifacts"
  exec 8>&-
}

# A certificate authority and one certificate for all nodes, good for a year; made anew for each cluster.
make_certificates() {
  need openssl openssl
  mkdir -p "$run/tls"
  (
    cd "$run/tls"
    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj "/CN=Aisle test authority" -keyout ca.key -out ca.pem
    openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout node.key -out node.csr
    openssl x509 -req -in node.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 365 -out node.pem \
      -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1")
    cat node.key node.pem ca.pem >keystore.pem
  ) >"$run/tls.log" 2>&1 9>&- || { cat "$run/tls.log" >&2; fail "openssl could not make the certificates"; }
}

write_configuration() { # node
  local folder voters="" i
  folder=$(folder_of "$1")
  for ((i = 1; i <= nodes; i++)); do voters+="${voters:+,}$i@127.0.0.1:$(controller_port "$i")"; done
  local client="CLIENT://127.0.0.1:$((port + $1 - 1))" secured=""
  [ "$security" = none ] || secured=",SECURED://127.0.0.1:$(secured_port "$1")"
  # Few partitions of the internal topics and no delay before a group's first assignment make the start fast.
  # The checks run each second so that a test of expiry or of a hung transaction need not wait for minutes. A node that
  # was killed is let in again only when its session has ended: 4 s instead of 9.
  cat >"$folder/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$voters
listeners=$client,CONTROLLER://127.0.0.1:$(controller_port "$1")$secured
advertised.listeners=$client$secured
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURED:SASL_SSL
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
log.dirs=$folder/data
auto.create.topics.enable=false
default.replication.factor=$nodes
min.insync.replicas=$((nodes == 3 ? 2 : 1))
offsets.topic.num.partitions=3
offsets.topic.replication.factor=$nodes
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=$nodes
transaction.state.log.min.isr=$((nodes == 3 ? 2 : 1))
share.coordinator.state.topic.num.partitions=3
share.coordinator.state.topic.replication.factor=$nodes
share.coordinator.state.topic.min.isr=$((nodes == 3 ? 2 : 1))
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
log.retention.check.interval.ms=1000
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
PROPERTIES
  if [ "$security" = sasl-tls ]; then
    cat >>"$folder/server.properties" <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$run/tls/keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$run/tls/ca.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_$user="$password";
listener.name.secured.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
PROPERTIES
  fi
  cat >"$folder/logging.properties" <<PROPERTIES
rootLogger.level=info
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c{1}: %m%n
PROPERTIES
}

java_of_node() { # node, arguments...
  local folder
  folder=$(folder_of "$1")
  shift
  # The class path stays quoted: Java itself expands the asterisk.
  java_command=(java -Xmx$((nodes == 3 ? 384 : 512))m -XX:+UseG1GC -Djava.io.tmpdir="$folder" -cp "$artifacts/lib/*"
    "-Dlog4j2.configurationFile=file:$folder/logging.properties" "$@")
}

# Writes a cluster's configuration and formats its storage. Other options than before mean another cluster.
make_cluster() {
  if [ -f "$run/options" ]; then
    [ "$(cat "$run/options")" = "$nodes $security" ] ||
      fail "the cluster at port $port was started with other options ($(cat "$run/options")); stop it, or set KAFKA_PORT"
    return
  fi
  rm -rf "$run"
  local i
  for ((i = 0; i < nodes; i++)); do
    refuse_busy_port $((port + i)) KAFKA_PORT
    refuse_busy_port "$(controller_port $((i + 1)))" KAFKA_PORT
    [ "$security" = none ] || refuse_busy_port "$(secured_port $((i + 1)))" KAFKA_PORT
  done
  mkdir -p "$run"
  [ "$security" = none ] || make_certificates
  # A cluster's id: 16 random bytes in base64, of which Kafka accepts letters and digits in any case.
  local id scram=()
  id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | cut -c 1-22)
  [ "$security" = none ] || scram=(--add-scram "SCRAM-SHA-512=[name=$user,password=$password]")
  local jobs=()
  for ((i = 1; i <= nodes; i++)); do
    mkdir -p "$(folder_of "$i")"
    write_configuration "$i"
    if [ -n "$data" ]; then
      cp -r "$data" "$(folder_of "$i")/data"
      continue
    fi
    java_of_node "$i" kafka.tools.StorageTool format -t "$id" -c "$(folder_of "$i")/server.properties" "${scram[@]}"
    "${java_command[@]}" >"$(folder_of "$i")/format.log" 2>&1 </dev/null 9>&- &
    jobs+=($!)
  done
  for ((i = 1; i <= ${#jobs[@]}; i++)); do
    wait "${jobs[i - 1]}" || { tail -n 15 "$(folder_of "$i")/format.log" >&2; fail "could not format node $i"; }
  done
  # Written last: a start that was interrupted above begins anew.
  echo "$nodes $security" >"$run/options"
}

launch_node() { # node
  local folder
  folder=$(folder_of "$1")
  # A process that was killed may hold its ports for a moment after it is gone from the list.
  [ ! -f "$folder/process" ] || wait_until_free $((port + $1 - 1)) 10
  refuse_busy_port $((port + $1 - 1)) KAFKA_PORT
  # What the log says before this point is of an earlier life.
  touch "$folder/log"
  stat -c %s "$folder/log" >"$folder/log-from"
  java_of_node "$1" kafka.Kafka "$folder/server.properties"
  launch "$folder" "${java_command[@]}"
}

node_is_ready() { # node
  local folder
  folder=$(folder_of "$1")
  grep -q 'Kafka Server started' < <(tail -c "+$(($(cat "$folder/log-from") + 1))" "$folder/log") &&
    accepts $((port + $1 - 1))
}

node_state() { # node
  local id
  id=$(process_of "$(folder_of "$1")")
  if [ -z "$id" ]; then echo stopped
  elif [ "$(state_of "$id")" = T ]; then echo paused
  elif node_is_ready "$1"; then echo running
  else echo starting; fi
}

start() {
  fetch_artifacts
  make_cluster
  local i
  for ((i = 1; i <= nodes; i++)); do
    case $(node_state "$i") in
      stopped) launch_node "$i" ;;
      paused) kill -CONT "$(process_of "$(folder_of "$i")")" ;;
    esac
  done
  for ((i = 1; i <= nodes; i++)); do wait_until_ready "$(folder_of "$i")" 120 node_is_ready "$i"; done
  addresses "$port"
}

# Ends every process and removes the folder. What a cluster holds is of no use afterwards, so it is not asked politely.
stop() {
  local i folder
  for ((i = 1; i <= 3; i++)); do
    folder=$(folder_of "$i")
    end_process "$folder" KILL 10
    # The system closes a killed process's ports a moment after the process is gone: whoever starts next needs them.
    [ ! -f "$folder/process" ] || wait_until_free $((port + i - 1)) 10
    [ ! -f "$folder/process" ] || wait_until_free "$(controller_port "$i")" 10
  done
  rm -rf "$run"
}

status() {
  local i state complete=0
  for ((i = 1; i <= nodes; i++)); do
    state=$(node_state "$i")
    [ "$state" = running ] || complete=1
    echo "node $i 127.0.0.1:$((port + i - 1)) $state"
  done
  return $complete
}

security_lines() {
  [ "$security" = sasl-tls ] || fail "say --security sasl-tls"
  cat <<LINES
KAFKA_SECURED_BOOTSTRAP=$(addresses "$(secured_port 1)")
KAFKA_SECURED_CA=$run/tls/ca.pem
KAFKA_SECURED_USER=$user
KAFKA_SECURED_PASSWORD=$password
LINES
}

# Does to node N what the command says.
fault_of_node() {
  [ "${node:-9}" -le "$nodes" ] || fail "$command wants a node from 1 to $nodes, and the options of the start"
  local folder id
  folder=$(folder_of "$node")
  [ -d "$folder" ] || fail "no cluster was started at port $port"
  if [ "$command" != restart ]; then
    fault "$folder" "$command"
    return
  fi
  # A paused process would not hear SIGTERM.
  id=$(process_of "$folder")
  [ -z "$id" ] || kill -CONT "$id"
  end_process "$folder" TERM 30
  launch_node "$node"
  wait_until_ready "$folder" 120 node_is_ready "$node"
}

if [ -n "${KAFKA_BOOTSTRAP:-}" ]; then
  first=${KAFKA_BOOTSTRAP%%,*}
  case $command in
    start | status)
      (exec 3<>"/dev/tcp/${first%:*}/${first##*:}") 2>/dev/null || fail "nothing answers at $first (KAFKA_BOOTSTRAP)"
      echo "$KAFKA_BOOTSTRAP"
      ;;
    stop) echo "$script: KAFKA_BOOTSTRAP is set; that cluster is not ours to stop" >&2 ;;
    *) fail "\"$command\" is for clusters that this script started; KAFKA_BOOTSTRAP is set" ;;
  esac
  exit
fi

case $command in
  start | stop | kill | pause | resume | restart) folders; lock "$runs/kafka-$port.lock" ;;
esac
case $command in
  start) start ;;
  stop) stop ;;
  status) status ;;
  security) security_lines ;;
  kill | pause | resume | restart) fault_of_node ;;
  *) fail "start, stop, status, security, kill, pause, resume or restart; see the head of the script" ;;
esac
