//! The config: bad inputs and what is said of them, layers and origins, and the example.

use std::path::{Path, PathBuf};
use std::time::Duration;

use stampd::adapter::route::Slug;
use stampd::config::{ConfigError, Environment, Flags, Role, example, load};
use tempfile::TempDir;

/// A scratch directory with a config file, and an environment that names nothing of this machine.
struct Scene {
    dir: TempDir,
    variables: Vec<(String, String)>,
    flags: Flags,
}

impl Scene {
    fn new(toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("stampd.toml");
        std::fs::write(&file, toml).unwrap();
        let mut scene = Self { variables: Vec::new(), flags: Flags::default(), dir };
        scene.flags.config = Some(file);
        scene.set("HOME", "/home/ada");
        scene.set("STATE_DIRECTORY", "/var/lib/stampd");
        scene
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    fn environment(&self) -> Environment {
        Environment::of(self.variables.clone(), self.dir.path().to_owned())
    }

    fn load(&self) -> Result<stampd::config::Config, ConfigError> {
        load(&self.flags, &self.environment())
    }

    /// What is wrong, with the scratch directory's name taken out.
    fn error(&self) -> String {
        let error = self.load().expect_err("the config is wrong").to_string();
        error.replace(&format!("{}/", self.dir.path().display()), "")
    }

    /// The value of a key and where it comes from.
    fn shown(&self, section: &str, key: &str) -> (String, String) {
        let shown = self.load().expect("the config is right").shown();
        let one = shown.into_iter().find(|one| one.section == section && one.key == key);
        let one = one.unwrap_or_else(|| panic!("no {section}.{key}"));
        (one.value, one.origin.replace(&format!("{}/", self.dir.path().display()), ""))
    }
}

/// One file of `tests/cases/config`: a config, variables, and every line that must be said of it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    toml: String,
    #[serde(default)]
    env: std::collections::BTreeMap<String, String>,
    wrong: Vec<String>,
    /// What must not be repeated, in any case.
    #[serde(default)]
    secret: Option<String>,
}

#[derive(serde::Deserialize)]
struct Cases {
    case: Vec<Case>,
}

#[test]
fn every_bad_input_is_told_with_its_place_and_what_to_do() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/config");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for case in toml::from_str::<Cases>(&text).unwrap().case {
            check(&case);
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} cases were found");
}

fn check(case: &Case) {
    let mut scene = Scene::new(&case.toml);
    for (name, value) in &case.env {
        scene.set(name, value);
    }
    let error = scene.error();
    let expected: Vec<_> = std::iter::once("use the config:".to_owned())
        .chain(case.wrong.iter().map(|line| format!("  {line}")))
        .collect();
    assert_eq!(error, expected.join("\n"), "{}", case.name);
    if let Some(secret) = &case.secret {
        let debugged = format!("{:?}", scene.load().unwrap_err());
        assert!(!error.contains(secret) && !debugged.contains(secret), "{}", case.name);
    }
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let mut scene = Scene::new("[telemetry]\nlog_level = \"warn\"\n");
    let value = |level: &str| format!("\"{level}\"");
    assert_eq!(scene.shown("watch", "settle"), (value("250ms"), "default".to_owned()));
    let file = (value("warn"), "stampd.toml:2".to_owned());
    assert_eq!(scene.shown("telemetry", "log_level"), file);
    scene.set("STAMPD_TELEMETRY__LOG_LEVEL", "debug");
    let variable = (value("debug"), "STAMPD_TELEMETRY__LOG_LEVEL".to_owned());
    assert_eq!(scene.shown("telemetry", "log_level"), variable);
    scene.flags.log_level = Some("trace".to_owned());
    assert_eq!(scene.shown("telemetry", "log_level").0, value("trace"));
}

#[test]
fn a_variable_without_two_underscores_is_no_key() {
    let mut scene = Scene::new("");
    scene.set("STAMPD_X", "1");
    scene.set("STAMPD_TEST_KAFKA", "localhost:9092");
    scene.set("STAMPDX__Y", "1");
    assert!(scene.load().is_ok());
}

