//! The command line: snapshots of help and errors, exit codes, and what each command prints.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use serde_json::Value;
use stampd::control::{Refusal, Reply, Request};
use stampd::model::change::{Observation, What};
use stampd::model::digest::Digest;
use stampd::model::path::RepoPath;
use stampd::model::status::{
    AgentState, Coverage, ReachState, RepoState, RepoStatus, SCHEMA, SinkStatus, SpoolStatus,
    Status,
};
use stampd::model::stream::Leaf;
use stampd::runtime::clock::Clock;
use stampd::runtime::rooted::{Root, Stat};
use stampd::spool::{self, DeadLetter, RepoSpec, Seed};

use super::support::answering::Answering;
use super::support::process::Home;
use super::support::{schema, tree};

#[test]
fn help_and_errors_are_as_committed() {
    trycmd::TestCases::new()
        .register_bin("stampd", Path::new(env!("CARGO_BIN_EXE_stampd")))
        .env("HOME", "/home/ada")
        .env("XDG_RUNTIME_DIR", "/nowhere/run")
        .env("STAMPD_AGENT__STATE_DIR", "/nowhere/state")
        .env("COLUMNS", "100")
        .case("tests/cmd/*.trycmd");
}

/// A home with one repo on disk, and its spool as an agent left it.
struct Scene {
    home: Home,
    root: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new();
        let root = home.path().join("app");
        std::fs::create_dir(&root).unwrap();
        home.configure(&format!(
            "[[repo]]\npath = \"{}\"\nnamespace = \"a.b.c\"\n",
            root.display()
        ));
        Self { home, root }
    }

    fn write(&self, path: &str, content: &str) {
        tree::write(&self.root, path, content);
    }

    /// Lets a spool take `paths` as they are on disk now; each call is a run of its own.
    fn stamp(&self, paths: &[&[u8]]) {
        let root = Root::open(&self.root).unwrap();
        let observe = |path: &&[u8]| {
            let path = RepoPath::new(path).unwrap();
            let what = match root.stat(path.as_bytes()) {
                Ok(stat) => content(&root, &path, stat),
                Err(_) => What::Gone,
            };
            Observation { path, seen: Clock::system().now(), what }
        };
        self.append(paths.iter().map(observe).collect(), |_, _| {});
    }

    fn append(
        &self,
        observations: Vec<Observation>,
        then: impl FnOnce(&spool::Spool, spool::Appended),
    ) {
        let config = spool::Config { state_dir: self.home.state_dir(), ..spool::Config::default() };
        let seed =
            Seed { host: "laptop".into(), version: "0.1.0".into(), machine_id: "machine".into() };
        let (spool, writer) = super::spool::open(&config, &seed, &Clock::system()).unwrap();
        let writer = std::thread::spawn(move || writer.run());
        let repo = spool
            .open_repo(RepoSpec {
                name: "app".into(),
                root: self.root.clone(),
                namespace: "a.b.c".parse().unwrap(),
                labels: BTreeMap::new(),
                git: None,
            })
            .unwrap();
        let appended = repo.append(observations).wait().unwrap();
        then(&spool, appended);
        drop((repo, spool));
        writer.join().unwrap().unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        self.home.command(args).current_dir(&self.root).output().unwrap()
    }

    /// Runs a command that ends with `code`; returns what it printed and what it said.
    fn ends(&self, code: i32, args: &[&str]) -> (String, String) {
        let output = self.run(args);
        schema::hold(&output.stdout);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
        (out, err)
    }

    fn prints(&self, args: &[&str]) -> String {
        self.ends(0, args).0
    }

    fn json(&self, args: &[&str]) -> Vec<Value> {
        let text = self.prints(args);
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn content(root: &Root, path: &RepoPath, stat: Stat) -> What {
    let bytes = root.read_small(path.as_bytes(), 1 << 20).unwrap();
    What::File { stat, digest: Digest::of(&bytes), racy: false, from: None }
}

#[test]
fn log_prints_the_canonical_bodies_newest_first() {
    let scene = Scene::new();
    scene.write("a.txt", "one");
    scene.stamp(&[b"a.txt"]);
    scene.write("a.txt", "two!");
    scene.stamp(&[b"a.txt"]);
    std::fs::remove_file(scene.root.join("a.txt")).unwrap();
    scene.stamp(&[b"a.txt"]);
    let text = scene.prints(&["log", "a.txt", "--format", "jsonl"]);
    let bodies: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = bodies.iter().map(|body| body["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["deleted", "modified", "created"]);
    let reader = spool::open_read_only(&scene.home.state_dir()).unwrap();
    let stream = reader.streams().unwrap()[0].stream;
    for (line, body) in text.lines().zip(&bodies) {
        let leaf = reader.leaf(stream, body["seq"].as_u64().unwrap()).unwrap().unwrap();
        assert_eq!(Leaf::of(line.as_bytes()), leaf, "byte for byte what its leaf hashes");
    }
    assert_eq!(
        scene.prints(&["log", "a.txt", "-n", "1", "--format", "jsonl"]),
        format!("{}\n", text.lines().next().unwrap())
    );
    let human = scene.prints(&["log", "a.txt"]);
    assert!(human.lines().next().unwrap().contains("deleted"), "{human}");
}

#[test]
fn log_of_a_whole_repo_is_oldest_first_and_of_a_directory_newest_first() {
    let scene = Scene::new();
    scene.write("src/a", "1");
    scene.write("src/b", "2");
    scene.write("other", "3");
    scene.stamp(&[b"src/a", b"src/b", b"other"]);
    let paths = |bodies: Vec<Value>| -> Vec<String> {
        let path = |body: &Value| body["path"].as_str().unwrap_or("-").to_owned();
        bodies.iter().map(path).collect()
    };
    let all = paths(scene.json(&["log", "--all", "--format", "jsonl"]));
    assert_eq!(all, ["-", "src/a", "src/b", "other"]);
    let below = paths(scene.json(&["log", "src", "--format", "jsonl"]));
    assert_eq!(below, ["src/b", "src/a"]);
    let document = &scene.json(&["log", "--all", "--repo", "app", "--format", "json"])[0];
    assert_eq!(document["schema"], "stampd.log/v1");
    assert_eq!(document["stamps"].as_array().unwrap().len(), 4);
    assert!(scene.ends(7, &["log", "--all", "--repo", "lib"]).1.contains("there are app"));
}

#[test]
fn show_prints_every_stamp_of_a_content() {
    let scene = Scene::new();
    scene.write("a", "same");
    scene.write("b", "same");
    scene.stamp(&[b"a", b"b"]);
    let digest = Digest::of(b"same").to_string();
    let found = scene.json(&["show", &digest, "--format", "jsonl"]);
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|body| body["digest"] == digest.as_str()));
    let nobody = Digest::of(b"never").to_string();
    assert!(scene.ends(7, &["show", &nobody]).1.contains("never saw it"));
    assert!(scene.ends(2, &["show", "abc"]).1.contains("64 hexadecimal digits"));
}

#[test]
fn a_name_of_any_bytes_is_shown_escaped_and_told_whole() {
    let scene = Scene::new();
    let name = b"a\x1b[2J\n\xff";
    std::fs::write(scene.root.join(tree::name(name)), "x").unwrap();
    scene.stamp(&[name]);
    let human = scene.prints(&["log", "--all"]);
    assert!(human.contains("a\\u{1b}[2J\\n\\xff"), "{human}");
    assert!(!human.contains('\x1b'));
    let body = scene.json(&["log", "--all", "--format", "jsonl"]).pop().unwrap();
    assert_eq!(body["path_b64"], "YRtbMkoK/w==");
}

#[test]
fn paths_lead_to_their_repo_from_anywhere_and_through_links() {
    let scene = Scene::new();
    scene.write("src/a", "1");
    scene.stamp(&[b"src/a"]);
    let link = scene.home.path().join("link");
    std::os::unix::fs::symlink(&scene.root, &link).unwrap();
    let absolute = scene.root.join("src/a");
    for path in [
        "src/a",
        "./src/../src/a",
        absolute.to_str().unwrap(),
        link.join("src/a").to_str().unwrap(),
    ] {
        assert_eq!(scene.json(&["log", path, "--format", "jsonl"]).len(), 1, "{path}");
    }
    assert!(scene.ends(7, &["log", "/etc/hosts"]).1.contains("find /etc/hosts in a repo"));
    assert!(scene.ends(7, &["log", "src/none"]).1.contains("`stampd explain src/none`"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let scene = Scene::new();
    for n in 0..2_000 {
        scene.write(&format!("f{n}"), "x");
    }
    let names: Vec<_> = (0..2_000).map(|n| format!("f{n}").into_bytes()).collect();
    scene.stamp(&names.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut child = scene
        .home
        .command(&["log", "--all", "--format", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with('{'));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn dead_letters_are_listed_and_shown_without_an_agent() {
    let scene = Scene::new();
    scene.write("a", "poison");
    let root = Root::open(&scene.root).unwrap();
    let path = RepoPath::new(b"a").unwrap();
    let what = content(&root, &path, root.stat(b"a").unwrap());
    let observation = Observation { path, seen: Clock::system().now(), what };
    let mut place = String::new();
    scene.append(vec![observation], |spool, appended| {
        let letter = DeadLetter {
            class: "reject".into(),
            code: "23514".into(),
            reason: "check constraint \"no_poison\"".into(),
        };
        let seq = appended.stamps[0].seq;
        spool.set_aside("postgres", appended.stream, seq, letter, seq + 1).wait().unwrap();
        place = format!("{}/{seq}", appended.stream);
    });
    let list = scene.prints(&["dlq", "ls"]);
    assert!(list.contains(&place) && list.contains("23514"), "{list}");
    assert_eq!(scene.ends(0, &["dlq", "ls", "--sink", "kafka"]).0, "");
    let shown = &scene.json(&["dlq", "show", &place, "--format", "json"])[0]["dead_letters"][0];
    assert_eq!((&shown["sink"], &shown["stamp"]["path"]), (&"postgres".into(), &"a".into()));
    assert!(scene.prints(&["dlq", "show", &place]).contains("no_poison"));
    assert!(scene.ends(7, &["dlq", "show", &format!("{place}9")]).1.contains("`stampd dlq ls`"));
    assert!(scene.ends(3, &["dlq", "retry", &place]).1.contains("`stampd run`"));
}

fn status(state: AgentState) -> Status {
    Status {
        schema: SCHEMA.to_owned(),
        version: "0.1.0".to_owned(),
        state,
        uptime_s: 5,
        repos: vec![RepoStatus {
            name: "app".to_owned(),
            path: "/src/app".to_owned(),
            namespace: "a.b.c".parse().unwrap(),
            state: RepoState::Watching,
            reason: None,
            files: 3,
            pending: 1,
            at: None,
            stamps: 9,
            last_change: None,
            coverage: Coverage::default(),
        }],
        sinks: vec![SinkStatus {
            name: "kafka".to_owned(),
            state: ReachState::Offline,
            queued: 4,
            oldest: None,
            confirmed_at: None,
            reason: Some("no route to kafka.example".to_owned()),
            dead_letters: 0,
        }],
        spool: SpoolStatus { stamps: 9, bytes: 4_096 },
        api: None,
        onextree: None,
        intelligence: None,
        paused: None,
    }
}

#[test]
fn status_tells_by_its_exit_code_how_everything_is() {
    let scene = Scene::new();
    for (state, code) in [
        (AgentState::Healthy, 0),
        (AgentState::Starting, 0),
        (AgentState::Degraded, 4),
        (AgentState::Parked, 4),
    ] {
        let agent = Answering::start(&scene.home, Reply::Status(Box::new(status(state))));
        let (out, _) = scene.ends(code, &["status", "--format", "json"]);
        assert_eq!(serde_json::from_str::<Status>(&out).unwrap(), status(state));
        let (table, _) = scene.ends(code, &["status"]);
        assert!(table.contains("no route to kafka.example"), "{table}");
        assert_eq!(agent.asked(), [Request::Status, Request::Status]);
    }
    let (out, err) = scene.ends(3, &["status", "--format", "json"]);
    let socket = scene.home.runtime_dir().join("stampd.sock");
    assert_eq!(out, "");
    assert!(err.contains(socket.to_str().unwrap()) && err.contains("`stampd run`"), "{err}");
}

#[test]
fn scan_and_sync_end_as_the_agent_says() {
    let scene = Scene::new();
    let agent = Answering::start(&scene.home, Reply::Done);
    scene.prints(&["scan", "--wait", "--repo", "app"]);
    scene.prints(&["sync", "--wait", "--timeout", "30s"]);
    scene.prints(&["sync"]);
    assert_eq!(
        agent.asked(),
        [
            Request::Scan { repo: Some("app".to_owned()) },
            Request::Sync { timeout_ms: Some(30_000) },
            Request::Sync { timeout_ms: None },
        ]
    );
    let reason = "kafka: no route to kafka.example".to_owned();
    let agent = Answering::start(&scene.home, Reply::Unfinished { reason });
    let (_, err) = scene.ends(75, &["sync", "--wait", "--timeout", "1s"]);
    assert!(err.contains("kafka: no route"), "{err}");
    drop(agent.asked());
    let reason = "there is no repo \"lib\"".to_owned();
    for (kind, code) in [(Refusal::NotFound, 7), (Refusal::Unavailable, 75), (Refusal::Wrong, 1)] {
        let reply = Reply::Refused { kind, reason: reason.clone() };
        let agent = Answering::start(&scene.home, reply);
        assert!(scene.ends(code, &["scan", "--repo", "lib"]).1.contains("no repo \"lib\""));
        drop(agent.asked());
    }
    for command in ["scan", "sync"] {
        scene.ends(3, &[command, "--wait"]);
    }
}

/// Needs another user id, which only root can take; without root the socket's mode keeps others out
/// before the client could look, with the same words.
#[test]
fn an_agent_of_another_user_is_not_believed() {
    let scene = Scene::new();
    let agent = Answering::start(&scene.home, Reply::Status(Box::new(status(AgentState::Healthy))));
    let socket = scene.home.runtime_dir().join("stampd.sock");
    let mut command = scene.home.command(&["status"]);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
        for path in [scene.home.path(), &scene.home.runtime_dir()] {
            set_mode(path, 0o755);
        }
        set_mode(&socket, 0o666);
    } else {
        set_mode(&socket, 0o000);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("belongs to another user"), "{said}");
    assert_eq!(agent.asked(), []);
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn explain_names_the_rule_its_file_and_its_line() {
    let scene = Scene::new();
    scene.write(".gitignore", "# built\n*.o\n");
    scene.write("x.o", "obj");
    scene.write("a.rs", "fn main() {}");
    scene.stamp(&[b"a.rs"]);
    let (out, _) = scene.ends(0, &["explain", "x.o"]);
    assert!(out.contains("ignored by *.o") && out.contains(".gitignore, line 2"), "{out}");
    let told = &scene.json(&["explain", "a.rs", "--format", "json"])[0];
    assert_eq!((&told["covered"], &told["recorded"]), (&true.into(), &"content".into()));
    assert_eq!(told["digest"], Digest::of(b"fn main() {}").to_string());
    let gone = scene.prints(&["explain", "not/there.o"]);
    assert!(gone.contains("ignored by *.o") && gone.contains("on disk: nothing"), "{gone}");
    assert!(scene.ends(7, &["explain", "/etc/hosts"]).1.contains("there are app"));
}

#[test]
fn trust_shows_what_it_would_hide_pins_it_and_takes_it_back() {
    let scene = Scene::new();
    assert!(scene.ends(7, &["trust"]).1.contains("it has no .stampd.toml"));
    scene.write("secret.key", "k");
    scene.write("sub/.gitignore", "!kept.key\n");
    scene.write("sub/kept.key", "k");
    scene.stamp(&[b"secret.key", b"sub/kept.key"]);
    scene.write(".stampd.toml", "exclude = ['*.key']\n");
    let (diff, _) = scene.ends(6, &["trust", "--diff"]);
    assert!(diff.contains("exclude: nothing → [\"*.key\"]"), "{diff}");
    assert!(diff.contains("would no longer be stamped: secret.key"), "{diff}");
    assert!(!diff.contains("sub/kept.key"), "the deeper rule is the stronger one: {diff}");
    assert!(!scene.prints(&["explain", "secret.key"]).contains("ignored by"));
    scene.ends(0, &["trust", "sub"]);
    assert!(scene.prints(&["explain", "secret.key"]).contains("ignored by *.key"));
    assert_eq!(scene.prints(&["trust", "--diff"]), "nothing waits for trust\n");
    scene.write(".stampd.toml", "exclude = ['*']\n");
    let waiting = scene.prints(&["explain", "sub/kept.key"]);
    assert!(waiting.contains("stampd trust --diff"), "{waiting}");
    scene.ends(0, &["trust", "--revoke"]);
    assert!(!scene.prints(&["explain", "secret.key"]).contains("ignored by"));
    assert!(scene.ends(7, &["trust", "--revoke"]).1.contains("none was given"));
    scene.write(".stampd.toml", "sinks = ['evil']\n");
    assert!(scene.ends(78, &["trust"]).1.contains(".stampd.toml"));
}

#[test]
fn trust_tells_the_running_agent() {
    let scene = Scene::new();
    scene.write(".stampd.toml", "exclude = ['*.key']\n");
    let agent = Answering::start(&scene.home, Reply::Done);
    scene.prints(&["trust"]);
    assert_eq!(agent.asked(), [Request::Reload]);
}

#[test]
fn verify_names_what_is_not_as_it_was_stamped() {
    let scene = Scene::new();
    for (path, content) in [("a", "same"), ("b", "old"), ("c", "gone"), ("d", "file"), ("e/f", "x")]
    {
        scene.write(path, content);
    }
    scene.stamp(&[b"a", b"b", b"c", b"d", b"e/f"]);
    assert_eq!(scene.prints(&["verify"]), "");
    scene.write("b", "new");
    std::fs::remove_file(scene.root.join("c")).unwrap();
    std::fs::remove_file(scene.root.join("d")).unwrap();
    std::os::unix::fs::symlink("a", scene.root.join("d")).unwrap();
    let (out, err) = scene.ends(5, &["verify"]);
    assert_eq!(out, "modified    app: b\nmissing     app: c\nother type  app: d\n");
    assert!(err.contains("3 of 5 paths differ"), "{err}");
    let (out, _) = scene.ends(5, &["verify", "--format", "json", "b"]);
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["schema"], &told["verified"]), (&"stampd.verify/v1".into(), &1.into()));
    let one = &told["differences"][0];
    assert_eq!((&one["path"], &one["fault"]), (&"b".into(), &"modified".into()));
    assert_eq!(one["stamped"], Digest::of(b"old").to_string());
    assert_eq!(one["found"], Digest::of(b"new").to_string());
    scene.ends(0, &["verify", "a"]);
    scene.ends(0, &["verify", "e", "--sample", "100%"]);
    scene.ends(2, &["verify", "--sample", "0%"]);
    assert!(scene.ends(7, &["verify", "never"]).1.contains("`stampd scan`"));
}

#[test]
fn init_writes_a_commented_file_at_the_root_and_never_over_another() {
    let scene = Scene::new();
    let sub = scene.root.join("src/deep");
    std::fs::create_dir_all(&sub).unwrap();
    let file = scene.root.join(".stampd.toml");
    assert!(scene.ends(0, &["init", "src/deep"]).1.contains(file.to_str().unwrap()));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("#exclude = "), "{text}");
    std::fs::write(&file, "mine").unwrap();
    assert!(scene.ends(2, &["init"]).1.contains("left as it is"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    let git = scene.home.path().join("else");
    std::fs::create_dir_all(git.join(".git")).unwrap();
    std::fs::create_dir_all(git.join("a/b")).unwrap();
    scene.prints(&["init", git.join("a/b").to_str().unwrap()]);
    assert!(git.join(".stampd.toml").exists());
    scene.ends(7, &["init", "none"]);
    std::fs::write(scene.root.join("f"), "").unwrap();
    scene.ends(2, &["init", "f"]);
}

#[test]
fn a_port_that_is_taken_is_named_with_who_has_it_by_every_role() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let scene = Scene::new();
    let roads = "[kafka]\nbrokers = [\"127.0.0.1:1\"]\n[postgres]\n\
                 url = \"postgres://stampd@127.0.0.1:1/stamps?sslmode=disable\"\n";
    scene.home.configure(&format!(
        "[[repo]]\npath = \"{}\"\nnamespace = \"a.b.c\"\n[api]\nlisten = \"{address}\"\n\
         [adapter]\nlisten = \"{address}\"\n{roads}",
        scene.root.display()
    ));
    let holder = format!("(pid {}) has the port", std::process::id());
    for (role, section) in [("run", "[api]"), ("bridge", "[api]"), ("adapter", "[adapter]")] {
        let (_, said) = scene.ends(75, &[role]);
        assert!(said.contains(&address) && said.contains(&holder), "{role}: {said}");
        assert!(said.contains(&format!("set another {section} listen")), "{role}: {said}");
    }
}

/// The line formats are held by the unit tests, the digests by those of the model.
#[test]
fn hash_prints_and_checks_as_b3sum_does() {
    let scene = Scene::new();
    scene.write("a", "one");
    scene.write("new\nline", "two");
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let sums = scene.prints(&["hash", "a", "new\nline"]);
    assert_eq!(sums, format!("{one}  a\n\\{two}  new\\nline\n"));
    assert_eq!(scene.prints(&["hash", "--no-names", "a"]), format!("{one}\n"));
    assert_eq!(scene.prints(&["hash", "--tag", "a"]), format!("BLAKE3 (a) = {one}\n"));
    assert_eq!(scene.prints(&["hash"]), format!("{}  -\n", Digest::of(b"")), "stdin is empty");
    let (out, err) = scene.ends(1, &["hash", "none", "a"]);
    assert_eq!(out, format!("{one}  a\n"));
    assert_eq!(err, "stampd: none: No such file or directory (os error 2)\n");
    scene.write("sums", &sums);
    assert_eq!(scene.prints(&["hash", "--check", "sums"]), "a: OK\n\\new\\nline: OK\n");
    scene.write("a", "changed");
    let (out, err) = scene.ends(1, &["hash", "-c", "sums", "--quiet"]);
    assert_eq!(out, "a: FAILED\n");
    assert_eq!(err, "stampd: WARNING: 1 computed checksum did NOT match\n");
}
