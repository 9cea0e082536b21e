# shellcheck shell=bash
# Apache Kafka of the test bed: one KRaft node. Sourced by bed.sh.
#
# Its jars are resolved by Maven from pom.xml once and kept under target/bed.

kafka_version=$(sed -n 's/.*<kafka.version>\(.*\)<.*/\1/p' "$bed_dir/pom.xml")
kafka_libs=$cache/kafka-$kafka_version

kafka_jars() {
  [ ! -d "$kafka_libs" ] || return 0
  say "fetching Apache Kafka $kafka_version"
  local partial
  partial=$(mktemp -d "$cache/kafka.XXXXXX")
  mvn -B -q -f "$bed_dir/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$partial" >"$cache/maven.log" 2>&1 </dev/null || {
    rm -rf "$partial"
    tail -n 20 "$cache/maven.log" >&2
    fail "maven could not fetch Apache Kafka; its words are above"
  }
  # Whole or not at all: an interrupted fetch must not look like a finished one.
  mv "$partial" "$kafka_libs"
}

kafka_java() { java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$kafka_libs/*" "$@"; }

kafka_properties() {
  local scram=org.apache.kafka.common.security.scram.ScramLoginModule
  local plain=org.apache.kafka.common.security.plain.PlainLoginModule
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller_port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:$kafka_port,SASL_SSL://127.0.0.1:$sasl_port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=PLAINTEXT://127.0.0.1:$kafka_port,SASL_SSL://localhost:$sasl_port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=$scratch/tls/server.bundle.pem
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$scram required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$scram required;
listener.name.sasl_ssl.plain.sasl.jaas.config=$plain required user_$STAMPD_TEST_USER="$STAMPD_TEST_PASSWORD";
log.dirs=$scratch/kafka
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
PROPERTIES
}

kafka_format() {
  kafka_port=$(free_port)
  sasl_port=$(free_port)
  controller_port=$(free_port)
  # Kafka reads the key as PKCS#8 and the certificate from one file.
  cat "$scratch/tls/server.key" "$scratch/tls/server.pem" >"$scratch/tls/server.bundle.pem"
  kafka_properties >"$scratch/server.properties"
  local login="name=$STAMPD_TEST_USER,password=$STAMPD_TEST_PASSWORD" cluster
  # A cluster id is 16 random bytes as URL-safe base64.
  cluster=$(perl -MMIME::Base64 -e '
    open my $random, "<", "/dev/urandom"; read $random, my $id, 16;
    $_ = encode_base64($id, ""); tr{+/=}{-_}d; s/^-/A/; print')
  kafka_java kafka.tools.StorageTool format -t "$cluster" -c "$scratch/server.properties" \
    --add-scram "SCRAM-SHA-256=[$login]" --add-scram "SCRAM-SHA-512=[$login]" \
    >"$scratch/format.log" 2>&1 </dev/null || {
    cat "$scratch/format.log" >&2
    fail "Kafka could not format its storage; its words are above"
  }
}

kafka_start() {
  start_server "$scratch/kafka.log" "" java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC \
    -cp "$kafka_libs/*" kafka.Kafka "$scratch/server.properties"
  kafka_pid=$started
  export STAMPD_TEST_KAFKA=127.0.0.1:$kafka_port STAMPD_TEST_KAFKA_SASL=localhost:$sasl_port
}

# Listening is not yet serving: the broker says so itself once it has left its start-up fence.
kafka_serves() { grep -q 'Kafka Server started' "$scratch/kafka.log" && answers "$kafka_port"; }

kafka_wait() { wait_until Kafka "$kafka_pid" "$scratch/kafka.log" kafka_serves; }
