//! `packaging/compose.yaml`: read, held against the program, and played.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use serde_json::Value;

use super::{text, watching};
use crate::support::bed;
use crate::support::broker::Broker;
use crate::support::postgres::{Address, Database};
use crate::support::process::{Agent, Home};
use crate::support::tree::write;
use crate::support::wait::wait_until;
use crate::support::web::Web;
use crate::support::{block_on, random_name};

/// What runs stampd, each with its port, in an order that `depends_on` allows.
const OURS: [(&str, u16); 3] = [("bridge", 8057), ("adapter", 8070), ("agent", 8058)];

/// The variables that stand in the file as `${NAME…}`, as somebody set them.
type Variables = BTreeMap<String, String>;

/// Those of `config/.env.stamping.example`, and the repository.
fn example() -> Variables {
    let env = text("config/.env.stamping.example");
    let lines = env.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let mut variables: Variables =
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    variables.insert("STAMPD_REPO".to_owned(), "/home/ann/src/app".to_owned());
    variables
}

/// Puts values in the place of `${NAME}`, `${NAME:-default}` and `${NAME:?what to do}`.
fn interpolate(text: &str, variables: &Variables) -> String {
    let mut pieces = text.split("${");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (inside, rest) = piece.split_once('}').expect("a variable is closed");
        let (name, fallback) = inside.split_once(':').unwrap_or((inside, ""));
        let value = variables.get(name).map(String::as_str);
        let value = value.or_else(|| fallback.strip_prefix('-'));
        out.push_str(value.unwrap_or_else(|| panic!("{name} is not set")));
        out.push_str(rest);
    }
    out
}

struct Compose(Value);

impl Compose {
    fn read(variables: &Variables) -> Self {
        let file = text("packaging/compose.yaml");
        let lines = file.lines().filter(|line| !line.trim_start().starts_with('#'));
        let lines: Vec<String> = lines.map(|line| interpolate(line, variables)).collect();
        let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&lines.join("\n")).unwrap();
        yaml.apply_merge().unwrap();
        Self(serde_json::to_value(yaml).unwrap())
    }

    fn service(&self, name: &str) -> &Value {
        self.0["services"].get(name).unwrap_or_else(|| panic!("there is a service {name}"))
    }

    fn environment(&self, service: &str) -> Variables {
        let pairs = self.service(service)["environment"].as_object().expect("an environment");
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect()
    }

    fn command(&self, service: &str) -> Vec<String> {
        words(&self.service(service)["command"])
    }

    fn health_check(&self, service: &str) -> Vec<String> {
        let words = words(&self.service(service)["healthcheck"]["test"]);
        assert_eq!(words[0], "CMD", "{service}");
        words[1..].to_vec()
    }
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// A home whose every command has a service's environment.
fn home(environment: &Variables) -> Home {
    let mut home = Home::new();
    home.configure("");
    for (name, value) in environment {
        home.set(name, value);
    }
    home
}

#[test]
fn every_service_is_looked_at_and_waits_for_what_it_needs() {
    let compose = Compose::read(&example());
    let services = compose.0["services"].as_object().unwrap();
    for (name, service) in services {
        assert!(service["healthcheck"]["test"].is_array(), "{name} is not looked at");
        for port in service["ports"].as_array().unwrap() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is published beyond");
        }
        for (needed, how) in service["depends_on"].as_object().into_iter().flatten() {
            assert!(services.contains_key(needed), "{name} waits for {needed}");
            assert_eq!(how["condition"], "service_healthy", "{name} waits for {needed}");
        }
    }
    for (name, port) in OURS {
        let published = format!("127.0.0.1:{port}:{port}");
        assert_eq!(compose.service(name)["ports"], serde_json::json!([published]));
        assert_eq!(compose.service(name)["build"]["dockerfile"], "packaging/Dockerfile");
    }
    let image = compose.service("kafka")["image"].as_str().unwrap().to_owned();
    let version = image.split_once(':').unwrap().1;
    assert!(text("tests/bed/pom.xml").contains(&format!("<kafka.version>{version}<")), "{image}");
}