#[test]
fn the_file_may_be_named_by_a_variable_and_must_then_be_there() {
    let mut scene = Scene::new("[watch]\nsettle = \"1s\"\n");
    let file = scene.flags.config.take().unwrap();
    scene.set("STAMPD_CONFIG", file.to_str().unwrap());
    assert_eq!(scene.shown("watch", "settle").0, "\"1s\"");
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(scene.load(), Err(ConfigError::Unreadable(path, _)) if path == file));
}

#[test]
fn relative_paths_start_at_the_file_and_the_tilde_is_the_home() {
    let scene = Scene::new(
        "[[repo]]\npath = \"./src/\"\nnamespace = \"a.b.c\"\n\
         [[repo]]\npath = \"~/src/app\"\nnamespace = \"a.b.c\"\n",
    );
    let repos = scene.load().unwrap().agent.repos;
    assert_eq!(repos[0].path, scene.dir.path().join("src"));
    assert_eq!(
        (repos[1].path.clone(), repos[1].name.as_str()),
        ("/home/ada/src/app".into(), "app")
    );
}

#[test]
fn directories_come_from_the_service_manager_unless_they_are_set() {
    let mut scene = Scene::new("");
    scene.set("RUNTIME_DIRECTORY", "/run/stampd:/run/other");
    let agent = scene.load().unwrap().agent;
    assert_eq!(agent.state_dir, PathBuf::from("/var/lib/stampd"));
    assert_eq!(agent.runtime_dir, PathBuf::from("/run/stampd"));
    scene.set("STAMPD_AGENT__STATE_DIR", "/srv/state");
    let runtime_dir = scene.load().unwrap().agent.runtime_dir;
    assert_eq!(runtime_dir, PathBuf::from("/srv/state/run"), "two agents do not meet");
    scene.set("STAMPD_AGENT__RUNTIME_DIR", "run");
    let agent = scene.load().unwrap().agent;
    assert_eq!(agent.state_dir, PathBuf::from("/srv/state"));
    assert_eq!(agent.runtime_dir, scene.dir.path().join("run"));
    assert!(
        agent.own_dirs.contains(&agent.state_dir) && agent.own_dirs.contains(&agent.runtime_dir)
    );
}

#[test]
fn a_repo_given_by_a_flag_stands_instead_of_the_file_s() {
    let mut scene = Scene::new("[[repo]]\npath = \"/a\"\nnamespace = \"a.b.c\"\n");
    scene.flags.repos = vec!["7Up & Go".to_owned()];
    let repos = scene.load().unwrap().agent.repos;
    assert_eq!(repos.len(), 1);
    assert_eq!(repos[0].path, scene.dir.path().join("7Up & Go"));
    assert_eq!(repos[0].namespace.as_str(), "local.dev.up___go");
    scene.flags.namespace = Some("x.y.z".to_owned());
    assert_eq!(scene.load().unwrap().agent.repos[0].namespace.as_str(), "x.y.z");
}

#[test]
fn places_are_looked_at_only_when_asked_for() {
    let mut scene = Scene::new("");
    std::fs::create_dir(scene.dir.path().join("here")).unwrap();
    scene.flags.repos = vec!["here".to_owned(), "missing".to_owned()];
    let config = scene.load().unwrap();
    assert!(config.check_places(false).is_ok(), "a missing repo may come back");
    let error = config.check_places(true).unwrap_err().to_string();
    assert!(error.contains("/missing: No such file or directory"), "{error}");
    scene.flags.repos = vec!["stampd.toml".to_owned()];
    let error = scene.load().unwrap().check_places(false).unwrap_err().to_string();
    assert!(error.contains("stampd.toml is not a directory"), "{error}");
}

