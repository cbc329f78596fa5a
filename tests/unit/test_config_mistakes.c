/* Every mistake that a configuration may hold, and the exact words it is refused with. */
#include <criterion/criterion.h>

#include "base/mem.h"
#include "config_fixture.h"

TestSuite(config_mistakes, .init = config_setup, .fini = config_teardown);

struct mistake {
    const char *text;
    const char *expected;
};

static void refuse_all(const struct mistake *mistakes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        config_refused(mistakes[i].text, mistakes[i].expected);
}

#define REST "entities: {member: {partitions: 8}}\n"

Test(config_mistakes, at_the_top_level)
{
    static const struct mistake mistakes[] = {
        {"[]\n", "1: the file: expected a map of options, found a list"},
        {"kafak: {}\n", "1: unknown option 'kafak' in the file; did you mean 'kafka'?"},
        {"kafka: {brokers: k}\n", "1: schemas is missing; expected a list of schema files"},
        {"colour: blue\n",
         "1: unknown option 'colour' in the file; it knows state_dir, listen, schemas, kafka, entities, "
         "sinks"},
        {"schemas: [member.yaml]\n" REST, "1: kafka is missing; expected a map of options"},
        {"schemas: [member.yaml]\nkafka: {brokers: k}\n",
         "1: entities is missing; expected a map of entities by name"},
        {"kafka: {}\nkafka: {}\n", "2: key 'kafka' is there twice"},
        {"kafka: {brokers: [\n", "2: not valid YAML: did not find expected node content"},
        {"state_dir: [a]\nschemas: [member.yaml]\nkafka: {brokers: k}\n" REST,
         "1: state_dir: expected a path, found a list"},
        {"state_dir:\nschemas: [member.yaml]\nkafka: {brokers: k}\n" REST,
         "1: state_dir: expected a path, found nothing"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

#define AFTER "kafka: {brokers: k}\n" REST

Test(config_mistakes, in_schemas)
{
    static const struct mistake mistakes[] = {
        {"schemas: member.yaml\n" AFTER,
         "1: schemas: expected a list of schema files, found 'member.yaml'"},
        {"schemas: []\n" AFTER, "1: schemas: expected a list of schema files, found an empty one"},
        {"schemas:\n  - [member.yaml]\n" AFTER,
         "2: schemas: expected the path of a schema file, found a list"},
        {"schemas:\n  - missing.yaml\n" AFTER,
         "2: schemas: F/missing.yaml: No such file or directory"},
        {"schemas:\n  - member.yaml\n  - member.yaml\n" AFTER,
         "3: schemas: F/member.yaml is a second schema of 'member', after F/member.yaml"},
        {"schemas:\n  - member.yaml\n  - clash.yaml\n" AFTER,
         "3: schemas: F/clash.yaml has the same redis_prefix 'm' as F/member.yaml; their entries "
         "would overwrite each other"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

#define ENTITIES "schemas: [member.yaml, binding.yaml]\nkafka: {brokers: k}\nentities:\n"

Test(config_mistakes, in_entities)
{
    static const struct mistake mistakes[] = {
        {"schemas: [member.yaml]\nkafka: {brokers: k}\nentities: {}\n",
         "3: entities: expected a map of 1 to 64 entities, found an empty one"},
        {"schemas: [member.yaml]\nkafka: {brokers: k}\nentities: [member]\n",
         "3: entities: expected a map of 1 to 64 entities, found a list"},
        {ENTITIES "  Member: {partitions: 8}\n",
         "4: entities: 'Member' is no name of an entity; expected a small letter, then small "
         "letters, digits and _, at most 32"},
        {ENTITIES "  membr: {partitions: 8}\n",
         "4: entities: no file of schemas describes 'membr'; did you mean 'member'?"},
        {ENTITIES "  invoices: {partitions: 8}\n",
         "4: entities: no file of schemas describes 'invoices'; they describe member, binding"},
        {ENTITIES "  member: {}\n",
         "4: entities.member.partitions is missing; expected a power of two from 1 to 1024"},
        {ENTITIES "  member: 8\n", "4: entities.member: expected a map of options, found '8'"},
        {ENTITIES "  member: {partitions: 12}\n",
         "4: entities.member.partitions: expected a power of two from 1 to 1024, found '12'"},
        {ENTITIES "  member: {partitions: 2048}\n",
         "4: entities.member.partitions: expected a power of two from 1 to 1024, found '2048'"},
        {ENTITIES "  member: {partitions: \"8\"}\n",
         "4: entities.member.partitions: expected a power of two from 1 to 1024, found '8' in "
         "quotes"},
        {ENTITIES "  member: {partition: 8}\n",
         "4: unknown option 'partition' in entities.member; did you mean 'partitions'?"},
        {ENTITIES "  member: {partitions: 8, generation: 0}\n",
         "4: entities.member.generation: expected a whole number from 1 to 32767, found '0'"},
        {ENTITIES "  member:\n    partitions: 8\n    generation: 32768\n",
         "6: entities.member.generation: expected a whole number from 1 to 32767, found '32768'"},
        {ENTITIES "  member:\n    partitions: 8\n    generation: one\n",
         "6: entities.member.generation: expected a whole number from 1 to 32767, found 'one'"},
        {ENTITIES "  member: {partitions: 8, replication: 0}\n",
         "4: entities.member.replication: expected a whole number from 1 to 15, found '0'"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

#define KAFKA      "schemas: [member.yaml]\n" REST "kafka:\n"
#define NO_BROKER  "4: kafka.brokers: expected host:port, several parted by commas, found "
#define PROPERTIES KAFKA "  brokers: k\n  properties:\n"

Test(config_mistakes, in_kafka)
{
    static const struct mistake mistakes[] = {
        {KAFKA "  brokrs: k:9092\n",
         "4: unknown option 'brokrs' in kafka; did you mean 'brokers'?"},
        {KAFKA "  brokers: [k:9092, [x]]\n", "4: kafka.brokers: expected host:port, found a list"},
        {KAFKA "  brokers: \"k:9092,,l:9092\"\n",
         "4: kafka.brokers: expected host:port, several parted by commas, found 'k:9092,,l:9092'"},
        {KAFKA "  brokers: k:9092 l:9092\n",
         "4: kafka.brokers: expected host:port, several parted by commas, found 'k:9092 l:9092'"},
        {KAFKA "  brokers: k:99999999\n", NO_BROKER "'k:99999999'"},
        {KAFKA "  brokers: k:65536\n", NO_BROKER "'k:65536'"},
        {KAFKA "  brokers: k:0\n", NO_BROKER "'k:0'"},
        {KAFKA "  brokers: 'k:'\n", NO_BROKER "'k:'"},
        {KAFKA "  brokers: k:9092x\n", NO_BROKER "'k:9092x'"},
        {KAFKA "  brokers: ':9092'\n", NO_BROKER "':9092'"},
        {KAFKA "  brokers: '[::1:9092'\n", NO_BROKER "'[::1:9092'"},
        {KAFKA "  brokers: [k:1, k:70000]\n", NO_BROKER "'k:1,k:70000'"},
        {KAFKA "  brokers: {a: b}\n", "4: kafka.brokers: expected host:port, found a map"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

Test(config_mistakes, in_kafka_properties)
{
    static const struct mistake mistakes[] = {
        {KAFKA "  brokers: k\n  properties: [a]\n",
         "5: kafka.properties: expected a map of librdkafka properties, found a list"},
        {PROPERTIES "    linger.msx: 5\n",
         "6: kafka.properties: librdkafka has no property 'linger.msx'; did you mean 'linger.ms'?"},
        {PROPERTIES "    quite.another.thing.altogether: 5\n",
         "6: kafka.properties: librdkafka has no property 'quite.another.thing.altogether'; its "
         "CONFIGURATION.md lists them"},
        {PROPERTIES "    linger.ms: soon\n",
         "6: kafka.properties: 'linger.ms' is refused by librdkafka: Invalid value for "
         "configuration property \"queue.buffering.max.ms\""},
        {PROPERTIES "    linger.ms: [5]\n",
         "6: kafka.properties.linger.ms: expected a text or a number, found a list"},
        {PROPERTIES "    security.protocol: sslx\n",
         "6: kafka.properties: 'security.protocol' is refused by librdkafka: Invalid value "
         "\"sslx\" for configuration property \"security.protocol\""},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

Test(config_mistakes, in_kafka_properties_that_the_log_rests_on)
{
    static const struct mistake mistakes[] = {
        {PROPERTIES "    partitioner: random\n",
         "6: kafka.properties: 'partitioner' can't be set: keys are spread by murmur2, as every "
         "other client of the log does"},
        {PROPERTIES "    acks: 1\n",
         "6: kafka.properties: 'acks' can't be set: a record counts as published only when all "
         "in-sync replicas have it"},
        {PROPERTIES "    enable.auto.commit: true\n",
         "6: kafka.properties: 'enable.auto.commit' can't be set: an offset is committed when "
         "its records have their final verdict"},
        {PROPERTIES "    enable.idempotence: false\n",
         "6: kafka.properties: 'enable.idempotence' can't be set: without it a retry may write a "
         "record twice or out of order"},
        {PROPERTIES "    isolation.level: read_uncommitted\n",
         "6: kafka.properties: 'isolation.level' can't be set: only committed records are part "
         "of the log"},
        {PROPERTIES "    auto.offset.reset: latest\n",
         "6: kafka.properties: 'auto.offset.reset' can't be set: a reader without a position "
         "starts at the first record"},
        {PROPERTIES "    bootstrap.servers: x\n",
         "6: kafka.properties: 'bootstrap.servers' can't be set: the brokers are the option "
         "kafka.brokers"},
        {PROPERTIES "    group.id: mine\n",
         "6: kafka.properties: 'group.id' can't be set: each sink has its own group, "
         "`lockstep.<entity>.<generation>.<sink>`"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

Test(config_mistakes, in_kafka_secrets)
{
    static const struct mistake mistakes[] = {
        {PROPERTIES "    sasl.password: " SECRET "\n",
         "6: kafka.properties: a secret does not belong in this file; put it into a file and "
         "name that with 'sasl.password_file', or into the environment with 'sasl.password_env'"},
        {PROPERTIES "    ssl.key.pem: " SECRET "\n",
         "6: kafka.properties: a secret does not belong in this file; put it into a file and "
         "name that with 'ssl.key.pem_file', or into the environment with 'ssl.key.pem_env'"},
        {PROPERTIES "    sasl.pasword: " SECRET "\n",
         "6: kafka.properties: librdkafka has no property 'sasl.pasword'; did you mean "
         "'sasl.password'?"},
        {PROPERTIES "    sasl.password_env: " SECRET "\n",
         "6: kafka.properties.sasl.password_env: expected the name of an environment variable, "
         "of capitals, digits and _"},
        {PROPERTIES "    sasl.password_env: LOCKSTEP_TEST_UNSET\n",
         "6: kafka.properties.sasl.password_env: the environment has no variable "
         "LOCKSTEP_TEST_UNSET; set it to the secret"},
        {PROPERTIES "    sasl.password_file: nowhere\n",
         "6: kafka.properties.sasl.password_file: cannot read F/nowhere: No such file or "
         "directory"},
        {PROPERTIES "    sasl.pasword_file: secret\n",
         "6: kafka.properties: librdkafka has no property 'sasl.pasword'; did you mean "
         "'sasl.password'?"},
        {PROPERTIES "    acks_file: secret\n",
         "6: kafka.properties: 'acks' can't be set: a record counts as published only when all "
         "in-sync replicas have it"},
        {PROPERTIES "    linger.ms_file: secret\n",
         "6: kafka.properties: 'linger.ms' is refused by librdkafka"},
        {PROPERTIES "    sasl.password_file: secret\n    sasl.password_env: HOME\n",
         "7: kafka.properties: 'sasl.password' is given twice"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

Test(config_mistakes, in_sinks)
{
    static const struct mistake mistakes[] = {
        {HEAD "  - mysql\n", "5: sinks: expected a map of at most 256 sinks, found a list"},
        {HEAD "  MySQL: {kind: mysql}\n",
         "5: sinks: 'MySQL' is no name of a sink; expected a small letter, then small letters, "
         "digits and -, at most 32"},
        {HEAD "  mysql: [a]\n", "5: sinks.mysql: expected a map of options, found a list"},
        {HEAD "  mysql: {servers: []}\n",
         "5: sinks.mysql.kind is missing; expected mysql, redis or elasticsearch"},
        {HEAD "  s: {kind: mysqll}\n",
         "5: sinks.s.kind: expected mysql, redis or elasticsearch, found 'mysqll'; did you mean "
         "'mysql'?"},
        {HEAD "  s: {kind: es}\n",
         "5: sinks.s.kind: expected mysql, redis or elasticsearch, found 'es'; did you mean "
         "'elasticsearch'?"},
        {HEAD "  s: {kind: mariadb}\n",
         "5: sinks.s.kind: expected mysql, redis or elasticsearch, found 'mariadb'; did you mean "
         "'mysql'?"},
        {HEAD "  s: {kind: cassandra}\n",
         "5: sinks.s.kind: expected mysql, redis or elasticsearch, found 'cassandra'"},
        {HEAD "  s: {kind: [mysql]}\n",
         "5: sinks.s.kind: expected mysql, redis or elasticsearch, found a list"},
        {HEAD "  s:\n    kind: redis\n    node: [\"r:1\"]\n",
         "7: unknown option 'node' in sinks.s; did you mean 'nodes'?"},
        {HEAD "  s:\n    kind: redis\n    urls: [a]\n",
         "7: sinks.s: 'urls' is an option of kind elasticsearch, not of redis"},
        {HEAD "  s:\n    kind: mysql\n    user: u\n",
         "7: sinks.s: 'user' is an option of kind redis and elasticsearch, not of mysql"},
        {HEAD "  s:\n    kind: redis\n    requests_in_flight: 2\n",
         "7: sinks.s: 'requests_in_flight' is an option of kind mysql and elasticsearch, not of "
         "redis"},
        {HEAD "  s:\n    kind: redis\n    nodes: [\"r:1\"]\n    entity: membr\n",
         "8: sinks.s.entity: F/lockstep.yaml has no entity 'membr'; its entities are: member"},
        {HEAD "  s:\n    kind: redis\n    nodes: [\"r:1\"]\n    batch_records: 0\n",
         "8: sinks.s.batch_records: expected a whole number from 1 to 1000000, found '0'"},
        {HEAD "  s:\n    kind: redis\n    nodes: [\"r:1\"]\n    request_timeout_ms: 30s\n",
         "8: sinks.s.request_timeout_ms: expected a whole number from 100 to 3600000, found '30s'"},
        {"schemas: [member.yaml, binding.yaml]\nkafka: {brokers: k}\n"
         "entities: {member: {partitions: 8}, binding: {partitions: 8}}\nsinks:\n"
         "  s:\n    kind: redis\n    nodes: [\"r:1\"]\n",
         "6: sinks.s.entity is missing; with several entities each sink names its own"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

#define MYSQL HEAD "  s:\n    kind: mysql\n    servers:\n"
#define LOGIN "host: h, database: d, user: u"

Test(config_mistakes, in_mysql_sinks)
{
    static const struct mistake mistakes[] = {
        {HEAD "  s: {kind: mysql}\n", "5: sinks.s.servers is missing; expected a list of servers"},
        {HEAD "  s: {kind: mysql, servers: []}\n",
         "5: sinks.s.servers: expected a list of servers, found an empty list"},
        {HEAD "  s: {kind: mysql, servers: {host: h}}\n",
         "5: sinks.s.servers: expected a list of servers, found a map"},
        {MYSQL "      - h\n", "8: sinks.s.servers[0]: expected a map of options, found 'h'"},
        {MYSQL "      - {database: d, user: u}\n",
         "8: sinks.s.servers[0].host is missing; expected a text"},
        {MYSQL "      - {" LOGIN ", prot: 3306}\n",
         "8: unknown option 'prot' in sinks.s.servers[0]; did you mean 'port'?"},
        {MYSQL "      - {" LOGIN ", port: 65536}\n",
         "8: sinks.s.servers[0].port: expected a whole number from 1 to 65535, found '65536'"},
        {MYSQL "      - {" LOGIN ", password: " SECRET "}\n",
         "8: sinks.s.servers[0]: a password does not belong in this file; put it into a file and "
         "name that with password_file, or into the environment with password_env"},
        {MYSQL "      - {" LOGIN ", password_file: nowhere}\n",
         "8: sinks.s.servers[0].password_file: cannot read F/nowhere: No such file or directory"},
        {MYSQL "      - {" LOGIN ", password_file: empty}\n",
         "8: sinks.s.servers[0].password_file: F/empty is empty; expected the secret there"},
        {MYSQL "      - {" LOGIN ", password_file: lines}\n",
         "8: sinks.s.servers[0].password_file: F/lines holds more than one line; expected the "
         "secret alone"},
        {MYSQL "      - {" LOGIN ", password_file: /dev/null}\n",
         "8: sinks.s.servers[0].password_file: cannot read /dev/null: it is no file"},
        {MYSQL "      - {" LOGIN ", password_file: secret, password_env: HOME}\n",
         "8: sinks.s.servers[0].password_env: the secret is given twice; keep the file or the "
         "environment variable"},
        {MYSQL "      - {" LOGIN ", password_env: LOCKSTEP_TEST_UNSET}\n",
         "8: sinks.s.servers[0].password_env: the environment has no variable "
         "LOCKSTEP_TEST_UNSET; set it to the secret"},
        {MYSQL "      - {" LOGIN ", password_env: LOCKSTEP_TEST_EMPTY}\n",
         "8: sinks.s.servers[0].password_env: LOCKSTEP_TEST_EMPTY is empty; expected the secret "
         "there"},
        {MYSQL "      - {" LOGIN ", password_env: " SECRET "}\n",
         "8: sinks.s.servers[0].password_env: expected the name of an environment variable, of "
         "capitals, digits and _"},
        {MYSQL "      - {" LOGIN ", partitions: 3-1}\n",
         "8: sinks.s.servers[0].partitions: expected a partition or a range of them, such as "
         "0-3, found '3-1'"},
        {MYSQL "      - {" LOGIN ", partitions: a-b}\n",
         "8: sinks.s.servers[0].partitions: expected a partition or a range of them, such as "
         "0-3, found 'a-b'"},
        {MYSQL "      - {" LOGIN ", partitions: 0-8}\n",
         "8: sinks.s.servers[0].partitions: there is no partition 8; entity 'member' has 0-7"},
        {MYSQL "      - {" LOGIN ", partitions: 0-6}\n",
         "8: sinks.s.servers: no server has partition 7; each is on exactly one"},
        {MYSQL "      - {" LOGIN ", partitions: 0-3}\n      - {" LOGIN "}\n",
         "9: sinks.s.servers[1].partitions is missing; with several servers each says which it "
         "has, such as 0-3"},
        {MYSQL "      - {" LOGIN ", partitions: 0-3}\n      - {" LOGIN ", partitions: 3-7}\n",
         "9: sinks.s.servers[1].partitions: partition 3 is on the server of line 8 already; each "
         "is on exactly one"},
        {MYSQL "      - {" LOGIN ", partitions: 0-2}\n      - {" LOGIN ", partitions: 5-7}\n",
         "8: sinks.s.servers: no server has partitions 3-4; each is on exactly one"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

#define REDIS HEAD "  s:\n    kind: redis\n"

Test(config_mistakes, in_redis_sinks)
{
    static const struct mistake mistakes[] = {
        {REDIS "    nodes: []\n",
         "7: sinks.s.nodes: expected a list of host:port, found an empty list"},
        {REDIS "    nodes: r:6379\n",
         "7: sinks.s.nodes: expected a list of host:port, found 'r:6379'"},
        {REDIS "    nodes:\n      - r:6379\n      - r:x\n",
         "9: sinks.s.nodes: expected host:port, found 'r:x'"},
        {REDIS "    nodes: [\"r:0\"]\n",
         "7: sinks.s.nodes: expected host:port, found 'r:0' in quotes"},
        {REDIS "    nodes: [\"redis://r:1\"]\n",
         "7: sinks.s.nodes: expected host:port, found 'redis://r:1' in quotes"},
        {REDIS "    nodes: [\"[::1\"]\n",
         "7: sinks.s.nodes: expected host:port, found '[::1' in quotes"},
        {REDIS "    nodes: [\"r:1\"]\n    user: u\n",
         "8: sinks.s: `user` needs a password_file or password_env"},
        {REDIS "    nodes: [\"r:1\"]\n    password: " SECRET "\n",
         "8: sinks.s: a password does not belong in this file; put it into a file and name that "
         "with password_file, or into the environment with password_env"},
        {REDIS "    nodes: [\"r:1\"]\n    tls: {ca: ca.pem}\n",
         "8: sinks.s.tls: the Redis client library of this build has no TLS; run a TLS proxy "
         "(such as stunnel) on loopback and name its ports in `nodes`"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

#define ES    HEAD "  s:\n    kind: elasticsearch\n"
#define HTTP  ES "    urls: [\"http://e:9200\"]\n"
#define HTTPS ES "    urls: [\"https://e:9200\"]\n"

Test(config_mistakes, in_elasticsearch_sinks)
{
    static const struct mistake mistakes[] = {
        {ES "    urls: http://e:9200\n",
         "7: sinks.s.urls: expected a list of http:// or https:// addresses, found "
         "'http://e:9200'"},
        {ES "    urls: []\n",
         "7: sinks.s.urls: expected a list of http:// or https:// addresses, found an empty list"},
        {ES "    urls: [\"e:9200\"]\n",
         "7: sinks.s.urls: expected an address such as http://host:9200, found 'e:9200' in quotes"},
        {ES "    urls: [\"http://e:9200/path\"]\n",
         "7: sinks.s.urls: expected an address such as http://host:9200, without a path, found "
         "'http://e:9200/path' in quotes"},
        {ES "    urls: [\"http://u:" SECRET "@e:9200\"]\n",
         "7: sinks.s.urls: an address can't hold a user and password; use `user` and "
         "`password_file`, `password_env`, or `api_key_file`"},
        {ES "    urls:\n      - http://e:9200\n      - https://f:9200\n",
         "9: sinks.s.urls: expected all http:// or all https://"},
        {HTTP "    index: Member\n",
         "8: sinks.s.index: expected a name of small letters, digits, - and _ that starts with a "
         "letter, found 'Member'"},
        {HTTP "    alias: _all\n",
         "8: sinks.s.alias: expected a name of small letters, digits, - and _ that starts with a "
         "letter, found '_all'"},
        {HTTP "    index: member\n",
         "8: sinks.s: index and alias are both 'member'; readers use the alias, so it needs a "
         "name of its own"},
        {HTTP "    user: u\n", "8: sinks.s: `user` needs a password_file or password_env"},
        {HTTP "    password_file: secret\n", "8: sinks.s: the password needs a `user`"},
        {HTTP "    api_key: " SECRET "\n",
         "8: sinks.s: an API key does not belong in this file; put it into a file and name that "
         "with api_key_file, or into the environment with api_key_env"},
        {HTTP "    user: u\n    password_file: secret\n    api_key_file: secret\n",
         "8: sinks.s: give a user with its password or an API key, not both"},
        {HTTP "    api_key_file: secret\n    api_key_env: HOME\n",
         "9: sinks.s.api_key_env: the secret is given twice; keep the file or the environment "
         "variable"},
        {HTTP "    tls: {ca: ca.pem}\n", "8: sinks.s: `tls` needs urls that start with https://"},
        {HTTPS "    tls: {ca: nowhere.pem}\n",
         "8: sinks.s.tls.ca: cannot read F/nowhere.pem: No such file or directory"},
        {HTTPS "    tls: {ca: ca.pem, cert: ca.pem}\n",
         "8: sinks.s.tls: `cert` and `key` go together"},
        {HTTPS "    tls:\n      ca: ca.pem\n      verify: false\n",
         "10: unknown option 'verify' in sinks.s.tls; it knows ca, cert, key"},
        {HTTPS "    tls: true\n", "8: sinks.s.tls: expected a map of options, found 'true'"},
        {HTTP "    data_nodes: 0\n",
         "8: sinks.s.data_nodes: expected a whole number from 1 to 1000, found '0'"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}

Test(config_mistakes, in_sinks_that_share_a_store)
{
    static const struct mistake mistakes[] = {
        {HEAD "  a: {kind: redis, nodes: [\"r:1\", \"r:2\"]}\n"
              "  b: {kind: redis, nodes: [\"R:2\"]}\n",
         "6: sinks.b: writes into the same store as sink 'a' (R); a store follows the log "
         "through one sink"},
        {HEAD "  a: {kind: elasticsearch, urls: [\"http://e:9200\"]}\n"
              "  b: {kind: elasticsearch, urls: [\"http://e\"]}\n",
         "6: sinks.b: writes into the same store as sink 'a' (http://e:9200); a store follows "
         "the log through one sink"},
        {HEAD "  a: {kind: mysql, servers: [{" LOGIN "}]}\n"
              "  b: {kind: mysql, servers: [{" LOGIN ", port: 3306}]}\n",
         "6: sinks.b: writes into the same store as sink 'a' (h); a store follows the log "
         "through one sink"},
    };
    refuse_all(mistakes, LS_COUNT(mistakes));
}