#[test]
fn every_variable_and_flag_of_a_service_is_one_that_the_program_takes() {
    let compose = Compose::read(&example());
    let older = text("config/.env.stamping.example");
    for (service, port) in OURS {
        let environment = compose.environment(service);
        for name in environment.keys().filter(|name| !name.starts_with("STAMPD_")) {
            assert!(older.contains(&format!("\n{name}=")), "{service}: {name} is nobody's");
        }
        let home = home(&environment);
        home.must(&["config", "check"]);
        let listen = environment.iter().find(|(name, _)| name.ends_with("__LISTEN"));
        assert_eq!(listen.unwrap().1, &format!("0.0.0.0:{port}"), "{service}");
        let hosts = environment.iter().find(|(name, _)| name.ends_with("__HOSTS"));
        assert_eq!(hosts.unwrap().1, service, "others call it by its name");
        let help = home.must(&[compose.command(service)[0].as_str(), "--help"]);
        for flag in compose.command(service).iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag.as_str()), "{service}: {flag} is not in {help}");
        }
    }
    let mut misspelt = compose.environment("bridge");
    misspelt.insert("STAMPD_API__LISTENS".to_owned(), "x".to_owned());
    assert_eq!(
        home(&misspelt).run(&["config", "check"]).status.code(),
        Some(78),
        "it would be seen"
    );
}

#[test]
fn the_broker_sends_those_inside_and_those_on_the_host_each_to_an_address_of_theirs() {
    let compose = Compose::read(&example());
    let environment = compose.environment("kafka");
    let (inside, host) = (free(), free());
    let at = |name: &str| {
        let value = environment[name].replace("kafka:9092", &inside.to_string());
        let value = value.replace("0.0.0.0:9092", &inside.to_string());
        let value = value.replace("0.0.0.0:29092", &host.to_string());
        let value = value.replace("localhost:29092", &host.to_string());
        value.replace("localhost:9093", &free().to_string())
    };
    let mut settings = String::new();
    for name in environment.keys().filter(|name| *name != "KAFKA_LOG_DIRS") {
        let property = name.trim_start_matches("KAFKA_").to_lowercase().replace('_', ".");
        settings.extend([&property, "=", &at(name), "\n"]);
    }
    // Both name the controller, which has one port.
    let controller = free().to_string();
    let settings = with_controller(&settings, &controller);
    let broker = block_on(|| Broker::start_with(&settings));
    for address in [inside, host] {
        let mut home = Home::new();
        home.configure("");
        home.set("STAMPD_KAFKA__BROKERS", &address.to_string());
        let told = home.must(&["netcheck", "kafka"]);
        assert!(told.contains(&address.to_string()), "{told}");
    }
    drop(broker);
}