#[test]
fn a_road_is_there_when_its_section_is_and_a_secret_is_shown_as_its_reference() {
    let mut scene = Scene::new("[kafka]\nenabled = false\n");
    scene.set("PGPASS", "hunter2");
    scene.set("STAMPD_POSTGRES__URL", "postgres://stampd@localhost/stamps");
    scene.set("STAMPD_POSTGRES__PASSWORD", "env:PGPASS");
    let config = scene.load().unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let password = ("{ env = \"PGPASS\" }".to_owned(), "STAMPD_POSTGRES__PASSWORD".to_owned());
    assert_eq!(scene.shown("postgres", "password"), password);
    // Switched off: its missing brokers are nobody's concern.
    assert_eq!(scene.shown("kafka", "enabled").0, "false");
}

/// The lines of `config/.env.stamping.example`.
fn older_services() -> Vec<(String, String)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/.env.stamping.example");
    let text = std::fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.into(), value.into()));
    lines.map(|line| pair(line).unwrap_or_else(|| panic!("{line}"))).collect()
}

#[test]
fn the_older_services_variables_are_all_that_a_bridge_needs_and_nothing_to_an_agent() {
    let mut scene = Scene::new("");
    scene.variables.extend(older_services());
    let config = scene.load().unwrap();
    assert!(config.postgres.is_none() && config.kafka.is_none() && config.api.is_none());

    scene.flags.role = Role::Bridge;
    let config = scene.load().unwrap();
    let postgres = config.postgres.unwrap();
    assert_eq!(postgres.url, "postgres://postgres@localhost:5432/omninode_bridge");
    assert_eq!(postgres.password.unwrap().fetch().unwrap(), "change-me");
    let kafka = config.kafka.unwrap();
    assert_eq!(kafka.brokers, ["localhost:9092"]);
    assert_eq!(kafka.topic, "dev.omninode_bridge.onex.evt.metadata-stamp-created.v1");
    assert_eq!(config.api.unwrap().listen, "127.0.0.1:8057");
    let origin = scene.shown("postgres", "password");
    assert_eq!(origin, ("{ env = \"POSTGRES_PASSWORD\" }".into(), "POSTGRES_PASSWORD".into()));
}

#[test]
fn an_older_variable_stands_in_for_a_section_or_not_at_all() {
    let mut scene = Scene::new(
        "[postgres]\nurl = \"postgres://ours@localhost/ours\"\n[api]\nlisten = \"127.0.0.1:9\"\n",
    );
    scene.flags.role = Role::Bridge;
    scene.variables.extend(older_services());
    scene.set("STAMPD_KAFKA__TOPIC", "ours");
    scene.set("OMNINODE_ENV", "prod");
    let config = scene.load().unwrap();
    let postgres = config.postgres.unwrap();
    assert_eq!(postgres.url, "postgres://ours@localhost/ours");
    assert!(postgres.password.is_none(), "another server's password stays at home");
    assert_eq!(config.api.unwrap().listen, "127.0.0.1:9");
    assert_eq!(config.kafka.unwrap().topic, "ours");
}

#[test]
fn odd_characters_in_an_older_variable_are_kept() {
    let mut scene = Scene::new("");
    scene.flags.role = Role::Bridge;
    scene.set("POSTGRES_USER", "ada@home");
    scene.set("POSTGRES_DATABASE", "a/b?c");
    scene.set("POSTGRES_HOST", "::1");
    scene.set("SERVICE_PORT", "9");
    scene.set("OMNINODE_TENANT", "acme");
    let config = scene.load().unwrap();
    assert_eq!(config.postgres.unwrap().url, "postgres://ada%40home@[::1]:5432/a%2Fb%3Fc");
    assert!(config.kafka.is_none(), "a word of the topic is no broker");
    assert_eq!(config.api.unwrap().listen, "127.0.0.1:9");
}

