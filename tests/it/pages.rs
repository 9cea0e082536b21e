//! The pages, played as a first-time user would: what they say to write is written, what they say to
//! type is typed, word by word. `docs/api.md` has a test of its own, which reads the replies too.

mod fences;
mod visitor;

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process_group};

use self::fences::{Fence, Typed, fences, typed};
use self::visitor::Visitor;
use super::support::cluster::Cluster;
use super::support::terminal::{Session, Shows};
use super::support::tree::write;
use super::support::{bed, random_name};

/// What a fence may be. `sh` is typed here, `console` in the test of the API's guide; `text` is what
/// no machine of ours can be told.
const WORDS: [&str; 6] = ["sh", "console", "toml", "sql", "json", "text"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page(name: &str) -> Vec<Fence> {
    let text = std::fs::read_to_string(root().join(name));
    fences(&text.unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn all_pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> =
        docs.filter(|path| path.extension().is_some_and(|it| it == "md")).collect();
    pages.push(root().join("README.md"));
    pages
}

#[test]
fn every_fence_says_what_it_holds() {
    for path in all_pages() {
        for fence in page(path.to_str().unwrap()) {
            let known = WORDS.contains(&fence.word.as_str());
            assert!(known, "{}:{}: a fence is one of {WORDS:?}", path.display(), fence.line);
        }
    }
}

#[test]
fn a_line_ends_before_its_comment_which_may_name_the_exit_code() {
    let check = |text: &str, line: &str, code: i32| {
        assert_eq!(typed(text), [Typed { line: line.to_owned(), code }]);
    };
    check("stampd verify     # as it was?", "stampd verify", 0);
    check("stampd migrate --check  # exits 4 when something is", "stampd migrate --check", 4);
    check("echo 'a # b' c#d", "echo 'a # b' c#d", 0);
    check("curl \\\n    -X POST", "curl -X POST", 0);
    assert_eq!(typed("# only words\n\n"), []);
}

#[test]
fn the_readme_leads_from_nothing_to_a_history_of_stamps() {
    let mut ann = Visitor::new();
    let repo = ann.home().join("src/app");
    write(&repo, "src/main.rs", "fn main() {}\n");
    write(&repo, "build/x.o", "object");
    write(&repo, ".gitignore", "build/\n");
    ann.means("HASH", blake3::hash(b"fn main() {}\n").to_hex().as_str());
    ann.stands_in(&repo);
    for fence in page("README.md") {
        match fence.word.as_str() {
            // Each is a part of the one file, in the order of the page.
            "toml" => ann.writes(".config/stampd/stampd.toml", &fence.text),
            "sh" => ann.types(&fence.text),
            _ => {}
        }
    }
    ann.types("stampd config check");
    assert!(ann.shown().contains("ignored by build/"), "{}", ann.shown());
    assert!(ann.shown().contains("src/main.rs"), "{}", ann.shown());
}

#[test]
fn the_database_s_page_leads_from_an_empty_server_to_an_agents_login() {
    let cluster = Cluster::start();
    let mut owner = of_the_database(&cluster);
    owner.types("psql -c \"CREATE ROLE owner LOGIN CREATEROLE PASSWORD '$PGPASSWORD'\"");
    let page = page("docs/postgres.md");
    let named = page.iter().filter(|fence| fence.text.starts_with("# owner.toml"));
    named.for_each(|fence| owner.writes("owner.toml", &fence.text));
    let mut played = 0;
    for fence in page.iter().filter(|fence| fence.word == "sh") {
        owner.types(&fence.text);
        played += 1;
    }
    assert!(played > 0, "the page says what to type");
    owner.types("stampd --config owner.toml migrate --check");
}

#[test]
fn the_bridges_page_leads_to_a_first_stamp_over_http() {
    let cluster = Cluster::start();
    let mut ann = of_the_database(&cluster);
    ann.types("createdb omninode_bridge");
    // What else listens on this machine is none of the page's business.
    ann.set("SERVICE_PORT", "0");
    for fence in page("docs/bridge.md").iter().filter(|fence| fence.word == "sh") {
        ann.types(&fence.text);
    }
    let hash = blake3::hash(b"Hello World").to_hex();
    assert!(ann.shown().contains(hash.as_str()), "{}", ann.shown());
}

#[test]
fn the_deployments_page_leads_to_a_bridge_and_an_adapter_over_one_database() {
    let cluster = Cluster::start();
    let mut owner = of_the_database(&cluster);
    owner.means("localhost:9092", &bed("STAMPD_TEST_KAFKA"));
    owner.set("SERVICE_PORT", "0");
    owner.set("DATABASE_ADAPTER_PORT", "0");
    // Nobody else's topics are read.
    owner.set("OMNINODE_ENV", &random_name("env"));
    for fence in page("docs/deploy.md").iter().filter(|fence| fence.word == "sh") {
        owner.types(&fence.text);
    }
    owner.types("stampd migrate --check");
    owner.types("stampd netcheck postgres --adapter");
    owner.types("stampd netcheck kafka --adapter");
}

#[test]
fn the_tokens_page_leads_from_a_token_to_its_end() {
    let cluster = Cluster::start();
    let mut owner = of_the_database(&cluster);
    owner.types("createdb stamps");
    let config = "[postgres]\nurl = \"postgres://postgres@db.example:5432/stamps\"\n\
                  password = { env = \"PGPASSWORD\" }\n";
    owner.writes(".config/stampd/stampd.toml", config);
    owner.types("stampd migrate");
    let page = page("docs/tokens.md");
    page.iter().filter(|fence| fence.word == "sh").for_each(|fence| owner.types(&fence.text));
    assert!(owner.shown().contains("laptop-of-ann"), "{}", owner.shown());
}

/// Somebody at a machine whose PostgreSQL the pages call by a name of theirs.
fn of_the_database(cluster: &Cluster) -> Visitor {
    let mut visitor = Visitor::new();
    let admin = cluster.admin();
    let port = admin.port.to_string();
    visitor.means("db.example:5432", &format!("127.0.0.1:{port}"));
    visitor.means("change-me", &admin.password);
    visitor.set("PGHOST", &admin.host);
    visitor.set("PGPORT", &port);
    visitor.set("PGUSER", &admin.user);
    visitor.set("PGPASSWORD", &admin.password);
    visitor.set("POSTGRES_PORT", &port);
    visitor
}

/// A `cargo` that has built already: what it would build is the program under test.
const BUILT: &str = "#!/bin/sh\n[ \"$1\" = build ]\n";

#[test]
fn make_run_watches_this_checkout_says_what_to_type_and_ends_with_ctrl_c() {
    let mut ann = Visitor::new();
    ann.puts_on_path("cargo", BUILT);
    let target = ann.home().join("target");
    std::fs::create_dir_all(target.join("debug")).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_stampd"), target.join("debug/stampd")).unwrap();
    let mut command = ann.command("exec make --no-print-directory run");
    command.current_dir(root()).env("CARGO_TARGET_DIR", &target).process_group(0);
    let mut terminal = Session::start(command, Shows::Err);
    let shown = terminal.wait(|shown| shown.contains("stampd status")).to_owned();
    let told = shown.lines().find_map(|line| line.trim().strip_prefix("export "));
    ann.types(&format!("export {}", told.expect("it tells how to talk to it")));
    ann.types("stampd scan --wait");
    ann.types("stampd status");
    ann.types(&format!("stampd log {}", root().join("Cargo.toml").display()));
    assert!(ann.shown().contains("created"), "{}", ann.shown());
    let group = Pid::from_raw(terminal.pid().cast_signed()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    let (shown, _) = terminal.end();
    assert!(!shown.contains("Error"), "{shown}");
}