/// The settings with the controller at one address.
fn with_controller(settings: &str, controller: &str) -> String {
    let mut out = String::new();
    for line in settings.lines() {
        let line = match line.split_once("CONTROLLER://") {
            Some((before, _)) => format!("{before}CONTROLLER://{controller}"),
            None if line.starts_with("controller.quorum.voters=") => {
                format!("controller.quorum.voters=1@{controller}")
            }
            None => line.to_owned(),
        };
        out.extend([&line, "\n"]);
    }
    out
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A service as a process, at a port that is free here.
struct Played {
    home: Home,
    process: Agent,
    port: u16,
    health_check: Vec<String>,
}

impl Played {
    fn start(compose: &Compose, service: &str, own_port: u16, servers: &Servers) -> Self {
        let port = free().port();
        let here = |word: &str| {
            let word = word.replace(&format!(":{own_port}"), &format!(":{port}"));
            servers.here(&word)
        };
        let environment = compose.environment(service);
        let home =
            home(&environment.iter().map(|(name, value)| (name.clone(), here(value))).collect());
        let command: Vec<String> = compose.command(service).iter().map(|word| here(word)).collect();
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let process = home.start_role(&words, service);
        let health_check = compose.health_check(service).iter().map(|word| here(word)).collect();
        let played = Self { home, process, port, health_check };
        wait_until(&format!("{service} is healthy"), || played.is_healthy());
        played
    }

    fn is_healthy(&self) -> bool {
        let [program, args @ ..] = self.health_check.as_slice() else { return false };
        Command::new(program).args(args).output().expect("curl is there").status.success()
    }

    /// The status of a request by somebody who calls the service so.
    fn asked_as(&self, host: &str, path: &str) -> u16 {
        self.web().ask("GET", path, &[("Host", host)], "").expect("it answers").status
    }

    fn web(&self) -> Web {
        Web(SocketAddr::from(([127, 0, 0, 1], self.port)))
    }

    fn metrics(&self) -> String {
        self.web().get("/metrics").body
    }
}

/// The test bed's servers and a repository, in the place of those that the file names.
struct Servers {
    admin: Address,
    kafka: String,
    repo: String,
}

impl Servers {
    fn here(&self, word: &str) -> String {
        let Address { host, port, .. } = &self.admin;
        let word = word.replace("@postgres:5432/", &format!("@{host}:{port}/"));
        let word = word.replace("kafka:9092", &self.kafka);
        if word == "/repo" { self.repo.clone() } else { word }
    }
}

/// Asks a bridge for what it counts only when it happens.
fn provoke(bridge: Web) {
    let stamp = serde_json::json!({"content": "Hello", "namespace": "it.deploy.tests"});
    assert_eq!(bridge.post("/stamp", &stamp).status, 200);
    assert_eq!(bridge.get("/stamp/none").status, 404);
    assert_eq!(bridge.get("/api/v1/streams").status, 401);
}

#[test]
fn the_services_start_in_their_order_and_a_change_in_the_repository_becomes_rows() {
    let (database, repo) = (Database::create(), tempfile::tempdir().unwrap());
    let admin = database.admin();
    write(repo.path(), "a.md", "one\n");
    let mut variables = example();
    for (name, value) in [
        ("POSTGRES_USER", &admin.user),
        ("POSTGRES_PASSWORD", &admin.password),
        ("POSTGRES_DATABASE", &admin.database),
        ("OMNINODE_ENV", &random_name("env")),
    ] {
        variables.insert(name.to_owned(), value.clone());
    }
    let mut compose = Compose::read(&variables);
    // Not in the file: a service that is asked about contents, here one that is never there.
    compose.0["services"]["bridge"]["environment"]["STAMPD_INTELLIGENCE__URL"] =
        "http://127.0.0.1:1".into();
    let (kafka, repo_path) = (bed("STAMPD_TEST_KAFKA"), repo.path().display().to_string());
    let servers = Servers { admin, kafka, repo: repo_path };
    let [bridge, adapter, agent] =
        OURS.map(|(service, port)| Played::start(&compose, service, port, &servers));
    write(repo.path(), "b.md", "two\n");
    agent.home.must(&["scan", "--wait"]);
    agent.home.must(&["sync", "--wait", "--timeout", "60s"]);
    let paths =
        "SELECT count(DISTINCT path)::bigint FROM stamp_events WHERE path IN ('a.md', 'b.md')";
    assert_eq!(servers.admin.value::<i64>(paths), 2);
    provoke(bridge.web());
    wait_until("every metric that is watched is emitted", || {
        let told = [&bridge, &adapter, &agent].map(Played::metrics).concat();
        let lacks = |name: &String| !told.contains(&format!("# TYPE {name} "));
        !watching::named().iter().any(lacks)
    });
    for (service, name) in [(&bridge, "bridge"), (&adapter, "adapter"), (&agent, "agent")] {
        assert_eq!(service.asked_as(&format!("{name}:{}", service.port), "/health"), 200, "{name}");
        assert_eq!(service.asked_as("evil.example", "/health"), 403, "{name}");
    }
    for open in [&bridge, &agent] {
        assert!(open.process.log().contains("everybody who reaches this address"));
    }
    for service in [agent, adapter, bridge] {
        assert!(service.process.terminate().success());
    }
}
