//! The packages: built of this very program, listed, and the Debian one installed into a scratch root
//! over an older one, used and removed; `make install`'s part after the build; and the formula of
//! Homebrew, played by a stand-in for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

const REPO: &str = env!("CARGO_MANIFEST_DIR");
const BINARY: &str = env!("CARGO_BIN_EXE_stampd");

/// Runs a command that must succeed and returns what it prints.
fn must(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{told}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The one package of a kind, built once for all tests.
fn package(kind: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        must(
            Command::new("packaging/packages.sh").current_dir(REPO).args(["build", BINARY, "fast"]),
        );
    });
    let packages = fs::read_dir(Path::new(REPO).join("target/packages")).unwrap();
    let mut found = packages.map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().is_some_and(|is| is == kind)).unwrap()
}

/// Everything in the Debian package: where it is installed, and its mode.
fn in_deb() -> BTreeSet<(String, String)> {
    let list = must(Command::new("dpkg-deb").arg("--contents").arg(package("deb")));
    let files = list.lines().filter(|line| !line.starts_with('d')).map(|line| {
        let mode = line.split_whitespace().next().unwrap();
        let path = line.split_whitespace().last().unwrap();
        (path.trim_start_matches('.').to_owned(), mode.to_owned())
    });
    files.collect()
}

fn in_rpm() -> BTreeSet<(String, String)> {
    let format = "[%{FILENAMES} %{FILEMODES:perms}\n]";
    let list = must(Command::new("rpm").args(["-qp", "--queryformat", format]).arg(package("rpm")));
    let files = list.lines().filter_map(|line| line.split_once(' '));
    files.map(|(path, mode)| (path.to_owned(), mode.to_owned())).collect()
}

#[test]
fn both_packages_hold_the_program_its_pages_units_and_examples() {
    // What each distribution wants elsewhere, or makes itself.
    let placed = |path: &str| {
        let path = path.strip_suffix(".gz").unwrap_or(path);
        path.replace("/zsh/vendor-completions/", "/zsh/site-functions/")
    };
    let is_licence = |path: &str| path.ends_with("/copyright") || path.contains("/licenses/");
    let shared = |files: BTreeSet<(String, String)>| -> BTreeSet<(String, String)> {
        let shared = files.into_iter().filter(|(path, _)| !is_licence(path));
        shared.map(|(path, mode)| (placed(&path), mode)).collect()
    };
    let files = shared(in_deb());
    assert_eq!(files, shared(in_rpm()));
    let held: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    for path in [
        "/usr/bin/stampd",
        "/usr/lib/systemd/user/stampd.service",
        "/usr/share/bash-completion/completions/stampd",
        "/usr/share/doc/stampd/README.md",
        "/usr/share/doc/stampd/examples/stampd.example.toml",
        "/usr/share/fish/vendor_completions.d/stampd.fish",
        "/usr/share/man/man1/stampd-contracts-check.1",
        "/usr/share/man/man1/stampd.1",
        "/usr/share/zsh/site-functions/_stampd",
    ] {
        assert!(held.contains(&path), "{path} is not in {held:#?}");
    }
    for (path, mode) in &files {
        let expected = if path == "/usr/bin/stampd" { "-rwxr-xr-x" } else { "-rw-r--r--" };
        assert_eq!(mode, expected, "{path}");
    }
}

#[test]
fn every_unit_that_the_packages_may_hold_is_in_both() {
    let held: BTreeSet<String> = in_deb().into_iter().map(|(path, _)| path).collect();
    for entry in fs::read_dir(Path::new(REPO).join("packaging/systemd")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let path = match name.as_str() {
            "stampd-user.service" => "/usr/lib/systemd/user/stampd.service".to_owned(),
            name => format!("/usr/lib/systemd/system/{name}"),
        };
        assert!(held.contains(&path), "{path} is not in {held:#?}");
    }
}

/// A root of another system, with nothing in it but what dpkg needs.
struct Root(TempDir);