#[test]
fn a_bridge_has_the_api_without_a_section_and_needs_no_home() {
    let mut scene = Scene::new("");
    scene.variables.clear();
    assert!(matches!(scene.load(), Err(ConfigError::NoHome)));
    scene.flags.role = Role::Bridge;
    let config = scene.load().unwrap();
    assert!(config.api.is_some() && config.api_token.is_none());
    scene.set("SERVICE_HOST", "0.0.0.0");
    let error = scene.error();
    assert!(
        error.contains("SERVICE_HOST: [api] listen: beyond loopback everybody could call"),
        "{error}"
    );
    scene.set("STAMPD_API__ALLOW_INSECURE", "true");
    let api = scene.load().unwrap().api.unwrap();
    assert_eq!(api.hosts, ["localhost", "127.0.0.1", "[::1]"], "a wildcard is nobody's name");
    assert!(api.rate.is_some());
}

#[test]
fn the_example_of_a_bridge_is_a_config() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/bridge.example.toml");
    let mut scene = Scene::new(&std::fs::read_to_string(file).unwrap());
    scene.flags.role = Role::Bridge;
    scene.set("CREDENTIALS_DIRECTORY", "/run/credentials/stampd-bridge.service");
    let config = scene.load().unwrap();
    assert!(config.postgres.is_some() && config.kafka.is_some());
    let (api, token) = (config.api.unwrap(), config.api_token.unwrap());
    assert_eq!(token.to_string(), "credential api.token");
    assert!(api.hosts.contains(&"bridge.example".to_owned()));
    assert_eq!(config.publish_wait, Duration::from_millis(25));
}

#[test]
fn the_example_of_an_adapter_is_a_config() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/adapter.example.toml");
    let mut scene = Scene::new(&std::fs::read_to_string(file).unwrap());
    scene.flags.role = Role::Adapter;
    scene.set("CREDENTIALS_DIRECTORY", "/run/credentials/stampd-adapter.service");
    let adapter = scene.load().unwrap().adapter.unwrap();
    assert_eq!(adapter.http.listen, "0.0.0.0:8070");
    assert!(adapter.http.hosts.contains(&"adapter.example".to_owned()));
    let topic = "prod.omninode-bridge.reducer.state-transition.v1";
    assert_eq!(adapter.topics.slug(topic), Some(Slug::StateTransition));
}

#[test]
fn the_older_services_variables_are_all_that_an_adapter_needs() {
    let mut scene = Scene::new("");
    scene.flags.role = Role::Adapter;
    scene.set("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092");
    scene.set("POSTGRES_HOST", "127.0.0.1");
    scene.set("DATABASE_ADAPTER_PORT", "8071");
    scene.set("OMNINODE_ENV", "test");
    let adapter = scene.load().unwrap().adapter.unwrap();
    assert_eq!(adapter.http.listen, "127.0.0.1:8071");
    assert_eq!(adapter.reading.group, "database-adapter-effect-group");
    assert!(adapter.topics.slug("test.omninode_bridge.onex.evt.node-heartbeat.v1").is_some());
    scene.set("STAMPD_KAFKA__TOPIC", "stamps");
    let wrong = scene.load().unwrap_err().to_string();
    assert!(wrong.contains("the adapter reads the topics beside it"), "{wrong}");
}

#[test]
fn the_committed_example_is_the_generated_one() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/stampd.example.toml");
    assert_eq!(
        std::fs::read_to_string(committed).unwrap(),
        example(),
        "write it anew: cargo run -- config example > config/stampd.example.toml"
    );
}

#[test]
fn the_example_is_a_config_as_it_stands_and_with_every_line_uncommented() {
    let text = example();
    assert!(Scene::new(&text).load().is_ok());
    let is_setting = |line: &str| {
        line.strip_prefix('#').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '))
    };
    let uncommented: Vec<_> =
        text.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect();
    let scene = Scene::new(&uncommented.join("\n"));
    let config = scene.load().unwrap();
    let from_file = config.shown().iter().filter(|one| one.origin != "default").count();
    assert_eq!(from_file, config.shown().len(), "every key is in the example");
    // What is uncommented as it stands changes nothing but what has no default.
    assert_eq!(config.agent.shutdown_grace, Duration::from_secs(20));
}
