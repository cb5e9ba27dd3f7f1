//! Topics: how a cluster is reached, what is recorded of partitions, and what a restart finds.

use operators::topology::PartitionId;

use super::super::mistake::Mistakes;
use super::super::settled;
use super::*;

/// One topic of a plain cluster, seven lines.
const TOPIC: &str = r#"[kafka]
bootstrap = "127.0.0.1:9092"
[[sources]]
name = "clicks"
kind = "experiment"
topic = "clicks"
tenants = ["me"]
"#;

fn read(text: &str, built: Built) -> Result<Settings, String> {
    let mut mistakes = Mistakes::new(text, "aisle.toml");
    let settings = settled(text, built, &mut mistakes);
    if mistakes.is_empty() { Ok(settings.unwrap()) } else { Err(told(&mistakes.into_sorted())) }
}

fn right(text: &str) -> Settings {
    read(text, Built::ALL).unwrap_or_else(|told| panic!("{text}\n{told}"))
}

/// Asserts that a text has one mistake, at this line, of which this is said.
fn assert_mistake(text: &str, built: Built, line: usize, part: &str) {
    let told = read(text, built).expect_err(text);
    assert!(told.starts_with(&format!("aisle.toml:{line}:")) && told.contains(part), "{text}\n{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn a_topic_needs_its_name_and_where_kafka_is() {
    let settings = right(TOPIC);
    let SourceInput::Topic(topic) = &settings.inputs[0] else { panic!("it is no topic") };
    assert_eq!((topic.topic.as_str(), topic.start), ("clicks", TopicStart::Earliest));
    let kafka = settings.local.kafka.as_ref().unwrap();
    assert_eq!((kafka.bootstrap.as_str(), &kafka.tls, &kafka.sasl), ("127.0.0.1:9092", &None, &None));
    let latest = right(&format!("{TOPIC}start = \"latest\"\n"));
    assert!(matches!(&latest.inputs[0], SourceInput::Topic(topic) if topic.start == TopicStart::Latest));
}

#[test]
fn credentials_and_encryption_are_read_and_the_password_is_elsewhere() {
    let text = format!(
        "[kafka.tls]\nauthorities = \"ca.pem\"\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n[kafka.sasl]\n\
         mechanism = \"scram-sha-512\"\nusername = \"reader\"\npassword_env = \"PASSWORD\"\n{TOPIC}"
    );
    let kafka = right(&text).local.kafka.unwrap();
    let tls = kafka.tls.unwrap();
    assert_eq!((tls.authorities, tls.certificate), (Some("ca.pem".into()), Some(("c.pem".into(), "k.pem".into()))));
    let sasl = kafka.sasl.unwrap();
    assert_eq!((sasl.mechanism, sasl.username.as_str()), (SaslMechanism::ScramSha512, "reader"));
    assert_eq!(sasl.password, PasswordPlace::Environment("PASSWORD".to_owned()));
    let from_file = right(&text.replace("password_env = \"PASSWORD\"", "password_file = \"secret\""));
    let place = from_file.local.kafka.unwrap().sasl.unwrap().password;
    assert_eq!(place, PasswordPlace::File("secret".to_owned()));
}

#[test]
fn what_is_wrong_with_topics_and_kafka_is_said() {
    let with = |line: &str, other: &str| TOPIC.replacen(line, other, 1);
    let without_kafka = with("[kafka]\nbootstrap = \"127.0.0.1:9092\"\n", "");
    assert_mistake(&without_kafka, Built::ALL, 4, "nothing says where Kafka is; add a section `[kafka]`");
    assert_mistake(&with("bootstrap = \"127.0.0.1:9092\"\n", ""), Built::ALL, 1, "`bootstrap` is missing");
    assert_mistake(&with("127.0.0.1:9092", "broker"), Built::ALL, 2, "no list of hosts and ports");
    assert_mistake(
        &with("\"clicks\"\nkind", "\"clicks\"\nfiles = \"f\"\nkind"),
        Built::ALL,
        5,
        "both `files` and a `topic`",
    );
    assert_mistake(&format!("{TOPIC}parallel = true\n"), Built::ALL, 8, "only files can be `parallel`");
    assert_mistake(&with("topic = \"clicks\"", "topic = \"a b\""), Built::ALL, 6, "which no topic can be called");
    assert_mistake(&format!("{TOPIC}start = \"newest\"\n"), Built::ALL, 8, "`earliest` and `latest`");
    assert_mistake(&with("topic = \"clicks\"\n", ""), Built::ALL, 3, "`files` is missing; add `files = …`");
    assert_mistake(&format!("{OWN}start = \"latest\"\n"), Built::ALL, 6, "only a topic has a `start`");
    let sasl = |lines: &str| format!("{TOPIC}[kafka.sasl]\nmechanism = \"plain\"\nusername = \"u\"\n{lines}");
    assert_mistake(&sasl(""), Built::ALL, 8, "the place of the password is missing");
    assert_mistake(
        &sasl("password_env = \"P\"\npassword_file = \"p\"\n"),
        Built::ALL,
        12,
        "two places of the password",
    );
    let told = read(&sasl("password = \"hunter2\"\n"), Built::ALL).unwrap_err();
    assert!(told.contains("there is no key `password`") && !told.contains("hunter2"), "{told}");
    assert_mistake(&format!("{TOPIC}[kafka.tls]\nkey = \"k.pem\"\n"), Built::ALL, 9, "a key without its certificate");
}

#[test]
fn avro_needs_a_registry_which_is_no_meaning() {
    let avro = format!("{TOPIC}format = \"avro\"\n");
    let with = |lines: &str| format!("{avro}[registry]\n{lines}");
    let plain = with("url = \"http://registry:8081/path\"\n");
    let settings = right(&plain);
    let registry = settings.local.registry.as_ref().unwrap();
    assert_eq!((registry.url.as_str(), &registry.credentials), ("http://registry:8081/path", &None));
    assert!(!plan(&settings).canonical().contains("8081"), "how it is reached is not recorded");
    assert!(plan(&settings).canonical().contains("\"avro\""));
    let secured = right(&format!("{plain}username = \"u\"\npassword_file = \"p\"\n")).local.registry.unwrap();
    assert_eq!(secured.credentials, Some(("u".to_owned(), PasswordPlace::File("p".to_owned()))));

    assert_mistake(&avro, Built::ALL, 8, "nothing says where their schemas are; add a section `[registry]`");
    let file = avro.replace("topic = \"clicks\"", "files = \"f\"");
    assert_mistake(&file, Built::ALL, 8, "only the messages of a topic are Avro");
    assert_mistake(&with(""), Built::ALL, 9, "`url` is missing");
    assert_mistake(&with("url = \"registry\"\n"), Built::ALL, 10, "which is no address of a registry");
    assert_mistake(&with("url = \"https://registry\"\n"), Built::ALL, 10, "no TLS for registries");
    assert_mistake(&with("url = \"http://u:hunter2@registry\"\n"), Built::ALL, 10, "would be printed with it");
    assert_mistake(&format!("{plain}username = \"u\"\n"), Built::ALL, 9, "the place of the password is missing");
    assert_mistake(&format!("{plain}password_env = \"P\"\n"), Built::ALL, 11, "a password without its user");
    let told = read(&format!("{plain}password = \"hunter2\"\n"), Built::ALL).unwrap_err();
    assert!(told.contains("there is no key `password`") && !told.contains("hunter2"), "{told}");
}

#[test]
fn logs_in_topics_are_no_meaning() {
    let with = |lines: &str| format!("{TOPIC}[logs]\n{lines}");
    let settings = right(&with("remap_topic = \"one.remap\"\n"));
    let logs = settings.local.logs.as_ref().unwrap();
    let found = (logs.remap_topic.as_str(), logs.commands_topic.as_str(), logs.create_with_replicas);
    assert_eq!(found, ("one.remap", "one.remap.commands", None));
    assert!(!plan(&settings).canonical().contains("one.remap"), "where the logs are is not recorded");
    let all = with("remap_topic = \"r\"\ncommands_topic = \"c\"\ncreate = true\nreplicas = 1\n");
    let logs = right(&all).local.logs.unwrap();
    assert_eq!((logs.commands_topic.as_str(), logs.create_with_replicas), ("c", Some(1)));

    assert_mistake(&with(""), Built::ALL, 8, "`remap_topic` is missing");
    assert_mistake(&with("remap_topic = \"a b\"\n"), Built::ALL, 9, "which no topic can be called");
    assert_mistake(
        &with("remap_topic = \"r\"\ncommands_topic = \"r\"\n"),
        Built::ALL,
        10,
        "both logs are in one topic",
    );
    let nowhere = format!("{OWN}[logs]\nremap_topic = \"r\"\n");
    assert_mistake(&nowhere, Built::ALL, 6, "nothing says where Kafka is; add a section `[kafka]`");
    let without_kafka = Built { kafka: false, kafka_tls: false, ..Built::ALL };
    assert_mistake(&nowhere, without_kafka, 6, "this build of Aisle keeps no logs in topics");
}

#[test]
fn what_was_not_built_in_is_refused_with_how_to_build_it() {
    let without_kafka = Built { kafka: false, kafka_tls: false, ..Built::ALL };
    let told = read(TOPIC, without_kafka).unwrap_err();
    assert!(told.contains("aisle.toml:1:") && told.contains("aisle.toml:6:"), "{told}");
    assert_eq!(told.matches("--features kafka`").count(), 2, "{told}");
    let without_tls = Built { kafka_tls: false, ..Built::ALL };
    let build = "build it with `cargo build --release --package aisle --features kafka-tls`";
    assert_mistake(&format!("{TOPIC}[kafka.tls]\n"), without_tls, 8, build);
    let sasl = |mechanism: &str| {
        format!("{TOPIC}[kafka.sasl]\nmechanism = \"{mechanism}\"\nusername = \"u\"\npassword_env = \"P\"\n")
    };
    assert_mistake(&sasl("scram-sha-256"), without_tls, 9, build);
    read(&sasl("plain"), without_tls).unwrap();
}

#[test]
fn partitions_of_a_topic_are_live_and_promise_nothing_unless_they_are_told_to() {
    let before = plan(&right(TOPIC));
    assert_eq!(before.first_offsets(), [0, 10]);
    let partitions = &before.topology.partitions;
    assert!(partitions.iter().all(|partition| partition.live && !partition.identity_fixes_partition));
    let one = right(TOPIC).plan(vec![vec![partition_of("clicks", 0)]], 0);
    assert!(!one.topology.partitions[0].identity_fixes_partition, "another one may be added");
    let promised = plan(&right(&format!("{TOPIC}identity_fixes_partition = true\n")));
    assert!(promised.topology.partitions.iter().all(|partition| partition.identity_fixes_partition));
    assert_eq!(Plan::from_canonical(&before.canonical()).unwrap(), before);
    assert!(!before.canonical().contains("9092"), "how a cluster is reached is not recorded");
}

#[test]
fn added_partitions_go_behind_all_others_and_begin_at_their_first_record() {
    let text = format!("{TOPIC}[[sources]]\nname = \"more\"\nkind = \"inventory\"\nfiles = \"f\"\n");
    let settings = right(&text);
    let before = plan(&settings);
    let files = before.files_by_source()[1].clone();
    let found = |partitions: u32| {
        let topic = (0..partitions).map(|number| partition_of("clicks", number)).collect();
        settings.plan(vec![topic, files_of(files.clone())], 0)
    };
    assert_eq!(compatible(&before, &found(2)), Ok(Change::None));
    assert_eq!(compatible(&before, &found(4)), Ok(Change::Entry));
    let after = before.continued(&found(4), 0);
    let names: Vec<&str> = after.topology.partitions.iter().map(|partition| partition.name.as_str()).collect();
    assert_eq!(names, ["clicks/0", "clicks/1", "more/0", "clicks/2", "clicks/3"]);
    assert_eq!(after.first_offsets(), [0, 10, 0, 0, 0]);
    assert_eq!(after.parameters.start_ms, before.parameters.start_ms);
    assert_eq!(Plan::from_canonical(&after.canonical()).unwrap(), after);
    // And once more, of what is recorded by then.
    let later = after.continued(&found(5), 0);
    assert_eq!(later.topology.partitions[..5], after.topology.partitions[..]);
    assert_eq!(later.topology.partitions[5].name, "clicks/4");
    assert_eq!(compatible(&later, &found(5)), Ok(Change::None));
}

#[test]
fn another_topic_is_refused_by_name() {
    let before = plan(&right(TOPIC));
    let refused = |wanted: &Plan| compatible(&before, wanted).unwrap_err().join("\n");
    let settings = right(TOPIC);
    let anew = |partition| match partition_of("clicks", partition) {
        PartitionInput::Topic(record) => PartitionInput::Topic(TopicRecord { topic_id: "other".to_owned(), ..record }),
        files => files,
    };
    let told = refused(&settings.plan(vec![vec![anew(0), anew(1)]], 0));
    assert!(told.contains("topic clicks of source \"clicks\" was created anew: its id was id and is other"), "{told}");
    let told = refused(&settings.plan(vec![vec![partition_of("clicks", 0)]], 0));
    assert!(told.contains("had 2 partitions and has 1"), "{told}");
    let told = refused(&plan(&right(&TOPIC.replace("topic = \"clicks\"", "topic = \"taps\""))));
    assert!(told.contains("had the topic clicks and has taps"), "{told}");
    let files = plan(&right(&TOPIC.replace("topic = \"clicks\"", "files = \"f\"\nidentity_fixes_partition = false")));
    assert!(refused(&files).contains("no longer has the topic clicks"));

    let promised = right(&format!("{TOPIC}identity_fixes_partition = true\n"));
    let three = (0..3).map(|number| partition_of("clicks", number)).collect();
    let told = compatible(&plan(&promised), &promised.plan(vec![three], 0)).unwrap_err().join("\n");
    assert!(told.contains("`identity_fixes_partition = true` was promised"), "{told}");
}

#[test]
fn records_of_every_partition_may_enter_again_behind_all_others() {
    let settings = right(&format!("{TOPIC}[[sources]]\nname = \"more\"\nkind = \"inventory\"\nfiles = \"f\"\n"));
    let before = plan(&settings);
    let after = before.with_re_entry();
    let names: Vec<&str> = after.topology.partitions[3..].iter().map(|partition| partition.name.as_str()).collect();
    assert_eq!(names, ["re-entry/clicks/0", "re-entry/clicks/1", "re-entry/more/0"]);
    for (of, partition) in (0..).zip(&after.topology.partitions[3..]) {
        let entered = &after.topology.partitions[of as usize];
        assert_eq!(partition.re_enters, Some(PartitionId(of)));
        assert_eq!((partition.release, partition.live, partition.groups.len()), (entered.release, false, 0));
        assert_eq!(partition.identity_fixes_partition, entered.identity_fixes_partition);
        for peers in 1..5 {
            let owner = |number| after.topology.owner(PartitionId(number), peers);
            assert_eq!(owner(3 + of), owner(of), "it needs the identities of the other one");
        }
    }
    assert_eq!(after.with_re_entry(), after);
    assert_eq!(Plan::from_canonical(&after.canonical()).unwrap(), after);
    // What is wanted today knows nothing of it, and changes nothing of it.
    assert_eq!(compatible(&after, &plan(&settings)), Ok(Change::None));
    // A run that a build before began has those that it recorded: they are shown at once, as they were.
    let recorded = after.canonical().replace(",\"shown_once_read\":true", "");
    let recorded = Plan::from_canonical(&recorded).unwrap();
    assert!(recorded.topology.partitions.iter().all(|partition| !partition.shown_once_read));
    assert_eq!(recorded.with_re_entry(), recorded);
    assert!(after.topology.partitions[3..].iter().all(|partition| partition.shown_once_read));
    // A partition that is added later has none before the run begins with it.
    let topic = (0..3).map(|number| partition_of("clicks", number)).collect();
    let wanted = settings.plan(vec![topic, files_of(before.files_by_source()[1].clone())], 0);
    let grown = after.continued(&wanted, 0);
    assert_eq!(grown.topology.partitions[6].name, "clicks/2");
    assert_eq!(grown.partitions.len(), 7);
    let grown = grown.with_re_entry();
    assert_eq!(grown.partitions.len(), 8);
    assert_eq!(grown.topology.partitions[7].re_enters, Some(PartitionId(6)));
    assert_eq!(Plan::from_canonical(&grown.canonical()).unwrap(), grown);

    let text = after.canonical();
    for damaged in [
        text.replace("{\"re_enters\":2,", "{\"re_enters\":0,"),
        text.replace("{\"re_enters\":2,", "{\"re_enters\":4,"),
        text.replace("{\"re_enters\":2,", "{\"re_enters\":9,"),
    ] {
        let error = Plan::from_canonical(&damaged).unwrap_err().to_string();
        assert!(error.contains("which is none of their source's"), "{error}");
    }
}