impl Root {
    fn new() -> Self {
        let root = Self(tempfile::Builder::new().prefix("stampd-root-").tempdir().unwrap());
        for dir in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", "etc"] {
            fs::create_dir_all(root.at(dir)).unwrap();
        }
        fs::write(root.at("var/lib/dpkg/status"), "").unwrap();
        root
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn dpkg(&self, args: &[&str]) -> String {
        let root = format!("--root={}", self.0.path().display());
        // Its libraries are the machine's own, and whoever tests may be nobody special.
        let flags = ["--force-depends", "--force-not-root", "--log=/dev/null"];
        must(Command::new("dpkg").arg(root).args(flags).args(args))
    }
}

/// The Debian package as an older version, below a scratch directory.
fn older_deb(scratch: &Path) -> PathBuf {
    let (tree, older) = (scratch.join("tree"), scratch.join("older.deb"));
    must(Command::new("dpkg-deb").arg("--raw-extract").arg(package("deb")).arg(&tree));
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let newer = format!("\nVersion: {}", env!("CARGO_PKG_VERSION"));
    assert!(text.contains(&newer), "{text}");
    fs::write(&control, text.replace(&newer, "\nVersion: 0.0.1")).unwrap();
    // A page that is no more has to go with its version.
    fs::write(tree.join("usr/share/doc/stampd/OLD.md"), "old").unwrap();
    must(Command::new("dpkg-deb").args(["-Znone", "--build"]).arg(&tree).arg(&older));
    older
}

#[test]
fn the_debian_package_installs_over_an_older_one_runs_and_goes_and_the_spool_and_config_stay() {
    let (root, scratch) = (Root::new(), tempfile::tempdir().unwrap());
    let install = |deb: &Path| root.dpkg(&["--install", deb.to_str().unwrap()]);
    install(&older_deb(scratch.path()));
    assert!(root.at("usr/share/doc/stampd/OLD.md").exists());
    let kept = ["etc/stampd/bridge.toml", "home/ada/.local/state/stampd/spool.db"];
    for path in kept {
        fs::create_dir_all(root.at(path).parent().unwrap()).unwrap();
        fs::write(root.at(path), "kept").unwrap();
    }
    install(&package("deb"));
    let told = must(Command::new(root.at("usr/bin/stampd")).arg("version"));
    assert_eq!(told, format!("stampd {}\n", env!("CARGO_PKG_VERSION")));
    assert!(!root.at("usr/share/doc/stampd/OLD.md").exists());
    root.dpkg(&["--purge", "stampd"]);
    assert!(!root.at("usr/bin/stampd").exists());
    for path in kept {
        assert_eq!(fs::read_to_string(root.at(path)).unwrap(), "kept", "{path}");
    }
}

#[test]
fn an_install_by_hand_puts_everything_below_its_prefix() {
    let scratch = tempfile::tempdir().unwrap();
    let prefix = scratch.path().join("opt");
    // The packages are built first: both make the same pages in the same place.
    package("deb");
    let mut install = Command::new("packaging/install.sh");
    must(install.current_dir(REPO).env("STAMPD_BINARY", BINARY).arg(&prefix));
    must(Command::new(prefix.join("bin/stampd")).arg("version"));
    for path in [
        "share/man/man1/stampd.1",
        "share/bash-completion/completions/stampd",
        "share/fish/vendor_completions.d/stampd.fish",
        "share/zsh/site-functions/_stampd",
    ] {
        let length = fs::metadata(prefix.join(path)).unwrap().len();
        assert!(length > 500, "{path} has {length} bytes");
    }
}

#[test]
fn every_command_has_a_manual_page_that_a_pager_can_show() {
    let page = must(Command::new(BINARY).arg("man"));
    for word in [".TH stampd 1", "\\fB\\-\\-config\\fR", "stampd\\-contracts(1)"] {
        assert!(page.contains(word), "{word} is not in\n{page}");
    }
}

#[test]
fn completions_are_scripts_that_their_shell_can_read() {
    let script = must(Command::new(BINARY).args(["completions", "bash"]));
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("stampd.bash");
    fs::write(&file, &script).unwrap();
    must(Command::new("bash").arg("-n").arg(&file));
    assert!(script.contains("contracts"), "{script}");
}

/// The formula for this commit, played into a prefix; and what it says of the service.
fn play_formula(prefix: &Path) -> serde_json::Value {
    static FILLED: OnceLock<()> = OnceLock::new();
    let at = |path: &str| Path::new(REPO).join(path);
    FILLED.get_or_init(|| {
        must(Command::new("packaging/packages.sh").current_dir(REPO).arg("formula"));
    });
    let mut ruby = Command::new("ruby");
    ruby.arg(at("tests/bed/homebrew/brew.rb")).arg(at("target/packages/stampd.rb"));
    let told = must(ruby.args([env!("CARGO_PKG_VERSION"), REPO]).arg(prefix).arg(BINARY));
    serde_json::from_str(&told).unwrap()
}

#[test]
fn the_formula_installs_what_the_packages_hold_and_its_own_test_passes() {
    let scratch = tempfile::tempdir().unwrap();
    let told = play_formula(scratch.path());
    let held: BTreeSet<String> = in_deb().into_iter().map(|(path, _)| path).collect();
    let pages = held.iter().filter_map(|path| path.strip_prefix("/usr/share/man/"));
    let pages: Vec<&str> = pages.map(|page| page.trim_end_matches(".gz")).collect();
    assert!(pages.len() > 30, "{pages:?}");
    let others = [
        "bin/stampd",
        "etc/bash_completion.d/stampd",
        "share/fish/vendor_completions.d/stampd.fish",
        "share/stampd/config/stampd.example.toml",
        "share/stampd/prometheus/stampd.rules.yaml",
        "share/zsh/site-functions/_stampd",
    ];
    let pages = pages.iter().map(|page| format!("share/man/{page}"));
    for path in pages.chain(others.map(str::to_owned)) {
        let length = fs::metadata(scratch.path().join(&path)).map_or(0, |meta| meta.len());
        assert!(length > 100, "{path} has {length} bytes");
    }
    let url = told["said"]["url"][0].as_str().unwrap();
    let archive = url.strip_prefix("file://").expect("it was not said where else");
    let digest = must(Command::new("openssl").args(["dgst", "-sha256", "-r", archive]));
    assert_eq!(told["said"]["sha256"][0], digest.split(' ').next().unwrap());
    let inside = must(Command::new("tar").args(["-tzf", archive]));
    for file in ["Cargo.toml", "Cargo.lock", "src/main.rs", "contracts/openapi.yaml"] {
        let file = format!("stampd-{}/{file}\n", env!("CARGO_PKG_VERSION"));
        assert!(inside.contains(&file), "{file} is not in {archive}");
    }
}

#[test]
fn the_service_of_the_formula_is_that_of_launchd() {
    let scratch = tempfile::tempdir().unwrap();
    let service = play_formula(scratch.path())["service"].take();
    let read = "import json,plistlib,sys; print(json.dumps(plistlib.load(open(sys.argv[1],'rb'))))";
    let plist = Path::new(REPO).join("packaging/launchd/stampd.agent.plist");
    let plist = must(Command::new("python3").args(["-c", read]).arg(plist));
    let plist: serde_json::Value = serde_json::from_str(&plist).unwrap();
    let program = scratch.path().join("bin/stampd").display().to_string();
    assert_eq!(service["run"], serde_json::json!([program, "run"]));
    assert_eq!(plist["ProgramArguments"][1], "run");
    let background = service["process_type"].as_str().unwrap();
    assert!(plist["ProcessType"].as_str().unwrap().eq_ignore_ascii_case(background));
    assert_eq!(service["keep_alive"]["successful_exit"], plist["KeepAlive"]["SuccessfulExit"]);
    for (ours, theirs) in
        [("nice", "Nice"), ("run_at_load", "RunAtLoad"), ("throttle_interval", "ThrottleInterval")]
    {
        assert_eq!(service[ours], plist[theirs], "{ours}");
    }
}
